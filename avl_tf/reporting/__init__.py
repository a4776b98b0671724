"""A page for those without TensorBoard: what a run or a cascade has reached.

A run directory comes in; RUN_DIR/report/ goes out: index.html, which needs nothing
beside it, and each of its pictures as a PNG. It is made of what training has written:
recall.json, and the measurements in the events for TensorBoard.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_tf import files, metrics, runs
from avl_tf.evaluation import caveats, tables
from avl_tf.evaluation.significance import recall_interval
from avl_tf.exhibits import page
from avl_tf.exhibits.page import Folded, Heading, Paragraph, Part, Picture, Table
from avl_tf.reporting import charts
from avl_tf.reporting.charts import Measured
from avl_tf.training import history

# Measurements of training: the tag in its log, the title here.
_MEASURED = {"train/loss": "loss", "train/learning_rate": "learning rate"}
_NOTE = (
    "Recall in percent; MRR between 0 and 1; a median rank (MedR) of 1 is best. In "
    "small figures: 95 % intervals over the clips (Wilson 1927), which leave out what "
    "another seed of training would change."
)
_CURVES = (
    "Recall over the epochs: bands are 95 % intervals, dotted lines chance, the "
    "upright line the epoch that stands."
)


def write(run_dir: str, out_dir: str | None = None) -> str:
    """Writes the report of a run directory, or of the folder of a cascade.

    Args:
        run_dir: where avl_tf.train or avl_tf.cascade has written.
        out_dir: where the page goes; None is RUN_DIR/report.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: the folder holds neither, or no evaluation yet.
        ValueError: a file of it is damaged.
    """
    out_dir = out_dir or files.join(run_dir, "report")
    cascade = files.join(run_dir, "cascade.json")
    if tf.io.gfile.exists(cascade):
        parts = _of_cascade(run_dir, files.read_json(cascade))
    else:
        parts = _of_run(run_dir)
    for part in parts:
        if isinstance(part, Picture):
            png = files.join(out_dir, f"{part.name}.png")
            files.write_bytes(png, part.pair.light)
    path = files.join(out_dir, "index.html")
    files.write_text(path, page.html(run_dir, parts))
    return path


def _of_run(run_dir: str, name: str = "") -> list[Part]:
    """The parts of a run; `name` begins the names of its pictures in a cascade."""
    info = runs.read_info(run_dir)
    entries, stands = history.read_finished(run_dir)
    entry = entries[stands]
    begun = f"from {info.parent}" if info.parent else "from scratch"
    parts: list[Part] = [
        Paragraph(
            f"Trained {begun} on {info.records} ({', '.join(info.languages)}). Epoch "
            f"{entry['epoch']} of {entries[-1]['epoch']} stands for the run."
        )
    ]
    notes = [caveats.of_size(k, int(of["n"])) for k, of in entry["sets"].items()]
    if found := info.weights:
        notes.append(runs.weights.warning(run_dir, found, info.parent))
        if found.metric and found.n:
            notes.append(caveats.of_metric(found.metric, found.n))
    parts += [Paragraph(note, warning=True) for note in notes if note]
    if not entry["sets"]:
        parts.append(Paragraph("It was trained without --evaluate.", warning=True))
    else:
        rows = []
        for set_name, values in entry["sets"].items():
            of_set = {"set": set_name}
            before = entries[0]["sets"][set_name]
            chance = metrics.chance_beside(values, tables.directions([values]))
            rows += [
                {**of_set, "stage": "random", **chance},
                {**of_set, "stage": "before training", **before},
                {**of_set, "stage": f"epoch {entry['epoch']}", **values},
            ]
        parts += _tables(rows, ("set", "stage"))
        parts.append(
            Picture(
                f"{name}recall",
                charts.run_curves(entries, stands, _measured(run_dir, entries[-1])),
                _CURVES,
            )
        )
    settings = files.join(run_dir, runs.FLAGS)
    if tf.io.gfile.exists(settings):
        parts.append(Folded("Settings", _text(settings)))
    return parts


def _of_cascade(run_dir: str, cascade: Mapping) -> list[Part]:
    rows = [row for row in cascade["rows"] if row["when"] == "final"]
    parts: list[Part] = []
    if cascade["synthetic"]:
        what = "Synthetic corpus: drawn shapes and tones, no speech."
        parts.append(Paragraph(what, warning=True))
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    by_set = sorted(rows, key=lambda row: stages.index(row["stage"]))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    by_set.sort(key=lambda row: sets.index(row["set"]))
    parts += _tables(by_set, ("set", "stage"))
    for set_name in sets:
        of_set = [row for row in by_set if row["set"] == set_name]
        points = charts.stage_points(of_set, tables.directions(of_set))
        caption = f"{set_name}: R@10 of each stage with 95 % intervals; grey is chance."
        parts.append(Picture(f"{set_name}_stages", points, caption))
    for stage in stages:
        folder = files.join(run_dir, stage)
        if runs.exists(folder):
            parts += [Heading(f"Stage {stage}"), *_of_run(folder, f"{stage}_")]
    return parts


def _tables(rows: Sequence[Mapping], columns: tuple[str, ...]) -> list[Part]:
    """The table as it is looked at, and as it is pasted into a paper."""
    markdown = tables.markdown(rows, columns)
    names = [f"R@{k}" for k in metrics.CUTOFFS] + ["MRR", "MedR"]
    rows, columns = tables.by_query(rows, columns)
    directions = tables.directions(rows)
    keys = [f"{direction}/{name}" for direction in directions for name in names]
    cells = [
        [(str(row[column]), "") for column in columns]
        + [_cell(row, key) for key in keys]
        + [(str(row["n"]), "")]
        for row in rows
    ]
    titles = [
        f"{metrics.title(d)} {name}".strip() for d in directions for name in names
    ]
    header = [*columns, *titles, "n"]
    chance = [row["stage"] == "random" for row in rows]
    return [
        Table(header, cells, len(columns), chance),
        Paragraph(_NOTE),
        Folded("The table as Markdown", markdown),
    ]


def _cell(row: Mapping, key: str) -> tuple[str, str]:
    value = row[key]
    if "/R@" not in key:
        return (f"{value:.3f}" if key.endswith("MRR") else f"{value:.1f}"), ""
    if row["stage"] == "random":
        return f"{value:.1f}", ""
    low, high = recall_interval(value, row["n"])
    return f"{value:.1f}", f"{low:.1f}-{high:.1f}"


def _measured(run_dir: str, last: Mapping) -> list[Measured]:
    """Reads the measurements of training; what is not in the log is left out."""
    log = EventAccumulator(run_dir, {"tensors": 0}).Reload()
    if not last["epoch"]:
        return []
    steps_per_epoch = last["step"] / last["epoch"]
    found = []
    for tag, title in _MEASURED.items():
        if tag in log.Tags()["tensors"]:
            events = log.Tensors(tag)
            epochs = [event.step / steps_per_epoch for event in events]
            values = [float(tf.make_ndarray(event.tensor_proto)) for event in events]
            found.append(Measured(title, epochs, values))
    return found


def _text(path: str) -> str:
    with tf.io.gfile.GFile(path) as stream:
        return stream.read()

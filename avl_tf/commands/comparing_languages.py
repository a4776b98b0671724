"""What avl_tf.bilingual does: trainings of systems and languages, tables, a curve."""

import dataclasses
from collections.abc import Mapping, Sequence

from avl_tf import files, runs
from avl_tf.commands.bilingual_plan import GUIDE, Cell, Plan
from avl_tf.comparing import curve, running, table
from avl_tf.dataset import ClipConfig
from avl_tf.dataset.training_records import open_training_records
from avl_tf.evaluation import lineage, tables
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.records import open_records, record_index
from avl_tf.settings import from_flags
from avl_tf.settings.evaluation import ResamplingConfig
from avl_tf.training.tensorboard_log import TensorBoardLog
from avl_tf.wording import span

_Ranked = list[tuple[Cell, RankedSet]]


def compare(run_dir: str, plan: Plan, at_once: int, config: ResamplingConfig) -> None:
    """Trains what is not finished, prints the tables and writes them.

    Args:
        run_dir: folder of the whole comparison; gets bilingual.json and bilingual.md,
            with several fractions curve.png and curve.md, and a run directory a
            training.
        plan: what is to be trained.
        at_once: as for running.train_all.
        config: of the paired test.

    Raises:
        UserError: trainings failed; see running.train_all.
    """
    trained = [cell.training for cell in plan.cells]
    ranks = running.train_all(run_dir, trained, at_once)
    ranked = [
        (cell, ranks[cell.training.name][cell.language])
        for cell in plan.cells
        if ranks[cell.training.name]
    ]
    of_guide = [(cell, one) for cell, one in ranked if cell.system == GUIDE]
    of_systems = [(cell, one) for cell, one in ranked if cell.system != GUIDE]
    hours = _hours(plan)
    rows = _rows(of_systems, hours)
    texts = [_tables(plan, of_systems, hours, config), *_shared(run_dir, ranked)]
    if of_guide:
        guide = {GUIDE: [one for _, one in of_guide]}
        language = of_guide[0][0].language
        texts += [f"The guide, {language}:", table.of_set(guide, config)]
    if len(plan.fractions) > 1:
        chance = {
            cell.language: one.chance()[f"{next(iter(one.ranks))}/R@{curve.K}"]
            for cell, one in of_systems
        }
        texts.append(curve.write(run_dir, points(rows), chance, curve.SPEECH))
    text = "\n\n".join(texts)
    value = {"guide": _rows(of_guide, hours), "rows": rows}
    files.write_json(files.join(run_dir, "bilingual.json"), value)
    files.write_text(files.join(run_dir, "bilingual.md"), text + "\n")
    log = TensorBoardLog(run_dir)
    log.text("bilingual", text)
    log.close()
    print(text)


def _shared(run_dir: str, ranked: _Ranked) -> list[str]:
    """Says of which sets trainings have seen recordings; see avl_tf.overlap."""
    most: dict[str, dict] = {}
    for cell, _ in ranked:
        recalls = runs.weights.read_recalls(files.join(run_dir, cell.training.name))
        found = recalls.get("shared", {}).get(cell.language)
        if found and _n_shared(found) > _n_shared(most.get(cell.language, {})):
            most[cell.language] = found
    return [
        f"{name}: up to {_n_shared(found)} of {found['n_recordings']} recordings of "
        "the evaluation set are among those that a system or its guide was trained on "
        f"({found['n_same']} by their ids, {found['n_near_duplicates']} by sound that "
        "is much alike); `shared` in the runs' recall.json names them."
        for name, found in most.items()
    ]


def _n_shared(found: Mapping) -> int:
    return found.get("n_same", 0) + found.get("n_near_duplicates", 0)


def _rows(ranked: _Ranked, hours: dict[tuple[str, float], float]) -> list[dict]:
    return [
        {
            "system": cell.system,
            "language": cell.language,
            "seed": cell.seed,
            "fraction": cell.fraction,
            "hours": hours[cell.language, cell.fraction],
            **one.metrics(),
        }
        for cell, one in ranked
    ]


def points(rows: Sequence[Mapping]) -> list[curve.Point]:
    """The curve's points: of a language, a system and a part, all seeds."""
    found: dict[tuple, list[float]] = {}
    for direction in tables.directions(rows):
        for row in rows:
            named = [row[each] for each in ("language", "system", "fraction", "hours")]
            key = (direction, *named)
            found.setdefault(key, []).append(row[f"{direction}/R@{curve.K}"])
    return [
        curve.Point(
            *(language, system, direction, hours),
            (f"{fraction:g}", span(3600 * hours)),
            tuple(values),
        )
        for (direction, language, system, fraction, hours), values in found.items()
    ]


def _tables(
    plan: Plan,
    ranked: _Ranked,
    hours: dict[tuple[str, float], float],
    config: ResamplingConfig,
) -> str:
    """A table a language and fraction, and what explains them."""
    texts = []
    for language, fraction in dict.fromkeys(
        (c.language, c.fraction) for c, _ in ranked
    ):
        systems = {
            name: [
                one
                for cell, one in ranked
                if (cell.language, cell.fraction) == (language, fraction)
                and cell.system == name
            ]
            for name in plan.systems
        }
        speech = span(3600 * hours[language, fraction])
        part = "" if fraction == 1 else f", {fraction:g} of the recordings"
        texts += [
            f"{language}, trained on {speech} of speech{part}:",
            table.of_set(systems, config),
        ]
    sets = {language: open_records(path) for language, path in plan.records.items()}
    if lineage.is_synthetic(sets):
        texts.insert(0, lineage.SYNTHETIC)
    texts.append(table.explanation(len(plan.systems), plan.seeds, config))
    return "\n\n".join(texts)


def _hours(plan: Plan) -> dict[tuple[str, float], float]:
    """Hours of a language's training recordings, by language and fraction."""
    hours = {}
    for cell in plan.cells:
        key = cell.language, cell.fraction
        if key not in hours:
            clips = from_flags(ClipConfig, cell.training.flag_values())
            clips = dataclasses.replace(
                clips, fraction=cell.fraction, language_fraction=()
            )
            path = plan.records[cell.language]
            records = open_training_records(path, clips)
            seconds = record_index.lengths(records, of_clips=False)
            hours[key] = float(seconds.sum()) / 3600
    return hours

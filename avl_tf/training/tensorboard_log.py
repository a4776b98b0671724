"""TensorBoard logs of a run: measurements, one recall chart a set, text."""

import re
from collections.abc import Collection, Iterable, Mapping

import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar

from avl_tf import files, metrics


def open_writer(
    run_dir: str,
    set_names: Iterable[str],
    directions: Collection[str],
    flags_text: str,
) -> tf.summary.SummaryWriter:
    """Opens the log of a run, with its charts and its flags in it."""
    writer = tf.summary.create_file_writer(files.join(run_dir, "tensorboard"))
    _write_layout(writer, set_names, directions)
    write_text(writer, "flags", f"```\n{flags_text}```")
    return writer


def _write_layout(
    writer: tf.summary.SummaryWriter,
    set_names: Iterable[str],
    directions: Collection[str],
) -> None:
    """Puts R@1, R@5 and R@10 of all directions into one chart a set."""
    cutoffs = "|".join(str(k) for k in metrics.CUTOFFS)
    which = "both" if len(directions) == 2 else "all"
    charts = [
        layout_pb2.Chart(
            title=f"{name}: recall of {which} directions (%)",
            multiline=layout_pb2.MultilineChartContent(
                tag=[
                    f"^recall/{re.escape(name)}/({'|'.join(directions)})/R@({cutoffs})$"
                ]
            ),
        )
        for name in set_names
    ]
    layout = layout_pb2.Layout(
        category=[layout_pb2.Category(title="Retrieval", chart=charts)]
    )
    summary = custom_scalar.pb(layout)
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=0)


def write_measurements(
    writer: tf.summary.SummaryWriter, values: Mapping[str, float], step: int
) -> None:
    """Writes what was measured of the training: loss as train/loss, and so on."""
    _write_scalars(writer, "train", values, step)


def write_recall(
    writer: tf.summary.SummaryWriter,
    set_name: str,
    values: Mapping[str, float],
    step: int,
) -> None:
    """Writes the metrics of an evaluation set: recall/es/a2v/R@1, and so on."""
    of_set = {key: value for key, value in values.items() if key != "n"}
    _write_scalars(writer, f"recall/{set_name}", of_set, step)


def _write_scalars(writer, group: str, values: Mapping[str, float], step: int) -> None:
    with writer.as_default():
        for name, value in values.items():
            tf.summary.scalar(f"{group}/{name}", value, step=step)


def write_text(writer: tf.summary.SummaryWriter, tag: str, markdown: str) -> None:
    """Writes a Markdown text."""
    with writer.as_default():
        tf.summary.text(tag, markdown, step=0)

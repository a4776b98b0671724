"""TensorBoard logs of a run: scalars, one recall chart a set, text."""

import re
from collections.abc import Iterable, Mapping

import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar

from avl_tf import files, metrics


def recall_tag(set_name: str, metric: str) -> str:
    """Tag of a metric on an evaluation set: recall/es/a2v/R@1."""
    return f"recall/{set_name}/{metric}"


def open_writer(
    run_dir: str, set_names: Iterable[str], flags_text: str
) -> tf.summary.SummaryWriter:
    """Opens the log of a run, with its charts and its flags in it."""
    writer = tf.summary.create_file_writer(files.join(run_dir, "tensorboard"))
    _write_layout(writer, set_names)
    write_text(writer, "flags", f"```\n{flags_text}```")
    return writer


def _write_layout(writer: tf.summary.SummaryWriter, set_names: Iterable[str]) -> None:
    """Puts R@1, R@5 and R@10 of both directions into one chart a set."""
    cutoffs = "|".join(str(k) for k in metrics.CUTOFFS)
    charts = [
        layout_pb2.Chart(
            title=f"{name}: recall of both directions (%)",
            multiline=layout_pb2.MultilineChartContent(
                tag=[f"^recall/{re.escape(name)}/(a2v|v2a)/R@({cutoffs})$"]
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


def write_scalars(
    writer: tf.summary.SummaryWriter, values: Mapping[str, float], step: int
) -> None:
    """Writes scalars by tag."""
    with writer.as_default():
        for tag, value in values.items():
            tf.summary.scalar(tag, value, step=step)


def write_text(writer: tf.summary.SummaryWriter, tag: str, markdown: str) -> None:
    """Writes a Markdown text."""
    with writer.as_default():
        tf.summary.text(tag, markdown, step=0)

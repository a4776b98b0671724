"""TensorBoard logs of a run: measurements, recall in one chart a set and direction."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from avl_tf import files, metrics
from avl_tf.evaluation import similarity_image, tables
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.evaluation.rankings import RankedSet

_SEEN = (
    "Rows are what is heard, columns what is seen: matching pairs lie on the diagonal. "
    "Of a set of more than 200 clips, 200 of them, always the same. Dark is the lowest "
    "similarity of the matrix, bright the highest."
)


class TensorBoardLog:
    """Event files in RUN_DIR itself, and below RUN_DIR/recall.

    TensorBoard gives a colour and a name to a folder, not to a tag, and its path as
    the name. So a run is called as its run directory, and R@1, R@5, R@10 and chance
    are folders of their own, RUN_DIR/recall/R@1, with the chart of a set and direction
    as their tag: recall/es/A->V. All metrics by their keys, such as recall/es/a2v/MRR,
    are in the run itself, beside the measurements of training.
    """

    def __init__(self, run_dir: str | None):
        """Opens the log of a run directory; None is a log that takes everything."""
        self._run_dir = run_dir
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def measurements(self, values: Mapping[str, float], step: int) -> None:
        """Writes what was measured of the training: loss as train/loss, and so on."""
        with self._writer().as_default():
            for name, value in values.items():
                tf.summary.scalar(f"train/{name}", value, step=step)

    def recall(self, set_name: str, values: Mapping[str, float], step: int) -> None:
        """Writes the metrics of an evaluation set: recall/es/a2v/R@1, and so on."""
        group = f"recall/{set_name}"
        with self._writer().as_default():
            for key, value in values.items():
                if key not in ("n", "n_clips"):
                    tf.summary.scalar(f"{group}/{key}", value, step=step)
        directions = tables.directions([values])
        chance = metrics.chance_beside(values, directions)
        for k in metrics.CUTOFFS:
            for line, of in ((f"R@{k}", values), (f"chance R@{k}", chance)):
                with self._writer(line).as_default():
                    for direction in directions:
                        chart = f"{group}/{metrics.title(direction)}"
                        value = of[f"{direction}/R@{k}"]
                        tf.summary.scalar(chart, value, step=step)

    def similarities(
        self, set_name: str, embedded: EmbeddedSet, ranked: RankedSet, step: int
    ) -> None:
        """Draws the similarities of each audio branch, and writes the mean ranks."""
        if self._run_dir is None:
            return
        group = f"similarity/{set_name}"
        *heard, seen = embedded.embeddings.items()
        with self._writer().as_default():
            for name, audio in heard:
                if audio.ndim == 2:  # of maps there is none in one number
                    language = name.partition(":")[2]
                    tag = f"{group}/{language}" if language else group
                    picture = similarity_image.draw(audio, seen[1])
                    tf.summary.image(tag, picture[np.newaxis], step, description=_SEEN)
            for direction, ranks in ranked.ranks.items():
                tag = f"{group}/mean rank {metrics.title(direction)}"
                tf.summary.scalar(tag, ranks.mean(), step=step)

    def stage(self, history: Sequence[Mapping], begins: int) -> None:
        """Writes R@10 at all evaluations of a stage, in the charts of all stages.

        Args:
            history: of the stage, as training.train_stage returned it.
            begins: epochs of the stages before it; where its line begins.
        """
        with self._writer().as_default():
            for entry in history:
                for set_name, values in entry["sets"].items():
                    for direction in tables.directions([values]):
                        chart = f"{set_name}/{metrics.title(direction)} R@10"
                        tf.summary.scalar(
                            f"all stages/{chart}",
                            values[f"{direction}/R@10"],
                            step=begins + entry["epoch"],
                        )

    def text(self, tag: str, markdown: str) -> None:
        """Writes a Markdown text."""
        with self._writer().as_default():
            tf.summary.text(tag, markdown, step=0)

    def close(self) -> None:
        """Writes what is left to be written."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, line: str = "") -> tf.summary.SummaryWriter:
        if self._run_dir is None:
            return tf.summary.create_noop_writer()
        if line not in self._writers:
            below = ("recall", line) if line else ()
            folder = files.join(self._run_dir, *below)
            self._writers[line] = tf.summary.create_file_writer(folder)
        return self._writers[line]

"""A trained model by its folder: a run directory, or an export of one."""

import dataclasses

import tensorflow as tf

from avl_tf import evaluation, files, runs, settings
from avl_tf.dataset.clip_cutting import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import visual_input
from avl_tf.records import RecordSet
from avl_tf.runs import RunInfo


@dataclasses.dataclass(frozen=True)
class Trained:
    """What is known of a model before it is loaded.

    evaluation: how it was evaluated in training; None for an imported run.
    """

    path: str
    is_export: bool
    info: RunInfo
    evaluation: EvaluationConfig | None
    log_mel_reference: str

    def load(self) -> evaluation.EmbedFunction:
        """Reads the weights; FileNotFoundError if a run has none yet."""
        if self.is_export:
            return _embed_by_export(self.path, visual_input(self.info.model))
        return evaluation.embed_function(runs.load_model(self.path)[0])

    def check_records(self, records: RecordSet) -> RecordSet:
        """The set as the model reads it; ValueError if it cannot."""
        return runs.check_records(self.info, records, self.path)


def open_run(path: str) -> Trained:
    """Looks at a run directory; FileNotFoundError if it is none."""
    return _look(path, path, is_export=False)


def open_export(path: str) -> Trained:
    """Looks at an export; FileNotFoundError if it is none."""
    return _look(path, files.join(path, "assets.extra"), is_export=True)


def open_either(path: str) -> Trained:
    """Looks at a run directory or an export; FileNotFoundError if it is neither."""
    if runs.exists(path):
        return open_run(path)
    if runs.exists(files.join(path, "assets.extra")):
        return open_export(path)
    raise FileNotFoundError(f"{path}: neither a run directory nor an export of one.")


def _look(path: str, settings_dir: str, is_export: bool) -> Trained:
    info = runs.read_info(settings_dir)
    flags_path = files.join(settings_dir, runs.FLAGS)
    config, clips = None, ClipConfig()
    if tf.io.gfile.exists(flags_path):
        with files.local_copy(flags_path) as local:
            flag_values = settings.read_flagfile(
                local, EvaluationConfig, ClipConfig, others=True, name=flags_path
            )
        config = settings.from_flags(EvaluationConfig, flag_values)
        clips = settings.from_flags(ClipConfig, flag_values)
    return Trained(path, is_export, info, config, clips.log_mel_reference)


def _embed_by_export(path: str, seen: str) -> evaluation.EmbedFunction:
    signatures = tf.saved_model.load(path).signatures

    def embed(batch):
        log_mel = {name: batch[name] for name in ("log_mel", "n_frames")}
        return {
            **signatures["log_mel"](**log_mel),
            **signatures[seen](**{seen: batch[seen]}),
        }

    return embed

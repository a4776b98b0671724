"""A trained model by its folder, a run directory or an export of one: the one door.

look tells what is known of a model without loading it, load loads it. Nothing of
training comes along.
"""

import dataclasses
import os

import tensorflow as tf

from avl_tf import dataset, evaluation, files, overlap, runs, settings
from avl_tf.dataset import ClipConfig, Records
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.evaluation.clip_lengths import LONGEST_S
from avl_tf.model import build_model, filters_well, visual_input
from avl_tf.runs import RunInfo, Weights
from avl_tf.settings import branches
from avl_tf.trained import hearing, identity
from avl_tf.trained.embedder import Embedder
from avl_tf.trained.hearing import StepTower
from avl_tf.trained.towers import InvalidItem, Tower

_Towers = dict[str, Tower]
_Steps = dict[str, StepTower]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What is known of a model before it is loaded.

    evaluation: how it was evaluated in training; None for an imported run.
    log_mel_reference, join_by: those of dataset.ClipConfig in its training. weights:
    which are meant, "best", "last", or "" for those that stand for the run. trained_s:
    seconds of the random clips of its training; 0 is not known, or not at random.
    """

    path: str
    is_export: bool
    info: RunInfo
    evaluation: EvaluationConfig | None
    log_mel_reference: str
    weights: str = ""
    join_by: str = ClipConfig.join_by
    trained_s: float = 0.0

    def load(self, weights_2d: str = "", weights_3d: str = "") -> Embedder:
        """Reads the weights; see the function load."""
        weights = {"features_2d": weights_2d, "features_3d": weights_3d}
        for name, file in weights.items():
            argument = name.replace("features", "weights")
            if file and not getattr(self.info, name):
                raise UserError(
                    f"{argument}={file}: the model of {self.path} has no such features."
                )
            if file and not os.path.isfile(file):
                raise FileNotFoundError(f"{argument}={file}: no such file.")
        towers, variables, step_towers, found = self._towers()
        return Embedder(
            dataclasses.replace(self.info, weights=found),
            towers,
            (self.evaluation and self.evaluation.evaluation_clip_s) or LONGEST_S,
            "clip" in (self.info.log_mel_reference, self.log_mel_reference),
            weights,
            variables,
            step_towers,
        )

    def _towers(self) -> tuple[_Towers, list[tf.Variable], _Steps, Weights | None]:
        """The model by its branches, its variables, and which weights it has."""
        if not self.is_export:
            return _of_run(self.path, self.info, self.weights)
        if self.info.weights:
            runs.weights.tell(self.path, self.info.weights, self.info.parent)
        towers, variables, steps = _of_export(self.path, self.info)
        identity.check_golden(files.join(self.path, "assets.extra"), self.path, towers)
        return towers, variables, steps, self.info.weights

    def as_read(self, records: Records) -> Records:
        """The set as the model reads it; ValueError if it cannot."""
        records = runs.as_read(records, self.info.model)
        runs.check_records(self.info, records, self.path)
        return records

    def batches(
        self, records: Records, batch_size: int = 0, told: bool = False
    ) -> tf.data.Dataset:
        """The clips of a set, cut and batched as for the model's evaluation.

        Args:
            records: from as_read.
            batch_size: 0 is that of its evaluation.
            told: log how much of the clips is heard; see evaluation.by_set.
        """
        config = self.evaluation or EvaluationConfig()
        (settled,) = evaluation.by_set({records.name: records}, config, told).values()
        return dataset.evaluation_batches(
            records,
            settled.evaluation_clip_s,
            batch_size or settled.evaluation_batch_size,
            self.log_mel_reference,
        )

    def learnt(self) -> list[overlap.Learnt]:
        """What it and its parents were trained on, as far as that is known."""
        folder = self.path
        if self.is_export:
            folder = files.join(folder, "assets.extra")
        return overlap.trained_on.read(folder, self.path)


def load(
    path: str, weights_2d: str = "", weights_3d: str = "", weights: str = ""
) -> Embedder:
    """Loads a run directory or an export; see avl_tf.load."""
    found = look(path, weights)
    found.info.model.require_vectors(path)
    return found.load(weights_2d, weights_3d)


def look(path: str, weights: str = "") -> Trained:
    """Looks at a run directory or an export.

    Args:
        path: the folder.
        weights: "best", "last", or "" for those that stand for the run.

    Raises:
        FileNotFoundError: it is neither, or the run has no checkpoint yet.
        ValueError: there are no such weights, or a file is damaged.
    """
    if runs.exists(path):
        return look_at_run(path, weights)
    if runs.exists(files.join(path, "assets.extra")):
        return look_at_export(path, weights)
    raise FileNotFoundError(
        f"{path}: neither a run directory nor an export of one{_advice(path)}."
    )


def look_at_run(path: str, weights: str = "") -> Trained:
    """Looks at a run directory; raises as look, if it is none too."""
    found = _look(path, path, weights, is_export=False)
    runs.weights.find(path, weights)
    return found


def look_at_export(path: str, weights: str = "") -> Trained:
    """Looks at an export; raises as look, if it is none too."""
    if not runs.exists(files.join(path, "assets.extra")):
        raise FileNotFoundError(f"{path}: not an export of a run{_advice(path)}.")
    found = _look(path, files.join(path, "assets.extra"), weights, is_export=True)
    held = found.info.weights
    if weights and weights != (held.kind if held else ""):
        raise UserError(
            f"{path} was exported with {held or 'weights that it does not name'}, not "
            f"the {weights}: export the run again with --weights={weights}."
        )
    return found


def _advice(path: str) -> str:
    """What may have been meant: a folder below that is a run or an export."""
    if not tf.io.gfile.isdir(path):
        return ""
    below = [files.join(path, name) for name in files.names(path)]
    below += [files.join(path, "export", "1")]
    meant = [
        each
        for each in below
        if runs.exists(each) or runs.exists(files.join(each, "assets.extra"))
    ]
    return f" (is {min(meant)} meant?)" if meant else ""


def _look(path: str, settings_dir: str, weights: str, is_export: bool) -> Trained:
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
    drawn = config is not None and clips.clip_sampling == "random"
    return Trained(
        path,
        is_export,
        info,
        config,
        clips.log_mel_reference,
        weights,
        clips.join_by,
        clips.clip_s if drawn else 0.0,
    )


def _of_run(
    path: str, info: RunInfo, weights: str
) -> tuple[_Towers, list[tf.Variable], _Steps, Weights]:
    filtered = filters_well()
    model = build_model(info.model, initialize=False, minimal_filtering=filtered)
    found = runs.load_weights(model, path, weights)
    variables = [variable.value for variable in model.variables]
    steps = hearing.of_run(model, info)
    return evaluation.towers(model), variables, steps, found


def _of_export(path: str, info: RunInfo) -> tuple[_Towers, list[tf.Variable], _Steps]:
    try:
        with files.local_copy(path) as local, files.plain(local) as plain:
            loaded = tf.saved_model.load(plain)
    except (IndexError, ValueError, OSError, tf.errors.OpError) as error:
        raise UserError(
            f"{path}: damaged ({files.reason(error)}). Run avl_tf.export again."
        ) from error

    def tower(name: str) -> Tower:
        given = visual_input(info.model) if name == "visual" else "log_mel"
        signature = loaded.signatures[given + branches.suffix(name)]
        needed = signature.structured_input_signature[1]

        def embed(batch):
            outputs = signature(**{k: batch[k] for k in needed})
            # Exports of before an item could be told to be invalid have no such output.
            if "valid" in outputs and not tf.reduce_all(outputs["valid"]):
                index = int(tf.argmin(tf.cast(outputs["valid"], tf.int32)))
                raise InvalidItem(index, outputs["reason"].numpy()[index].decode())
            side = name.partition(":")[0]
            return outputs[f"{side}_embedding"]

        return embed

    towers = {name: tower(name) for name in info.model.branches}
    return towers, list(loaded.weights), hearing.of_export(loaded.signatures, info)

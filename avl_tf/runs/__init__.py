"""The run directory of one stage: what is in it, and who may use it.

run.json      the model's configuration and where it comes from (RunInfo)
flags.txt     the settings it was trained with; a flagfile
checkpoints/  the newest ones: model, optimizer and step, to go on from
best/         the model of the best evaluation, with --best_metric
events.*      for TensorBoard: scalars, and the flags as text
recall/       for TensorBoard: the lines of its recall charts
recall.json   every evaluation during training
trained_on.tfrecord  which recordings it and its parents have learnt from
evaluation/   what avl_tf.evaluate found afterwards
export/1/     the SavedModel, in TensorFlow Serving's layout; then 2, 3, ...
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from avl_tf import checkpoint_files, fields, files
from avl_tf.dataset import JoinedSet, Records
from avl_tf.errors import UserError
from avl_tf.local_paths import NO_RUN
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import FeatureSpec, RecordSet
from avl_tf.runs import weights as weights
from avl_tf.runs.weights import FLAGS as FLAGS
from avl_tf.runs.weights import Weights as Weights
from avl_tf.runs.weights import best_prefix as best_prefix
from avl_tf.runs.weights import checkpoint_prefix as checkpoint_prefix
from avl_tf.settings.stored import FEATURES_CHECK

# 1: no number was written. 2: the number was added. 3: the weights that stand.
_FORMAT = 3
_INFO = "run.json"
TRAINED_ON = "trained_on.tfrecord"


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What other programs need to know of a run besides its weights.

    log_mel_reference: whose loudest bin was 0 dB in what it heard, "recording" or
    "clip". records_fingerprint, languages: of the training records.
    evaluation_fingerprints: of the sets it is evaluated on, by their names. parent: run
    directory of the stage before, or None. synthetic: whether any training data, the
    parent's too, was generated. weights: those that stand for the run since its
    training ended, or that an export holds; None is not known.
    """

    model: ModelConfig
    features_2d: FeatureSpec | None
    features_3d: FeatureSpec | None
    log_mel_reference: str
    records: str
    records_fingerprint: str
    languages: tuple[str, ...]
    parent: str | None
    synthetic: bool
    evaluation_fingerprints: dict[str, str] = dataclasses.field(default_factory=dict)
    weights: Weights | None = None


def copy_settings(run_dir: str, info: RunInfo, folder: str) -> None:
    """Writes run.json, and what else a run has of the kind, into another folder."""
    tf.io.gfile.makedirs(folder)
    write_info(folder, info)
    for name in (FLAGS, TRAINED_ON):
        source = files.join(run_dir, name)
        if tf.io.gfile.exists(source):
            tf.io.gfile.copy(source, files.join(folder, name), overwrite=True)


def write_info(run_dir: str, info: RunInfo) -> None:
    """Writes run.json."""
    value = {"format": _FORMAT, **dataclasses.asdict(info)}
    for name in ("features_2d", "features_3d"):
        if stream := getattr(info, name):
            value[name] = stream.to_json()
    files.write_json(files.join(run_dir, _INFO), value)


def exists(run_dir: str) -> bool:
    """Whether a folder holds a run."""
    files.require_filesystem(run_dir)
    return tf.io.gfile.exists(files.join(run_dir, _INFO))


def read_info(run_dir: str) -> RunInfo:
    """Reads run.json.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: run.json is damaged or of another version.
    """
    path = files.join(run_dir, _INFO)
    if not exists(run_dir):
        raise FileNotFoundError(NO_RUN.format(run_dir))
    value = files.read_json(path)
    try:
        value = _brought_up(value)
        _CHECK(value, "")
    except UserError as error:
        raise UserError(f"{path}: not written by this version ({error}).") from None
    value["model"] = ModelConfig.from_json(value["model"], path)
    for name in ("features_2d", "features_3d"):
        value[name] = FeatureSpec(**value[name]) if value[name] else None
    value["languages"] = tuple(value["languages"])
    if value["weights"]:
        value["weights"] = Weights(**value["weights"])
    return RunInfo(**value)


_CHECK = fields.record(
    {
        "model": fields.mapping(fields.anything),
        "features_2d": fields.nullable(FEATURES_CHECK),
        "features_3d": fields.nullable(FEATURES_CHECK),
        "log_mel_reference": fields.choice("recording", "clip"),
        "records": fields.text(empty=True),
        "records_fingerprint": fields.text(empty=True),
        "languages": fields.items(fields.text()),
        "parent": fields.nullable(fields.text(empty=True)),
        "synthetic": fields.boolean,
        "evaluation_fingerprints": fields.mapping(fields.text(empty=True)),
        "weights": fields.nullable(weights.CHECK),
    }
)


def _brought_up(value: Any) -> dict[str, Any]:
    """What an earlier version's run.json would hold if this one had written it."""
    fields.mapping(fields.anything)(value, "")
    value = dict(value)
    written = value.pop("format", 1)
    fields.whole(1)(written, "format")
    if written > _FORMAT:
        raise UserError(f"its format is {written}, this version knows {_FORMAT}")
    # Runs of before they were kept.
    value.setdefault("evaluation_fingerprints", {})
    value.setdefault("weights", None)
    return value


def check_records(info: RunInfo, records: Records, run_dir: str) -> None:
    """Makes sure that a model can read a set of records, from as_read.

    Warns of features of key frames beside such of all frames.

    Raises:
        ValueError: the audio constants, the backbones or the widths differ, or there
            are no images for an image encoder; says which and what to do.
    """
    spec = records.spec
    differences = []
    if info.model.image_encoder and not spec.images:
        differences.append(
            "it has no images (data_prep.extract --keep_images), which the model's "
            f"image encoder {info.model.image_encoder} reads"
        )
    audio = dataclasses.asdict(info.model.audio)
    differences += [
        f"audio {name} is {value}, the model's {audio[name]}"
        for name, value in dataclasses.asdict(spec.audio).items()
        if value != audio[name]
    ]
    for name in ("features_2d", "features_3d"):
        seen, known = getattr(spec, name), getattr(info, name)
        theirs, ours = (
            f"{stream.backbone} ({stream.dim})" if stream else "none"
            for stream in (seen, known)
        )
        if theirs != ours:
            differences.append(f"{name} are of {theirs}, the model's of {ours}")
        elif seen and known and seen.frames != known.frames:
            logging.warning(
                "%s: its %s are of --frames=%s (data_prep.extract), those of %s of "
                "--frames=%s.",
                records.name,
                name,
                seen.frames,
                run_dir,
                known.frames,
            )
    if differences:
        raise UserError(
            f"{records.name} does not fit the model of {run_dir}: "
            f"{'; '.join(differences)}. Re-run data_prep.extract with the model's "
            "settings, or use a model trained on such records."
        )


def as_read(records: Records, config: ModelConfig) -> Records:
    """A set as a model reads it: what it does not look at is left in the files.

    Raises:
        UserError: it has not the visual stream that the model sees by.
    """
    kind, spec = config.visual_streams, records.spec
    lacks = kind != "all" and not getattr(spec, f"features_{kind}")
    if lacks and not config.image_encoder:
        there = " and ".join(spec.streams) or "no frozen features"
        raise UserError(
            f"{records.name} has no features_{kind}, which a model of "
            f"--visual_streams={kind} sees by; it has {there}. Extract it with a "
            f"--backbone_{kind}."
        )
    if isinstance(records, JoinedSet):
        return records.map(lambda one: _as_read(one, config))
    return _as_read(records, config)


def _as_read(records: RecordSet, config: ModelConfig) -> RecordSet:
    read: dict[str, Any] = {"images": False, "pooling": config.visual_pooling}
    if config.image_encoder:
        read = {"features_2d": None, "features_3d": None}
    elif config.visual_streams != "all":
        read["features_2d" if config.visual_streams == "3d" else "features_3d"] = None
    spec = dataclasses.replace(records.spec, **read)
    return dataclasses.replace(records, spec=spec)


def load_model(run_dir: str, kind: str = "") -> tuple[keras.Model, RunInfo]:
    """Builds a run's model with its weights: by default those that stand for it.

    Without minimal filtering: a graph of it is the same wherever it is traced.

    Args:
        run_dir: a run directory.
        kind: "best", "last", or "" for what stands; see weights.find.

    Returns:
        The model, and the run's information with the weights that these are.

    Raises:
        FileNotFoundError: there is no run, or it has no checkpoint yet.
        ValueError: it keeps no such weights, or they are damaged.
    """
    info = read_info(run_dir)
    model = build_model(info.model, initialize=False)
    found = load_weights(model, run_dir, kind)
    return model, dataclasses.replace(info, weights=found)


def load_weights(model: keras.Model, run_dir: str, kind: str = "") -> Weights:
    """Reads weights of a run into a model of the same shape, and logs which."""
    path, found = weights.find(run_dir, kind)
    checkpoint_files.restore(tf.train.Checkpoint(model=model), path).expect_partial()
    weights.tell(run_dir, found, read_info(run_dir).parent)
    return found


def settle(run_dir: str) -> Weights:
    """Writes into the run.json of a training that has ended what stands for it."""
    _, found = weights.find(run_dir)
    info = read_info(run_dir)
    weights.tell(run_dir, found, info.parent)
    if info.weights != found:
        write_info(run_dir, dataclasses.replace(info, weights=found))
    return found

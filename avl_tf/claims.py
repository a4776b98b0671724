"""Whether a stage may be trained into a run directory, and what will stand in its note.

All that can be wrong with settings, parent and directory is found here, before anything
is written.
"""

import tensorflow as tf
from absl import logging

from avl_tf import files, runs
from avl_tf.model import ModelConfig
from avl_tf.records import RecordSet

_SHAPING = ("audio_widths", "blocks_per_stage", "embedding_dim", "audio_head")


def run_info(
    records: RecordSet, model_config: ModelConfig, init_from: str | None
) -> runs.RunInfo:
    """Describes a stage that is to be trained.

    Raises:
        ValueError: the records or the model do not fit the parent's.
    """
    spec, parent = records.spec, runs.read_info(init_from) if init_from else None
    if parent:
        runs.check_records(parent, records, init_from)
        for name in _SHAPING:
            ours, theirs = getattr(model_config, name), getattr(parent.model, name)
            if ours != theirs:
                raise ValueError(
                    f"{init_from} holds a model with --{name}={theirs}, this stage "
                    f"asks for {ours}. Leave the flag out to take the parent's."
                )
        if parent.log_mel_reference != spec.log_mel_reference:
            logging.warning(
                "%s was trained on log-mels relative to the %s, %s are relative to the "
                "%s; --log_mel_reference=clip re-references them.",
                init_from,
                parent.log_mel_reference,
                records.name,
                spec.log_mel_reference,
            )
    return runs.RunInfo(
        model=model_config,
        features_2d=spec.features_2d,
        features_3d=spec.features_3d,
        log_mel_reference=spec.log_mel_reference,
        records=records.name,
        records_fingerprint=records.fingerprint,
        languages=spec.languages,
        parent=init_from,
        synthetic=spec.synthetic or bool(parent and parent.synthetic),
    )


def is_resumed(run_dir: str, info: runs.RunInfo, flags_text: str) -> bool:
    """Whether a run directory holds this very run, begun before.

    Raises:
        ValueError: it holds another run, or an imported one.
    """
    if not runs.exists(run_dir):
        return False
    flags_path = files.join(run_dir, runs.FLAGS)
    if not tf.io.gfile.exists(flags_path):
        raise ValueError(
            f"{run_dir} holds an imported run. Train from it into another --run_dir, "
            f"with --init_from={run_dir}."
        )
    with tf.io.gfile.GFile(flags_path) as stream:
        lines = [line for line in stream.read().splitlines() if "=" in line]
    before = dict(line.split("=", 1) for line in lines)
    now = dict(line.split("=", 1) for line in flags_text.splitlines())
    changed = [
        f"{name}={before[name]} then, {value} now"
        for name, value in now.items()
        if before.get(name, value) != value
    ]
    old = runs.read_info(run_dir)
    if old.parent != info.parent:
        changed.append(f"--init_from={old.parent} then, {info.parent} now")
    if old.records_fingerprint != info.records_fingerprint:
        changed.append(f"the records in {info.records} have changed")
    if changed:
        raise ValueError(
            f"{run_dir} holds a run of other settings: {'; '.join(changed)}. Use "
            "another --run_dir, or delete this one to train anew."
        )
    return True

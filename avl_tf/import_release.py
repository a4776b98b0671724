"""Makes a run directory of a checkpoint that the authors' code wrote, or the way back.

    python -m avl_tf.import_release --checkpoint=AVLnet_release.pth --run_dir=runs/r
    python -m avl_tf.import_release --run_dir=runs/my --export_pth=my.pth

evaluate, train --init_from, cascade and export take the run as any other. Prints what
became of every tensor. --export_pth writes a state_dict that the authors' code loads.
"""

import dataclasses

import tensorflow as tf
from absl import flags

from avl_tf import files, program, release, runs
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import AUTHORS_2D, AUTHORS_3D
from avl_tf.release import text_branch
from avl_tf.terminal import visible
from avl_tf.torch_weights import state_dict
from avl_tf.torch_weights.writer import write_state_dict

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The authors' .pth: a release, or eN.pth of their train.py."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Run directory to make, or to read.", required=True
)
_EXPORT_PTH = flags.DEFINE_string(
    "export_pth", None, "Write the run's weights to this .pth instead of importing."
)
_VISUAL_DIMS = flags.DEFINE_list(
    "visual_dims",
    None,
    "Widths of the visual streams, 2D first; read off the tensors if left out.",
)
_BACKBONE_2D = flags.DEFINE_string(
    "backbone_2d",
    AUTHORS_2D.backbone,
    "Backbone of the first stream (the authors': resnet152).",
)
_BACKBONE_3D = flags.DEFINE_string(
    "backbone_3d",
    AUTHORS_3D.backbone,
    "Backbone of the second stream, if there are two (the authors': resnext101_3d).",
)
_REFERENCE = flags.DEFINE_enum(
    "log_mel_reference",
    "recording",
    ["recording", "clip"],
    "Whose loudest bin was 0 dB in its training (HowTo100M: recording).",
)
_LANGUAGES = flags.DEFINE_list(
    "languages", ["en"], "Languages it was trained on (HowTo100M: en)."
)
_TEXT = flags.DEFINE_boolean(
    "text", False, "Export the text branch of the text variants too."
)
_PARTIAL = flags.DEFINE_boolean(
    "allow_partial", False, "Take a checkpoint with missing or unexpected tensors."
)


def main() -> None:
    if _CHECKPOINT.value and not _EXPORT_PTH.value:
        _import(_CHECKPOINT.value)
    elif _EXPORT_PTH.value and not _CHECKPOINT.value:
        model, info = runs.load_model(_RUN_DIR.value)
        state = release.to_state(model, info.model)
        write_state_dict(_EXPORT_PTH.value, state)
        print(f"{_EXPORT_PTH.value}: {len(state)} tensors")
    else:
        raise UserError("Give either --checkpoint to import or --export_pth to export.")


def _import(source: str) -> None:
    if runs.exists(_RUN_DIR.value):
        raise UserError(f"{_RUN_DIR.value} holds a run already. Use another --run_dir.")
    state = state_dict(source)
    config = release.config_of(state, source, _visual_dims())
    model = build_model(config, initialize=False)
    text = dict(state) if _TEXT.value else {}
    try:
        parity = release.load_state(model, config, state)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    _report(parity)
    if (parity.missing or parity.unexpected) and not _PARTIAL.value:
        raise UserError(
            f"{source}: {len(parity.missing)} tensors missing, "
            f"{len(parity.unexpected)} unexpected (listed above). --allow_partial "
            "takes it all the same."
        )
    if _TEXT.value:
        path = files.join(_RUN_DIR.value, "text_model", "1")
        text_branch.export(model, config, text, source, path)
    checkpoint = tf.train.Checkpoint(model=model)
    checkpoint.save(files.join(runs.checkpoint_prefix(_RUN_DIR.value), "ckpt"))
    # Last, so that a folder with a run.json is a whole run.
    runs.write_info(_RUN_DIR.value, _info(config, source))
    print(f"{_RUN_DIR.value}: {len(parity.placed)} tensors, {config}")


def _visual_dims() -> tuple[int, ...] | None:
    if not _VISUAL_DIMS.value:
        return None
    try:
        dims = tuple(int(item) for item in _VISUAL_DIMS.value)
    except ValueError as error:
        raise UserError(f"--visual_dims: expected numbers, got {error}.") from error
    if len(dims) > 2:
        raise UserError(
            f"--visual_dims={','.join(_VISUAL_DIMS.value)}: {len(dims)} streams, but a "
            "run has two at most, 2D and then 3D."
        )
    return dims


def _report(parity: release.Parity) -> None:
    for theirs, ours, shape in parity.placed:
        print(f"{visible(theirs):44} -> {ours:36} {list(shape)}")
    for title, keys in (
        ("never read by the authors' forward pass", parity.unused),
        ("text branch (--text exports it)", parity.text),
        ("UNEXPECTED", parity.unexpected),
        ("MISSING", parity.missing),
    ):
        if keys:
            print(f"{len(keys)} {title}: {visible(', '.join(keys))}")


def _info(config: ModelConfig, source: str) -> runs.RunInfo:
    dims = config.visual_dims
    named = (
        (AUTHORS_2D, _BACKBONE_2D.value),
        (AUTHORS_3D, _BACKBONE_3D.value),
    )[: len(dims)]
    streams = [
        dataclasses.replace(authors, backbone=backbone, dim=dim)
        for (authors, backbone), dim in zip(named, dims, strict=True)
    ]
    return runs.RunInfo(
        model=config,
        features_2d=streams[0],
        features_3d=streams[1] if len(streams) > 1 else None,
        log_mel_reference=_REFERENCE.value,
        records=source,
        records_fingerprint="",
        languages=tuple(_LANGUAGES.value),
        parent=None,
        synthetic=False,
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

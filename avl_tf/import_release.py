"""Makes a run directory of a checkpoint that the authors' code wrote, or the way back.

    python -m avl_tf.import_release --checkpoint=AVLnet_release.pth --run_dir=runs/r
    python -m avl_tf.import_release --run_dir=runs/my --export_pth=my.pth

evaluate, train --init_from, cascade and export take the run as any other. Prints what
became of every tensor. --export_pth writes a state_dict that the authors' code loads.
"""

from absl import flags

from avl_tf import local_paths, program
from avl_tf.errors import UserError
from avl_tf.settings.stored import AUTHORS_2D, AUTHORS_3D

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
program.require_one("checkpoint", "export_pth")


def main() -> None:
    dims = _visual_dims()
    if _EXPORT_PTH.value:
        local_paths.require_run(_RUN_DIR.value)
    local_paths.require_file("checkpoint", _CHECKPOINT.value)

    from avl_tf.commands import importing

    if _EXPORT_PTH.value:
        importing.export_pth(_RUN_DIR.value, _EXPORT_PTH.value)
        return
    importing.import_checkpoint(
        _CHECKPOINT.value or "",
        _RUN_DIR.value,
        visual_dims=dims,
        backbones=(_BACKBONE_2D.value, _BACKBONE_3D.value),
        log_mel_reference=_REFERENCE.value,
        languages=tuple(_LANGUAGES.value),
        text=_TEXT.value,
        allow_partial=_PARTIAL.value,
    )


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


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

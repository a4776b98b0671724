"""What avl_tf.import_release does: the authors' checkpoints in, and the way back."""

import dataclasses

import tensorflow as tf

from avl_tf import files, release, runs
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, build_model
from avl_tf.release import text_branch
from avl_tf.settings.stored import AUTHORS_2D, AUTHORS_3D
from avl_tf.terminal import visible
from avl_tf.torch_weights import state_dict
from avl_tf.torch_weights.writer import write_state_dict


def export_pth(run_dir: str, path: str) -> None:
    """Writes a run's weights as a state_dict that the authors' code loads."""
    model, info = runs.load_model(run_dir)
    state = release.to_state(model, info.model)
    write_state_dict(path, state)
    print(f"{path}: {len(state)} tensors")


def import_checkpoint(
    source: str,
    run_dir: str,
    visual_dims: tuple[int, ...] | None,
    backbones: tuple[str, str],
    log_mel_reference: str,
    languages: tuple[str, ...],
    text: bool = False,
    allow_partial: bool = False,
) -> None:
    """Makes a run directory of a checkpoint, and prints what became of every tensor.

    Args:
        source: the authors' .pth.
        run_dir: to be made.
        visual_dims: widths of the visual streams, 2D first; None reads them off the
            tensors.
        backbones: of the 2D and of the 3D stream.
        log_mel_reference, languages: what it was trained on; see runs.RunInfo.
        text: export the text branch too.
        allow_partial: take a checkpoint with missing or unexpected tensors.

    Raises:
        ValueError: there is a run already, or the checkpoint is none of the authors'.
    """
    if runs.exists(run_dir):
        raise UserError(f"{run_dir} holds a run already. Use another --run_dir.")
    state = state_dict(source)
    config = release.config_of(state, source, visual_dims)
    model = build_model(config, initialize=False)
    tensors = dict(state) if text else {}
    try:
        parity = release.load_state(model, config, state)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from error
    _report(parity)
    if (parity.missing or parity.unexpected) and not allow_partial:
        raise UserError(
            f"{source}: {len(parity.missing)} tensors missing, "
            f"{len(parity.unexpected)} unexpected (listed above). --allow_partial "
            "takes it all the same."
        )
    if text:
        path = files.join(run_dir, "text_model", "1")
        text_branch.export(model, config, tensors, source, path)
    checkpoint = tf.train.Checkpoint(model=model)
    checkpoint.save(files.join(runs.checkpoint_prefix(run_dir), "ckpt"))
    # Last, so that a folder with a run.json is a whole run.
    runs.write_info(
        run_dir, _info(config, source, backbones, log_mel_reference, languages)
    )
    print(f"{run_dir}: {len(parity.placed)} tensors, {config}")


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


def _info(
    config: ModelConfig,
    source: str,
    backbones: tuple[str, str],
    log_mel_reference: str,
    languages: tuple[str, ...],
) -> runs.RunInfo:
    named = zip((AUTHORS_2D, AUTHORS_3D), backbones, config.visual_dims, strict=False)
    streams = [
        dataclasses.replace(authors, backbone=backbone, dim=dim)
        for authors, backbone, dim in named
    ]
    return runs.RunInfo(
        model=config,
        features_2d=streams[0],
        features_3d=streams[1] if len(streams) > 1 else None,
        log_mel_reference=log_mel_reference,
        records=source,
        records_fingerprint="",
        languages=languages,
        parent=None,
        synthetic=False,
    )

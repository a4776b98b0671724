r"""Extracts what training reads: manifest in, TFRecord shards and spec.json out.

    python -m data_prep.extract --manifest=data/my/manifest.jsonl \
        --out_dir=data/my/records --backbone_2d=efficientnet_lite0

Log-mel spectrograms and frozen CNN features go into shards, as in
train-00000-of-00004.tfrecord; with --keep_images the images themselves too. Run again
after a stop, it makes only the shards that are missing; with a manifest that has
changed, only the recordings that are new or have changed. Recordings that fail are
listed with the reason in failures.jsonl; the exit status is then 1. So are lines of the
manifest that cannot be used. What else is worth telling of them (which of several audio
tracks was taken, clips beyond the end) is in notes.jsonl, and counted at the end.
"""

import dataclasses
import os

from absl import flags, logging

from avl_tf import program, settings
from avl_tf.errors import UserError
from avl_tf.manifest import Recording, SoundConfig, failures, sift_manifest
from avl_tf.manifest.media_files import as_on_disk
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.settings.limits import Limits
from data_prep.output_config import OutputConfig

_MANIFEST = flags.DEFINE_string(
    "manifest", None, "Manifest (JSON lines) to read.", required=True
)
settings.define_flags(ExtractionConfig, heading="What is extracted")
settings.define_flags(OutputConfig, heading="Shards")
settings.define_flags(SoundConfig, heading="Sound")
settings.define_flags(Limits, heading="Limits")
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Worker processes, a core each; as many as there are cores if left out.",
    lower_bound=1,
    upper_bound=1000,
)
_SCHEDULER = flags.DEFINE_string(
    "scheduler",
    "",
    "Address of a dask scheduler (tcp://HOST:8786): its workers do the work instead of "
    "local ones. They need this package, and the same paths for media and --out_dir.",
)


def main() -> None:
    output = settings.from_flags(OutputConfig)
    config = settings.from_flags(ExtractionConfig)
    config = dataclasses.replace(
        config,
        weights_2d=_absolute(config.weights_2d),
        weights_3d=_absolute(config.weights_3d),
        storage=output.storage,
        limits=settings.from_flags(Limits),
    )
    if not (config.backbone_2d or config.backbone_3d or config.keep_images):
        raise UserError(
            "--backbone_2d and --backbone_3d are both empty: name one, or give "
            "--keep_images for an image encoder that is trained."
        )
    if config.backbone_3d and config.keep_images:
        raise UserError(
            "--keep_images is for still images, --backbone_3d for videos: give one."
        )
    recordings, faults = sift_manifest(_MANIFEST.value)
    if faults:
        logging.warning(
            "%d of %d lines cannot be used, and count as failed: stop to correct them "
            "first. The first is %s",
            len(faults),
            len(faults) + len(recordings),
            faults[0].reason,
        )
    recordings = _as_named_on_disk(recordings)
    if (track := settings.from_flags(SoundConfig).track) is not None:
        recordings = [
            dataclasses.replace(one, audio_track=track)
            if one.audio_track is None
            else one
            for one in recordings
        ]
    if config.keep_images and not any(recording.image for recording in recordings):
        raise UserError(
            f"{_MANIFEST.value}: no line has an image for --keep_images to keep. Leave "
            "the flag out for videos."
        )

    from data_prep import extracting

    failed = extracting.extract(
        recordings, faults, output, config, _WORKERS.value, _SCHEDULER.value
    )
    n_lines = len(recordings) + len(faults)
    failures.require_none(failed, n_lines, "recordings", output.folder)


def _as_named_on_disk(recordings: list[Recording]) -> list[Recording]:
    """Takes files whose names are in another Unicode form than in the manifest."""
    found = [
        dataclasses.replace(
            recording,
            media=as_on_disk(recording.media),
            image=recording.image and as_on_disk(recording.image),
        )
        for recording in recordings
    ]
    if n_others := sum(a != b for a, b in zip(recordings, found, strict=True)):
        logging.warning(
            "%d of %d recordings have files whose names are in another Unicode normal "
            "form than in the manifest; they are taken",
            n_others,
            len(recordings),
        )
    return found


def _absolute(path: str) -> str:
    """Names the same file whatever folder a worker runs in."""
    return os.path.abspath(path) if path else ""


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

r"""Builds a corpus of narrated videos out of a folder: the recipe of YouCook-Japanese.

    python -m data_prep.build --videos=videos --language=ja --out_dir=data/mine
    (look through data/mine/review/index.html and save the decisions)
    python -m data_prep.build --videos=videos --language=ja --out_dir=data/mine \
        --decisions=decisions.json
    python -m data_prep.extract --manifest=data/mine/manifest.jsonl \
        --out_dir=data/mine/records --backbone_2d=efficientnet_lite0

In: a folder of videos, nested at will.
Out: spans of speech of 5 to 50 s as clips, N/N/N random ones of them for training,
validation and evaluation. Every video is in one split, and so are its near-duplicates;
with more videos, all that OUT_DIR/manifest.jsonl has keep theirs.
OUT_DIR/manifest.jsonl, data_card.json and .md, failures.jsonl (videos that could not be
used, and why; the exit status is then 1), notes.jsonl (which of several audio tracks
was taken, and the like) and the review page. Clips that were rejected
there leave the manifest; they are not replaced. What has been found out about a video
is kept in OUT_DIR/scans, so that another run decodes only what is new or has changed.

Source: the cascade paper, section 3.1.
Differs: near-duplicates are looked for; another segmenter is the default (the paper's
    is --segmenter=inaspeech).
"""

from absl import flags

from avl_tf import program, settings
from avl_tf.manifest import SoundConfig
from avl_tf.manifest.line import require_language
from avl_tf.offspring import n_cores
from avl_tf.settings.limits import Limits
from data_prep import splits
from data_prep.builder.build_config import BuildConfig, BuildJob

_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of videos, nested at will.", required=True
)
_LANGUAGE = flags.DEFINE_string(
    "language", None, "What is spoken, such as ja.", required=True
)
_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder for the manifest and the rest.", required=True
)
_DECISIONS = flags.DEFINE_string(
    "decisions", "", "File that the review page has saved; rejected clips leave."
)
_REVIEW = flags.DEFINE_boolean("review", True, "Write the review page.")
_LICENCES = flags.DEFINE_string(
    "licences", "", "Under which licences the videos are, for the data card."
)
_KEEP = flags.DEFINE_boolean("keep_splits", True, splits.KEEP)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Worker processes; the number of cores if left out.", 1, 1000
)
_RETRY = flags.DEFINE_boolean(
    "retry_failed", False, "Try videos again that failed before and have not changed."
)
settings.define_flags(BuildConfig, heading="Clips and splits")
settings.define_flags(SoundConfig, heading="Sound")
settings.define_flags(Limits, heading="Limits")


def main() -> None:
    require_language(_LANGUAGE.value)
    job = BuildJob(
        videos=_VIDEOS.value,
        out_dir=_OUT_DIR.value,
        language=_LANGUAGE.value,
        recipe=settings.from_flags(BuildConfig),
        limits=settings.from_flags(Limits),
        track=settings.from_flags(SoundConfig).track,
        decisions=_DECISIONS.value,
        review=_REVIEW.value,
        licences=_LICENCES.value,
        keep_splits=_KEEP.value,
        n_workers=_WORKERS.value or n_cores(),
        retry_failed=_RETRY.value,
    )

    from data_prep.builder import building

    building.build(job)


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

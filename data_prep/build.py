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

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags, logging
from tqdm import tqdm

from avl_tf import media, program, settings, whole_files
from avl_tf.errors import UserError
from avl_tf.media import Limits
from avl_tf.wording import counted
from data_prep import (
    earlier_manifest,
    failures,
    findings,
    manifest,
    media_files,
    processes,
    splits,
)
from data_prep.builder import (
    clip_corpus,
    data_card,
    key_frames,
    review_page,
    segmenters,
    video_scan,
)
from data_prep.builder.clip_corpus import BuildConfig, ClipCorpus
from data_prep.builder.decisions import Decisions, read_decisions
from data_prep.builder.video_scan import Scan, ScanTask
from data_prep.earlier_manifest import Earlier
from data_prep.failures import Failure
from data_prep.findings import Finding
from data_prep.manifest_line import require_language

settings.define_flags(BuildConfig)
settings.define_flags(Limits)
settings.define_flags(manifest.SoundConfig)
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


def main() -> None:
    config = settings.from_flags(BuildConfig)
    require_language(_LANGUAGE.value)
    segmenters.make(config.segmenter)
    decided = read_decisions(_DECISIONS.value) if _DECISIONS.value else Decisions()
    track = settings.from_flags(manifest.SoundConfig).track
    path_of, failed, n_others = _list_videos(_VIDEOS.value)
    path = os.path.join(_OUT_DIR.value, "manifest.jsonl")
    earlier = earlier_manifest.read_earlier(path) if _KEEP.value else {}
    with whole_files.used(_OUT_DIR.value, "scans", "review"):
        _build(config, decided, path_of, failed, n_others, track, earlier)


def _build(
    config: BuildConfig,
    decided: Decisions,
    path_of: dict[str, str],
    failed: list[Failure],
    n_others: int,
    track: int | str | None,
    earlier: dict[str, Earlier],
) -> None:
    wanted = media.Wanted(_LANGUAGE.value, track)
    scans = _scan_all(path_of, config.segmenter, wanted)
    failed += [
        {"id": video, "media": path_of[video], "reason": scan.failure}
        for video, scan in scans.items()
        if scan.failure
    ]
    scans = {video: scan for video, scan in scans.items() if not scan.failure}
    path = os.path.join(_OUT_DIR.value, "failures.jsonl")
    manifest.write_text(path, failures.to_lines(failed))
    notes = [
        Finding(note.kind, video, note.text, path_of[video])
        for video, scan in scans.items()
        for note in scan.notes
    ]
    _note(notes)
    if not scans:
        raise UserError(
            f"{_VIDEOS.value}: none of {counted(len(failed), 'video')} can be used, "
            f"see {path}; the first is {failed[0]['id']}: {failed[0]['reason']}"
        )
    more: list[Finding] = []
    length_of = {video: round(scan.duration_s, 3) for video, scan in scans.items()}
    earlier = earlier_manifest.follow(earlier, path_of, length_of, more)
    corpus = clip_corpus.build(scans, config, decided, earlier)
    more += [
        dataclasses.replace(note, media=path_of.get(note.id, ""))
        for note in corpus.notes
    ]
    path = os.path.join(_OUT_DIR.value, "manifest.jsonl")
    lines = clip_corpus.manifest_lines(corpus, scans, path_of, _LANGUAGE.value, path)
    if track is not None:
        lines = [{**line, "audio_track": track} for line in lines]
    # That clips change is this program's purpose.
    more += earlier_manifest.overwritten(earlier, lines, except_for=["clips"])
    _note(more, notes)
    n_unknown = _check_decisions(decided, corpus)
    if _REVIEW.value:
        _write_review_page(corpus, path_of, decided)
    manifest.write_manifest(path, lines)
    card = clip_corpus.describe(corpus, scans, config, decided, len(failed))
    card["review"]["decisions_on_other_clips"] = n_unknown
    known = {"language": _LANGUAGE.value, "licences": _LICENCES.value or None}
    data_card.write(_OUT_DIR.value, {**known, **card})
    _report(card, n_others)
    failures.require_none(failed, card["videos"]["found"], "videos", _OUT_DIR.value)


def _note(notes: list[Finding], before: Sequence[Finding] = ()) -> None:
    """Tells what is worth telling, and lists it after what was told before."""
    path = os.path.join(_OUT_DIR.value, "notes.jsonl")
    manifest.write_text(path, findings.to_lines([*before, *notes]))
    for text in findings.summary(notes).values():
        print(f"note: {text}")


def _list_videos(folder: str) -> tuple[dict[str, str], list[Failure], int]:
    """Id (path below the folder) -> path; failures; how many files are no videos."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--videos={folder}: no such folder.")
    listing = media_files.list_files(folder)
    ids = [
        name
        for name in listing.files
        if media_files.has_suffix(name, media_files.VIDEO_SUFFIXES)
    ]
    if not ids:
        raise UserError(
            f"{folder}: no video in it or below, of "
            f"{counted(len(listing.files), 'file')}. Videos are files that end in "
            ".mp4, .mkv, .webm, .mov and so on."
        )
    failed = []
    for name in listing.unreadable:
        name = name.encode("utf-8", "backslashreplace").decode()
        reason = "no file, or a name that is no UTF-8 text: rename it"
        failed.append({"id": name, "media": name, "reason": reason})
    paths = {name: os.path.abspath(os.path.join(folder, name)) for name in ids}
    return paths, failed, len(listing.files) - len(ids)


def _scan_all(
    path_of: dict[str, str], segmenter: str, wanted: media.Wanted
) -> dict[str, Scan]:
    folder = os.path.join(_OUT_DIR.value, "scans")
    limits = settings.from_flags(Limits)
    tasks = [
        ScanTask(video, path, segmenter, folder, limits, wanted)
        for video, path in path_of.items()
    ]
    found = {task.id: video_scan.read_scan(task) for task in tasks}
    scans = {
        video: scan
        for video, scan in found.items()
        if scan and not (_RETRY.value and scan.failure)
    }
    missing = [task for task in tasks if task.id not in scans]
    if missing:
        logging.info("%d of %d videos to scan", len(missing), len(tasks))
    for task, scan in _work(video_scan.scan, missing):
        died = Scan(failure="the worker process died over it, again and again")
        scans[task.id] = scan or died
    return {task.id: scans[task.id] for task in tasks}


def _work(function: Callable, tasks: Sequence) -> Iterator[tuple[Any, Any]]:
    """Runs a task a video on worker processes, with a bar on a terminal."""
    n_workers = _WORKERS.value or processes.n_cores()
    with tqdm(total=len(tasks), unit="video", disable=None) as bar:
        for task, result in processes.run(function, tasks, n_workers):
            bar.update()
            yield task, result


def _check_decisions(decided: Decisions, corpus: ClipCorpus) -> int:
    """Counts decisions on other clips; ValueError if there are no others."""
    unknown = decided.unknown(sum(corpus.drawn.values(), []))
    if not unknown:
        return 0
    n_decisions = len(decided.clips) + len(decided.videos)
    message = (
        f"{_DECISIONS.value}: {len(unknown)} of {n_decisions} decisions are about "
        f"other clips than those drawn here, such as '{unknown[0]}'. Use the flags "
        "and the videos with which the page was made."
    )
    if len(unknown) == n_decisions:
        raise UserError(message)
    logging.warning("%s", message)
    return len(unknown)


def _write_review_page(corpus: ClipCorpus, path_of: dict, decided: Decisions) -> None:
    folder = os.path.join(_OUT_DIR.value, "review")
    clips = sum(corpus.drawn.values(), [])
    limits = settings.from_flags(Limits)
    tasks = review_page.missing_pictures(folder, clips, path_of, limits)
    for _ in _work(key_frames.write_key_frames, tasks):
        pass
    page = review_page.write(folder, corpus.drawn, path_of, decided, _LANGUAGE.value)
    print(f"{page}: open it to look through the clips")


def _report(card: dict[str, Any], n_others: int) -> None:
    for name, split in card["splits"].items():
        fewer = split["clips"] < split["wanted"]
        wanted = f" (of {split['wanted']} wanted)" if fewer else ""
        clips = counted(split["clips"], "clip")
        print(f"{name}: {clips}{wanted} from {counted(split['videos'], 'video')}")
    for group in card["near_duplicates"]:
        print(f"same {' and '.join(group['same'])}: {', '.join(group['videos'])}")
    if card["review"]["rejected_clips"]:
        print(f"rejected: {counted(card['review']['rejected_clips'], 'clip')}")
    if n_others:
        what = "is no video" if n_others == 1 else "are no videos"
        others = counted(n_others, "other file")
        print(f"{others} in {_VIDEOS.value} {what}, by the suffix")
    print(
        f"{_OUT_DIR.value}: manifest.jsonl, data_card.md and data_card.json are written"
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

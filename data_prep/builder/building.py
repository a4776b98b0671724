"""What data_prep.build does: videos scanned, clips chosen, all of it written."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import logging

from avl_tf import manifest, media, progress, whole_files
from avl_tf.errors import UserError
from avl_tf.manifest import failures, findings, media_files
from avl_tf.manifest.failures import Failure
from avl_tf.manifest.findings import Finding
from avl_tf.spreading import processes
from avl_tf.wording import counted
from data_prep import earlier_manifest
from data_prep.builder import (
    clip_corpus,
    data_card,
    key_frames,
    review_page,
    segmenters,
    video_scan,
)
from data_prep.builder.build_config import BuildJob
from data_prep.builder.clip_corpus import ClipCorpus
from data_prep.builder.decisions import Decisions, read_decisions
from data_prep.builder.video_scan import Scan, ScanTask
from data_prep.earlier_manifest import Earlier


def build(job: BuildJob) -> None:
    """Builds a corpus; data_prep.build tells what goes where.

    Raises:
        FileNotFoundError: there is no such folder of videos, or file of decisions.
        ValueError: nothing can be used, decisions are about other clips, or some videos
            could not be used, after all is written.
    """
    segmenters.make(job.recipe.segmenter)
    decided = read_decisions(job.decisions) if job.decisions else Decisions()
    path_of, failed, n_others = _list_videos(job.videos)
    path = os.path.join(job.out_dir, "manifest.jsonl")
    earlier = earlier_manifest.read_earlier(path) if job.keep_splits else {}
    with whole_files.used(job.out_dir, "scans", "review"):
        _build(job, decided, path_of, failed, n_others, earlier)


def _build(
    job: BuildJob,
    decided: Decisions,
    path_of: dict[str, str],
    failed: list[Failure],
    n_others: int,
    earlier: dict[str, Earlier],
) -> None:
    scans = _scan_all(job, path_of)
    failed += [
        {"id": video, "media": path_of[video], "reason": scan.failure}
        for video, scan in scans.items()
        if scan.failure
    ]
    scans = {video: scan for video, scan in scans.items() if not scan.failure}
    path = os.path.join(job.out_dir, "failures.jsonl")
    manifest.write_text(path, failures.to_lines(failed))
    notes = [
        Finding(note.kind, video, note.text, path_of[video])
        for video, scan in scans.items()
        for note in scan.notes
    ]
    _note(job.out_dir, notes)
    if not scans:
        raise UserError(
            f"{job.videos}: none of {counted(len(failed), 'video')} can be used, "
            f"see {path}; the first is {failed[0]['id']}: {failed[0]['reason']}"
        )
    more: list[Finding] = []
    length_of = {video: round(scan.duration_s, 3) for video, scan in scans.items()}
    earlier = earlier_manifest.follow(earlier, path_of, length_of, more)
    corpus = clip_corpus.build(scans, job.recipe, decided, earlier)
    more += [
        dataclasses.replace(note, media=path_of.get(note.id, ""))
        for note in corpus.notes
    ]
    path = os.path.join(job.out_dir, "manifest.jsonl")
    lines = clip_corpus.manifest_lines(corpus, scans, path_of, job.language, path)
    if job.track is not None:
        lines = [{**line, "audio_track": job.track} for line in lines]
    # That clips change is this program's purpose.
    more += earlier_manifest.overwritten(earlier, lines, except_for=["clips"])
    _note(job.out_dir, more, notes)
    n_unknown = _check_decisions(job, decided, corpus)
    if job.review:
        _write_review_page(job, corpus, path_of, decided)
    manifest.write_manifest(path, lines)
    card = clip_corpus.describe(corpus, scans, job.recipe, decided, len(failed))
    card["review"]["decisions_on_other_clips"] = n_unknown
    known = {"language": job.language, "licences": job.licences or None}
    data_card.write(job.out_dir, {**known, **card})
    _report(job, card, n_others)
    failures.require_none(failed, card["videos"]["found"], "videos", job.out_dir)


def _note(folder: str, notes: list[Finding], before: Sequence[Finding] = ()) -> None:
    """Tells what is worth telling, and lists it after what was told before."""
    path = os.path.join(folder, "notes.jsonl")
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


def _scan_all(job: BuildJob, path_of: dict[str, str]) -> dict[str, Scan]:
    folder = os.path.join(job.out_dir, "scans")
    wanted = media.Wanted(job.language, job.track)
    tasks = [
        ScanTask(video, path, job.recipe.segmenter, folder, job.limits, wanted)
        for video, path in path_of.items()
    ]
    found = {task.id: video_scan.read_scan(task) for task in tasks}
    scans = {
        video: scan
        for video, scan in found.items()
        if scan and not (job.retry_failed and scan.failure)
    }
    missing = [task for task in tasks if task.id not in scans]
    if missing:
        logging.info("%d of %d videos to scan", len(missing), len(tasks))
    for task, scan in _work(job, video_scan.scan, missing):
        died = Scan(failure="the worker process died over it, again and again")
        scans[task.id] = scan or died
    return {task.id: scans[task.id] for task in tasks}


def _work(
    job: BuildJob, function: Callable, tasks: Sequence
) -> Iterator[tuple[Any, Any]]:
    """Runs a task a video on worker processes, with a bar on a terminal."""
    with progress.Bar(total=len(tasks), unit="video") as bar:
        for task, result in processes.run(function, tasks, job.n_workers):
            bar.update()
            yield task, result


def _check_decisions(job: BuildJob, decided: Decisions, corpus: ClipCorpus) -> int:
    """Counts decisions on other clips; ValueError if there are no others."""
    unknown = decided.unknown(sum(corpus.drawn.values(), []))
    if not unknown:
        return 0
    n_decisions = len(decided.clips) + len(decided.videos)
    message = (
        f"{job.decisions}: {len(unknown)} of {n_decisions} decisions are about "
        f"other clips than those drawn here, such as '{unknown[0]}'. Use the flags "
        "and the videos with which the page was made."
    )
    if len(unknown) == n_decisions:
        raise UserError(message)
    logging.warning("%s", message)
    return len(unknown)


def _write_review_page(
    job: BuildJob, corpus: ClipCorpus, path_of: dict, decided: Decisions
) -> None:
    folder = os.path.join(job.out_dir, "review")
    clips = sum(corpus.drawn.values(), [])
    tasks = review_page.missing_pictures(folder, clips, path_of, job.limits)
    for _ in _work(job, key_frames.write_key_frames, tasks):
        pass
    page = review_page.write(folder, corpus.drawn, path_of, decided, job.language)
    print(f"{page}: open it to look through the clips")


def _report(job: BuildJob, card: dict[str, Any], n_others: int) -> None:
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
        print(f"{others} in {job.videos} {what}, by the suffix")
    print(f"{job.out_dir}: manifest.jsonl, data_card.md and data_card.json are written")

"""From scanned videos to the clips of a corpus: cut, grouped, dealt, and described.

What the builder decides is decided here; nothing is read or written.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from avl_tf import near_duplicates
from avl_tf.errors import UserError
from avl_tf.manifest import Recording, path_in_manifest
from avl_tf.manifest.findings import Finding
from avl_tf.wording import counted
from data_prep.builder import clip_selection, data_card, segmenters
from data_prep.builder.build_config import PAUSES_S, BuildConfig
from data_prep.builder.clip_selection import VideoClip
from data_prep.builder.decisions import Decisions
from data_prep.builder.video_scan import Scan
from data_prep.earlier_manifest import recording_id


@dataclasses.dataclass(frozen=True)
class ClipCorpus:
    """What is in a corpus.

    Attributes:
        drawn: split -> the clips that were drawn for it, all of which are reviewed.
        kept: split -> those that are not rejected.
        groups: all videos, in groups that are in one split, which are named by their
            first.
        duplicates: the groups of several, {"videos": [...], "same": [kind, ...]}.
        segments: counts of segments of speech, by what became of them.
        notes: which videos gave no clip, and what is to be told of the splits.
    """

    drawn: dict[str, list[VideoClip]]
    kept: dict[str, list[VideoClip]]
    groups: list[list[str]]
    duplicates: list[dict[str, list[str]]]
    segments: dict[str, int]
    notes: list[Finding]


def build(
    scans: Mapping[str, Scan],
    config: BuildConfig,
    decided: Decisions,
    earlier: Mapping[str, Recording] | None = None,
) -> ClipCorpus:
    """Makes a corpus of videos.

    Args:
        scans: video -> its scan; none of them failed.
        config: BuildConfig.
        decided: what people decided on the clips that these scans and settings give.
        earlier: video -> its line of the manifest so far; it keeps its split.

    Raises:
        ValueError: there is no clip, or none is left.
    """
    earlier = earlier or {}
    clips_of, segments, notes = _cut(scans, config)
    groups, duplicates = _group(scans, config.near_duplicates)
    groups = [_called(recording_id(group, earlier), group) for group in groups]
    clips = [[clip for video in group for clip in clips_of[video]] for group in groups]
    kept_in = {video: line.split for video, line in earlier.items()}
    drawn = clip_selection.deal(clips, config.wanted, config.seed, kept_in, notes)
    kept = {
        split: [clip for clip in clips if decided.keeps(clip)]
        for split, clips in drawn.items()
    }
    n_drawn = sum(map(len, drawn.values()))
    if not any(kept.values()):
        what = "The one clip is" if n_drawn == 1 else f"All {n_drawn} clips are"
        raise UserError(f"{what} rejected: nothing is left.")
    segments["not_drawn"] = sum(map(len, clips_of.values())) - n_drawn
    return ClipCorpus(drawn, kept, groups, duplicates, segments, notes)


def manifest_lines(
    corpus: ClipCorpus,
    scans: Mapping[str, Scan],
    path_of: Mapping[str, str],
    language: str,
    manifest: str,
) -> list[dict[str, Any]]:
    """The lines of a manifest: a video each, with its clips.

    Near-duplicates are parts of one recording, so that they also stay together where
    splits are made anew.
    """
    first_of = {video: group[0] for group in corpus.groups for video in group}
    return [
        {
            "id": video,
            "media": path_in_manifest(path_of[video], manifest),
            "language": language,
            "split": split,
            "recording_id": first_of[video],
            "duration_s": round(scans[video].duration_s, 3),
            "clips": [{"start_s": c.start_s, "end_s": c.end_s} for c in clips],
        }
        for split, all_clips in corpus.kept.items()
        for video, clips in itertools.groupby(all_clips, lambda clip: clip.video)
    ]


def describe(
    corpus: ClipCorpus,
    scans: Mapping[str, Scan],
    config: BuildConfig,
    decided: Decisions,
    n_failed: int,
) -> dict[str, Any]:
    """What data_card.write takes, but for what only the user knows."""
    total_s = sum(scan.duration_s for scan in scans.values())
    speech_s = sum(end - start for s in scans.values() for start, end in s.speech)
    drawn, kept = (sum(splits.values(), []) for splits in (corpus.drawn, corpus.kept))
    n_accepted = sum(decided.clips.get(clip.id) == "accepted" for clip in kept)
    videos = {clip.video for clip in drawn}
    return {
        "videos": {
            "found": len(scans) + n_failed,
            "failed": n_failed,
            "with_a_clip": len(videos),
            "in_the_manifest": len({clip.video for clip in kept}),
        },
        "hours": {
            "of_usable_videos": round(total_s / 3600, 3),
            "of_speech": round(speech_s / 3600, 3),
        },
        "speech_share": round(speech_s / total_s, 3),
        "segments_of_speech": corpus.segments,
        "review": {
            "accepted_clips": n_accepted,
            "undecided_clips": len(kept) - n_accepted,
            "rejected_clips": len(drawn) - len(kept),
            "rejected_videos": sum(decided.videos.get(v) == "rejected" for v in videos),
        },
        "splits": {
            split: {"wanted": config.wanted[split], **data_card.describe_clips(clips)}
            for split, clips in corpus.kept.items()
        },
        "near_duplicates": corpus.duplicates,
        "settings": {**dataclasses.asdict(config), "pause_s": _pause_s(config)},
    }


def _pause_s(config: BuildConfig) -> float:
    default = PAUSES_S[config.segmenter]
    return default if config.pause_s is None else config.pause_s


def _called(name: str, group: list[str]) -> list[str]:
    """A group with the video first that names it."""
    return [name, *(video for video in group if video != name)]


def _cut(
    scans: Mapping[str, Scan], config: BuildConfig
) -> tuple[dict[str, list[VideoClip]], dict[str, int], list[Finding]]:
    """Cuts all videos: video -> clips, counts of segments, who gave no clip."""
    clips_of, counts = {}, {"found": 0, "too_short": 0, "too_long": 0}
    notes = []
    for video, scan in scans.items():
        spans = segmenters.join(scan.speech, _pause_s(config))
        fitting, n_short, n_long = clip_selection.of_length(
            spans, config.min_s, config.max_s
        )
        clips_of[video] = [VideoClip(video, *span) for span in fitting]
        counts["found"] += len(spans)
        counts["too_short"] += n_short
        counts["too_long"] += n_long
        if not fitting:
            detail = "no speech is found in it"
            if spans:
                detail = (
                    f"of {counted(len(spans), 'segment')} of speech {n_short} too "
                    f"short (--min_s={config.min_s:g}), {n_long} too long "
                    f"(--max_s={config.max_s:g})"
                )
            notes.append(Finding("without a clip", video, detail))
    if not any(clips_of.values()):
        raise UserError(
            f"No clip of {config.min_s:g} to {config.max_s:g} s: of "
            f"{counted(counts['found'], 'segment')} of speech in "
            f"{counted(len(scans), 'video')} {counts['too_short']} are too short and "
            f"{counts['too_long']} too long. See --min_s, --max_s, --pause_s."
        )
    return clips_of, counts, notes


def _group(
    scans: Mapping[str, Scan], kinds: Sequence[str]
) -> tuple[list[list[str]], list[dict[str, list[str]]]]:
    """All videos in groups that stay together, and those groups that have several."""
    videos = list(scans)
    matches = {}
    for kind in kinds:
        fingerprints = [scan.fingerprints[kind] for scan in scans.values()]
        matches[kind] = near_duplicates.find_matches(fingerprints, kind)
    groups = near_duplicates.group(
        len(videos), itertools.chain.from_iterable(matches.values())
    )
    named = [[videos[index] for index in group] for group in groups]
    duplicates = [
        {
            "videos": names,
            "same": [
                kind
                for kind, found in matches.items()
                if any(match.first in group for match in found)
            ],
        }
        for group, names in zip(groups, named, strict=True)
        if len(group) > 1
    ]
    return named, duplicates

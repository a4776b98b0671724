"""The page on which people look through clips: clips in, a folder with HTML out.

FOLDER/index.html needs neither a server nor a network. It shows a picture of every clip
(files beside it), plays the clip out of its video, and saves what is decided as a file
for data_prep.builder.decisions.
"""

import hashlib
import importlib.resources
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence

from avl_tf.manifest import write_text
from avl_tf.media import DEFAULT_LIMITS, Limits
from data_prep.builder import decisions
from data_prep.builder.clip_selection import VideoClip
from data_prep.builder.decisions import Decisions
from data_prep.builder.key_frames import KeyFramesTask

_PLACE = "__REVIEW_DATA__"


def missing_pictures(
    folder: str,
    clips: Sequence[VideoClip],
    path_of: Mapping[str, str],
    limits: Limits = DEFAULT_LIMITS,
) -> list[KeyFramesTask]:
    """Lists the pictures that are still to be made, a task a video.

    Args:
        folder: the page's.
        clips: what it shows.
        path_of: video -> its file.
        limits: how large the videos may be.
    """
    pictures: dict[str, list[tuple[float, str]]] = {}
    for clip in clips:
        path = os.path.join(folder, _picture(clip))
        if not os.path.exists(path):
            middle_s = (clip.start_s + clip.end_s) / 2
            pictures.setdefault(clip.video, []).append((middle_s, path))
    return [KeyFramesTask(path_of[v], tuple(p), limits) for v, p in pictures.items()]


def write(
    folder: str,
    splits: Mapping[str, Sequence[VideoClip]],
    path_of: Mapping[str, str],
    decided: Decisions,
    language: str,
) -> str:
    """Writes the page, and returns its path.

    Args:
        folder: where to.
        splits: split -> its clips.
        path_of: video -> its file.
        decided: what the page starts from.
        language: of the videos, for the page's heading.
    """
    data = {
        "format": decisions.FORMAT,
        "language": language,
        "videos": {
            clip.video: _address(path_of[clip.video], folder)
            for clips in splits.values()
            for clip in clips
        },
        "clips": [
            {
                "id": clip.id,
                "video": clip.video,
                "split": split,
                "start_s": clip.start_s,
                "end_s": clip.end_s,
                "picture": _picture(clip),
            }
            for split, clips in splits.items()
            for clip in clips
        ],
        "decided": {"clips": dict(decided.clips), "videos": dict(decided.videos)},
    }
    template = importlib.resources.files("data_prep.builder").joinpath(
        "review_page.html"
    )
    # A file name may hold "</script>"; as an escape, "<" is safe inside of the element.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    path = os.path.join(folder, "index.html")
    write_text(path, template.read_text("utf-8").replace(_PLACE, text))
    return path


def _picture(clip: VideoClip) -> str:
    name = hashlib.sha256(clip.id.encode()).hexdigest()[:24]
    return f"pictures/{name[:2]}/{name}.jpg"


def _address(path: str, folder: str) -> str:
    """The way from the page to a file, as a link: folders above need no server."""
    return urllib.parse.quote(os.path.relpath(path, folder).replace(os.sep, "/"))

"""What people decided on the review page: the file that it saves, read and applied."""

import dataclasses
import os
from collections.abc import Collection, Mapping

from avl_tf import json_text
from avl_tf.errors import UserError
from data_prep.builder.clip_selection import VideoClip

FORMAT = "avl_tf clip decisions 1"
_VERDICTS = ("accepted", "rejected")


@dataclasses.dataclass(frozen=True)
class Decisions:
    """Id -> "accepted" or "rejected", of clips and of whole videos."""

    clips: Mapping[str, str] = dataclasses.field(default_factory=dict)
    videos: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def keeps(self, clip: VideoClip) -> bool:
        """Tells whether neither the clip nor its video is rejected."""
        of_both = self.clips.get(clip.id), self.videos.get(clip.video)
        return "rejected" not in of_both

    def unknown(self, clips: Collection[VideoClip]) -> list[str]:
        """Ids that are neither of these clips nor of their videos."""
        ids, videos = {c.id for c in clips}, {c.video for c in clips}
        return [i for i in self.clips if i not in ids] + [
            i for i in self.videos if i not in videos
        ]


def read_decisions(path: str) -> Decisions:
    """Reads the file that the review page saves.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else; names the file and what is wrong.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such decisions file.")
    with open(path, "rb") as stream:
        value = json_text.parse(stream.read(), path, "a JSON file")
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(
            f"{path}: not a decisions file, whose format is '{FORMAT}'. Save one on "
            "the review page."
        )
    parts = {}
    for name in ("clips", "videos"):
        part = value.get(name, {})
        if not isinstance(part, dict):
            raise UserError(f"{path}: '{name}' must be an object, id -> verdict.")
        for key, verdict in part.items():
            if not isinstance(verdict, str) or verdict not in _VERDICTS:
                raise UserError(
                    f"{path}: '{name}' has {json_text.dump(verdict):.80} for "
                    f'\'{key:.80}\', expected "accepted" or "rejected".'
                )
        parts[name] = part
    return Decisions(**parts)

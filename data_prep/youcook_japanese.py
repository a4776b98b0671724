r"""Makes a manifest of YouCook-Japanese: cooking videos, cut where somebody speaks.

    python -m data_prep.youcook_japanese --release=YouCook_Japanese --videos=videos \
        --manifest=data/youcook_japanese.jsonl --drop=missing

In: the folder YouCook_Japanese as published: youcook_japanese_{train,val,eval}.pkl,
whose clips have video_id (or id), start and end, and youcook_japanese_v1.json, the list
of videos; a folder tree with VIDEO.mp4, .mkv or .webm.
Out: a recording a video; its clips are those of the pickles, in their order.

The pickles hold features as well, which data_prep.import_release makes records of, no
video needed; this is for whoever wants features of his own. No more than the values of
a pickle is read: nothing in it is run.
"""

import collections

from absl import flags

from avl_tf import program, settings
from avl_tf.errors import UserError
from avl_tf.json_text import mended
from avl_tf.manifest import SPLITS
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import VIDEO_SUFFIXES, MediaFiles
from avl_tf.torch_weights import read_torch_file
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import optional_file, read_json

settings.define_flags(AdapterConfig, heading="Checks")
_RELEASE = flags.DEFINE_string(
    "release", None, "The folder YouCook_Japanese, as published.", required=True
)
_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of the videos, nested at will.", required=True
)
_LIST = "youcook_japanese_v1.json"
_ID_NAMES = ("video_id", "id", "vid", "youtube_id", "url")


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    pickles = {
        split: path
        for split in SPLITS
        if (path := optional_file(_RELEASE.value, f"youcook_japanese_{split}.pkl"))
    }
    if not pickles:
        raise FileNotFoundError(
            f"{_RELEASE.value}: no youcook_japanese_train.pkl, _val.pkl or _eval.pkl "
            "in it or below."
        )
    videos = MediaFiles(_VIDEOS.value, VIDEO_SUFFIXES)
    lines = []
    findings: list[Finding] = []
    for split, path in pickles.items():
        for video, clips in _read_clips(path, findings).items():
            lines.append(
                {
                    "id": video,
                    "media": videos.find(video),
                    "language": "ja",
                    "split": split,
                    "clips": clips,
                }
            )
    if path := optional_file(_RELEASE.value, _LIST):
        listed = set(_video_ids(read_json(path, (list, dict))))
        used = {line["id"] for line in lines}
        findings += adapter.notes("unused", sorted(listed - used), "no clip of it")
        findings += adapter.notes(
            "unlisted", sorted(used - listed), f"has clips, but is not in {path}"
        )
    adapter.finish(config, lines, [*findings, *adapter.several(videos)])


def _read_clips(path, findings):
    """Video -> its clips, from one pickle; findings on those that are none."""
    pickled = read_torch_file(path)
    if not isinstance(pickled, list) or not all(isinstance(c, dict) for c in pickled):
        raise UserError(
            f"{path}: expected a list of clips, got a {type(pickled).__name__}."
        )
    clips = collections.defaultdict(list)
    for index, clip in enumerate(pickled):
        place = f"{path}, clip {index}"
        with adapter.as_finding(findings, place):
            video, made = _clip(clip, place)
            clips[video].append(made)
    return dict(clips)


def _clip(clip, place):
    """(video, clip) of what the pickle holds of one."""
    video = clip.get("video_id", clip.get("id"))
    video = mended(video.strip()) if isinstance(video, str) else ""
    if not video:
        raise UserError(f"{place}: no video_id, only {_names(clip)}.")
    try:
        start_s, end_s = float(clip["start"]), float(clip["end"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(
            f"{place}: no start and end in seconds, only {_names(clip)}."
        ) from None
    caption = clip.get("caption")
    label = mended(caption) if isinstance(caption, str) else str(caption or "")
    return video, {"start_s": start_s, "end_s": end_s, "label": label}


def _video_ids(value):
    """The ids in a list of ids, urls or objects; also if it is a list a split.

    What the published file looks like in detail is not told anywhere we know of.
    """
    if isinstance(value, str):
        yield value.rsplit("v=", 1)[-1].rsplit("/", 1)[-1]
    elif isinstance(value, list):
        for item in value:
            yield from _video_ids(item)
    elif isinstance(value, dict):
        named = [value[name] for name in _ID_NAMES if isinstance(value.get(name), str)]
        if named:
            yield from _video_ids(named[0])
        elif value and all(isinstance(item, list | dict) for item in value.values()):
            of_splits = all(isinstance(item, list) for item in value.values())
            for key, item in value.items():
                yield from _video_ids(item) if of_splits else [key]


def _names(clip):
    return ", ".join(sorted(map(str, clip)))[:200] or "nothing"


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

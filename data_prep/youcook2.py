r"""Makes a manifest of YouCook2: cooking videos with annotated steps, in English.

    python -m data_prep.youcook2 --annotations=youcook2 --videos=youcook2/raw_videos \
        --manifest=data/youcook2.jsonl --drop=missing

In: a folder with youcookii_annotations_trainval.json and, if wanted, the split lists
train_list.txt and val_list.txt (RECIPE/VIDEO a line); a folder tree with VIDEO.mp4,
.mkv or .webm.
Out: a recording a video, in the splits train and val; its annotated segments are its
clips, their sentences the labels. Where there are lists they decide the split,
otherwise the annotation's "subset" does.
"""

from absl import flags

from avl_tf import program, settings
from avl_tf.errors import UserError
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import VIDEO_SUFFIXES, MediaFiles
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import field, find_file, optional_file, read_json, read_lines

settings.define_flags(AdapterConfig, heading="Checks")
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Folder of the annotations and the split lists.", required=True
)
_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of the videos, nested at will.", required=True
)
_LANGUAGE = flags.DEFINE_string("language", "en", "What is spoken.")
_JSON = "youcookii_annotations_trainval.json"
_SPLITS = {"training": "train", "validation": "val"}


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    path = find_file(_ANNOTATIONS.value, _JSON)
    found = field(read_json(path), "database", dict, path)
    database = {video.strip(): entry for video, entry in found.items()}
    videos = MediaFiles(_VIDEOS.value, VIDEO_SUFFIXES)
    listed = [
        (split, entry.rsplit("/", 1)[-1].strip())
        for split in ("train", "val")
        if (names := optional_file(_ANNOTATIONS.value, f"{split}_list.txt"))
        for entry in read_lines(names)
    ]
    findings: list[Finding] = []
    if listed:
        findings += adapter.notes(
            "unannotated",
            [video for _, video in listed if video not in database],
            "in a list, but without annotation",
        )
        findings += adapter.notes(
            "unlisted",
            sorted(database.keys() - {video for _, video in listed}),
            "annotated, but in no list",
        )
    else:
        for video, entry in database.items():
            with adapter.as_finding(findings, video):
                listed.append((_subset(entry, f"{path}: {video}"), video))
    lines = []
    for split, video in listed:
        if video not in database:
            continue
        entry, place = database[video], f"{path}: {video}"
        with adapter.as_finding(findings, video):
            if (subset := _subset(entry, place)) != split:
                detail = f"'{split}' by its list, '{subset}' by its annotation"
                findings.append(Finding("subset", video, detail))
            lines.append(
                {
                    "id": video,
                    "media": videos.find(video),
                    "language": _LANGUAGE.value,
                    "split": split,
                    "clips": _clips(entry, place),
                    "labels": {"recipe_type": str(entry.get("recipe_type", ""))},
                }
            )
    adapter.finish(config, lines, [*findings, *adapter.several(videos)])


def _subset(entry, place):
    subset = field(entry, "subset", str, place)
    return _SPLITS.get(subset, subset)


def _clips(entry, place):
    clips = []
    for annotation in field(entry, "annotations", list, place):
        segment = field(annotation, "segment", list, place)
        if len(segment) != 2 or not all(type(s) in (int, float) for s in segment):
            raise UserError(f"{place}: a segment must be [start, end], got {segment}.")
        sentence = field(annotation, "sentence", str, place)
        clips.append({"start_s": segment[0], "end_s": segment[1], "label": sentence})
    return clips


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

r"""Makes a manifest of MSR-VTT: short videos of all kinds, in English or without words.

    python -m data_prep.msrvtt --annotations=msrvtt_data --videos=videos \
        --training=7k --manifest=data/msrvtt.jsonl --drop=missing,silent

In: a folder with MSRVTT_data.json ({"videos": [...], "sentences": [{"video_id",
"caption"}]}), MSRVTT_train.7k.csv or MSRVTT_train.9k.csv (video_id), and
MSRVTT_JSFUSION_test.csv (key,vid_key,video_id,sentence); a folder tree with videoN.mp4.
Out: a recording a video, in the splits train (7k: Miech et al.; 9k: "1k-A") and test
(JSFusion, 1,000). Captions are labels.

Some videos have no sound: 32 of the test's in the authors' data, 6,783 of the 7k have
some. --drop=silent leaves them out, and `evaluate --evaluation_population=1000` counts
them as misses, as the paper does.
"""

import collections
from typing import Any

from absl import flags

from avl_tf import program, settings
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import VIDEO_SUFFIXES, MediaFiles
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import field, find_file, read_json, read_table
from data_prep.checks import Line

settings.define_flags(AdapterConfig, heading="Checks")
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Folder of MSRVTT_data.json and the lists.", required=True
)
_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of the videos, nested at will.", required=True
)
_TRAINING = flags.DEFINE_enum(
    "training", "7k", ["7k", "9k"], "Which training list; the paper's is 7k."
)


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    folder = _ANNOTATIONS.value
    path = find_file(folder, "MSRVTT_data.json")
    data = read_json(path)
    captions = collections.defaultdict(list)
    findings: list[Finding] = []
    for number, sentence in enumerate(field(data, "sentences", list, path), 1):
        with adapter.as_finding(findings, f"sentence {number}"):
            video = field(sentence, "video_id", str, path).strip()
            captions[video].append(field(sentence, "caption", str, path))
    source_of = {
        field(video, "video_id", str, path).strip(): str(video.get("url", ""))
        for video in (field(data, "videos", list, path) if "videos" in data else [])
    }
    videos = MediaFiles(_VIDEOS.value, VIDEO_SUFFIXES)
    train = read_table(
        find_file(folder, f"MSRVTT_train.{_TRAINING.value}.csv"), ["video_id"]
    )
    test = read_table(
        find_file(folder, "MSRVTT_JSFUSION_test.csv"), ["video_id", "sentence"]
    )
    lines: list[Line] = []
    for split, rows in (("train", train), ("test", test)):
        for row in rows:
            video = row["video_id"].strip()
            labels: dict[str, Any] = {"captions": captions.get(video, [])}
            if split == "test":
                labels = {"sentence": row["sentence"]}
            lines.append(
                {
                    "id": video,
                    "media": videos.find(video),
                    "language": "en",
                    "split": split,
                    "labels": labels,
                }
            )
    findings += adapter.notes(
        "same source",
        _of_one_source(lines, source_of),
        "cut from a video of which a part is in the other split too",
    )
    findings += adapter.notes(
        "uncaptioned",
        [line["id"] for line in lines if line["labels"].get("captions") == []],
        f"no sentence in {path}",
    )
    written = adapter.finish(config, lines, [*findings, *adapter.several(videos)])
    n_test = sum(line["split"] == "test" for line in written)
    if n_test < len(test):
        print(
            f"test: {n_test} of {len(test)} are left; evaluate with "
            f"--evaluation_population={len(test)} to count the others as misses."
        )


def _of_one_source(lines, source_of):
    """Training videos whose source (its YouTube video) has a part in the test split."""
    tested = {source_of.get(line["id"]) for line in lines if line["split"] == "test"}
    return [
        line["id"]
        for line in lines
        if line["split"] == "train"
        and source_of.get(line["id"])
        and source_of[line["id"]] in tested
    ]


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

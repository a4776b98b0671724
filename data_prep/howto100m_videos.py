r"""Makes a manifest of HowTo100M's videos, to cut at random or where somebody speaks.

    python -m data_prep.howto100m_videos --csv=HowTo100M_v1.csv --videos=videos \
        --manifest=data/howto100m.jsonl --drop=missing
    python -m data_prep.howto100m_videos --csv=HowTo100M_v1.csv --videos=videos \
        --clips=asr --captions=caption.json --manifest=data/howto100m_asr.jsonl

In: HowTo100M_v1.csv (video_id, ...), or the authors' list with a column path
(CATEGORY/SUB/VIDEO, where "None/" counts for nothing); a folder tree with VIDEO.mp4,
.mkv or .webm; captions as caption.json or caption.pickle ({VIDEO: {"start", "end",
"text"}}) or, with --captions_dir, VIDEO.csv (start,end,text).
Out: a recording a video. With --clips=random it has no clips: train reads windows
anywhere in it (--clip_sampling=random). With --clips=asr each caption is a clip,
extended to --min_clip_s by its nearer neighbours (--clip_sampling=annotated).

Features that were extracted with the authors' programs are read by
data_prep.import_release --howto100m_csv, without videos.

Source: AVLnet section 3.1 and, for asr, Table 3; authors' youtube_dataloader.py.
"""

import os

from absl import flags

from avl_tf import program, settings
from avl_tf.errors import UserError
from avl_tf.manifest.media_files import VIDEO_SUFFIXES, MediaFiles
from avl_tf.wording import counted
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import read_rows
from data_prep.captions import Captions, extended, find_captions, read_captions

settings.define_flags(AdapterConfig, heading="Checks")
_CSV = flags.DEFINE_string("csv", None, "The list of videos.", required=True)
_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of the videos, nested at will.", required=True
)
_CLIPS = flags.DEFINE_enum(
    "clips", "random", ["random", "asr"], "How a video is cut; the paper's is random."
)
_CAPTIONS = flags.DEFINE_string("captions", None, "caption.json or caption.pickle.")
_CAPTIONS_DIR = flags.DEFINE_string(
    "captions_dir", None, "Instead of it: folder with the captions in VIDEO.csv."
)
_MIN_CLIP_S = settings.define_float(
    "min_clip_s",
    10.0,
    "Seconds to which a caption is extended; the authors' are 10.",
    lower=0,
    upper=86_400,
)
_LANGUAGE = flags.DEFINE_string("language", "en", "What is spoken.")
_SPLIT = flags.DEFINE_string("split", "train", "Split of all videos.")


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    captions = _open_captions()
    faults: list[tuple[str, str]] = []
    rows = [row for _, row in read_rows(_CSV.value, [], faults)]
    columns = rows[0].keys() if rows else ()
    if "video_id" not in columns and "path" not in columns:
        raise UserError(
            f"{_CSV.value}: expected a column video_id or path, got "
            f"{','.join(columns) or 'no rows'}."
        )
    videos = MediaFiles(_VIDEOS.value, VIDEO_SUFFIXES)
    lines, uncaptioned = [], []
    for row in rows:
        path = (row.get("path") or row.get("video_id", "")).replace("None/", "")
        video = row.get("video_id", "").strip() or os.path.basename(path.strip())
        if captions and video not in captions.by_video:
            uncaptioned.append(video)
            continue
        labels = {name: row[name] for name in columns if name.startswith("category")}
        lines.append(
            {
                "id": video,
                "media": videos.find(video),
                "language": _LANGUAGE.value,
                "split": _SPLIT.value,
                **({"labels": labels} if labels else {}),
            }
        )
    findings = adapter.unfit(faults)
    findings += adapter.notes("uncaptioned", uncaptioned, "no captions, so left out")
    tolerant = "unfit" in adapter.dropped_kinds(config)
    cutter = _Cutter(captions, _MIN_CLIP_S.value, tolerant) if captions else None
    lines = adapter.sift(config, lines, [*findings, *adapter.several(videos)])
    adapter.write(config, lines, cutter)
    if cutter and (cutter.n_left_out or cutter.n_without_clips):
        print(
            f"note: {counted(cutter.n_left_out, 'caption')} without a span inside of "
            "the video, which makes no clip; "
            f"{counted(cutter.n_without_clips, 'video')} without one that does"
        )


class _Cutter:
    """Adds a video's clips to its line, and counts the captions that make none.

    tolerant: a video whose captions have another form is left out; otherwise UserError.
    """

    def __init__(self, captions: Captions, min_clip_s: float, tolerant: bool):
        self._captions, self._min_clip_s = captions, min_clip_s
        self._tolerant = tolerant
        self.n_left_out = self.n_without_clips = 0

    def __call__(self, line):
        try:
            captions = self._captions.of(line["id"])
        except UserError as error:
            if self._tolerant:
                print(f"dropped: {error}")
                return None
            raise UserError(f"{error}. --drop=unfit leaves such videos out.") from error
        length_s = line.get("duration_s", float("inf"))
        clips = [
            {"start_s": start_s, "end_s": min(end_s, length_s), "label": text}
            for start_s, end_s, text in extended(captions, self._min_clip_s)
            if start_s < length_s
        ]
        self.n_left_out += len(captions) - len(clips)
        self.n_without_clips += not clips
        return {**line, "clips": clips}


def _open_captions():
    given = [name for name in (_CAPTIONS.value, _CAPTIONS_DIR.value) if name]
    if _CLIPS.value == "random":
        if given:
            raise UserError("Captions are for --clips=asr; random clips need none.")
        return None
    if len(given) != 1:
        raise UserError("--clips=asr needs either --captions or --captions_dir.")
    if _CAPTIONS.value:
        return read_captions(given[0])
    return find_captions(given[0])


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

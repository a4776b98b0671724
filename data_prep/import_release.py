r"""Brings the authors' data into shards: their pickles, or HowTo100M's tree.

    python -m data_prep.import_release --pickle=youcook_val_audio.pkl \
        --out_dir=data/youcook/val
    python -m data_prep.import_release --howto100m_csv=videos.csv \
        --root=parsed_videos --captions=caption.pickle --out_dir=data/howto100m

Train and evaluate read the shards as any other; evaluate clips of the pickles with
--evaluation_clip_s=51.2 (MSR-VTT: 30.72), as the authors. Run again after a stop, it
makes only the shards that are missing. What fails is listed in failures.jsonl with the
reason; the exit status is then 1.
"""

import concurrent.futures
import dataclasses
import os
import re

import numpy as np
from absl import flags, logging
from tqdm import tqdm

from avl_tf import program, records, settings
from avl_tf.errors import UserError
from avl_tf.records import AUTHORS_2D, AUTHORS_3D
from data_prep import failures, howto100m, jobs, released_pickles, shards
from data_prep.captions import find_captions, read_captions
from data_prep.manifest import SPLITS
from data_prep.manifest_line import require_language, require_split_name
from data_prep.shards import OutputConfig

settings.define_flags(OutputConfig)
_PICKLE = flags.DEFINE_string(
    "pickle", None, "A released pickle, or your own in that form."
)
_CSV = flags.DEFINE_string(
    "howto100m_csv", None, "Instead of a pickle: list of HowTo100M's videos."
)
_FEATURES = flags.DEFINE_enum(
    "features",
    "pooled",
    ["pooled", "full"],
    "Visual features of a pickle's clips: one vector over all time (the paper), or "
    "those of every time step where there are any (YouCook2, MSR-VTT).",
)
_BACKBONE_2D = flags.DEFINE_string(
    "backbone_2d", AUTHORS_2D.backbone, "Which CNN a pickle's 2D features are of."
)
_BACKBONE_3D = flags.DEFINE_string(
    "backbone_3d", AUTHORS_3D.backbone, "Which CNN a pickle's 3D features are of."
)
_ROOT = flags.DEFINE_string(
    "root", None, "Folder that the paths in --howto100m_csv start from."
)
_AUDIO_ROOT = flags.DEFINE_string(
    "audio_root", None, "The same for the spectrograms; --root if left out."
)
_CAPTIONS = flags.DEFINE_string(
    "captions", None, "caption.pickle; the captions become clips."
)
_CAPTIONS_DIR = flags.DEFINE_string(
    "captions_dir", None, "Instead of it: folder with the captions in VIDEO.csv."
)
_LANGUAGE = flags.DEFINE_string(
    "language", "en", "What is spoken (YouCook-Japanese: ja)."
)
_SPLIT = flags.DEFINE_string(
    "split",
    None,
    "Name of the split; if left out, train, val, test or eval where the file's name "
    "has it, else all.",
)
_THREADS = flags.DEFINE_integer(
    "threads", 4, "Videos of HowTo100M that are read at a time.", 1, 1000
)
_SPLITS = (*SPLITS, "test")


def main() -> None:
    output = settings.from_flags(OutputConfig)
    require_language(_LANGUAGE.value)
    source = _open(_split())
    folder = output.folder
    size = output.recordings_per_shard or (64 if _PICKLE.value else 16)
    dealt = shards.deal(source.ids, _split(), size, output.seed)
    spec = dataclasses.replace(source.spec, storage=output.storage)
    read = source.fingerprint, sorted(dealt.items())
    dealing = {"seed": output.seed, "recordings_per_shard": size}

    def in_0_1_0() -> str:
        return f"({read[0]!r}, {jobs.repr_0_1_0(spec)}, {read[1]!r})"

    jobs.claim(folder, jobs.Job(spec, jobs.digest(read), dealing, in_0_1_0))
    results = shards.read_results(output, dealt)
    missing = [name for name in dealt if name not in results]
    if missing:
        logging.info("%s: %d of %d shards to make", folder, len(missing), len(dealt))
    with (
        concurrent.futures.ThreadPoolExecutor(_THREADS.value) as pool,
        tqdm(total=len(source.ids), unit="recording", disable=None) as bar,
    ):
        bar.update(sum(len(dealt[name]) for name in results))
        # Threads have memory of their own: they would not reuse that of the clips.
        in_order = map if _PICKLE.value else pool.map
        for name in missing:
            results[name] = _make_shard(source, output, name, dealt[name], in_order)
            bar.update(len(dealt[name]))
    for note in source.notes:
        print(note)
    failed = shards.finish(folder, spec, [results[name] for name in dealt])
    failures.require_none(failed, len(source.ids), "recordings", folder)


def _open(split: str) -> released_pickles.ReleasedClips | howto100m.Tree:
    of_tree = {
        "root": _ROOT.value,
        "audio_root": _AUDIO_ROOT.value,
        "captions": _CAPTIONS.value,
        "captions_dir": _CAPTIONS_DIR.value,
    }
    if _PICKLE.value and not _CSV.value:
        if unused := [f"--{name}" for name, value in of_tree.items() if value]:
            raise UserError(f"{', '.join(unused)}: only with --howto100m_csv.")
        logging.info("reading %s", _PICKLE.value)
        return released_pickles.read_clips(
            _PICKLE.value,
            _LANGUAGE.value,
            split,
            full=_FEATURES.value == "full",
            backbones=(_BACKBONE_2D.value, _BACKBONE_3D.value),
        )
    if _PICKLE.value or not _CSV.value:
        raise UserError("Give either --pickle or --howto100m_csv.")
    if not _ROOT.value:
        raise UserError("--root is missing: the folder that the csv's paths are in.")
    captions = None
    if _CAPTIONS.value and _CAPTIONS_DIR.value:
        raise UserError("Give either --captions or --captions_dir.")
    if _CAPTIONS.value:
        captions = read_captions(_CAPTIONS.value)
    elif _CAPTIONS_DIR.value:
        captions = find_captions(_CAPTIONS_DIR.value)
    return howto100m.Tree(
        _CSV.value, _ROOT.value, _LANGUAGE.value, split, _AUDIO_ROOT.value, captions
    )


def _split() -> str:
    if _SPLIT.value is not None:
        require_split_name(_SPLIT.value, "--split")
        return _SPLIT.value
    name = os.path.basename(_PICKLE.value or _CSV.value or "").lower()
    words = re.findall("[a-z]+", name)
    return next((word for word in words if word in _SPLITS), "all")


def _make_shard(source, output, name, indices, in_order) -> shards.ShardResult:
    def serialize(index):
        try:
            record = source.take(index)
            # Too large for float16: encode tells it better than a warning.
            with np.errstate(over="ignore"):
                return records.encode(record, output.storage), record.n_clips
        except (ValueError, OSError) as error:
            return {
                "id": source.ids[index],
                "media": source.place(index),
                "reason": str(error),
            }

    return shards.write(output.folder, name, in_order(serialize, indices))


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

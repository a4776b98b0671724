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

import os
import re

from absl import flags

from avl_tf import local_paths, program, settings
from avl_tf.errors import UserError
from avl_tf.manifest import SPLITS
from avl_tf.manifest.line import require_language, require_split_name
from avl_tf.settings.stored import AUTHORS_2D, AUTHORS_3D
from data_prep.output_config import OutputConfig

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
settings.define_flags(OutputConfig, heading="Shards")
program.require_one("pickle", "howto100m_csv")
_SPLITS = (*SPLITS, "test")


def main() -> None:
    output = settings.from_flags(OutputConfig)
    require_language(_LANGUAGE.value)
    split = _split()
    if _PICKLE.value:
        of_tree = ("root", "audio_root", "captions", "captions_dir")
        if unused := [f"--{name}" for name in of_tree if flags.FLAGS[name].value]:
            raise UserError(f"{', '.join(unused)}: only with --howto100m_csv.")
    elif not _ROOT.value:
        raise UserError("--root is missing: the folder that the csv's paths are in.")
    elif _CAPTIONS.value and _CAPTIONS_DIR.value:
        raise UserError("Give either --captions or --captions_dir.")
    for name in ("pickle", "howto100m_csv", "captions"):
        local_paths.require_file(name, flags.FLAGS[name].value)
    for name in ("root", "audio_root", "captions_dir"):
        local_paths.require_folder(flags.FLAGS[name].value, f"not the --{name}")

    from data_prep import importing

    if _PICKLE.value:
        importing.import_pickle(
            _PICKLE.value,
            _LANGUAGE.value,
            split,
            output,
            full=_FEATURES.value == "full",
            backbones=(_BACKBONE_2D.value, _BACKBONE_3D.value),
        )
        return
    importing.import_tree(
        _CSV.value or "",
        _ROOT.value or "",
        _LANGUAGE.value,
        split,
        output,
        _AUDIO_ROOT.value,
        _CAPTIONS.value,
        _CAPTIONS_DIR.value,
        _THREADS.value,
    )


def _split() -> str:
    if _SPLIT.value is not None:
        require_split_name(_SPLIT.value, "--split")
        return _SPLIT.value
    name = os.path.basename(_PICKLE.value or _CSV.value or "").lower()
    words = re.findall("[a-z]+", name)
    return next((word for word in words if word in _SPLITS), "all")


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

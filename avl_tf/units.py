r"""Finds what the codes of a model with codebooks stand for.

    python -m avl_tf.units --model=runs/vq_demo/vq23 \
        --records=data/bilingual/es/records/eval --out_dir=units

For each layer with a codebook: how many of its codes are in use, and, where the labels
of the records have words with times, how well a code detects a word: precision, recall
and F1 (Harwath et al. 2020, ResDAVEnet-VQ). OUT_DIR gets units.tsv, units.json, a page
index.html and textgrid/, a file for each recording with a tier a layer, for Praat.
"""

from absl import flags

from avl_tf import local_paths, program, settings
from avl_tf.settings.units import UnitsConfig

_MODEL = flags.DEFINE_string("model", None, "Run directory.", required=True)
_RECORDS = flags.DEFINE_string(
    "records", None, "What it hears, DIR or DIR/SPLIT.", required=True
)
_MANIFEST = flags.DEFINE_string(
    "manifest",
    "",
    "Manifest that the records were made of, if its labels have got words since.",
)
_LANGUAGE = flags.DEFINE_string(
    "language", "", "Of the records, which branch hears them; theirs if left out."
)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Folder to write.", required=True)
settings.define_flags(UnitsConfig)


def main() -> None:
    config = settings.from_flags(UnitsConfig)
    local_paths.require_folder(_MODEL.value, "neither a run directory nor an export")
    local_paths.require_records(_RECORDS.value)
    local_paths.require_file("manifest", _MANIFEST.value)

    from avl_tf.commands import analysing

    analysing.analyse(
        _MODEL.value,
        _RECORDS.value,
        _MANIFEST.value,
        _LANGUAGE.value,
        _OUT_DIR.value,
        config,
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

r"""Shows which regions of an image a caption fits, moment by moment.

    python -m avl_tf.matchmaps --model=runs/davenet --n=8 \
        --records=data/davenet/records/eval \
        --manifest=data/bilingual/es/manifest.jsonl --out_dir=matchmaps

For a model of --similarity=sisa, misa or sima. OUT_DIR/index.html shows each image with
a heat map that moves with the sound, and opens without a network; spans.tsv, textgrid/
and webvtt/ hold the spans of audio that fit a region, matchmaps.npz the maps.
"""

from absl import flags

from avl_tf import local_paths, program, settings
from avl_tf.settings.localization import LocalizationConfig

_MODEL = flags.DEFINE_string("model", None, "Run directory.", required=True)
_RECORDS = flags.DEFINE_string(
    "records", None, "Records with images, DIR or DIR/SPLIT.", required=True
)
_MANIFEST = flags.DEFINE_string(
    "manifest",
    "",
    "Manifest that the records were made of, for the sound and the words; without it "
    "the page has none.",
)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Folder of the page.", required=True)
settings.define_flags(LocalizationConfig)


def main() -> None:
    config = settings.from_flags(LocalizationConfig)
    local_paths.require_run(_MODEL.value)
    local_paths.require_records(_RECORDS.value)
    if _MANIFEST.value:
        local_paths.require_file("manifest", _MANIFEST.value)

    from avl_tf.commands import localizing

    localizing.show(
        _MODEL.value, _RECORDS.value, _MANIFEST.value, _OUT_DIR.value, config
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

r"""Finds what the dimensions of a model stand for, and which spans sound alike.

    python -m avl_tf.concepts --model=runs/demo/es --k=10 \
        --records=data/demo/es/records/eval --manifest=data/demo/es/manifest.jsonl \
        --out_dir=concepts

For each dimension of the embedding: the inputs that excite it most, steps of audio and
clips; their most frequent word and label, and the fraction that contain it (AVLnet
section 4), beside random projections. Without any words: clusters of spans that sound
alike. OUT_DIR/index.html shows them with pictures and players, and opens without a
network; concepts.tsv, excitations.tsv, clusters.tsv and summary.json hold them, and
textgrid/ and webvtt/ a file for each recording, for Praat, ELAN and players.
"""

from absl import flags

from avl_tf import local_paths, program, settings
from avl_tf.settings.discovery import DiscoveryConfig

_MODEL = flags.DEFINE_string(
    "model", None, "Run directory, or an export.", required=True
)
_RECORDS = flags.DEFINE_string(
    "records", None, "What it hears and sees, DIR or DIR/SPLIT.", required=True
)
_MANIFEST = flags.DEFINE_string(
    "manifest",
    "",
    "Manifest that the records were made of: where the media are that the page shows, "
    "and the labels if they have grown since.",
)
_LANGUAGE = flags.DEFINE_string(
    "language", "", "Of the records, which branch hears them; theirs if left out."
)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Folder of the page.", required=True)
settings.define_flags(DiscoveryConfig)


def main() -> None:
    config = settings.from_flags(DiscoveryConfig)
    local_paths.require_folder(_MODEL.value, "neither a run directory nor an export")
    local_paths.require_records(_RECORDS.value)
    local_paths.require_file("manifest", _MANIFEST.value)

    from avl_tf.commands import discovering

    discovering.discover(
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

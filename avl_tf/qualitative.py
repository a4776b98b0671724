r"""Shows what models find: the best clips of some queries, before and after a training.

    python -m avl_tf.qualitative --models=zero_shot=runs/demo/es,cascade=runs/demo/ro \
        --records=data/demo/ro/records/eval --manifest=data/demo/ro/manifest.jsonl \
        --out_dir=qualitative

OUT_DIR/index.html shows, for every query and model, the five best clips of the set with
key frames and players, the right one marked and its rank told. It opens from the folder
without a network. The cascade paper's Figure 2. docs/qualitative.md.
"""

from absl import flags

from avl_tf import local_paths, program, settings
from avl_tf.settings.exhibition import ExhibitionConfig

_MODELS = flags.DEFINE_list(
    "models",
    None,
    "Run directories or exports with commas between, NAME=PATH to name them on the "
    "page, such as before and after fine-tuning.",
    required=True,
)
_RECORDS = flags.DEFINE_string(
    "records", None, "The set that is searched, DIR or DIR/SPLIT.", required=True
)
_MANIFEST = flags.DEFINE_string(
    "manifest",
    None,
    "Manifest that the records were made of: where the media are that the page shows.",
    required=True,
)
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Folder of the page.", required=True)
settings.define_flags(ExhibitionConfig)


def main() -> None:
    config = settings.from_flags(ExhibitionConfig)
    models = config.named(_MODELS.value)
    for path in models.values():
        local_paths.require_folder(path, "neither a run directory nor an export")
    local_paths.require_records(_RECORDS.value)
    local_paths.require_file("manifest", _MANIFEST.value)

    from avl_tf.commands import exhibiting

    exhibiting.exhibit(models, _RECORDS.value, _MANIFEST.value, _OUT_DIR.value, config)


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

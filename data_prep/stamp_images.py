r"""Builds a corpus of still images with spoken captions, in several languages.

Comes in: stamps, got as data_prep.stamps gets them (--stamps_dir, Debian's package, or
drawn shapes and synthesised words).
Goes out: OUT_DIR/corpus.json, the data card; OUT_DIR/images/SPLIT-00000.jpg, several
stamps on a background; and for each language OUT_DIR/LANG/captions/SPLIT-00000.wav,
which says their names, and OUT_DIR/LANG/manifest.jsonl, which data_prep.extract reads.

    python -m data_prep.stamp_images --flagfile=bilingual_corpus.flags \
        --out_dir=data/bilingual
    python -m data_prep.stamp_images --synthetic --train_images=es:40,ro:20,ca:20 \
        --val_images=10 --eval_images=10 --out_dir=data/tiny

A recording_id is that of an image, so that it joins the languages. An image has one
caption a language: the names in an order drawn for it, with speed, gain and noise, and
half of the names that have a natural sound preceded by it. No two images of validation
and evaluation hold the same stamps, and none of them what a training image holds.
Sizes, places and backgrounds are drawn for each. There is one recording a name and
language, so that the corpus tests unseen combinations, not unseen speakers. Stopped and
started again it makes what is missing; the same flags give the same bytes.

Source: the recipe is this project's own; the papers have no such corpus.
"""

from absl import flags

from avl_tf import program, settings
from avl_tf.manifest import require_local
from avl_tf.offspring import n_cores
from data_prep.demo_videos.corpus_config import SourceConfig
from data_prep.demo_videos.image_config import ImageCorpusConfig

settings.define_flags(ImageCorpusConfig, heading="The images")
_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder to build the corpus in.", required=True
)
settings.define_flags(SourceConfig)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Number of processes. Default: one per core.", 1, 1000
)


def main() -> None:
    out_dir, source = _OUT_DIR.value, settings.from_flags(SourceConfig)
    require_local(out_dir)
    config = settings.from_flags(ImageCorpusConfig)

    from data_prep.demo_videos import image_corpus, stamp_source

    stamps_dir, synthetic = stamp_source.find(source, out_dir, config.languages)
    image_corpus.build_corpus(
        stamps_dir,
        out_dir,
        config,
        synthetic=synthetic,
        n_workers=_WORKERS.value or n_cores(),
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

"""Builds the demo corpus: narrated slide shows, as mp4 files, in several languages.

Comes in: Tux Paint's stamps (Debian's package tuxpaint-stamps-default, GPL-2), pictures
with their names spoken in many languages and, for some, a natural sound. Without
--stamps_dir the package is fetched with apt-get and unpacked below --out_dir, which
needs no root; where that cannot be done, the program says so and builds the same corpus
from drawn shapes and synthesised words ("synthetic" in every manifest line).
Goes out: OUT_DIR/corpus.json, the data card, and for each language
OUT_DIR/LANG/manifest.jsonl and OUT_DIR/LANG/videos/SPLIT-0000.mp4 (H.264 + AAC), which
data_prep.extract reads as it reads any user's videos.

    python -m data_prep.stamps --out_dir=data/demo
    python -m data_prep.stamps --out_dir=data/tiny --synthetic --video_s=15

Stopped and started again it builds what is missing. A video depends only on the flags,
its language, its split and its number, and each has a random stream of its own. All
splits show the same pictures and speak the same recordings; order, speed, gain,
background, size and place of every showing are drawn from the same ranges, so that
validation and evaluation hold variants and combinations that training never had. With
one recording per name and language the corpus tests unseen videos, not unseen speakers.

Source: the recipe is this project's own; the papers have no such corpus.
"""

from absl import flags

from avl_tf import program, settings
from avl_tf.manifest import require_local
from avl_tf.offspring import n_cores
from data_prep.demo_videos.corpus_config import CorpusConfig, SourceConfig

settings.define_flags(CorpusConfig, heading="The videos")
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
    config = settings.from_flags(CorpusConfig)

    from data_prep.demo_videos import stamp_corpus, stamp_source

    stamps_dir, synthetic = stamp_source.find(source, out_dir, config.languages)
    stamp_corpus.build_corpus(
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

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

import dataclasses
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from absl import flags, logging

from avl_tf import program
from avl_tf.errors import UserError
from data_prep.demo_videos import synthetic_stamps
from data_prep.demo_videos.stamp_concepts import PACKAGE
from data_prep.demo_videos.stamp_corpus import CorpusConfig, build_corpus
from data_prep.manifest import require_local

_OUT_DIR = flags.DEFINE_string("out_dir", None, "Folder to build the corpus in.")
_STAMPS_DIR = flags.DEFINE_string(
    "stamps_dir",
    None,
    f"Folder of stamps, for a machine without apt: that of Debian's package {PACKAGE}, "
    "unpacked elsewhere. Default: fetch the package.",
)
_SYNTHETIC = flags.DEFINE_boolean(
    "synthetic", False, "Use drawn shapes and synthesised words; fetch nothing."
)
_LANGUAGES = flags.DEFINE_list(
    "languages",
    ["es", "ro", "ru"],
    "Languages as the package names them: es, fr, ru, ro, ca, bg, ...",
)
_N_CONCEPTS = flags.DEFINE_integer(
    "n_concepts",
    None,
    "Number of different stamps. Default: 80, or 24 for the synthetic corpus.",
    lower_bound=1,
)
_TRAIN_VIDEOS = flags.DEFINE_list(
    "train_videos",
    None,
    "Numbers of training videos, LANG:N,LANG:N,... with one entry for each language. "
    "Default: 64 for the first of --languages, 10 for the others.",
)
_VAL_VIDEOS = flags.DEFINE_integer(
    "val_videos", 10, "Number of validation videos per language.", lower_bound=0
)
_EVAL_VIDEOS = flags.DEFINE_integer(
    "eval_videos", 20, "Number of evaluation videos per language.", lower_bound=0
)
_VIDEO_S = flags.DEFINE_float("video_s", 45.0, "Length of a video, in seconds.")
_CLIP_S = flags.DEFINE_float(
    "clip_s", 6.0, "Length of the clips named in the manifest, in seconds."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of all random choices.", lower_bound=0)
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Number of processes. Default: one per core.", lower_bound=1
)


class StampsUnavailable(Exception):
    """The package cannot be had on this machine; the text says why."""


def fetch_stamps(out_dir: str) -> str:
    """Fetches Debian's package and unpacks its stamps to out_dir/stamps, once.

    Returns:
        The folder of the stamps.

    Raises:
        StampsUnavailable: there is no apt, or it cannot get the package.
    """
    folder = os.path.join(out_dir, "stamps")
    if os.path.isdir(folder):
        return folder
    os.makedirs(out_dir, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stamps.tmp-", dir=out_dir) as temporary:
        logging.info("Fetching Debian's package %s (161 MB).", PACKAGE)
        download = ["apt-get", "-o", "Acquire::Retries=1", "download", PACKAGE]
        try:
            _run(download, temporary)
        except StampsUnavailable as error:
            if "Unable to locate" not in str(error) or os.geteuid() != 0:
                raise
            _run(["apt-get", "update"], temporary)
            _run(download, temporary)
        package = next(name for name in os.listdir(temporary) if name.endswith(".deb"))
        _run(["dpkg-deb", "-x", package, "unpacked"], temporary)
        share = os.path.join(temporary, "unpacked", "usr", "share")
        stamps = os.path.join(share, "tuxpaint", "stamps")
        # The licence stays with what it covers.
        shutil.copy(os.path.join(share, "doc", PACKAGE, "copyright"), stamps)
        os.rename(stamps, folder)
    return folder


def _run(command: Sequence[str], folder: str) -> None:
    """Runs a command in a folder, silently unless it fails."""
    # C: the message is looked at. apt-get download writes to the working directory.
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise StampsUnavailable(str(error)) from error
    if done.returncode:
        # apt also warns, as root, that it works without its sandbox: not the reason.
        errors = re.findall(r"^E: .*|^dpkg.*", done.stderr, re.MULTILINE)
        reason = errors[-1] if errors else f"status {done.returncode}"
        raise StampsUnavailable(f"{' '.join(command)}: {reason}")


def parse_train_videos(
    entries: Sequence[str] | None, languages: Sequence[str]
) -> dict[str, int]:
    """Reads LANG:N entries; None means 64 for the first language, 10 for the others.

    Raises:
        ValueError: an entry is not of that form, or a language is given twice.
    """
    if entries is None:
        return {name: 10 if i else 64 for i, name in enumerate(languages)}
    counts: dict[str, int] = {}
    for entry in entries:
        match = re.fullmatch(r"([^:]+):([0-9]+)", entry.strip())
        if not match or match[1] in counts:
            raise UserError(
                f"--train_videos: '{entry}': expected LANG:N, such as es:64, with one "
                "entry for each language."
            )
        counts[match[1]] = int(match[2])
    return counts


def main() -> None:
    out_dir, stamps_dir, synthetic = _OUT_DIR.value, _STAMPS_DIR.value, _SYNTHETIC.value
    if synthetic and stamps_dir:
        raise UserError("--synthetic and --stamps_dir exclude each other.")
    require_local(out_dir)
    languages = tuple(_LANGUAGES.value)
    config = CorpusConfig(
        languages=languages,
        train_videos=parse_train_videos(_TRAIN_VIDEOS.value, languages),
        val_videos=_VAL_VIDEOS.value,
        eval_videos=_EVAL_VIDEOS.value,
        n_concepts=_N_CONCEPTS.value or 80,
        video_s=_VIDEO_S.value,
        clip_s=_CLIP_S.value,
        seed=_SEED.value,
    )
    if not synthetic and not stamps_dir:
        try:
            stamps_dir = fetch_stamps(out_dir)
        except StampsUnavailable as error:
            logging.warning(
                "The stamps cannot be fetched (%s); building the SYNTHETIC corpus of "
                "drawn shapes and synthesised words instead. For the real one unpack "
                "Debian's package %s elsewhere, and give its folder of stamps as "
                "--stamps_dir.",
                error,
                PACKAGE,
            )
            synthetic = True
    if synthetic:
        config = dataclasses.replace(config, n_concepts=_N_CONCEPTS.value or 24)
        stamps_dir = os.path.join(out_dir, "synthetic_stamps")
        synthetic_stamps.write_synthetic_stamps(stamps_dir, languages)
    build_corpus(
        stamps_dir,
        out_dir,
        config,
        synthetic=synthetic,
        n_workers=_WORKERS.value or len(os.sched_getaffinity(0)),
    )


def cli() -> None:
    flags.mark_flag_as_required("out_dir")
    program.run(main)


if __name__ == "__main__":
    cli()

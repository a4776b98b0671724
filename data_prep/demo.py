r"""Takes the demo all the way: made videos, features, the cascade, its table and page.

    python -m data_prep.demo --out_dir=demo
    python -m data_prep.demo --out_dir=demo --bilingual

It runs the programs that one runs on one's own videos, in --out_dir as the current
folder, and shows each command: data_prep.stamps makes data/demo/LANG/videos,
data_prep.extract data/demo/LANG/records, avl_tf.cascade runs/demo. Their settings are
the configs demo_corpus.flags and cascade_demo.flags; files of these names in --out_dir
come first. On two idle cores it takes about ten minutes, with 161 MB to fetch and 1 GB
of disk. Stopped and started again it goes on where it was.

--bilingual compares systems for low-resource languages instead, on images with spoken
captions: data_prep.stamp_images makes data/bilingual, avl_tf.bilingual runs/bilingual,
by bilingual_corpus.flags and bilingual_demo.flags. It takes up to half an hour.
"""

import contextlib
import glob
import os
import shlex
import signal
import subprocess
import sys
import time

from absl import flags, logging

from avl_tf import offspring, program
from avl_tf.errors import UserError
from avl_tf.manifest import require_local

_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder to take the demo in.", required=True
)
_STAMPS_DIR = flags.DEFINE_string(
    "stamps_dir", None, "Folder of stamps, for a machine without apt; see avl-stamps."
)
_BILINGUAL = flags.DEFINE_boolean(
    "bilingual", False, "Compare systems for low-resource languages instead."
)


def main() -> None:
    out_dir = _OUT_DIR.value
    require_local(out_dir)
    os.makedirs(out_dir, exist_ok=True)
    if _BILINGUAL.value:
        times_s = _prepare("data_prep.stamp_images", "bilingual_corpus.flags")
        times_s["trainings"] = _run(
            "avl_tf.bilingual",
            "--flagfile=bilingual_demo.flags",
            "--run_dir=runs/bilingual",
        )
    else:
        times_s = _prepare("data_prep.stamps", "demo_corpus.flags")
        times_s["cascade"] = _run(
            "avl_tf.cascade", "--flagfile=cascade_demo.flags", "--run_dir=runs/demo"
        )
    print(", ".join(f"{name} {time_s:.0f} s" for name, time_s in times_s.items()))
    if not _BILINGUAL.value:
        page = os.path.join(out_dir, "runs", "demo", "report", "index.html")
        print(f"Look at {page} in a browser: the table and the curves of every stage.")


def _prepare(maker: str, flagfile: str) -> dict[str, float]:
    """Makes a corpus and its records; returns how many seconds each took."""
    corpus = "data/bilingual" if _BILINGUAL.value else "data/demo"
    stamps = [f"--flagfile={flagfile}", f"--out_dir={corpus}"]
    if _STAMPS_DIR.value:
        stamps.append(f"--stamps_dir={os.path.abspath(_STAMPS_DIR.value)}")
    times_s = {"corpus": _run(maker, *stamps), "extraction": 0.0}
    manifests = glob.glob(f"{corpus}/*/manifest.jsonl", root_dir=_OUT_DIR.value)
    for manifest in sorted(manifests):
        times_s["extraction"] += _run(
            "data_prep.extract",
            f"--manifest={manifest}",
            f"--out_dir={os.path.dirname(manifest)}/records",
            "--backbone_2d=efficientnet_lite0",
        )
    return times_s


def _run(module: str, *arguments: str) -> float:
    """Runs a program in --out_dir, and returns how many seconds it took.

    If it fails, or is interrupted, this one ends with its status and its last words.
    """
    logging.info("python -m %s", shlex.join([module, *arguments]))
    started_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=_OUT_DIR.value,
        env=offspring.of_module(),
        preexec_fn=offspring.end_with_parent,
    )
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # That of a terminal has gone to both.
        with contextlib.suppress(subprocess.TimeoutExpired):
            sys.exit(process.wait(10))
        process.send_signal(signal.SIGINT)
        sys.exit(process.wait())
    if status < 0:
        raise UserError(
            f"{module} was ended by {signal.Signals(-status).name}. The same command "
            "goes on where it was."
        )
    if status:
        sys.exit(status)
    return time.monotonic() - started_s


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

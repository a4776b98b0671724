r"""Takes the demo all the way: made videos, features, the cascade, its table and page.

    python -m data_prep.demo --out_dir=demo
    python -m data_prep.demo --out_dir=demo --bilingual

It runs the programs that one runs on one's own videos, in --out_dir as the current
folder, and shows each command: data_prep.stamps makes data/demo/LANG/videos,
data_prep.extract data/demo/LANG/records, avl_tf.cascade runs/demo, avl_tf.index
runs/demo/index: the evaluation videos of a stage, by it and by its parent, for the page
of avl_tf.app. Their settings are the configs demo_corpus.flags and cascade_demo.flags;
files of these names in --out_dir come first. On two idle cores it takes about ten
minutes, with 161 MB to fetch and 1 GB of disk. Stopped and started again it goes on
where it was.

--bilingual compares systems for low-resource languages instead, on images with spoken
captions: data_prep.stamp_images makes data/bilingual, avl_tf.bilingual runs/bilingual,
by bilingual_corpus.flags and bilingual_demo.flags. It takes up to half an hour.

The last line says how many seconds each step took; downloads are the stamps'.
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

from avl_tf import json_text, offspring, program
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
        indexes, times_s["index"] = _index()
        page = os.path.join(out_dir, "runs", "demo", "report", "index.html")
        print(f"Look at {page} in a browser: the table and the curves of every stage.")
        if indexes:
            python = _python()
            print(
                "Speak, and find the clip, on the page that this serves:\n"
                f"    {python} -m avl_tf.app --index_dir={indexes}"
            )
    parts = ", ".join(f"{name} {time_s:.0f} s" for name, time_s in times_s.items())
    print(f"This took {sum(times_s.values()):.0f} s: {parts}")


def _prepare(maker: str, flagfile: str) -> dict[str, float]:
    """Makes a corpus and its records; returns how many seconds each took."""
    corpus = "data/bilingual" if _BILINGUAL.value else "data/demo"
    stamps = [f"--flagfile={flagfile}", f"--out_dir={corpus}"]
    if _STAMPS_DIR.value:
        stamps.append(f"--stamps_dir={os.path.abspath(_STAMPS_DIR.value)}")
    started = time.time()
    corpus_s = _run(maker, *stamps)
    download_s = _seconds_until_there(f"{corpus}/stamps", started)
    times_s = {
        "downloads": download_s,
        "corpus": corpus_s - download_s,
        "extraction": 0.0,
    }
    manifests = glob.glob(f"{corpus}/*/manifest.jsonl", root_dir=_OUT_DIR.value)
    for manifest in sorted(manifests):
        times_s["extraction"] += _run(
            "data_prep.extract",
            f"--manifest={manifest}",
            f"--out_dir={os.path.dirname(manifest)}/records",
            "--backbone_2d=efficientnet_lite0",
        )
    return times_s


def _seconds_until_there(folder: str, started: float) -> float:
    """From a time on until a folder got its name; 0 if it had it, or is not there."""
    path = os.path.join(_OUT_DIR.value, folder)
    there = os.stat(path).st_ctime if os.path.isdir(path) else started
    return max(0.0, there - started)


def _python() -> str:
    """This interpreter as one types it in the current folder."""
    name = os.path.relpath(sys.executable)
    return "python" if name.startswith(os.pardir) else name


def _index() -> tuple[str, float]:
    """Indexes the evaluation videos of the first stage that has a parent, by both.

    Returns:
        The indexes as avl_tf.app takes them, "" if no stage has a parent, and how many
        seconds they took.
    """
    path = os.path.join(_OUT_DIR.value, "runs", "demo", "cascade.json")
    with open(path, encoding="utf-8") as file:
        rows = json_text.load(file.read(), path)["rows"]
    found, time_s = [], 0.0
    for row in rows:
        if not row["parent"] or row["set"] != row["stage"]:
            continue
        corpus = f"data/demo/{row['set']}"
        validation = f"{corpus}/records/val"
        known = glob.glob(f"{validation}-*", root_dir=_OUT_DIR.value)
        for stage in (row["stage"], row["parent"]):
            index_dir = f"runs/demo/index/{stage}"
            time_s += _run(
                "avl_tf.index",
                f"--model=runs/demo/{stage}",
                f"--records={corpus}/records/eval",
                f"--manifest={corpus}/manifest.jsonl",
                *([f"--validation={validation}"] if known else []),
                f"--index_dir={index_dir}",
            )
            found.append(f"{stage}={os.path.join(_OUT_DIR.value, index_dir)}")
        break
    return ",".join(found), time_s


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

"""Kills a training at random moments, again and again, and compares the endings.

python tests/kill_runs.py FOLDER N_RUNS SEED

Each run is killed once (-9) and then finished by the same command. Prints a line a run
and exits with 1 if an ending is not, bit for bit, that of a run nobody killed.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import time

import corpus
import numpy as np
import tensorflow as tf
from checkpoint_tensors import tensors

SETTINGS = {
    "audio_widths": "16,16,32",
    "embedding_dim": 32,
    "visual_scale": 20,
    "clip_s": 2,
    "clips_per_recording": 8,
    "shuffle_clips": 64,
    "epochs": 16,
    "batch_size": 16,
    "evaluation_clip_s": 2,
    "checkpoint_every": 3,
    "best_metric": "x/R@5",
}
# An odd seed takes the second of these.
WAYS = (
    {"final_learning_rate": 1e-4, "ema_decay": 0.9, "evaluate_every": 2},
    {
        "micro_batch": 8,
        "mixed_precision": "float16",
        "jit_compile": "true",
        "warmup_steps": 9,
        "patience": 12,
        "evaluate_every": 1,
    },
)


def main(folder: str, n_runs: int, seed: int) -> int:
    train = corpus.make_set(f"{folder}/train", n_recordings=16)
    evaluation = corpus.make_set(f"{folder}/evaluation", seed=1)
    command = [sys.executable, "-m", "avl_tf.train", f"--records={train}"]
    command += [f"--evaluate=x={evaluation}"]
    chosen = SETTINGS | WAYS[seed % 2]
    command += [f"--{name}={value}" for name, value in chosen.items()]
    whole = f"{folder}/whole"
    started = time.monotonic()
    _run(command, whole)
    last_step, seconds = _newest(whole), time.monotonic() - started
    draw, n_same = random.Random(seed), 0
    for index in range(n_runs):
        run_dir = f"{folder}/killed{index}"
        # By the steps of the run itself: how fast it goes depends on what else runs.
        wanted = draw.uniform(-0.1, 1) * last_step
        # Before the first checkpoint is Python's and TensorFlow's start.
        delay_s = draw.uniform(0, seconds / (3 if wanted < 0 else 32))
        found = _run(command, run_dir, wanted, delay_s)
        _run(command, run_dir)
        differing = _differing(_ending(run_dir), _ending(whole))
        n_same += not differing
        state = f"ANOTHER ENDING: {differing}" if differing else "the same ending"
        at = f"checkpoint {found}" if found >= 0 else "no checkpoint"
        print(f"killed at {at} of {last_step}: {state}", flush=True)
    print(f"{n_same} of {n_runs} endings are those of the whole run, bit for bit")
    return n_same != n_runs


def _run(
    command: list[str], run_dir: str, kill_at: float = np.inf, delay_s: float = 0
) -> int:
    """Runs to the end, or kills a while after a checkpoint; returns the newest then."""
    with open(f"{run_dir}.log", "w") as log:
        process = subprocess.Popen(
            [*command, f"--run_dir={run_dir}"], stdout=log, stderr=log
        )
        while process.poll() is None and _newest(run_dir) < kill_at:
            time.sleep(0.02)
        time.sleep(delay_s)
        process.kill()
    if process.wait() > 0:
        raise SystemExit(pathlib.Path(f"{run_dir}.log").read_text()[-2000:])
    return _newest(run_dir)


def _newest(run_dir: str) -> int:
    """Step of the newest checkpoint; -1 if there is none."""
    found = pathlib.Path(run_dir).glob("checkpoints/*.index")
    return max((int(path.stem.split("-")[1]) for path in found), default=-1)


def _ending(run_dir: str) -> dict:
    """Every variable of the last and of the best checkpoint, and the history."""
    found = {"history": json.loads(pathlib.Path(run_dir, "recall.json").read_text())}
    for name in ("checkpoints", "best"):
        path = tf.train.latest_checkpoint(f"{run_dir}/{name}")
        found[name] = os.path.basename(path)
        found |= {f"{name}/{key}": value for key, value in tensors(path).items()}
    return found


def _differing(ending: dict, other: dict) -> str:
    """Names what differs, the first few; empty if nothing does."""
    names = sorted(ending.keys() | other.keys())
    differing = [name for name in names if ending.get(name) != other.get(name)]
    told = [
        f"{name} ({ending.get(name)}, not {other.get(name)})"
        if name in ("checkpoints", "best", "history")
        else name
        for name in differing[:5]
    ]
    return f"{len(differing)} of {len(names)}, {', '.join(told)}" if differing else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

"""Rows of the full-size model: a training step and an embedding pass against PyTorch's.

The figures in GFLOP/s stand beside the fastest matrix product of this machine.
"""

import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import flops
from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row, brief

# 16 clips of 10 s through the paper's model.
CLIPS = {"n_clips": 16, "n_frames": 1000, "visual_dims": (2048, 2048)}
MODEL = {
    "visual_dims": (2048, 2048),
    "audio_widths": (128, 128, 256, 512, 1024),
    "embedding_dim": 4096,
}
QUICK_CLIPS = {"n_clips": 4, "n_frames": 96, "visual_dims": (8, 4)}
QUICK_MODEL = {
    "visual_dims": (8, 4),
    "audio_widths": (8, 8, 8, 8, 8),
    "embedding_dim": 16,
}


def measure(quick: bool) -> list[Row]:
    clips, model = (QUICK_CLIPS, QUICK_MODEL) if quick else (CLIPS, MODEL)
    settings = {"clips": clips, "model": model}
    step, first = _duel(
        "train_step_full",
        {**settings, "work": "training"},
        _check_losses,
        n_repeats=2 if quick else 7,
    )
    embedding, _ = _duel(
        "inference_full",
        {**settings, "work": "embedding"},
        _check_embeddings,
        n_repeats=2 if quick else 11,
    )
    forward = clips["n_clips"] * flops.avlnet(
        clips["n_frames"],
        audio_widths=model["audio_widths"],
        visual_dim=sum(model["visual_dims"]),
        embedding_dim=model["embedding_dim"],
    )
    peaks, note = _peaks(size=256 if quick else 4096, n_repeats=2 if quick else 15)
    rates = [
        Row(
            name,
            flop / row.ours / 1e9,
            max(peaks),
            "matrix product",
            "GFLOP/s",
            note,
            tuple(flop / seconds / 1e9 for seconds in row.ours_repeats),
            peaks,
            row.device,
        )
        for name, flop, row in (
            ("train_step_rate", 3 * forward, step),
            ("inference_rate", forward, embedding),
        )
    ]
    return [step, first, embedding, *rates]


def _duel(name: str, settings: dict, check: Callable, n_repeats: int) -> list[Row]:
    """Ours against PyTorch's, from the same weights, after check of (sides, files)."""
    with tempfile.TemporaryDirectory() as folder:
        found = [os.path.join(folder, f"{of}.npz") for of in ("ours", "other")]
        settings["weights"] = os.path.join(folder, "weights.pth")
        with (
            Side("avlnet_tensorflow", **settings, found=found[0]) as ours,
            Side("avlnet_torch", **settings, found=found[1]) as other,
        ):
            equal = check((ours, other), found)
            seconds = [brief(side.ready["warm_up_s"][0]) for side in (ours, other)]
            runs = in_turns(n_repeats, ours, other)
    first = f"first call (traced, compiled) {seconds[0]} s, theirs {seconds[1]} s"
    row = compare(name, "s", _wall_s, *runs, "PyTorch", f"{equal}; {first}")
    return [row, _first_step(ours, other)]


def _first_step(ours: Side, other: Side) -> Row:
    """From the process's start to the end of the first step, once."""
    # Without that of handing the weights from one side to the other.
    seconds = [
        side.ready["ready_s"]
        - sum(side.ready["warm_up_s"][1:])
        - side.ready["weights_s"]
        for side in (ours, other)
    ]
    traced = ours.ready["warm_up_s"][0]
    prepared = ours.ready["prepare_s"] - ours.ready["weights_s"]
    note = (
        f"one run; ours: import {brief(seconds[0] - prepared - traced)} s, model "
        f"{brief(prepared)}, tracing {brief(traced)}"
    )
    device = ours.ready["device"]
    return Row("first_step", *seconds, "PyTorch", "s", note, device=device)


def _check_losses(sides: Sequence[Side], _) -> str:
    # The second step's loss comes of the first one's gradients and of Adam.
    losses = [side.ready["loss"] for side in sides]
    return check_equal("second loss", *losses, tolerance=1e-2 * abs(losses[1]))


def _check_embeddings(sides: Sequence[Side], found: Sequence[str]) -> str:
    arrays = [np.load(path) for path in found]
    tolerance = 1e-2 if any(side.on_gpu for side in sides) else 1e-4
    checks = []
    for name in ("audio_embedding", "visual_embedding"):
        largest = np.abs(arrays[1][name]).max()
        scaled = (array[name] / largest for array in arrays)
        checks.append(check_equal(name, *scaled, tolerance))
    return ", ".join(checks)


def _peaks(size: int, n_repeats: int) -> tuple[tuple[float, ...], str]:
    """GFLOP/s of the faster library's products, in the order of its repeats."""
    with Side("product_tensorflow", size=size) as one:
        with Side("product_torch", size=size) as two:
            runs = in_turns(n_repeats, one, two)
    found = [tuple(run["flop"] / run["wall_s"] / 1e9 for run in of) for of in runs]
    best = [max(of) for of in found]
    note = (
        f"operations by benchmarks/flops.py; product of {size} x {size}, the best of "
        f"{n_repeats}: TensorFlow {brief(best[0])}, PyTorch {brief(best[1])}"
    )
    return max(found, key=max), note


def _wall_s(run: Run) -> float:
    return run["wall_s"]

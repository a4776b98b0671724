"""What a corpus costs: bytes, CPU-hours and GPU-hours for 1k, 100k and 1.2M videos.

    python -m benchmarks.cost_model [--gpu_tflops=125] [--utilization=0.3]

Bytes and CPU figures come from the rows of `make bench`, so they are of the machine it
ran on. GPU figures are reckoned: operations by layer shapes over an assumed rate.
"""

from collections.abc import Mapping

from absl import flags

from avl_tf import program, settings
from avl_tf.errors import UserError
from benchmarks import flops, rows
from benchmarks.rows import RESULTS

CORPORA = {"1k": 1_000, "100k": 100_000, "1.2M": 1_200_000}
_STEP = 128  # clips, of the authors' fine-tuning
_STEP_CLIPS = 16  # of train_step_full
_CLIP_S = 10  # of a training clip, and of the benchmark's waveform
_WAV_BYTES_PER_S = 2 * 16_000  # what the authors keep: 16 kHz, 16 bits, mono
_AUTHORS_GPU_H = 2 * 2 * 24  # AVLnet section 3.1
_FRAME = (224, 398)  # pixels of a 16:9 video's frame, short side 224

_RESULTS = flags.DEFINE_string("results", RESULTS, "The rows of benchmarks.run.")
_MINUTES = settings.define_float(
    "minutes", 6.5, "Minutes of a video (HowTo100M: 6.5).", 0.1, 1e6
)
_EPOCHS = flags.DEFINE_integer("epochs", 30, "Epochs (the paper: 30).", 1, 10**9)
_CLIPS = flags.DEFINE_integer(
    "clips_per_recording",
    32,
    "Clips of a video each epoch (the paper: 32).",
    lower_bound=1,
    upper_bound=10**9,
)
_GPU_TFLOPS = settings.define_float(
    "gpu_tflops",
    125,
    "The GPU's peak in TFLOP/s (a V100's float16 matrix units: 125).",
    lower=0.1,
    upper=1e9,
)
_UTILIZATION = settings.define_float(
    "utilization",
    0.3,
    "The part of the peak that is reached, an assumption.",
    lower=0.001,
    upper=1,
)


def costs(
    figures: Mapping[str, Mapping],
    minutes: float,
    epochs: int,
    clips_per_recording: int,
    gpu_flop_per_s: float,
) -> list[tuple[str, str, float]]:
    """Reckons the cost of one video.

    Args:
        figures: rows of the benchmark by name. extract_cpu, in CPU-s an hour of video,
            need not be there.
        minutes: of the video.
        epochs, clips_per_recording: of the training.
        gpu_flop_per_s: what a GPU is taken to reach.

    Returns:
        (what, unit, figure) of one video; a unit is MB, CPU-h, GPU-h or h.

    Raises:
        ValueError: a row is missing.
    """
    needed = ("recording_size", "log_mel", "records_vs_npz", "train_step_full")
    if missing := [name for name in needed if name not in figures]:
        raise UserError(
            f"no row {', '.join(missing)}: `make bench` measures them all, "
            "`benchmarks.run --only=log_mel,reading,steps` these alone."
        )
    seconds = 60 * minutes
    n_clips = epochs * clips_per_recording
    stored = figures["recording_size"]
    # The benchmark's recordings are of 6.5 minutes.
    stored = {side: stored[side] * minutes / 6.5 for side in ("ours", "other")}
    log_mel_s = figures["log_mel"]["ours"] / 1000 * seconds / _CLIP_S
    clips_per_cpu_s = figures["records_vs_npz"]
    cnn_2d = flops.resnet152(*_FRAME) * seconds
    cnn_3d = flops.resnext101_3d() * seconds * 1.5
    training = 3 * flops.avlnet() * n_clips
    step_s = figures["train_step_full"]["ours"] / _STEP_CLIPS

    def gpu_h(flop: float) -> float:
        return flop / gpu_flop_per_s / 3600

    lines = [
        ("our records", "MB", stored["ours"]),
        ("authors' npz", "MB", stored["other"]),
        ("authors' wav", "MB", seconds * _WAV_BYTES_PER_S / 1e6),
        ("log-mel", "CPU-h", log_mel_s / 3600),
        ("ResNet-152 features", "GPU-h", gpu_h(cnn_2d)),
        ("ResNeXt-101 3D features", "GPU-h", gpu_h(cnn_3d)),
        ("reading our records", "CPU-h", n_clips / clips_per_cpu_s["ours"] / 3600),
        ("reading authors' npz", "CPU-h", n_clips / clips_per_cpu_s["other"] / 3600),
        ("training", "GPU-h", gpu_h(training)),
        ("training on this machine", "h", n_clips * step_s / 3600),
    ]
    if "extract_cpu" in figures:
        extract_s = figures["extract_cpu"]["ours"] * seconds / 3600
        name = "extraction with EfficientNet-Lite0"
        lines.insert(3, (name, "CPU-h", extract_s / 3600))
    return lines


def main() -> None:
    figures = {row["name"]: row for row in rows.read(_RESULTS.value)}
    rate = 1e12 * _GPU_TFLOPS.value * _UTILIZATION.value
    lines = costs(figures, _MINUTES.value, _EPOCHS.value, _CLIPS.value, rate)
    print(
        f"Videos of {_MINUTES.value:g} minutes; {_EPOCHS.value} epochs of "
        f"{_CLIPS.value} clips; a GPU of {_GPU_TFLOPS.value:g} TFLOP/s used to "
        f"{100 * _UTILIZATION.value:g} % (an assumption).\n"
    )
    cells = []
    for what, unit, one in lines:
        scaled, larger = (1000, "GB") if unit == "MB" else (1, unit)
        totals = [rows.brief(one * n / scaled) for n in CORPORA.values()]
        cells.append([what, larger, *totals])
    header = ("what", "unit", *CORPORA)
    print(rows.markdown(header, cells, right=tuple(CORPORA)))
    print(
        f"\nOperations: AVLnet {flops.avlnet() / 1e9:.1f} GFLOP a clip forward, three "
        f"times that in training; ResNet-152 {flops.resnet152(*_FRAME) / 1e9:.1f} a "
        f"frame of {_FRAME[0]} x {_FRAME[1]}; ResNeXt-101 3D "
        f"{flops.resnext101_3d() / 1e9:.1f} for 16 frames."
    )
    print(training_rate(rate))
    theirs = 3 * flops.avlnet() * 30 * 32 * CORPORA["1.2M"] / (_AUTHORS_GPU_H * 3600)
    print(
        f"The authors report 2 V100 for about 2 days: {theirs / 1e12:.0f} TFLOP/s each "
        f"by this count, {theirs / 1.25e12:.0f} % of a V100's peak."
    )


def training_rate(flop_per_s: float) -> str:
    """Says how many clips and steps a second such a rate is."""
    clips = flop_per_s / (3 * flops.avlnet())
    return (
        f"Training at that rate: {clips:,.0f} clips of {_CLIP_S} s a second, "
        f"{clips / _STEP:.1f} steps of {_STEP}."
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()

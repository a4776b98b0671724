"""What a benchmark ran on, as results.json keeps it beside each row."""

import os
import pathlib
import platform
import sys
from importlib import metadata

_LIBRARIES = ("numpy", "tensorflow", "keras", "torch", "librosa", "av", "faiss-cpu")
# As /proc/cpuinfo names them, the widest first.
_INSTRUCTION_SETS = {
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "avx": "AVX",
    "asimd": "NEON",
}
# What keeps the libraries of both sides to AVX2: oneDNN (TensorFlow's and PyTorch's),
# OpenBLAS, NumPy (a name that its version does not know does nothing), ATen, MKL.
WITHOUT_AVX512 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": (
        "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
    ),
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def has_avx512() -> bool:
    """Whether the processor has AVX-512, hidden or not."""
    return "avx512f" in flags()


def flags() -> list[str]:
    """What the processor can do, hidden or not, by the names of /proc/cpuinfo."""
    info = _cpuinfo()
    return info.get("flags", info.get("Features", "")).split()


def describe() -> dict:
    """Names the processor, its instruction set, the cores that are ours, versions.

    "hidden" holds the switches that keep libraries to fewer instructions.
    """
    info = _cpuinfo()
    can = flags()
    known = [name for flag, name in _INSTRUCTION_SETS.items() if flag in can]
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    switches = (*WITHOUT_AVX512, "TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES")
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "instruction_set": known[0] if known else "",
        "cores": n_cores(),
        "system": f"{sys.platform} {platform.release()}",
        "versions": versions,
        "hidden": {name: os.environ[name] for name in switches if name in os.environ},
    }


def n_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def load() -> float:
    """How many processes were at work, on average over the last minute."""
    return round(os.getloadavg()[0], 2)


def _cpuinfo() -> dict[str, str]:
    """What /proc/cpuinfo tells of the first processor; {} where there is none."""
    path = pathlib.Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first, *_ = path.read_text().split("\n\n")
    pairs = [line.partition(":") for line in first.splitlines()]
    return {name.strip(): value.strip() for name, _, value in pairs}

"""Which half precisions cannot be computed in here.

Where AVX-512 is hidden (WITHOUT_AVX512=1), TensorFlow still asks the processor itself,
and leaves what that could do to oneDNN, which then refuses, or ends the process.
"""

import os
import pathlib

import pytest

_FLAGS = {"bfloat16": "avx512_bf16", "float16": "avx512_fp16"}


def refused(precision):
    """The mark of a test that computes in bfloat16 or float16."""
    hidden = os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return pytest.mark.skipif(
        hidden and _FLAGS[precision] in flags,
        reason=f"oneDNN cannot compute in {precision} by AVX2",
    )

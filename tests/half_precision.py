"""Which half precisions cannot be computed in here.

Where AVX-512 is hidden (WITHOUT_AVX512=1), TensorFlow still asks the processor itself,
and leaves what that could do to oneDNN, which then refuses, or ends the process.
"""

import os

import pytest

from benchmarks import machine

AVX512_IS_HIDDEN = os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"
_FLAGS = {"bfloat16": "avx512_bf16", "float16": "avx512_fp16"}


def refused(precision):
    """The mark of a test that computes in bfloat16 or float16."""
    return pytest.mark.skipif(
        AVX512_IS_HIDDEN and _FLAGS[precision] in machine.flags(),
        reason=f"oneDNN cannot compute in {precision} by AVX2",
    )

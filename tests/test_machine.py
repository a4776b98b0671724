"""What `make test-fast WITHOUT_AVX512=1` promises: that AVX-512 is hidden."""

import os
import subprocess
import sys

import numpy as np
import pytest
from half_precision import AVX512_IS_HIDDEN

hidden = pytest.mark.skipif(not AVX512_IS_HIDDEN, reason="not WITHOUT_AVX512=1")


@hidden
def test_numpy_has_no_avx512():
    # NumPy 2 has its core elsewhere; from 2.4 on AVX-512 is its X86_V4, and what the
    # processor could do beside that is listed still.
    numpy = getattr(np, "_core", None) or np.core
    umath = numpy._multiarray_umath
    used = {name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]}
    assert not {name for name in used if "512" in name or name == "X86_V4"}


@pytest.mark.parametrize("asked", [None, "0", "1"])
def test_onednns_operations_are_used_unless_the_user_says_otherwise(asked):
    code = (
        "import avl_tf; from tensorflow.python.framework import test_util; "
        "print(test_util.IsMklEnabled())"
    )
    environment = {k: v for k, v in os.environ.items() if "ONEDNN_OPTS" not in k}
    environment |= {"TF_ENABLE_ONEDNN_OPTS": asked} if asked else {}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == str(asked != "0")


@hidden
def test_onednn_has_no_avx512():
    code = "import avl_tf, tensorflow as tf; x = tf.ones((64, 64)); tf.matmul(x, x)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ONEDNN_VERBOSE": "all"},
        capture_output=True,
        text=True,
        check=True,
    )
    (isa,) = {line for line in done.stdout.splitlines() if "isa:" in line}
    assert "AVX2" in isa and "AVX-512" not in isa and "AVX512" not in isa

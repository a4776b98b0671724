"""The default microphone of this machine, by FFmpeg's devices."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

import av
import numpy as np

from avl_tf.errors import UserError

RATE_HZ = 48000
# What PyAV's packages may have, by the system: FFmpeg's device and its default input.
_DEVICES = {
    "darwin": [("avfoundation", ":default")],
    "linux": [("pulse", "default"), ("alsa", "default")],
}
# PyAV's own copy of ALSA looks for it where PyAV was built.
_ALSA_CONFIG = "/usr/share/alsa/alsa.conf"


def record(longest_s: float, stopped: Callable[[], bool]) -> np.ndarray:
    """Records from the default microphone.

    Args:
        longest_s: seconds at most.
        stopped: asked now and then; recording ends when it is true.

    Returns:
        int16 [S], mono, at RATE_HZ.

    Raises:
        UserError: there is no microphone that can be used, or it gives nothing.
    """
    if os.path.exists(_ALSA_CONFIG):
        os.environ.setdefault("ALSA_CONFIG_PATH", _ALSA_CONFIG)
    container, tried = None, []
    for name, default in _DEVICES.get(sys.platform, []):
        try:
            with _silenced():
                container = av.open(default, format=name)
            break
        except ValueError:  # PyAV's package was built without it
            tried.append(f"{name}: not in this PyAV")
        except OSError as error:
            tried.append(f"{name}: {error.strerror}")
    if container is None:
        why = "; ".join(tried) or f"not known how on {sys.platform}"
        raise UserError(
            f"--microphone: no microphone here that can be used ({why}). Record a file "
            "by another program and give --audio=FILE, or use the page of avl_tf.app."
        )
    with container:
        found = _read(container, round(longest_s * RATE_HZ), stopped)
    if not found.any():
        raise UserError(
            "--microphone: it gives nothing but silence. Is it muted, or another one "
            "the default input of the system?"
        )
    return found


def _read(container, most: int, stopped: Callable[[], bool]) -> np.ndarray:
    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    pieces, n_samples = [np.zeros(0, np.int16)], 0
    try:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                pieces.append(part.to_ndarray()[0])
                n_samples += len(pieces[-1])
            if n_samples >= most or stopped():
                break
    except (OSError, IndexError) as error:  # unplugged, or without sound
        raise UserError(f"--microphone: it stopped ({error}).") from error
    return np.concatenate(pieces)[:most]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keeps what ALSA writes of its troubles by itself from the terminal."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)

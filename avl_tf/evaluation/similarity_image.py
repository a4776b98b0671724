"""The similarity matrix of an evaluation set as a picture."""

import numpy as np

_MOST_CLIPS = 200
_SIDE = 400  # pixels, at least
# From the lowest to the highest: matplotlib's viridis.
_COLOURS = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]


def draw(audio: np.ndarray, visual: np.ndarray) -> np.ndarray:
    """Draws the similarities of a set's clips, or of 200 of them, always the same.

    Args:
        audio: float [N, D], an embedding a row of the picture.
        visual: float [N, D], an embedding a column; pairs that match lie on the
            diagonal.

    Returns:
        uint8 [H, W, 3], H at least 400: each similarity a square, dark is the lowest of
        the matrix and bright the highest; on the right the scale between them.
    """
    if len(audio) > _MOST_CLIPS:
        random = np.random.default_rng(0)
        sample = np.sort(random.choice(len(audio), _MOST_CLIPS, replace=False))
        audio, visual = audio[sample], visual[sample]
    similarity = audio.astype(np.float64) @ visual.astype(np.float64).T
    lowest, highest = similarity.min(), similarity.max()
    share = (similarity - lowest) / (highest - lowest or 1)
    pixels = -(-_SIDE // len(share))
    square = _coloured(share).repeat(pixels, axis=0).repeat(pixels, axis=1)
    n_rows = len(square)
    scale = _coloured(np.linspace(1, 0, n_rows)[:, np.newaxis])
    gap = np.full((n_rows, n_rows // 40, 3), 255, np.uint8)
    return np.concatenate([square, gap, scale.repeat(n_rows // 20, axis=1)], axis=1)


def _coloured(share: np.ndarray) -> np.ndarray:
    """Colours uint8 [..., 3] of numbers from 0 to 1."""
    known = np.linspace(0, 1, len(_COLOURS))
    parts = [np.interp(share, known, part) for part in np.transpose(_COLOURS)]
    return np.stack(parts, axis=-1).round().astype(np.uint8)

"""Indexes of made vectors, with the structure that makes a search hard or easy.

Clips are of topics: vectors lie around centres in a space of low rank, whose axes count
less and less (a power law), with noise in all dimensions and lengths that vary. What is
said of a clip is its vector moved and shrunk, of other lengths and much noisier: other
than the pictures, as in a trained model.
"""

import os
from collections.abc import Iterator

import numpy as np

from avl_tf.retrieval.entries import Embedded, ModelNote, Source, Span
from avl_tf.retrieval.writing import writing

_RANK = 512
_AT_ONCE = 20_000
_WINDOWS_OF_A_VIDEO = 20


def make(
    folder: str,
    n: int,
    dim: int,
    model: ModelNote | None = None,
    with_steps: bool = False,
) -> None:
    """Writes an index of n windows of `dim` numbers, if it is not there.

    model is what it says that it was made with; with_steps, as reranking needs them.
    """
    if os.path.exists(os.path.join(folder, "index.sqlite")):
        return
    with writing(folder) as writer:
        writer.claim(model or ModelNote("made", "made", dim))
        for number, (visual, audio) in enumerate(_vectors(n, dim)):
            found = []
            for start in range(0, len(visual), _WINDOWS_OF_A_VIDEO):
                rows = slice(start, start + _WINDOWS_OF_A_VIDEO)
                name = f"v{number}-{start}"
                found.append(_embedded(name, visual[rows], audio[rows], with_steps))
            writer.add(found)


def queries(n: int, dim: int) -> np.ndarray:
    """What is said of n clips that are in no index: float32 [n, dim]."""
    return next(_vectors(n, dim, seed=2**20))[1].astype(np.float32)


def _vectors(
    n: int, dim: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    shared = np.random.default_rng(1)
    rank = min(_RANK, dim // 2)
    axes = shared.standard_normal((rank, dim)).astype(np.float32)
    axes *= (np.arange(1, rank + 1) ** -0.5)[:, np.newaxis].astype(np.float32)
    centres = shared.standard_normal((20_000, rank)).astype(np.float32)
    shift = shared.standard_normal(rank).astype(np.float32)
    # How much of a vector is noise: a tenth of its energy, of speech a third.
    unit = float(np.sqrt(np.mean((centres[:500] @ axes) ** 2)))
    for start in range(0, n, _AT_ONCE):
        size = min(_AT_ONCE, n - start)
        random = np.random.default_rng((seed, start))

        def noise(*shape, random=random):
            return random.standard_normal(shape, np.float32)

        latent = centres[random.integers(0, len(centres), size)]
        latent = latent + 0.7 * noise(size, rank)
        seen = latent @ axes + 0.3 * unit * noise(size, dim)
        heard = 0.6 * latent + 0.6 * noise(size, rank) + shift
        heard = heard @ axes + 0.6 * unit * noise(size, dim)
        for rows in (seen, heard):
            rows *= np.exp(0.2 * noise(size, 1)) / unit / 8
        yield seen.astype(np.float16), heard.astype(np.float16)


def _embedded(
    name: str, visual: np.ndarray, audio: np.ndarray, with_steps: bool
) -> Embedded:
    """Windows of 10 s every 5 s, with a step a second."""
    spans = tuple(
        Span(5.0 * i, 5.0 * i + 10, "", 5 * i * with_steps, 10 * with_steps)
        for i in range(len(visual))
    )
    source = Source(f"/made/{name}.mp4", name, name)
    steps = np.repeat(np.append(visual, visual[-1:], axis=0), 5 * with_steps, axis=0)
    seconds = 5.0 * len(visual) + 5
    return Embedded(source, seconds, spans, visual, audio, steps, 0.0, 1.0)

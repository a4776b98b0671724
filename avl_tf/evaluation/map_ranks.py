"""Ranks by the similarity of maps, of which a set holds too many for all at once."""

import functools

import numpy as np
import tensorflow as tf

from avl_tf.model import matchmaps

_IMAGES = 32


def ranks(audio: np.ndarray, visual: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """Ranks the match of every caption and image; see metrics.embedding_ranks.

    In double precision, so that clips of the same maps tie wherever they stand. Beside
    the maps it needs N x N similarities and the matchmaps of one caption and 32 images.

    Args:
        audio: float32 [N, T, D + 1], see ModelConfig.has_maps.
        visual: float32 [N, P, D].
        kind: misa or sima.

    Returns:
        {"a2v": int64 [N], "v2a": int64 [N]}; rank 1 is best.
    """
    found = np.concatenate(
        [
            _block(audio, visual[start : start + _IMAGES], kind=kind)
            for start in range(0, len(visual), _IMAGES)
        ],
        axis=1,
    )
    # What sums of so many products may be wrong by.
    terms = sum(audio.shape[1:]) + visual.shape[1]
    longest = [np.linalg.norm(one, axis=2).max() for one in (audio, visual)]
    error = terms * np.finfo(np.float64).eps * np.prod(longest, dtype=np.float64)
    least = np.diagonal(found) - error
    return {
        "a2v": np.count_nonzero(found >= least[:, np.newaxis], axis=1),
        "v2a": np.count_nonzero(found >= least, axis=0),
    }


def _block(audio: np.ndarray, visual: np.ndarray, kind: str) -> np.ndarray:
    """Similarities float64 [N, B] of captions and some images."""
    return _compiled(kind)(audio, visual.astype(np.float64)).numpy()


@functools.cache
def _compiled(kind: str):
    @tf.function(reduce_retracing=True)
    def similarities(audio, regions):
        n_steps = matchmaps.n_steps_of(audio)
        return tf.map_fn(
            lambda one: matchmaps.scores(
                tf.cast(one[0][:, :-1], regions.dtype), one[1], regions, kind
            ),
            (audio, n_steps),
            fn_output_signature=tf.TensorSpec([None], regions.dtype),
        )

    return similarities

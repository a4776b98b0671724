"""Matchmaps: how well each moment of a caption fits each region of an image.

In: a map of local features of each. Out: their dot products, and the three similarities
that are made of them, each a number for a pair of an image and a caption:
    sisa  the mean over regions and steps; it is the dot product of the two means
    misa  for each step the best region, as a mean over the steps
    sima  for each region the best step, as a mean over the regions

Source: Harwath et al. 2018 (Jointly Discovering Visual Objects and Spoken Words)
section 3.4; authors' DAVEnet-pytorch steps/util.py.
"""

import tensorflow as tf

KINDS = ("sisa", "misa", "sima")


def matchmap(image_map: tf.Tensor, audio_map: tf.Tensor) -> tf.Tensor:
    """Computes the matchmap of an image and a caption.

    Args:
        image_map: float [H, W, D].
        audio_map: float [T, D], the steps that hold audio.

    Returns:
        Float [H, W, T].
    """
    return tf.einsum("hwd,td->hwt", image_map, audio_map)


def similarity(
    image_map: tf.Tensor, audio_map: tf.Tensor, n_steps: tf.Tensor, kind: str
) -> tf.Tensor:
    """Scores each caption against each image, with memory for a caption's matchmaps.

    Args:
        image_map: float [B, H, W, D].
        audio_map: float [A, T, D].
        n_steps: int32 [A], the steps of each caption that hold audio; from 1 to T is
            taken of it, and steps behind have no influence.
        kind: one of KINDS.

    Returns:
        Float32 [A, B], rows audio.

    Raises:
        ValueError: there is no such kind, or the maps are known not to fit each other.

    Source: as the module; facts of the authors' compute_matchmap_similarity_matrix.
    Differs: with 0 steps the authors score by one step in evaluation, and their loss
        leaves the pair out; here it is one step always.
    """
    image_map, audio_map = (tf.cast(x, tf.float32) for x in (image_map, audio_map))
    shapes = f"{image_map.shape} and {audio_map.shape}"
    if image_map.shape.rank not in (4, None) or audio_map.shape.rank not in (3, None):
        raise ValueError(f"expected maps [B, H, W, D] and [A, T, D]; got {shapes}.")
    n_regions, dim = tf.reduce_prod(tf.shape(image_map)[1:3]), image_map.shape[-1]
    if None not in (image_map.shape.rank, audio_map.shape.rank):
        if not image_map.shape[-1:].is_compatible_with(audio_map.shape[-1:]):
            raise ValueError(f"expected features of one width; got {shapes}.")
    regions = tf.reshape(image_map, [-1, n_regions, dim or tf.shape(image_map)[-1]])
    return of_regions(regions, audio_map, n_steps, kind)


def of_embeddings(audio: tf.Tensor, visual: tf.Tensor, kind: str) -> tf.Tensor:
    """The similarity of a model's embeddings that are maps (see ModelConfig.has_maps).

    Args:
        audio: float [A, T, D + 1]; the last is 1 at steps that hold audio, else 0.
        visual: float [B, P, D], a row a region.
        kind: misa or sima.

    Returns:
        Float [A, B].
    """
    return of_regions(visual, audio[..., :-1], n_steps_of(audio), kind)


def n_steps_of(audio: tf.Tensor) -> tf.Tensor:
    """How many steps of embeddings [A, T, D + 1] hold audio: int32 [A]."""
    return tf.reduce_sum(tf.cast(audio[..., -1] > 0.5, tf.int32), axis=1)


def of_regions(
    regions: tf.Tensor, audio_map: tf.Tensor, n_steps: tf.Tensor, kind: str
) -> tf.Tensor:
    """The similarity of images as rows of regions, [B, P, D]; see there."""
    n_steps = tf.clip_by_value(tf.cast(n_steps, tf.int32), 1, tf.shape(audio_map)[1])
    dtype = audio_map.dtype

    # A gradient of its own: one of the loop would keep the matchmaps of all pairs.
    @tf.custom_gradient
    def by_caption(regions, audio_map):
        # Nor is an eager tape to keep them: it records what is called in here.
        regions, audio_map = map(tf.stop_gradient, (regions, audio_map))
        found = tf.map_fn(
            lambda one: scores(one[0], one[1], regions, kind),
            (audio_map, n_steps),
            fn_output_signature=tf.TensorSpec([regions.shape[0]], dtype),
        )

        def gradient(upstream):
            def add(place, of_regions, of_audio):
                caption = audio_map[place]
                with tf.GradientTape() as tape:
                    tape.watch((regions, caption))
                    row = scores(caption, n_steps[place], regions, kind)
                towards, of_caption = tape.gradient(
                    row, (regions, caption), output_gradients=upstream[place]
                )
                return (
                    place + 1,
                    of_regions + towards,
                    of_audio.write(place, of_caption),
                )

            n = tf.shape(audio_map)[0]
            start = (0, tf.zeros_like(regions), tf.TensorArray(dtype, n))
            _, of_regions, of_audio = tf.while_loop(
                lambda place, *_: place < n, add, start, parallel_iterations=1
            )
            return of_regions, tf.reshape(of_audio.stack(), tf.shape(audio_map))

        return found, gradient

    return by_caption(tf.convert_to_tensor(regions), audio_map)


def scores(
    caption: tf.Tensor, n_steps: tf.Tensor, regions: tf.Tensor, kind: str
) -> tf.Tensor:
    """One caption against images.

    Args:
        caption: float [T, D].
        n_steps: int32 [], from 1 to T.
        regions: float [B, P, D].
        kind: one of KINDS.

    Returns:
        Float [B].
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected {', '.join(KINDS)}; got '{kind}'.")
    inside = tf.sequence_mask(n_steps, tf.shape(caption)[0])
    caption = tf.where(inside[:, tf.newaxis], caption, tf.zeros_like(caption))
    n_counted = tf.cast(n_steps, caption.dtype)
    if kind == "sisa":
        mean = tf.reduce_sum(caption, axis=0) / n_counted
        return tf.linalg.matvec(tf.reduce_mean(regions, axis=1), mean)
    flat = tf.reshape(regions, [-1, tf.shape(regions)[-1]])
    products = tf.matmul(caption, flat, transpose_b=True)
    by_image = tf.concat([tf.shape(caption)[:1], tf.shape(regions)[:2]], axis=0)
    products = tf.reshape(products, by_image)
    if kind == "misa":
        # Of steps behind n_steps they are zeros.
        return tf.reduce_sum(tf.reduce_max(products, axis=2), axis=0) / n_counted
    products = tf.where(inside[:, None, None], products, products.dtype.min)
    return tf.reduce_mean(tf.reduce_max(products, axis=0), axis=1)

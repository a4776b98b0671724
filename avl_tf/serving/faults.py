"""What is wrong with the inputs of a signature, told in the graph.

Of one item: a reason beside its embedding, which is zeros; the others go through. Of
the shapes of the arrays, which concern all items: an error of TensorFlow's.
"""

import tensorflow as tf

_NOT_FINITE = "a number in it is NaN, infinite or too large"


def first_reason(*cases: tuple[tf.Tensor, tf.Tensor | str]) -> tf.Tensor:
    """Says why items cannot be embedded.

    Args:
        cases: pairs of bool [...], whether it is the case, and string [...] or a text:
            what to say then.

    Returns:
        string [...]: of the first case that is met, or empty.
    """
    reason = tf.constant("")
    for met, words in reversed(cases):
        reason = tf.where(met, words, reason)
    return reason


def worded(*parts: str | tf.Tensor | int) -> tf.Tensor:
    """Joins texts and numbers, of shapes that fit each other, to strings."""
    texts = [
        part if isinstance(part, str) else tf.strings.as_string(part) for part in parts
    ]
    return tf.strings.join(texts)


def of_one_batch(**arrays: tf.Tensor) -> list[tf.Tensor]:
    """Stops the graph if arrays hold unlike numbers of items.

    Args:
        arrays: by their names, [B, ...].

    Returns:
        The arrays; reading them is InvalidArgumentError if they do not fit.
    """
    (name, first), *others = arrays.items()
    checks = [
        tf.debugging.assert_equal(
            tf.shape(other)[0],
            tf.shape(first)[0],
            f"{other_name} and {name} hold unlike numbers of items",
        )
        for other_name, other in others
    ]
    with tf.control_dependencies(checks):
        return [tf.identity(array) for array in arrays.values()]


def of_lengths(array: tf.Tensor, name: str, lengths: tf.Tensor) -> tf.Tensor:
    """Looks for lengths that are none, and numbers that are none within them.

    Args:
        array: float32 [B, L, ...].
        name: of the lengths, for the reason.
        lengths: int32 [B], how many of the L count.

    Returns:
        string [B], the reasons.
    """
    size = tf.shape(array)[1]
    inside = tf.sequence_mask(lengths, size)
    others = list(range(2, len(array.shape)))
    finite = tf.reduce_all(tf.math.is_finite(array), axis=others)
    return first_reason(
        (tf.fill(tf.shape(lengths), size < 1), "it is empty: its array is 0 long"),
        (
            (lengths < 1) | (lengths > size),
            worded(f"{name} is ", lengths, ", expected 1 to ", size),
        ),
        (
            ~tf.reduce_all(finite | ~inside, axis=1),
            _NOT_FINITE,
        ),
    )


def of_numbers(array: tf.Tensor) -> tf.Tensor:
    """Looks for numbers that are none in float32 [B, L]; string [B], the reasons."""
    finite = tf.reduce_all(tf.math.is_finite(array), axis=1)
    return first_reason((~finite, _NOT_FINITE))


def emptied(
    array: tf.Tensor, lengths: tf.Tensor, reason: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes zeros, and one of them to count, of the items that have a reason."""
    good = tf.equal(reason, "")
    spread = tf.reshape(good, [-1] + [1] * (len(array.shape) - 1))
    return tf.where(spread, array, 0.0), tf.where(good, lengths, 1)


def with_an_item(log_mel: tf.Tensor, n_frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """An audio encoder's inputs: an item and a frame at least, which need not count."""
    items, frames = tf.unstack(tf.maximum(0, 1 - tf.shape(log_mel)[:2]))
    return {
        "log_mel": tf.pad(log_mel, [[0, items], [0, frames], [0, 0]]),
        "n_frames": tf.pad(n_frames, [[0, items]], constant_values=1),
    }


def answer(name: str, embedding: tf.Tensor, reason: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of a signature.

    Args:
        name: of the embedding.
        embedding: float32 [B, D].
        reason: string [B], why an item cannot be embedded, or empty.

    Returns:
        name float32 [B, D], zeros where not valid; valid bool [B]; reason string [B].
    """
    finite = tf.reduce_all(tf.math.is_finite(embedding), axis=1)
    reason = first_reason(
        (reason != "", reason),
        (
            ~finite,
            "its embedding is not finite: too large a number in it, or a NaN in "
            "the weights",
        ),
    )
    valid = tf.equal(reason, "")
    embedding = tf.where(valid[:, tf.newaxis], embedding, 0.0)
    return {name: embedding, "valid": valid, "reason": reason}

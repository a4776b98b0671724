"""The audio tower without its pooling over time: an embedding of each step."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from avl_tf.model import branch

Inputs = Mapping[str, tf.Tensor]


def build(model: keras.Model, name: str) -> Callable[[Inputs], dict[str, tf.Tensor]]:
    """Makes a function of the weights of a model from build_model.

    Args:
        model: the whole.
        name: one of its audio branches.

    Returns:
        A function of log_mel [B, T, F] and n_frames [B] that gives audio_steps
        [B, T', D]: the head of the tower applied to each step, in evaluation;
        n_steps int32 [B], how many of them hold audio; step_frames int32 [], how many
        frames of log-mel each takes; and audio_embedding [B, D], as the branch. The
        mean of the steps is not the embedding, as no head but linear is.
    """
    tower = branch(model, name)
    pool = tower.get_layer("audio_pool")
    to_map = keras.Model(tower.input, tower.get_layer("audio_map").output)
    head = keras.Model(pool.output, tower.output)

    def embed(inputs: Inputs) -> dict[str, tf.Tensor]:
        log_mel, n_frames = inputs["log_mel"], inputs["n_frames"]
        audio_map = to_map({"log_mel": log_mel, "n_frames": n_frames}, training=False)
        pooled = head(pool(audio_map, n_frames, log_mel, training=False))
        n_items, n_steps, _ = tf.unstack(tf.shape(audio_map))
        steps = head(tf.reshape(audio_map, [n_items * n_steps, audio_map.shape[-1]]))
        step_frames, valid = pool.steps(n_frames, tf.shape(log_mel)[1], n_steps)
        return {
            "audio_steps": tf.reshape(steps, [n_items, n_steps, steps.shape[-1]]),
            "n_steps": tf.cast(valid, tf.int32),
            "step_frames": tf.cast(step_frames, tf.int32),
            "audio_embedding": pooled,
        }

    return embed

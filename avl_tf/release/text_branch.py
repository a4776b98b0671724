"""The text side of the released text variants, as a SavedModel of its own.

It takes word vectors (the authors': word2vec GoogleNews, 300 wide, at most 20 words,
shorter captions padded with zero vectors). Signature of AVLnet-Text-Tri:
    embed_text        words float32 [B, W, 300] -> embedding [B, D]
and of AVLnet-Text-Fused, whose text and speech share one embedding:
    embed_audio_text  log_mel [B, T, F], n_frames int32 [B], words [B, W, 300]
Each also gives valid and reason, as avl_tf/serving tells.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from avl_tf.errors import UserError
from avl_tf.model import ModelConfig
from avl_tf.serving import faults


def export(
    model: keras.Model,
    config: ModelConfig,
    state: Mapping[str, np.ndarray],
    source: str,
    path: str,
) -> None:
    """Writes the text branch of a released state_dict to a SavedModel folder.

    Args:
        model: the audio and visual branches, with this state's weights.
        config: the model's.
        state: the authors' state_dict.
        source: the file's name, for messages.
        path: folder to write.

    Raises:
        ValueError: the checkpoint has no text branch.

    Source: authors' model.py (Net.forward, Sentence_Maxpool, Gated_Embedding_Unit).
    """
    unit = "GU_audio_text" if config.audio_head == "fused" else "GU_text_captions"
    if f"{unit}.cg.fc.weight" not in state:
        raise UserError(f"{source}: no text branch in it. Leave --text out.")
    module = tf.Module()
    module.weights = {
        key.replace(".", "_"): tf.Variable(array)
        for key, array in state.items()
        if key.startswith(("text_pooling_caption", unit))
    }

    def linear(x, name):
        weight, bias = (module.weights[f"{name}_{part}"] for part in ("weight", "bias"))
        return tf.matmul(x, weight, transpose_b=True) + bias

    def pooled(words):
        shape = tf.shape(words)
        flat = tf.reshape(words, [-1, words.shape[-1]])
        hidden = tf.nn.relu(linear(flat, "text_pooling_caption_fc"))
        hidden = tf.reshape(hidden, [shape[0], shape[1], hidden.shape[-1]])
        return tf.reduce_max(hidden, axis=1)

    def checked(words):
        """Words that can be pooled, and string [B]: why they are not those given."""
        n_words = tf.repeat(tf.shape(words)[1], tf.shape(words)[0])
        reason = faults.of_lengths(words, "the number of words", n_words)
        words, _ = faults.emptied(words, n_words, reason)
        missing = tf.maximum(0, 1 - tf.shape(words)[1])
        return tf.pad(words, [[0, 0], [0, missing], [0, 0]]), reason

    def gated(hidden, reason):
        embedding = hidden * tf.sigmoid(linear(hidden, f"{unit}_cg_fc"))
        return faults.answer("embedding", embedding, reason)

    def embed_text(words):
        words, reason = checked(words)
        return gated(linear(pooled(words), f"{unit}_fc"), reason)

    width = state["text_pooling_caption.fc.weight"].shape[1]
    words = tf.TensorSpec([None, None, width], tf.float32, "words")
    if unit == "GU_text_captions":
        signature: dict[str, tuple[list, Callable]] = {
            "embed_text": ([words], embed_text)
        }
    else:
        inputs = {name: model.input[name] for name in ("log_mel", "n_frames")}
        audio = keras.Model(inputs, model.get_layer("audio_projection").output)
        module.audio = [variable.value for variable in audio.variables]

        def embed_audio_text(log_mel, n_frames, words):
            log_mel, n_frames, words = faults.of_one_batch(
                log_mel=log_mel, n_frames=n_frames, words=words
            )
            words, reason = checked(words)
            unheard = faults.of_lengths(log_mel, "n_frames", n_frames)
            reason = faults.first_reason(
                (unheard != "", unheard), (reason != "", reason)
            )
            log_mel, n_frames = faults.emptied(log_mel, n_frames, reason)
            heard = faults.with_an_item(log_mel, n_frames)
            projected = audio(heard, training=False)[: tf.size(reason)]
            hidden = linear(projected, f"{unit}_fc_audio")
            return gated(hidden + linear(pooled(words), f"{unit}_fc_text"), reason)

        shape = [None, None, config.audio.n_mels]
        specs = [
            tf.TensorSpec(shape, tf.float32, "log_mel"),
            tf.TensorSpec([None], tf.int32, "n_frames"),
            words,
        ]
        signature = {"embed_audio_text": (specs, embed_audio_text)}
    tf.saved_model.save(
        module,
        path,
        {
            name: tf.function(function, input_signature=specs).get_concrete_function()
            for name, (specs, function) in signature.items()
        },
    )

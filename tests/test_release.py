"""Our model with the authors' weights against the outputs of their code."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import losses, optimizers, release
from avl_tf.model import build_model
from avl_tf.torch_weights import state_dict

DATA = pathlib.Path(__file__).parent / "data"
IO = np.load(DATA / "tiny_avlnet_io.npz")
INPUTS = {
    "log_mel": IO["log_mel"],
    "n_frames": IO["n_frames"].astype(np.int32),
    "visual": IO["visual"],
}


@pytest.fixture
def model():
    state = state_dict(str(DATA / "tiny_avlnet.pth"))
    config = release.config_of(state, "tiny")
    built = build_model(config)
    parity = release.load_state(built, config, state)
    assert not parity.missing and not parity.unexpected
    return built


def _close(found, expected, relative):
    scale = np.abs(expected).max()
    assert np.abs(np.asarray(found) - expected).max() < relative * scale


def test_evaluation_equals_the_authors(model):
    output = model(INPUTS, training=False)
    audio_map = keras.Model(model.input, model.get_layer("audio_map").output)
    _close(audio_map(INPUTS, training=False), IO["audio_map_eval"], 1e-4)
    _close(output["audio_embedding"], IO["audio_embedding_eval"], 1e-4)
    _close(output["visual_embedding"], IO["visual_embedding_eval"], 1e-4)
    loss = losses.masked_margin_softmax(*(output[k] for k in sorted(output)))
    _close(loss, IO["mms_loss"], 1e-4)


def test_five_adam_steps_equal_the_authors(model):
    variables = [variable.value for variable in model.trainable_variables]
    optimizer = optimizers.Adam(variables)
    found = []
    for step in range(5):
        with tf.GradientTape() as tape:
            output = model(INPUTS, training=True)
            loss = losses.masked_margin_softmax(
                output["audio_embedding"], output["visual_embedding"]
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        if step == 0:
            by_name = dict(
                zip([v.path for v in model.trainable_variables], gradients, strict=True)
            )
            conv1 = np.asarray(by_name["conv1/kernel"]).transpose(3, 0, 2, 1)
            _close(conv1, IO["grad/conv1"], 1e-4)
            visual = np.asarray(by_name["visual_gate_fc/kernel"]).T
            _close(visual, IO["grad/GU_video.fc"], 1e-4)
        optimizer.apply(gradients, variables, 1e-3)
        found.append(float(loss))
    assert found == pytest.approx(IO["train_losses"], rel=1e-4)
    after = model(INPUTS, training=False)
    _close(after["audio_embedding"], IO["audio_embedding_after"], 1e-3)
    _close(after["visual_embedding"], IO["visual_embedding_after"], 1e-3)

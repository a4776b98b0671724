"""What an export cannot embed, by signature: never NaN, never an invented embedding."""

import resource
import struct

import keras
import numpy as np
import pytest
import tensorflow as tf

from avl_tf.model import ModelConfig, build_model
from avl_tf.records import FeatureSpec
from avl_tf.runs import RunInfo
from avl_tf.serving import faults, signatures

RATE = 16000
CONFIG = ModelConfig((12, 6), audio_widths=(8, 8, 16), embedding_dim=16)
STREAMS = FeatureSpec("a", 12, 1.0), FeatureSpec("b", 6, 1.5)
NOT_FINITE = "NaN, infinite or too large"


@pytest.fixture(scope="module")
def graphs():
    """Signature -> its graph, of a model with two visual streams."""
    keras.utils.set_random_seed(0)
    info = RunInfo(CONFIG, *STREAMS, "clip", "", "", ("es",), None, True)
    model = build_model(CONFIG)
    functions = signatures.of_audio(model, info, "audio") | signatures.of_features(
        model, info
    )
    return {
        name: tf.function(function, input_signature=given)
        for name, (function, given) in functions.items()
    }


def _answer(graph, *inputs):
    """Embeddings, validity and reasons; what is not valid is zeros."""
    found = graph(*inputs)
    names = [name for name in found if name.endswith("_embedding")]
    assert sorted(found) == sorted([*names, "valid", "reason"]) and len(names) == 1
    embedding, valid = found[names[0]].numpy(), found["valid"].numpy()
    reasons = [reason.decode() for reason in found["reason"].numpy()]
    assert len(embedding) == len(valid) == len(reasons) and valid.dtype == bool
    assert np.isfinite(embedding).all() and not embedding[~valid].any()
    assert embedding[valid].any(axis=1).all()
    assert [not reason for reason in reasons] == valid.tolist()
    return embedding, valid.tolist(), reasons


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.4, 0.4, shape).astype(np.float32)


def _wav(samples, rate=RATE, tag=1):
    data = samples.tobytes()
    size = samples.itemsize
    body = struct.pack("<HHIIHH", tag, 1, rate, 0, size, 8 * size)
    return b"".join(
        [b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", body, b"data"]
        + [struct.pack("<I", len(data)), data]
    )


def _int16(n_samples, seed=0):
    return np.round(_noise(n_samples, seed=seed) * 32768).astype("<i2")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_waveform_that_is_not_finite_costs_itself_alone(graphs, value):
    waveform, n_samples = _noise(3, 8000), np.array([8000, 7000, 6000], np.int32)
    good, _, _ = _answer(graphs["waveform"], waveform, n_samples)
    waveform[1, 6999] = value
    waveform[2, 6000] = value  # behind its end
    found, valid, reasons = _answer(graphs["waveform"], waveform, n_samples)
    assert valid == [True, False, True] and NOT_FINITE in reasons[1]
    assert np.array_equal(found[[0, 2]], good[[0, 2]])


@pytest.mark.parametrize("peak", [1.5, 5.0, 1e10, 3e38])
def test_a_loud_waveform_is_embedded_as_any_other(graphs, peak):
    tone = np.sin(np.arange(8000) * 0.2)[np.newaxis]
    n_samples = np.array([8000], np.int32)
    quiet, _, _ = _answer(graphs["waveform"], (0.3 * tone).astype("f4"), n_samples)
    found, _, _ = _answer(graphs["waveform"], (peak * tone).astype("f4"), n_samples)
    assert np.abs(found - quiet).max() < 1e-2 * np.abs(quiet).max()


@pytest.mark.parametrize("n_samples", [0, -1, 8001, 2**31 - 1, -(2**31)])
def test_a_wrong_length_of_a_waveform_is_told(graphs, n_samples):
    lengths = np.array([n_samples, 8000], np.int32)
    _, valid, reasons = _answer(graphs["waveform"], _noise(2, 8000), lengths)
    assert valid == [False, True]
    assert reasons[0] == f"n_samples is {n_samples}, expected 1 to 8000"


@pytest.mark.parametrize("n_items", [0, 1, 3])
@pytest.mark.parametrize("n_samples", [0, 1])
def test_waveforms_without_samples_are_told(graphs, n_items, n_samples):
    lengths = np.full(n_items, n_samples, np.int32)
    empty = np.zeros((n_items, 0), np.float32)
    assert _answer(graphs["waveform"], empty, lengths)[1] == [False] * n_items


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_log_mel_that_is_not_finite_costs_itself_alone(graphs, value):
    log_mel, n_frames = 100 * _noise(3, 50, 40) - 40, np.array([50, 40, 30], np.int32)
    good, _, _ = _answer(graphs["log_mel"], log_mel, n_frames)
    log_mel[0, 3] = value
    log_mel[1, 45] = value  # behind its end
    found, valid, reasons = _answer(graphs["log_mel"], log_mel, n_frames)
    assert valid == [False, True, True] and NOT_FINITE in reasons[0]
    assert np.array_equal(found[1:], good[1:])


@pytest.mark.parametrize("n_frames", [0, -3, 51, 2**31 - 1])
def test_a_wrong_length_of_a_log_mel_is_told(graphs, n_frames):
    lengths = np.array([50, n_frames], np.int32)
    _, valid, reasons = _answer(graphs["log_mel"], _noise(2, 50, 40), lengths)
    assert valid == [True, False]
    assert reasons[1] == f"n_frames is {n_frames}, expected 1 to 50"


@pytest.mark.parametrize("n_items", [0, 1, 2])
@pytest.mark.parametrize("n_frames", [0, 1])
def test_log_mels_without_frames_are_told(graphs, n_items, n_frames):
    lengths, empty = np.full(n_items, n_frames, np.int32), np.zeros((n_items, 0, 40))
    answer = _answer(graphs["log_mel"], empty.astype(np.float32), lengths)
    assert answer[1] == [False] * n_items


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_features_that_are_not_finite_cost_themselves_alone(graphs, value):
    one, two = 1 + _noise(3, 5, 12), 1 + _noise(3, 4, 6)
    n_one, n_two = np.array([5, 4, 3], np.int32), np.array([1, 2, 3], np.int32)
    good, _, _ = _answer(graphs["features"], one, n_one, two, n_two)
    one[2, 2, 11] = two[0, 0, 0] = value
    one[1, 4], two[1, 2:] = value, value  # behind its ends
    found, valid, reasons = _answer(graphs["features"], one, n_one, two, n_two)
    assert valid == [False, True, False]
    assert NOT_FINITE in reasons[0] and NOT_FINITE in reasons[2]
    assert np.array_equal(found[1], good[1])


@pytest.mark.parametrize("n_steps", [(0, 4), (5, 0), (6, 4), (5, 5), (-1, 4)])
def test_a_wrong_number_of_steps_is_told(graphs, n_steps):
    lengths = [np.array([n], np.int32) for n in n_steps]
    features = 1 + _noise(1, 5, 12), 1 + _noise(1, 4, 6)
    answer = _answer(
        graphs["features"], features[0], lengths[0], features[1], lengths[1]
    )
    name = "n_2d" if n_steps[0] not in range(1, 6) else "n_3d"
    assert answer[1] == [False] and answer[2][0].startswith(f"{name} is ")


@pytest.mark.parametrize("n_steps", [0, 1])
def test_features_of_no_steps_are_told(graphs, n_steps):
    n = np.full(2, n_steps, np.int32)
    none, two = np.zeros((2, 0, 12), np.float32), 1 + _noise(2, 4, 6)
    assert _answer(graphs["features"], none, n, two, n + 1)[1] == [False, False]


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_visual_vector_that_is_not_finite_costs_itself_alone(graphs, value):
    visual = _noise(3, 18)
    good, _, _ = _answer(graphs["visual"], visual)
    visual[0, 17] = value
    found, valid, reasons = _answer(graphs["visual"], visual)
    assert valid == [False, True, True] and NOT_FINITE in reasons[0]
    assert np.array_equal(found[1:], good[1:])


def test_an_embedding_that_is_not_finite_is_told():
    embedding = tf.constant([[1, 2], [np.nan, 1], [np.inf, 1], [3, 4]], tf.float32)
    reason = tf.constant(["", "", "", "no sound"])
    found = faults.answer("audio_embedding", embedding, reason)
    assert found["valid"].numpy().tolist() == [True, False, False, False]
    expected = [[1, 2], [0, 0], [0, 0], [0, 0]]
    assert found["audio_embedding"].numpy().tolist() == expected
    reasons = found["reason"].numpy().tolist()
    assert b"not finite" in reasons[1] and reasons[3] == b"no sound"


def test_arrays_of_unlike_numbers_of_items_are_an_error(graphs):
    def error(name, *inputs):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            graphs[name](*inputs)
        return str(caught.value)

    two, three = np.ones(2, np.int32), np.ones(3, np.int32)
    words = "hold unlike numbers of items"
    assert f"n_samples and waveform {words}" in error("waveform", _noise(1, 9), two)
    assert f"n_frames and log_mel {words}" in error("log_mel", _noise(1, 9, 40), two)
    streams = [_noise(2, 5, 12), two, _noise(2, 4, 6), two]
    for index, name in enumerate(["features_2d", "n_2d", "features_3d", "n_3d"]):
        unlike = list(streams)
        unlike[index] = np.concatenate([streams[index], streams[index][:1]])
        assert words in error("features", *unlike), name
    assert words in error("features", streams[0], two, streams[2], three)


def test_a_bad_wav_costs_itself_alone(graphs):
    good = [_wav(_int16(n, seed=n)) for n in (16000, 9000)]
    alone, valid, _ = _answer(graphs["wav_bytes"], good)
    assert valid == [True, True]
    nan = _noise(20000)
    nan[19999] = np.nan
    bad = [b"no wav at all", _wav(_int16(0)), _wav(nan, tag=3), _wav(_int16(99), 1)]
    batch = [bad[0], good[0], bad[1], bad[2], good[1], bad[3]]
    found, valid, reasons = _answer(graphs["wav_bytes"], batch)
    assert valid == [False, True, False, False, True, False]
    # Another size of batch may add up in another order (docs/reliability.md).
    np.testing.assert_allclose(found[[1, 4]], alone, atol=1e-4 * np.abs(alone).max())
    assert reasons[0].startswith("not a WAV file: convert it by ffmpeg -i")
    assert reasons[2] == "its data chunk holds no sound"
    assert "not finite" in reasons[3] and "rate is 1 Hz" in reasons[5]
    assert _answer(graphs["wav_bytes"], bad)[1] == [False] * 4
    assert _answer(graphs["wav_bytes"], tf.zeros([0], tf.string))[1] == []


@pytest.mark.parametrize("rate", [1, 2, 100, 3999, 384_001, 2**30, 2**31 - 1])
def test_a_rate_that_cannot_be_needs_no_memory(graphs, rate):
    _answer(graphs["wav_bytes"], [_wav(_int16(5000))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, valid, reasons = _answer(graphs["wav_bytes"], [_wav(_int16(5000), rate)])
    assert valid == [False] and f"its rate is {rate} Hz" in reasons[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000


@pytest.mark.parametrize("rate", [4000, 384_000])
def test_the_lowest_and_the_highest_rate_are_embedded(graphs, rate):
    assert _answer(graphs["wav_bytes"], [_wav(_int16(5000), rate)])[1] == [True]

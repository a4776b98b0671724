import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import audio

GOLDEN = np.load(pathlib.Path(__file__).parent / "data" / "log_mel.npz")
NAMES = [key.removeprefix("wave/") for key in GOLDEN.files if key.startswith("wave/")]
CONFIG = audio.AudioConfig()


@pytest.mark.parametrize("name", NAMES)
def test_log_mel_equals_the_authors(name):
    waveform, expected = GOLDEN[f"wave/{name}"], GOLDEN[f"log_mel/{name}"]
    found = audio.log_mel(waveform[np.newaxis], CONFIG)[0].numpy()
    assert found.shape == expected.shape
    assert audio.n_frames(len(waveform), CONFIG) == len(expected)
    assert np.abs(found - expected).max() < 1e-3


def test_log_mel_of_a_padded_batch_is_that_of_each_waveform():
    waves = [GOLDEN[f"wave/{name}"] for name in NAMES]
    longest = max(map(len, waves))
    # What stands behind a waveform's end must not matter, so it is loud.
    batch = np.full((len(waves), longest), 0.9, np.float32)
    for row, waveform in zip(batch, waves, strict=True):
        row[: len(waveform)] = waveform
    found = audio.log_mel(batch, CONFIG, [len(w) for w in waves]).numpy()
    for row, name in zip(found, NAMES, strict=True):
        expected = GOLDEN[f"log_mel/{name}"]
        assert np.abs(row[: len(expected)] - expected).max() < 1e-3
        assert not row[len(expected) :].any()


def test_log_mel_runs_in_tf_data_with_an_unknown_length():
    waveform = GOLDEN["wave/click"]
    signature = tf.TensorSpec([None], tf.float32)
    waves = tf.data.Dataset.from_generator(
        lambda: [waveform, waveform[:900]], output_signature=signature
    )
    found = list(waves.map(lambda w: audio.log_mel(w[tf.newaxis], CONFIG)[0]))
    assert np.abs(found[0] - GOLDEN["log_mel/click"]).max() < 1e-3
    assert found[1].shape == (audio.n_frames(900, CONFIG), 40)


@pytest.mark.parametrize("n_samples", [0, 1, 2, 150, 200, 201])
def test_log_mel_of_a_very_short_waveform_mirrors_as_numpy(n_samples):
    waveform = np.random.default_rng(0).normal(size=n_samples).astype(np.float32)
    found = audio.log_mel(waveform[np.newaxis], CONFIG)[0].numpy()
    assert found.shape == (audio.n_frames(n_samples, CONFIG), 40)
    if n_samples > 1:
        assert np.abs(found - _numpy_log_mel(waveform)).max() < 0.01
    else:
        assert not found.any()


def test_log_mel_of_silence_is_zero():
    assert not audio.log_mel(np.zeros((2, 4000), np.float32), CONFIG).numpy().any()


def test_log_mel_ignores_gain_and_offset():
    waveform = GOLDEN["wave/apple_red_desc_es"][np.newaxis]
    found = audio.log_mel(0.25 * waveform + 0.1, CONFIG)
    assert np.abs(found - audio.log_mel(waveform, CONFIG)).max() < 0.01


@pytest.mark.parametrize("n_samples", [1, 2, 150, 201, 1600, 16000 * 7 + 79])
def test_log_mel_of_a_long_waveform_is_that_of_all_at_once(n_samples):
    samples = np.random.default_rng(1).normal(300, 4000, n_samples).astype(np.int16)
    expected = audio.log_mel(samples[np.newaxis] / np.float32(32768), CONFIG)[0]
    for chunk_frames in (1, 64, 6000):
        if chunk_frames > 1 or n_samples < 2000:
            found = audio.long_log_mel(samples, CONFIG, chunk_frames)
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() < 2e-4
            again = audio.long_log_mel(samples, CONFIG, chunk_frames)
            assert np.array_equal(found, again)


def test_log_mel_of_a_long_silence_is_zero():
    assert not audio.long_log_mel(np.zeros(4000, np.int16), CONFIG, 7).any()


def test_log_mel_rejects_a_waveform_without_batch_axis():
    with pytest.raises(ValueError, match=r"\[B, S\].*batch axis"):
        audio.log_mel(np.zeros(4000, np.float32), CONFIG)


def _numpy_log_mel(waveform):
    """The front end once more, in double precision and without TensorFlow."""
    y = waveform.astype(np.float64) - waveform.mean()
    y = np.append(y[0], y[1:] - 0.97 * y[:-1])
    y = np.pad(y, 200, mode="reflect")
    n = audio.n_frames(len(waveform), CONFIG)
    frames = np.stack([y[160 * i : 160 * i + 400] for i in range(n)])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
    mel = np.abs(np.fft.rfft(frames * window)) ** 2 @ audio._mel_filters(CONFIG)
    level = 10 * np.log10(np.maximum(mel, 1e-10))
    return np.maximum(level - level.max(), -80)


def test_a_recording_leaves_nothing_behind_in_memory():
    """TensorFlow 2.16 loses two blocks for every constant of an eager operation."""
    samples = np.int16(1000 * np.sin(np.arange(16000)))
    before = 0
    for _ in range(2):
        before = sys.getallocatedblocks()
        for _ in range(50):
            audio.long_log_mel(samples, audio.AudioConfig())
    assert (sys.getallocatedblocks() - before) / 50 < 10

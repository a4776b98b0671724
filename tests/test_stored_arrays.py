import numpy as np
import pytest
import tensorflow as tf

from avl_tf.records import stored_arrays
from avl_tf.records.stored_arrays import StoredArray
from avl_tf.settings.stored import STORAGES

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(9, 5)).astype(np.float16)
LOG_MEL = RANDOM.uniform(-80, 0, (9, 5)).astype(np.float16)


def _stored(array, storage, pack=stored_arrays.pack):
    packed, levels = pack(array, storage)
    levels = tf.constant(levels, tf.float32) if levels else None
    return StoredArray(tf.constant(bytes(packed)), levels, array.shape[1])


def test_float16_comes_back_as_it_was():
    stored = _stored(FEATURES, "float16")
    assert stored.n_steps == 9
    assert stored.is_whole
    assert np.array_equal(stored.all(), FEATURES)


@pytest.mark.parametrize("array", [FEATURES, np.abs(FEATURES), -np.abs(FEATURES)])
def test_int8_is_half_a_level_off_at_most_and_exact_at_both_ends(array):
    found = _stored(array, "int8").all().numpy().astype(np.float64)
    level = (float(array.max()) - float(array.min())) / 255
    assert np.abs(found - array).max() <= level / 2 + 1e-3
    assert (found.min(), found.max()) == pytest.approx((array.min(), array.max()), 1e-3)
    assert len(stored_arrays.pack(array, "int8")[0]) == array.size


@pytest.mark.parametrize("value", [0.0, -80.0, 0.25])
def test_int8_keeps_an_array_of_one_value(value):
    array = np.full((2, 3), value)
    assert np.allclose(_stored(array, "int8").all(), value)


def test_int8_keeps_0_db_exactly():
    log_mel = np.where(LOG_MEL > -20, 0, LOG_MEL)
    found = _stored(log_mel, "int8", stored_arrays.pack_log_mel).all().numpy()
    assert (found[log_mel == 0] == 0).all()
    assert np.abs(found.astype(float) - log_mel).max() < 80 / 255 / 2 + 0.04


def test_int8_has_no_place_for_a_log_mel_above_0_db():
    with pytest.raises(ValueError, match=r"reaches 2\.0 dB.*--storage=float16"):
        stored_arrays.pack_log_mel(np.full((2, 3), 2.0), "int8")


@pytest.mark.parametrize("storage", STORAGES)
def test_windows_are_the_spans_with_zeros_behind(storage):
    stored = _stored(LOG_MEL, storage, stored_arrays.pack_log_mel)
    windows = stored.windows(tf.constant([0, 3, 8]), tf.constant([4, 2, 1]), 4).numpy()
    whole = stored.all().numpy()
    assert windows.dtype == np.float16
    for window, (first, n) in zip(windows, [(0, 4), (3, 2), (8, 1)], strict=True):
        assert np.array_equal(window[:n], whole[first : first + n])
        assert not window[n:].any()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("array", [FEATURES, -np.abs(FEATURES)])
def test_maxima_are_those_of_the_steps(storage, array):
    stored = _stored(array, storage)
    steps = np.array([[0, 1, 2], [8, 8, 8]], np.int32)
    expected = stored.all().numpy()[steps].max(axis=1)
    assert np.allclose(stored.maxima(tf.constant(steps)), expected, atol=1e-3)


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_wrong_number_is_seen_wherever_it_is(wrong):
    array = FEATURES.copy()
    assert _stored(array, "float16").is_finite
    array[7, 3] = wrong
    assert not _stored(array, "float16").is_finite


@pytest.mark.parametrize("n_bytes", [0, 1, 11, 19])
def test_an_odd_number_of_bytes_is_not_whole(n_bytes):
    assert not StoredArray(tf.constant(b"x" * n_bytes), None, 5).is_whole

"""What a sound is taken for: its gaps, its level, its channels, its length."""

import av
import made_media
import numpy as np
import pytest
from made_media import find_chirp, make_media, numbered, sine, with_chirp

from avl_tf import audio, media
from avl_tf.audio import AudioConfig
from data_prep import listening

RATE = 16000


def tones(amplitude, seconds=3):
    """Every second another tone, swelling twice, and silent in between."""
    time = np.arange(seconds * RATE) / RATE
    swelling = np.abs(np.sin(2 * np.pi * time))
    return amplitude * swelling * np.sin(2 * np.pi * (300 + 200 * time // 1) * time)


def make_sound(path, sound, codec="pcm_f32le", layout="mono"):
    return make_media(path, sound=sound, audio_codec=codec, layout=layout, rate=RATE)


def decoded(path, *span):
    """Samples and notes."""
    notes = []
    span = dict(zip(("start_s", "end_s"), span, strict=False))
    return media.collect(media.decode(path, RATE, notes=notes, **span)), notes


def log_mel(path, *span):
    return audio.long_log_mel(decoded(path, *span)[0], AudioConfig())


# Gaps.


@pytest.mark.parametrize(
    "suffix, codec",
    [
        ("mp4", "aac"),
        ("mkv", "flac"),
        ("webm", "libopus"),
        ("ts", "aac"),
        ("flv", "aac"),
        ("asf", "wmav2"),
    ],
)
def test_a_read_before_a_late_start_is_silence(tmp_path, suffix, codec):
    pictures = [numbered(i) for i in range(150)]
    video = {"webm": "libvpx", "flv": "flv", "asf": "mpeg4"}.get(suffix, "libx264")
    path = tmp_path / f"late.{suffix}"
    make_media(
        path,
        pictures,
        with_chirp(2, 0.5),
        sound_start_s=4.0,
        audio_codec=codec,
        video_codec=video,
    )
    for span in ((0, 1), (0, 3.5), (1.5, 2.5), (3, 3.9)):
        waveform = media.read_waveform(path, RATE, *span)
        assert len(waveform) == round((span[1] - span[0]) * RATE)
        assert not waveform.any()
    waveform = media.read_waveform(path, RATE, 2.5, 5.5)
    assert find_chirp(waveform) == pytest.approx(2.0, abs=0.05)
    assert not listening.is_silent(str(path))
    assert listening.is_silent(str(path), 0.5, 3.5)


@pytest.mark.parametrize(
    "suffix, codec",
    [("mp4", "aac"), ("m4a", "alac"), ("mkv", "flac"), ("ts", "aac"), ("flv", "aac")],
)
def test_a_read_that_ends_or_starts_in_a_gap_is_silent_there(tmp_path, suffix, codec):
    sound = with_chirp(6, 0.5) + with_chirp(6, 5.0)
    path = tmp_path / f"gap.{suffix}"
    make_media(path, sound=sound, sound_gap=(2.0, 4.0), audio_codec=codec)
    for span in ((0, 4), (0, 2.5), (1, 5.75), (2.5, 4), (3, 7), (4.5, 5)):
        waveform = media.read_waveform(path, RATE, *span)
        assert len(waveform) == round((span[1] - span[0]) * RATE)
        assert not waveform[round(max(0, 2.2 - span[0]) * RATE) :][: 4 * RATE][
            : round((5.9 - max(2.2, span[0])) * RATE)
        ].any()
    assert find_chirp(media.read_waveform(path, RATE, 5, 10)) == pytest.approx(
        4.0, abs=0.05
    )
    assert listening.is_silent(str(path), 2.5, 5.5)
    assert not listening.is_silent(str(path), 2.5)


def test_a_sound_that_ends_before_the_pictures_ends_there(tmp_path):
    path = tmp_path / "short.mp4"
    make_media(path, [numbered(i) for i in range(100)], sine(2))
    assert len(media.read_waveform(path, RATE, 0, 4)) == pytest.approx(32000, abs=32)
    assert len(media.read_waveform(path, RATE, 1.5, 4)) == pytest.approx(8000, abs=32)
    assert len(media.read_waveform(path, RATE, 3, 4)) == 0


def test_silence_is_not_made_out_of_nothing(tmp_path):
    """A gap of an hour in a file of some kilobytes, and one that its size allows."""
    for gap_s, allowed in ((3000, False), (500, True)):
        path = tmp_path / "gap.mkv"
        make_media(path, sound=sine(2), sound_gap=(1.0, gap_s), audio_codec="aac")
        if allowed:
            length = (2 + gap_s) * RATE
            assert len(media.read_waveform(path)) == pytest.approx(length, abs=500)
        else:
            with pytest.raises(media.MediaError, match="longer gaps than a file"):
                media.read_waveform(path)
    # What lies behind the end asked for is not laid.
    make_media(path, sound=sine(2), sound_gap=(1.0, 3000), audio_codec="aac")
    assert len(media.read_waveform(path, RATE, 0, 30)) == 30 * RATE


# Level.


@pytest.mark.parametrize(
    "suffix, codec, amplitude",
    [
        ("wav", "pcm_f32le", 5),
        ("wav", "pcm_f64le", 1000),
        ("wav", "pcm_f32le", 1e30),
        ("wav", "pcm_f32le", 1e-4),
        ("mkv", "pcm_s24le", 1e-3),
        ("m4a", "alac", 1e-3),
        ("nut", "pcm_s64le", 1e-4),
        ("aiff", "pcm_f32be", 1e-6),
    ],
)
def test_a_level_that_does_not_fit_16_bits_changes_nothing(
    tmp_path, suffix, codec, amplitude
):
    expected = log_mel(make_sound(tmp_path / "a.wav", tones(0.3), "pcm_s16le"))
    path = make_sound(tmp_path / f"b.{suffix}", tones(amplitude), codec)
    for layout in ("mono", "stereo"):
        make_sound(path, tones(amplitude), codec, layout)
        got = log_mel(path)
        assert got.mean() == pytest.approx(expected.mean(), abs=0.1)
        assert np.abs(got - expected).max() < 5
    part = decoded(path, 1, 2)[0].astype(float)
    assert np.abs(part).max() == pytest.approx(16384, rel=0.01)


def test_numbers_far_above_full_scale_do_not_come_out_as_silence(tmp_path):
    # FFmpeg makes zeros of what no integer holds.
    noise = np.random.default_rng(0).uniform(0.5, 1, 32000) * np.tile([1, -1], 16000)
    expected = log_mel(make_sound(tmp_path / "a.wav", noise / 2, "pcm_s16le"))
    got = log_mel(make_sound(tmp_path / "b.wav", noise * 1e30, "pcm_f64le"))
    assert got.mean() == pytest.approx(expected.mean(), abs=0.1)


def test_a_lossy_sound_above_full_scale_is_scaled(tmp_path):
    means = []
    for amplitude in (0.3, 3):
        sound = np.repeat(tones(amplitude), 3)
        path = make_media(tmp_path / "a.mkv", sound=sound, audio_codec="ac3")
        means.append(log_mel(path).mean())
    assert means[0] == pytest.approx(means[1], abs=1)


def test_the_overshoot_of_a_lossy_codec_is_clipped_as_ever(tmp_path):
    square = np.sign(sine(2))
    path = make_media(tmp_path / "a.m4a", sound=square, layout="mono")
    with av.open(str(path)) as container:
        peaks = [np.abs(f.to_ndarray()).max() for f in container.decode(audio=0)]
    assert max(peaks) > 1.1
    assert np.abs(media.read_waveform(path, 48000)).max() == 1


def test_levels_that_fit_are_left_alone(tmp_path):
    for codec, amplitude in (("pcm_f32le", 1.0), ("pcm_f32le", 0.07), ("pcm_u8", 0.02)):
        path = make_sound(tmp_path / "a.wav", sine(1, amplitude, RATE), codec)
        level = made_media.level(media.read_waveform(path))
        assert level == pytest.approx(amplitude, rel=0.1)
    path = make_media(tmp_path / "q.m4a", sound=sine(1, 0.005), layout="mono")
    assert made_media.level(media.read_waveform(path)) == pytest.approx(0.005, rel=0.1)


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_s24le", "pcm_s16le"])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_digital_silence_stays_silent(tmp_path, codec, layout):
    path = make_sound(tmp_path / "a.wav", np.zeros(RATE), codec, layout)
    samples, notes = decoded(path)
    assert len(samples) == RATE and not samples.any() and not notes
    assert listening.is_silent(str(path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value, codec, layout):
    sound = np.tile(tones(0.3), ({"mono": 1, "stereo": 2, "5.1": 6}[layout], 1))
    sound[0, 40000] = value
    path = make_sound(tmp_path / "a.wav", sound, codec, layout)
    with pytest.raises(media.MediaError, match=r"a\.wav: .*no finite numbers"):
        media.read_waveform(path)
    assert media.read_waveform(path, RATE, 0, 1).any()


# Channels.


@pytest.mark.parametrize(
    "suffix, codec, gain",
    [
        ("wav", "pcm_s16le", 1),
        ("wav", "pcm_f32le", 20),
        ("wav", "pcm_f32le", 1e30),
        ("wav", "pcm_f32le", 1e-3),
        ("m4a", "aac", 1),
        ("mp3", "mp3", 1),
        ("ogg", "libopus", 1),
        ("flac", "flac", 1),
    ],
)
def test_of_channels_that_cancel_the_loudest_is_taken(tmp_path, suffix, codec, gain):
    expected = log_mel(make_sound(tmp_path / "a.wav", tones(0.3), "pcm_s16le"))
    sound = gain * tones(0.3)
    path = make_sound(
        tmp_path / f"b.{suffix}", np.stack([-0.9 * sound, sound]), codec, "stereo"
    )
    samples, (note,) = decoded(path)
    got = audio.long_log_mel(samples, AudioConfig())[: len(expected)]
    assert got.mean() == pytest.approx(expected.mean(), abs=1)
    assert note.kind == "cancelling channels" and "channel 2" in note.text
    assert not listening.is_silent(str(path))


def test_channels_that_cancel_but_for_a_hum_cancel(tmp_path):
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE)
    sound = np.stack([tones(0.3) + hum, hum - tones(0.3)])
    path = make_sound(tmp_path / "a.wav", sound, "pcm_s16le", "stereo")
    samples, notes = decoded(path)
    assert len(notes) == 1
    wanted = np.round(sound[1] * 32768)
    assert min(np.abs(samples - wanted).max(), np.abs(samples + wanted).max()) < 1000


def test_a_pair_that_cancels_in_surround_is_heard(tmp_path):
    sound = np.zeros((6, 3 * RATE))
    sound[4], sound[5] = tones(0.3), -tones(0.3)
    path = make_sound(tmp_path / "a.flac", sound, "flac", "5.1")
    samples, notes = decoded(path)
    assert np.abs(samples).max() > 9000 and len(notes) == 1


def test_channels_cancel_in_the_span_that_is_read(tmp_path):
    """The whole is an ordinary sound; its last second is not."""
    left, right = tones(0.3), tones(0.3)
    right[2 * RATE :] *= -1
    path = make_sound(
        tmp_path / "a.wav", np.stack([left, right]), "pcm_s16le", "stereo"
    )
    assert not decoded(path)[1] and not decoded(path, 0, 2)[1]
    samples, notes = decoded(path, 2, 3)
    np.testing.assert_allclose(samples, left[2 * RATE :] * 32768, atol=1)
    assert len(notes) == 1


@pytest.mark.parametrize(
    "layout, voices",
    [
        ("stereo", [1, 0]),
        ("stereo", [1, -0.3]),
        ("quad", [0, 0, 0, 1]),
        ("5.1", [0, 0, 1, 0, 0, 0]),
    ],
)
def test_channels_that_differ_are_mixed_as_ever(tmp_path, layout, voices):
    sound = np.outer(voices, tones(0.3))
    path = make_sound(tmp_path / "a.wav", sound, "pcm_f32le", layout)
    samples, notes = decoded(path)
    assert not notes
    # The mix, and none of the channels.
    assert np.abs(samples).max() < 0.8 * 0.3 * 32768


def test_eight_channels_are_more_than_pyav_can_count(tmp_path):
    """It finds a ninth plane in planar frames, which is no memory of anybody's."""
    sound = np.zeros((8, 3 * RATE), np.float32)
    sound[6], sound[7] = tones(0.3), -tones(0.3)
    path = str(tmp_path / "a.m4a")
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", RATE, layout="7.1")
        for start in range(0, sound.shape[1], 1024):
            part = np.ascontiguousarray(sound[:, start : start + 1024].T)
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), "flt", "7.1")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    samples, notes = decoded(path)
    assert len(notes) == 1 and np.abs(samples).max() > 5000


def test_unrelated_channels_are_mixed(tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 3 * RATE))
    path = make_sound(tmp_path / "a.wav", sound, "pcm_s16le", "stereo")
    samples, notes = decoded(path)
    assert not notes
    np.testing.assert_allclose(samples, sound.mean(0) * 32768, atol=2)


# What a header claims.


def set_rate(path, rate):
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("rate", [1, 3999, 384_001, 2**31 - 1])
def test_rates_that_no_sound_has_are_refused(tmp_path, rate):
    path = make_sound(tmp_path / "a.wav", tones(0.3), "pcm_s16le")
    set_rate(path, rate)
    with pytest.raises(media.MediaError, match="a rate of .* expected 4000 to 384000"):
        media.read_waveform(path)
    for rate in (4000, 384_000):
        set_rate(path, rate)
        assert len(media.read_waveform(path)) == round(3 * RATE * RATE / rate)


def test_more_seconds_than_are_taken_are_refused(tmp_path):
    for suffix, codec in (("wav", "pcm_s16le"), ("aac", "aac")):
        path = make_sound(tmp_path / f"a.{suffix}", tones(0.3), codec)
        limits = media.Limits(max_seconds=2)
        for start_s in (0, 0.5):
            with pytest.raises(media.MediaError, match="--max_seconds"):
                media.collect(media.decode(path, RATE, (), start_s, limits=limits))
        for span in ((0, 2), (1, 3)):
            parts = media.decode(path, RATE, (), *span, limits=limits)
            assert len(media.collect(parts)) == 2 * RATE

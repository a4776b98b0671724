"""MP3 and AAC files written one behind the other are read to the end of the last."""

import struct

import numpy as np
import pytest
from made_media import find_chirp, level, make_media, sine, with_chirp

from avl_tf import media
from avl_tf.media import joined

ID3V1 = b"TAG" + b"x" * 125
APE = b"APETAGEX" + struct.pack("<4I", 2000, 40, 1, 1 << 31) + bytes(8) + b"q" * 40


def picture_tag():
    """ID3v2 with a cover: much that looks like sound, and is none."""
    noise = np.random.default_rng(0).integers(0, 256, 100_000, np.uint8).tobytes()
    frame = b"APIC" + struct.pack(">I", len(noise)) + b"\0\0" + noise
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame


@pytest.fixture
def encoded(tmp_path):
    def make(sound, rate=44100, codec="mp3", layout="stereo", **options):
        path = tmp_path / f"one.{codec}"
        make_media(
            path,
            sound=sound,
            rate=rate,
            audio_codec=codec,
            layout=layout,
            options=options,
        )
        return path.read_bytes()

    return make


def join(path, *parts):
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("between", [b"", ID3V1, APE, picture_tag()])
@pytest.mark.parametrize("tagged", [True, False])
def test_joined_mp3_is_read_whole(tmp_path, encoded, between, tagged):
    options = {} if tagged else {"id3v2_version": "0"}
    first = encoded(sine(3, rate=44100))
    second = encoded(with_chirp(5, 2.0, 44100), **options)
    path = join(tmp_path / "a.mp3", first, between, second)
    waveform = media.read_waveform(path)
    assert len(waveform) == pytest.approx(8 * 16000, abs=1600)
    assert media.duration_s(path) == pytest.approx(len(waveform) / 16000, abs=0.03)
    assert level(waveform[:48000]) == pytest.approx(0.5, rel=0.05)
    assert find_chirp(waveform) == pytest.approx(5.0, abs=0.1)
    part = media.read_waveform(path, 16000, 4.5, 5.75)
    np.testing.assert_array_equal(part, waveform[72000:92000])


@pytest.mark.parametrize(
    "rate, layout", [(48000, "stereo"), (22050, "mono"), (16000, "mono")]
)
@pytest.mark.parametrize("codec", ["mp3", "aac"])
def test_joined_files_of_different_rates_are_read_whole(
    tmp_path, encoded, codec, rate, layout
):
    parts = [
        encoded(sine(3, rate=44100), codec=codec),
        encoded(sine(2, rate=rate), rate, codec, layout),
        encoded(sine(1, rate=44100), codec=codec),
    ]
    path = join(tmp_path / f"a.{codec}", *parts)
    waveform = media.read_waveform(path)
    assert len(waveform) == pytest.approx(6 * 16000, abs=0.3 * 16000)
    assert media.duration_s(path) == pytest.approx(len(waveform) / 16000, abs=0.1)
    # No hole but at the joints, where encoders begin and end.
    loudest = np.abs(waveform[: len(waveform) // 1600 * 1600]).reshape(-1, 1600).max(1)
    assert (loudest > 0.4).mean() > 0.9


def test_a_short_file_behind_a_long_one_is_not_lost(tmp_path, encoded):
    """FFmpeg takes a header that is right to a sixteenth for right."""
    long, short = encoded(sine(40, rate=44100)), encoded(with_chirp(1.5, 0.5, 44100))
    path = join(tmp_path / "a.mp3", long, short)
    waveform = media.read_waveform(path)
    assert len(waveform) / 16000 == pytest.approx(41.5, abs=0.1)
    assert media.duration_s(path) == pytest.approx(41.5, abs=0.1)
    assert find_chirp(waveform[40 * 16000 :]) == pytest.approx(0.5, abs=0.1)


def test_a_cut_or_damaged_mp3_is_still_refused(tmp_path, encoded):
    whole = encoded(sine(6, rate=44100))
    half = join(tmp_path / "a.mp3", whole[: len(whole) // 2])
    with pytest.raises(media.MediaError, match=r"only to 3\.0 s of 6\.0 s"):
        media.read_waveform(half)
    middle = len(whole) // 2
    for hole in (bytes(3000), b"ID" * 1500, b"TAB" * 1000):
        parts = [whole[:middle], hole, whole[middle + 3000 :]]
        for rest in ([], [whole]):
            path = join(tmp_path / "a.mp3", *parts, *rest)
            with pytest.raises(media.MediaError, match=r"decodes only to 3\.\d s"):
                media.read_waveform(path)


def test_single_files_are_not_taken_for_joined_ones(tmp_path, encoded):
    for rate in (44100, 48000, 22050, 16000, 8000):
        one = encoded(sine(2, rate=rate), rate, layout="mono")
        for end in (b"", ID3V1, APE, APE + ID3V1, picture_tag()):
            path = join(tmp_path / "a.mp3", one, end)
            assert not joined.is_joined(str(path))
            assert media.duration_s(path) == pytest.approx(2, abs=0.1)
        assert joined.is_joined(str(join(tmp_path / "a.mp3", one, ID3V1, one)))

"""Files that are cut, damaged, misnamed or no media at all; the lengths of files."""

import os
import struct

import av
import numpy as np
import pytest
from made_media import (
    RATE,
    cut,
    find_chirp,
    level,
    make_media,
    noise,
    numbered,
    read_numbers,
    sine,
    with_chirp,
)

from avl_tf import media
from avl_tf.media import opening


def test_streams_that_are_not_there_are_named(tmp_path):
    silent = make_media(tmp_path / "silent.mp4", [numbered(0)] * 5)
    with pytest.raises(media.MediaError, match="no audio stream") as error:
        media.read_waveform(silent)
    assert str(error.value).startswith(str(silent))
    sound = make_media(tmp_path / "sound.wav", sound=sine(1), audio_codec="pcm_s16le")
    with pytest.raises(media.MediaError, match="no video stream") as error:
        media.read_frames(sound, 1)
    assert str(error.value).startswith(str(sound))


def test_cover_art_is_not_video(tmp_path):
    path = make_media(tmp_path / "song.mp3", sound=sine(2), audio_codec="mp3")
    media.write_image(tmp_path / "cover.png", noise())
    picture = b"\0image/png\0\3\0" + (tmp_path / "cover.png").read_bytes()
    tag = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = len(tag)
    synchsafe = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    plain = path.read_bytes()
    path.write_bytes(b"ID3\3\0\0" + synchsafe + tag + plain)
    with pytest.raises(media.MediaError, match="no video"):
        media.read_frames(path, 1)
    assert level(media.read_waveform(path)) == pytest.approx(0.5, rel=0.05)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1


def test_what_ffmpeg_says_at_length_is_told_in_short():
    said = "; ".join(f"Element at {at} is\n a Duplicate" for at in range(1000))
    told = str(opening.media_error("v.mkv", "cannot be opened", said))
    assert told.startswith("v.mkv: cannot be opened: Element at 0 is a Duplicate; ")
    assert told.endswith(" ...") and len(told) < 350


READERS = [
    media.read_waveform,
    media.read_image,
    media.duration_s,
    lambda path: media.read_frames(path, 1),
]


@pytest.mark.parametrize("read", READERS)
def test_files_that_are_no_media_are_named_without_noise(tmp_path, read, capfd, caplog):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.txt").write_text("FFmpeg would draw this as a terminal.\n" * 50)
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    (tmp_path / "random.wav").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "words.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhi\n")
    for path in tmp_path.iterdir():
        with pytest.raises(media.MediaError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
    missing = tmp_path / "missing.mp4"
    with pytest.raises(FileNotFoundError, match="missing.mp4"):
        read(missing)
    assert capfd.readouterr() == ("", "") and not caplog.records


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    for path in (tmp_path / "a.mp4", "/dev/zero"):
        for read in (media.read_waveform, media.read_image, media.duration_s):
            with pytest.raises(media.MediaError, match="a pipe or a device, expected"):
                read(path)


def test_names_that_look_like_something_else_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mp4", "100%03d.mp4", "-i.mp4", "ü ж.mp4"):
        made = make_media(tmp_path / "plain.mp4", [numbered(7)] * 5, sine(0.2))
        path = made.rename(tmp_path / name)
        assert read_numbers(path, 25)[0] == 7
        assert read_numbers(name, 25)[0] == 7
        assert len(media.read_waveform(path))


def test_titles_that_are_not_utf8_do_not_matter(tmp_path):
    media.write_wav(tmp_path / "sound.wav", np.full(800, 0.25, np.float32), 16000)
    content = (tmp_path / "sound.wav").read_bytes()
    title = b"LIST" + struct.pack("<I", 16) + b"INFOINAM" + struct.pack("<I", 4)
    content += title + b"\xe9t\xe9\0"
    content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    (tmp_path / "sound.wav").write_bytes(content)
    assert media.read_waveform(tmp_path / "sound.wav").tolist() == [0.25] * 800


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """6 s with noise in picture and sound, its index in front of its data."""
    rng = np.random.default_rng(0)
    frames = [numbered(i) // 2 + noise(i) // 4 for i in range(150)]
    return make_media(
        tmp_path_factory.mktemp("media") / "long.mp4",
        frames,
        rng.normal(0, 0.1, 6 * RATE),
        options={"movflags": "+faststart"},
    )


def test_a_cut_video_is_refused_with_the_second_it_breaks(long_video, tmp_path):
    path = cut(long_video, tmp_path / "cut.mp4", 0.6)
    with pytest.raises(media.MediaError, match=r"cut.mp4: .* 3\.\d s of 6.0 s"):
        media.read_waveform(path)
    with pytest.raises(media.MediaError, match=r"cut.mp4: .* 3\.\d s of 6.0 s"):
        media.read_frames(path, 1)
    part = media.read_waveform(path, allow_truncated=True)
    assert 3 * 16000 < len(part) < 4 * 16000
    np.testing.assert_array_equal(part[:40000], media.read_waveform(long_video)[:40000])
    n_frames = len(media.read_frames(path, 25, allow_truncated=True))
    assert 75 <= n_frames < 100


def test_a_span_before_the_cut_is_read(long_video, tmp_path):
    path = cut(long_video, tmp_path / "cut.mp4", 0.6)
    assert len(media.read_waveform(path, end_s=2)) == 32000
    assert len(media.read_frames(path, 10, end_s=2)) == 20
    for start_s in (1, 4):
        with pytest.raises(media.MediaError, match="cut.mp4"):
            media.read_waveform(path, start_s=start_s, end_s=5)
        with pytest.raises(media.MediaError, match="cut.mp4"):
            media.read_frames(path, 10, start_s=start_s, end_s=5)


def test_a_video_without_its_index_is_refused_with_the_reason(tmp_path):
    made = make_media(tmp_path / "made.mp4", [noise(i) for i in range(20)])
    path = cut(made, tmp_path / "cut.mp4", 0.7)
    for read in READERS:
        with pytest.raises(media.MediaError, match="moov atom not found"):
            read(path)


@pytest.mark.parametrize(
    "suffix, codec",
    [
        ("mkv", "aac"),
        ("mp3", "mp3"),
        ("flac", "flac"),
        ("wav", "pcm_s16le"),
        ("avi", "mp3"),
        ("m4a", "aac"),
    ],
)
def test_cut_sound_is_refused(tmp_path, suffix, codec):
    sound = np.random.default_rng(0).normal(0, 0.1, 6 * 44100)
    options = {"movflags": "+faststart"} if suffix == "m4a" else {}
    made = make_media(
        tmp_path / f"made.{suffix}",
        sound=sound,
        audio_codec=codec,
        rate=44100,
        options=options,
    )
    path = cut(made, tmp_path / f"cut.{suffix}", 0.5)
    with pytest.raises(media.MediaError, match=r"to [23]\.\d s of 6\.\d s"):
        media.read_waveform(path)
    part = media.read_waveform(path, allow_truncated=True)
    assert len(part) / 16000 == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_stream_shorter_than_the_other_is_not_cut(tmp_path, suffix):
    frames = [numbered(i) for i in range(100)]
    path = make_media(tmp_path / f"a.{suffix}", frames, sine(1), audio_codec="mp3")
    assert len(media.read_waveform(path)) == pytest.approx(16000, abs=1200)
    path = make_media(tmp_path / f"b.{suffix}", frames[:25], sine(4), audio_codec="mp3")
    assert len(media.read_frames(path, 25)) == pytest.approx(25, abs=2)


def test_joined_recordings_go_on_where_their_clock_starts_again(tmp_path):
    made = make_media(tmp_path / "one.ts", sound=with_chirp(2, 0.5))
    (tmp_path / "two.ts").write_bytes(made.read_bytes() * 2)
    one = media.read_waveform(made)
    two = media.read_waveform(tmp_path / "two.ts", allow_truncated=True)
    assert len(two) == pytest.approx(2 * len(one), abs=32)
    again = len(one) / 16000 + find_chirp(one)
    assert len(one) / 16000 + find_chirp(two[len(one) :]) == pytest.approx(
        again, abs=0.01
    )


@pytest.mark.parametrize("suffix", ["mkv", "m4a", "wav"])
def test_a_few_bytes_missing_at_the_end_pass(tmp_path, suffix):
    codec = "pcm_s16le" if suffix == "wav" else "aac"
    options = {"movflags": "+faststart"} if suffix == "m4a" else {}
    made = make_media(
        tmp_path / f"made.{suffix}", sound=sine(3), audio_codec=codec, options=options
    )
    path = tmp_path / f"short.{suffix}"
    path.write_bytes(made.read_bytes()[:-700])
    assert len(media.read_waveform(path)) / 16000 == pytest.approx(3, abs=0.1)


def damage(source, path, share, n_bytes=3000):
    content = bytearray(source.read_bytes())
    start = round(share * len(content))
    content[start : start + n_bytes] = np.random.default_rng(0).bytes(n_bytes)
    path.write_bytes(content)
    return path


def damage_picture(source, path, at_s, n_bytes):
    """Overwrites the middle of the picture shown at at_s."""
    with av.open(str(source)) as container:
        packets = container.demux(container.streams.video[0])
        hit = next(
            packet for packet in packets if packet.pts * packet.time_base >= at_s
        )
        start = hit.pos + hit.size // 2
    content = bytearray(source.read_bytes())
    content[start : start + n_bytes] = np.random.default_rng(0).bytes(n_bytes)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("n_bytes", [300, 3000])
def test_damage_inside_a_video_is_refused(long_video, tmp_path, n_bytes):
    """A little is concealed by the decoder, much makes it fail."""
    path = damage_picture(long_video, tmp_path / "damaged.mp4", 3, n_bytes)
    with pytest.raises(media.MediaError, match=r"damaged.mp4: .* [23]\.\d s of 6.0 s"):
        media.read_frames(path, 25)
    assert len(media.read_frames(path, 25, allow_truncated=True)) > 140
    assert len(media.read_frames(path, 25, end_s=1.5)) == 38


def test_damage_inside_a_transport_stream_is_refused(tmp_path):
    made = make_media(tmp_path / "made.ts", [noise(i) for i in range(125)])
    path = damage(made, tmp_path / "damaged.ts", 0.5)
    with pytest.raises(media.MediaError, match="incomplete"):
        media.read_frames(path, 25)
    assert len(media.read_frames(path, 25, allow_truncated=True)) > 110


def test_damage_at_the_very_end_passes(long_video, tmp_path):
    path = damage_picture(long_video, tmp_path / "damaged.mp4", 5.7, 300)
    assert len(media.read_frames(path, 25)) == 150


@pytest.mark.parametrize(
    "suffix, codec",
    [("m4a", "aac"), ("flac", "flac"), ("mp3", "mp3"), ("ogg", "libopus")],
)
def test_damage_inside_sound_is_refused(tmp_path, suffix, codec):
    sound = np.random.default_rng(0).normal(0, 0.1, 6 * RATE)
    made = make_media(tmp_path / f"made.{suffix}", sound=sound, audio_codec=codec)
    path = damage(made, tmp_path / f"damaged.{suffix}", 0.5)
    with pytest.raises(media.MediaError, match=r"to [23]\.\d s of 6\.\d s"):
        media.read_waveform(path)
    assert len(media.read_waveform(path, allow_truncated=True)) > 5 * 16000


def test_what_ffmpeg_cannot_convert_is_an_error_of_the_file(tmp_path, monkeypatch):
    path = make_media(tmp_path / "video.mp4", [numbered(0)])

    def fail(*_):
        raise av.error.PatchWelcomeError(0, "no such pixels")

    monkeypatch.setattr(media.stills, "to_array", fail)
    monkeypatch.setattr(media.pictures, "to_array", fail)
    for read in (media.read_image, lambda path: media.read_frames(path, 1)):
        with pytest.raises(media.MediaError, match="video.mp4: .* no such pixels"):
            read(path)


def test_duration_is_that_of_the_longest_stream(tmp_path):
    path = tmp_path / "video.mp4"
    make_media(path, [numbered(i) for i in range(25)], sine(2.5))
    assert media.duration_s(path) == pytest.approx(2.5, abs=0.03)
    make_media(path, [numbered(i) for i in range(75)], sine(0.5))
    assert media.duration_s(path) == pytest.approx(3, abs=0.03)


def test_duration_of_a_file_that_declares_none_is_measured(tmp_path):
    """Loud, then silent: a guess from the bit rate would be far off."""
    sound = np.random.default_rng(0).normal(0, 0.2, 6 * RATE)
    sound[2 * RATE :] = 0
    path = make_media(tmp_path / "sound.aac", sound=sound)
    assert media.duration_s(path) == pytest.approx(6.02, abs=0.03)
    assert len(media.read_waveform(path)) / 16000 == pytest.approx(6.02, abs=0.03)
    path = make_media(tmp_path / "video.h264", [numbered(i) for i in range(50)])
    assert media.duration_s(path) == pytest.approx(2, abs=0.05)

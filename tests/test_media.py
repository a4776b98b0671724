"""Waveforms, frames and images read from whole files."""

import gc
import struct
import zlib
from fractions import Fraction

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
    read_number,
    read_numbers,
    sine,
    with_chirp,
)

from avl_tf import media
from avl_tf.media.progress import Progress


@pytest.mark.parametrize("layout", ["mono", "stereo", "quad", "5.1"])
@pytest.mark.parametrize(
    "suffix, codec", [("flac", "flac"), ("wav", "pcm_f32le"), ("ogg", "libopus")]
)
def test_waveform_keeps_the_level_of_equal_channels(tmp_path, layout, suffix, codec):
    path = tmp_path / f"sound.{suffix}"
    make_media(path, sound=sine(1), layout=layout, audio_codec=codec)
    waveform = media.read_waveform(path)
    assert waveform.dtype == np.float32
    assert level(waveform) == pytest.approx(0.5, rel=0.01)


def test_waveform_of_one_stereo_channel_is_halved(tmp_path):
    sound = np.stack([sine(1), np.zeros(RATE)])
    path = make_media(tmp_path / "left.flac", sound=sound, audio_codec="flac")
    assert level(media.read_waveform(path)) == pytest.approx(0.25, rel=0.01)


def test_waveform_of_surround_leaves_out_only_the_low_frequencies(tmp_path):
    expected = [0.5 / (2 + 2**0.5) * weight for weight in (0.7071, 0.7071, 1, 0, 0.5)]
    for channel, amplitude in enumerate(expected):
        sound = np.zeros((6, RATE))
        sound[channel] = sine(1)
        path = tmp_path / f"{channel}.flac"
        make_media(path, sound=sound, audio_codec="flac", layout="5.1")
        assert level(media.read_waveform(path)) == pytest.approx(
            amplitude, rel=0.01, abs=1e-4
        )


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_waveform_is_resampled_to_the_same_tone(tmp_path, rate):
    path = make_media(
        tmp_path / "tone.wav",
        sound=sine(1, rate=rate),
        rate=rate,
        audio_codec="pcm_s16le",
        layout="mono",
    )
    waveform = media.read_waveform(path, 16000)
    assert len(waveform) == 16000
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(16000)))
    assert np.argmax(spectrum) == 440
    expected = sine(1, rate=16000)
    assert np.abs(waveform - expected)[500:-500].max() < 0.005


@pytest.mark.parametrize(
    "suffix, codec",
    [
        ("mp4", "aac"),
        ("mkv", "aac"),
        ("webm", "libopus"),
        ("ogg", "libopus"),
        ("mp3", "mp3"),
        ("flac", "flac"),
        ("wav", "pcm_s16le"),
    ],
)
def test_waveform_is_on_time_whatever_the_codec_primes(tmp_path, suffix, codec):
    path = tmp_path / f"sound.{suffix}"
    make_media(path, sound=with_chirp(2, 0.7), audio_codec=codec)
    waveform = media.read_waveform(path)
    assert find_chirp(waveform) == pytest.approx(0.7, abs=0.001)
    assert len(waveform) / 16000 == pytest.approx(2, abs=0.03)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_waveform_that_starts_late_begins_with_silence(tmp_path, suffix):
    path = make_media(
        tmp_path / f"late.{suffix}",
        [numbered(i) for i in range(50)],
        with_chirp(1, 0.3),
        sound_start_s=1.0,
    )
    waveform = media.read_waveform(path)
    assert find_chirp(waveform) == pytest.approx(
        1.3, abs=0.001 if suffix != "ts" else 0.03
    )
    assert np.abs(waveform[:14000]).max() == 0


def test_waveform_with_a_gap_is_silent_there(tmp_path):
    sound = with_chirp(2, 0.2) + with_chirp(2, 1.5)
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"gap.{suffix}"
        make_media(path, sound=sound, sound_gap=(1.0, 0.5), audio_codec="flac")
        waveform = media.read_waveform(path)
        assert len(waveform) == pytest.approx(2.5 * 16000, abs=32)
        assert find_chirp(waveform[:16000]) == pytest.approx(0.2, abs=0.001)
        assert find_chirp(waveform[16000:]) == pytest.approx(1.0, abs=0.001)
        assert np.abs(waveform[16400:23900]).max() == 0


@pytest.mark.parametrize(
    "suffix, codec, rate",
    [
        ("m4a", "aac", 44100),
        ("mkv", "aac", 44100),
        ("ts", "aac", 48000),
        ("aac", "aac", 44100),
        ("mp3", "mp3", 44100),
        ("ogg", "libopus", 48000),
        ("flac", "flac", 44100),
        ("wav", "pcm_s16le", 11025),
    ],
)
def test_waveform_of_a_span_is_that_span_of_the_whole(tmp_path, suffix, codec, rate):
    sound = np.random.default_rng(0).normal(0, 0.1, 9 * rate)
    path = tmp_path / f"noise.{suffix}"
    make_media(path, sound=sound, audio_codec=codec, rate=rate, layout="mono")
    whole = media.read_waveform(path)
    for start_s, end_s in ((0, 0.5), (1.2345, 2), (5.0, 6.25), (6.3333, 7.7777)):
        span = media.read_waveform(path, start_s=start_s, end_s=end_s)
        first, last = round(start_s * 16000), round(end_s * 16000)
        np.testing.assert_array_equal(span, whole[first:last])


def test_waveform_span_ends_with_the_sound(tmp_path):
    path = make_media(tmp_path / "sound.flac", sound=sine(4), audio_codec="flac")
    assert len(media.read_waveform(path, end_s=99)) == 64000
    assert len(media.read_waveform(path, start_s=3.5)) == 8000
    assert len(media.read_waveform(path, start_s=3.5, end_s=99)) == 8000
    assert len(media.read_waveform(path, start_s=7.5, end_s=8)) == 0


def test_waveform_of_mp4_has_the_length_that_went_in(tmp_path):
    for n_samples in (RATE, RATE + 300, 3 * RATE - 1):
        path = tmp_path / "sound.mp4"
        make_media(path, sound=sine(n_samples / RATE))
        assert len(media.read_waveform(path, RATE)) == pytest.approx(n_samples, abs=96)


@pytest.mark.parametrize(
    "span", [(-1, None), (2, 1), (1, 1), (float("nan"), None), (0, float("nan"))]
)
def test_spans_that_make_no_sense_are_refused(tmp_path, span):
    path = make_media(tmp_path / "sound.wav", sound=sine(1), audio_codec="pcm_s16le")
    with pytest.raises(ValueError, match="start_s"):
        media.read_waveform(path, start_s=span[0], end_s=span[1])
    with pytest.raises(ValueError, match="start_s"):
        media.iter_frames(path, 1, start_s=span[0], end_s=span[1])


def nearest(times, start_s, end_s, fps):
    """Numbers of the frames nearest to the ticks, ties to the earlier."""
    ticks, k = [], 0
    while (tick := Fraction(str(start_s)) + k / Fraction(str(fps))) < end_s:
        ticks.append(min(range(len(times)), key=lambda i: abs(times[i] - tick)))  # noqa: B023
        k += 1
    return ticks


@pytest.mark.parametrize("fps", [1, 4, 10, 24, 25, 29.97, 60])
def test_frames_are_the_nearest_ones(tmp_path, fps):
    path = make_media(tmp_path / "video.mp4", [numbered(i) for i in range(75)])
    times = [Fraction(i, 25) for i in range(75)]
    assert read_numbers(path, fps) == nearest(times, 0, 3, fps)
    assert read_numbers(path, fps, start_s=0.37, end_s=2.5) == nearest(
        times, 0.37, 2.5, fps
    )


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_of_a_variable_rate_are_the_nearest_ones(tmp_path, suffix):
    steps = np.random.default_rng(1).choice([20, 33, 40, 200, 700], 60)
    pts = [0, *np.cumsum(steps).tolist()]
    path = tmp_path / f"video.{suffix}"
    make_media(path, [numbered(i) for i in range(61)], pts=pts)
    times = [Fraction(time, 1000) for time in pts]
    for fps in (1, 7, 30):
        got = read_numbers(path, fps, end_s=pts[-1] / 1000)
        assert got == nearest(times, 0, times[-1], fps)
    start_s = pts[40] / 1000 + 0.011
    got = read_numbers(path, 30, start_s=start_s, end_s=pts[-1] / 1000)
    assert got == nearest(times, start_s, times[-1], 30)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg", "libvpx"])
def test_frames_come_in_order_from_every_codec(tmp_path, codec):
    suffix = "webm" if codec == "libvpx" else "mkv"
    options = {"bf": "2"} if codec == "mpeg4" else {}
    path = make_media(
        tmp_path / f"video.{suffix}",
        [numbered(i) for i in range(20)],
        video_codec=codec,
        video_options=options,
        pixels="yuvj420p" if codec == "mjpeg" else "yuv420p",
    )
    assert read_numbers(path, 25) == list(range(20))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264"])
def test_frames_after_a_seek_are_those_of_the_whole(tmp_path, suffix):
    """Open groups of 100 pictures; MPEG-TS seeks between them, raw H.264 not at all."""
    path = make_media(
        tmp_path / f"video.{suffix}",
        [numbered(i) for i in range(250)],
        gop=100,
        video_options={"x264-params": "open-gop=1:keyint=100:scenecut=0"},
    )
    for start in (51, 76, 101, 155, 240):
        got = read_numbers(path, 25, start_s=start / 25, end_s=start / 25 + 0.4)
        assert got == list(range(start, min(start + 10, 250)))


def test_frames_after_a_seek_do_not_decode_the_whole(tmp_path, monkeypatch):
    frames = [numbered(i) for i in range(250)]
    path = make_media(tmp_path / "video.mp4", frames, gop=25)
    decoded = []
    note_frame = Progress.note_frame
    monkeypatch.setattr(
        Progress, "note_frame", lambda *args: decoded.append(1) or note_frame(*args)
    )
    assert read_numbers(path, 25, start_s=8, end_s=8.2) == [200, 201, 202, 203, 204]
    assert len(decoded) < 90


def test_frames_share_the_clock_of_the_sound(tmp_path):
    """The picture starts half a second after the sound, and is told so."""
    path = make_media(
        tmp_path / "video.mkv",
        [numbered(i) for i in range(50)],
        with_chirp(2.5, 1.0),
        pts=[500 + 40 * i for i in range(50)],
    )
    assert find_chirp(media.read_waveform(path)) == pytest.approx(1.0, abs=0.001)
    expected = [0, 0, 0, 0, 0, 0, 2, 5, 7, 10]
    assert read_numbers(path, 10, end_s=1.0) == expected
    assert media.duration_s(path) == pytest.approx(2.5, abs=0.03)


def test_frames_that_start_anywhere_start_at_0(tmp_path):
    for suffix in ("ts", "mkv"):
        path = tmp_path / f"video.{suffix}"
        pts = [7000 + 40 * i for i in range(50)]
        make_media(path, [numbered(i) for i in range(50)], pts=pts)
        assert read_numbers(path, 25) == list(range(50))
        assert read_numbers(path, 25, start_s=1, end_s=1.1) == [25, 26, 27]
        assert media.duration_s(path) == pytest.approx(2, abs=0.05)


def test_frames_stop_at_the_end_of_the_video(tmp_path):
    path = make_media(tmp_path / "video.mp4", [numbered(i) for i in range(30)])
    assert len(media.read_frames(path, 10, end_s=99)) == 12
    assert len(media.read_frames(path, 10, start_s=1.15)) == 1
    assert list(media.iter_frames(path, 10, start_s=5)) == []
    with pytest.raises(media.MediaError, match="no frame"):
        media.read_frames(path, 10, start_s=5)


@pytest.mark.parametrize(
    "height, width, short_side, expected",
    [
        (240, 426, 224, (224, 397)),
        (426, 240, 224, (397, 224)),
        (64, 64, 32, (32, 32)),
        (46, 90, 112, (112, 219)),
        (33, 57, 16, (16, 27)),
        (33, 57, None, (33, 57)),
    ],
)
def test_frames_are_scaled_by_their_short_side(
    tmp_path, height, width, short_side, expected
):
    path = make_media(
        tmp_path / "video.mkv",
        [numbered(5, height, width)],
        video_codec="ffv1",
        pixels="yuv444p",
    )
    frames = media.read_frames(path, 25, short_side)
    assert frames.shape == (1, *expected, 3)
    assert frames.dtype == np.uint8
    assert read_number(frames[0]) == 5


def test_frames_are_cropped_around_their_centre(tmp_path):
    image = np.zeros((60, 100, 3), np.uint8)
    image[20:40, 40:60] = 255
    path = make_media(
        tmp_path / "video.mkv", [image], video_codec="ffv1", pixels="yuv444p"
    )
    (cut,) = media.iter_frames(path, 25, crop=20)
    assert cut.shape == (20, 20, 3) and cut.min() > 250
    (cut,) = media.iter_frames(path, 25, short_side=30, crop=30)
    assert cut.shape == (30, 30, 3)
    np.testing.assert_array_equal(cut, cut[::-1, ::-1])
    with pytest.raises(ValueError, match="crop is 61"):
        list(media.iter_frames(path, 25, crop=61))


@pytest.mark.parametrize("bad", [{"fps": 0}, {"fps": -1}, {"short_side": 0}])
def test_frames_with_senseless_numbers_are_refused(tmp_path, bad):
    path = make_media(tmp_path / "video.mp4", [numbered(0)])
    with pytest.raises(ValueError, match=next(iter(bad))):
        media.iter_frames(path, **{"fps": 1, **bad})
    with pytest.raises(ValueError, match="crop"):
        media.iter_frames(path, 1, short_side=20, crop=21)


@pytest.mark.parametrize(
    "pixel_shape, shown", [((16, 11), 620), ((640, 639), 426), ((4, 5), 341)]
)
def test_frames_have_square_pixels(tmp_path, pixel_shape, shown):
    """426x240 with 640:639 is how video platforms store 16:9."""
    path = make_media(
        tmp_path / "video.mp4",
        [numbered(9, 240, 426)],
        pixel_shape=Fraction(*pixel_shape),
    )
    assert media.read_frames(path, 25).shape == (1, 240, shown, 3)
    assert media.read_frames(path, 25, 120).shape == (1, 120, shown // 2, 3)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_upright(tmp_path, degrees):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48, 0] = image[:32, 48:, 1] = image[32:, :48, 2] = 255
    path = tmp_path / "video.mp4"
    make_media(path, [image] * 3, rotation=degrees, video_options={"crf": "1"})
    frame = media.read_frames(path, 1, short_side=32)[0]
    # A display matrix of +90 degrees turns the picture anticlockwise.
    expected = np.rot90(media.resize(image, 32, 48), degrees // 90)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("space, value_range", [(1, 1), (5, 1), (5, 2), (1, 2)])
def test_frames_have_the_colours_of_their_colour_space(tmp_path, space, value_range):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 50), (128, 128, 128)]
    image = np.repeat(np.array(colours, np.uint8)[None], 32, 1).repeat(32, 0)
    image = image.reshape(32, 160, 3)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(
        format="yuv444p",
        dst_colorspace="ITU709" if space == 1 else "ITU601",
        dst_color_range="JPEG" if value_range == 2 else "MPEG",
    )
    frame.pts, frame.colorspace, frame.color_range = 0, space, value_range
    path = str(tmp_path / "video.mp4")
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", 25, {"crf": "1"}, width=160, height=32)
        video.pix_fmt = "yuv444p"
        video.codec_context.colorspace = space
        video.codec_context.color_range = value_range
        container.mux(video.encode(frame))
        container.mux(video.encode())
    got = media.read_frames(path, 25)[0]
    assert np.abs(got[16, 16::32].astype(int) - colours).max() <= 4


def png(width, height, colour_type, *chunks):
    """An 8-bit PNG of the given chunks (name, content)."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        parts.append(struct.pack(">I", len(content)) + name + content)
        parts.append(struct.pack(">I", zlib.crc32(name + content)))
    return b"".join(parts)


def test_image_with_a_palette_keeps_its_transparency(tmp_path):
    content = png(
        3,
        1,
        3,
        (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 10, 20, 30])),
        (b"tRNS", bytes([0, 128])),
        (b"IDAT", zlib.compress(bytes([0, 0, 1, 2]))),
    )
    (tmp_path / "palette.png").write_bytes(content)
    expected = [[[255, 0, 0, 0], [0, 255, 0, 128], [10, 20, 30, 255]]]
    assert media.read_image(tmp_path / "palette.png").tolist() == expected


def test_images_with_a_colour_profile_do_not_break_the_process(tmp_path):
    """PyAV 18.1 frees such a frame's side data twice once anyone looks at it."""
    profile = b"name\0\0" + zlib.compress(bytes(500))
    pixels = zlib.compress(bytes(7))
    content = png(2, 1, 2, (b"iCCP", profile), (b"IDAT", pixels))
    (tmp_path / "profile.png").write_bytes(content)
    for _ in range(50):
        assert media.read_image(tmp_path / "profile.png").shape == (1, 2, 4)
    gc.collect()


def write_jpeg(path, image):
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuvj420p")
    path.write_bytes(b"".join(map(bytes, encoder.encode(frame) + encoder.encode())))


def test_jpeg_is_opaque_and_a_cut_one_refused(tmp_path):
    image = media.resize(noise(height=8, width=12), 128, 192)
    write_jpeg(tmp_path / "image.jpg", image)
    got = media.read_image(tmp_path / "image.jpg")
    assert got.shape == (128, 192, 4) and (got[..., 3] == 255).all()
    assert np.abs(got[..., :3].astype(int) - image).mean() < 10
    for share in (0.5, 0.9):
        path = cut(tmp_path / "image.jpg", tmp_path / "cut.jpg", share)
        with pytest.raises(media.MediaError, match="cut.jpg"):
            media.read_image(path)


def test_cut_png_is_refused(tmp_path):
    media.write_image(tmp_path / "image.png", noise())
    path = cut(tmp_path / "image.png", tmp_path / "cut.png", 0.8)
    with pytest.raises(media.MediaError, match="cut.png"):
        media.read_image(path)


@pytest.mark.parametrize("n_channels", [3, 4])
def test_resize_treats_channels_alike(n_channels):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, n_channels), np.uint8)
    for height, width in ((20, 30), (80, 120), (17, 61), (1, 1)):
        scaled = media.resize(image, height, width)
        assert scaled.shape == (height, width, n_channels) and scaled.dtype == np.uint8
        grey = media.resize(np.repeat(image[..., 1:2], 3, axis=2), height, width)
        assert np.abs(scaled[..., 1].astype(int) - grey[..., 1]).max() <= 2


def test_resize_averages_and_keeps_flat_colour():
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    small = media.resize(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), 8, 8)
    assert np.abs(small.astype(int) - 127).max() <= 3
    flat = np.full((30, 40, 4), (10, 200, 30, 77), np.uint8)
    assert np.abs(media.resize(flat, 45, 31).astype(int) - flat[0, 0]).max() <= 1


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_resize_refuses_what_is_no_image(image):
    with pytest.raises(ValueError, match="expected uint8"):
        media.resize(image, 2, 2)

"""Files written by media.write_* hold what went in."""

import os
import subprocess
import sys

import av
import numpy as np
import pytest
from made_media import (
    find_chirp,
    level,
    noise,
    numbered,
    read_numbers,
    sine,
    with_chirp,
)

from avl_tf import media


@pytest.mark.parametrize("n_channels", [3, 4])
def test_image_comes_back_as_it_was_written(tmp_path, n_channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (33, 47, n_channels), np.uint8)
    media.write_image(tmp_path / "image.png", image)
    got = media.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(got[..., :n_channels], image)
    if n_channels == 3:
        assert (got[..., 3] == 255).all()


def test_a_name_that_ends_in_jpg_becomes_a_jpeg(tmp_path):
    image = np.full((36, 64, 3), (200, 40, 90), np.uint8)
    media.write_image(tmp_path / "image.jpg", image)
    assert (tmp_path / "image.jpg").read_bytes().startswith(b"\xff\xd8")
    got = media.read_image(tmp_path / "image.jpg")[..., :3]
    assert np.abs(got.astype(int) - image).max() < 8
    with pytest.raises(ValueError, match="has no alpha"):
        media.write_image(tmp_path / "alpha.jpg", np.zeros((8, 8, 4), np.uint8))


def test_written_video_holds_what_went_in(tmp_path):
    path = tmp_path / "video.mp4"
    frames = (numbered(i) for i in range(60))
    waveform = with_chirp(6, 3.2, 16000).astype(np.float32)
    waveform += sine(6, 0.1, 16000).astype(np.float32)
    media.write_video(path, frames, 10, waveform)
    assert read_numbers(path, 10) == list(range(60))
    assert media.duration_s(path) == pytest.approx(6, abs=0.01)
    got = media.read_waveform(path)
    assert len(got) == len(waveform)
    assert find_chirp(got) == pytest.approx(3.2, abs=0.001)
    assert level(got[:32000]) == pytest.approx(0.1, rel=0.01)
    media.write_video(path, [numbered(1)] * 80, 10, waveform)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        keys = [
            p.pts * stream.time_base for p in container.demux(stream) if p.is_keyframe
        ]
    assert max(np.diff([*keys, 8])) <= 5


def test_written_video_is_the_same_every_time(tmp_path):
    waveform = sine(1, rate=16000).astype(np.float32)
    for name in ("one.mp4", "two.mp4"):
        frames = [noise(i) for i in range(10)]
        media.write_video(tmp_path / name, frames, 10, waveform)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


@pytest.mark.parametrize("n_seconds", [0.0, 0.5, 4.0])
def test_written_video_takes_sound_of_another_length(tmp_path, n_seconds):
    path = tmp_path / "video.mp4"
    waveform = sine(n_seconds, rate=16000).astype(np.float32)
    media.write_video(path, [numbered(i) for i in range(20)], 10, waveform)
    assert read_numbers(path, 10) == list(range(20))
    if n_seconds:
        assert len(media.read_waveform(path)) == pytest.approx(len(waveform), abs=32)


@pytest.mark.parametrize(
    "frames, fps, sound, sample_rate, message",
    [
        ([], 10, np.zeros(9), 16000, "no frame"),
        ([noise(height=63)], 10, np.zeros(9), 16000, "even"),
        ([noise(width=95)], 10, np.zeros(9), 16000, "even"),
        ([noise()] * 40 + [noise(height=32)], 10, np.zeros(9), 16000, "frame 40"),
        ([noise(), noise() / 255.0], 10, np.zeros(9), 16000, "uint8"),
        ([noise()], 0, np.zeros(9), 16000, "fps"),
        ([noise()], 10, np.zeros((2, 9)), 16000, "waveform"),
        ([noise()], 10, np.full(9, np.nan), 16000, "finite"),
        ([noise()], 10, np.zeros(9), 17000, "17000"),
    ],
)
def test_a_video_that_cannot_be_written_leaves_the_old_file(
    tmp_path, frames, fps, sound, sample_rate, message
):
    path = tmp_path / "video.mp4"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        media.write_video(path, frames, fps, sound, sample_rate)
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]
    assert path.read_text() == "old"


def test_written_wav_comes_back_to_the_sample(tmp_path):
    waveform = np.random.default_rng(0).normal(0, 0.5, 5000).astype(np.float32)
    media.write_wav(tmp_path / "sound.wav", waveform, 16000)
    got = media.read_waveform(tmp_path / "sound.wav")
    assert np.abs(got - np.clip(waveform, -1, 1)).max() <= 2**-15
    media.write_wav(tmp_path / "again.wav", got, 16000)
    np.testing.assert_array_equal(media.read_waveform(tmp_path / "again.wav"), got)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "again.wav",
        "sound.wav",
    ]


_WRITE = """
import sys
import numpy as np
from avl_tf import media
random = np.random.default_rng(0)
def frames():
    for _ in range(5):
        frame = np.full((240, 320, 3), random.integers(40, 215, 3), np.uint8)
        frame[20:220, 60:260] = random.integers(0, 256, (200, 200, 3))
        for _ in range(10):
            yield frame
sound = random.uniform(-0.5, 0.5, 80000).astype(np.float32)
media.write_video(sys.argv[1], frames(), 10, sound)
"""


def test_a_videos_bytes_do_not_depend_on_what_was_in_memory(tmp_path):
    # The C library fills what is allocated with the complement of this byte. Before
    # x264 was kept from AVX-512, a 1 gave other videos on a processor that has it.
    made = []
    for fill in ("0", "1", "170"):
        path = tmp_path / f"{fill}.mp4"
        environment = {**os.environ, "MALLOC_PERTURB_": fill}
        subprocess.run(
            [sys.executable, "-c", _WRITE, str(path)], env=environment, check=True
        )
        made.append(path.read_bytes())
    assert made[0] == made[1] == made[2]

"""Sound and frames in one pass are what each of them is by itself."""

import av
import numpy as np
import pytest
from made_media import cut, make_media, noise, numbered, read_number, sine, with_chirp

from avl_tf import media
from avl_tf.media.progress import Progress

VIEWS = [media.View(1), media.View(24, 32, 32)]
SPANS = [(0.0, None), (0.72, 3.1), (6.32, 8.9), (9.52, None)]


def decode(path, *span):
    sound, frames = [], [[] for _ in VIEWS]
    for index, array in media.decode(path, 16000, VIEWS, *span):
        (sound if index is None else frames[index]).append(array)
    return np.concatenate(sound), frames


@pytest.fixture(scope="module", params=["mp4", "mkv", "ts", "avi"])
def path(request, tmp_path_factory):
    return make_media(
        tmp_path_factory.mktemp("decode") / f"video.{request.param}",
        [numbered(i) for i in range(250)],
        with_chirp(10, 7.5),
        gop=50,
        audio_codec="mp3" if request.param == "avi" else "aac",
    )


@pytest.mark.parametrize("span", SPANS)
def test_one_pass_gives_what_two_passes_give(path, span):
    sound, frames = decode(path, *span)
    expected = np.rint(media.read_waveform(path, 16000, *span) * 32768)
    assert np.array_equal(sound, expected)
    for view, found in zip(VIEWS, frames, strict=True):
        alone = media.read_frames(path, view.fps, view.short_side, view.crop, *span)
        assert np.array_equal(found, alone)
    # MPEG-TS and AVI shift the pictures by their codecs' delay.
    assert read_number(frames[0][0]) == pytest.approx(25 * span[0], abs=4)


def count_decoded(monkeypatch):
    decoded = {"audio": 0, "video": 0}
    note_frame = Progress.note_frame

    def count(self, frame):
        decoded[self.stream.type] += 1
        return note_frame(self, frame)

    monkeypatch.setattr(Progress, "note_frame", count)
    return decoded


def test_every_frame_is_decoded_once_for_all_views(path, monkeypatch):
    decoded = count_decoded(monkeypatch)
    decode(path)
    assert decoded["video"] == 250
    assert decoded["audio"] < 480


def test_a_span_does_not_decode_the_whole_video(path, monkeypatch):
    decoded = count_decoded(monkeypatch)
    decode(path, 7.0, 7.2)
    assert decoded["video"] < 190


def test_a_missing_stream_or_a_cut_file_is_refused(tmp_path):
    frames = [numbered(i) for i in range(150)]
    silent = make_media(tmp_path / "silent.mp4", frames)
    with pytest.raises(media.MediaError, match="no audio stream"):
        list(media.decode(silent, 16000, VIEWS))
    blind = make_media(tmp_path / "blind.mp4", sound=with_chirp(6, 1))
    with pytest.raises(media.MediaError, match="no video stream"):
        list(media.decode(blind, 16000, VIEWS))
    whole = make_media(tmp_path / "whole.mkv", frames, with_chirp(6, 1))
    path = cut(whole, tmp_path / "cut.mkv", 0.5)
    with pytest.raises(media.MediaError, match=r"cut.mkv: decodes only to [0-4]\.\d s"):
        list(media.decode(path, 16000, VIEWS))


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_damage_of_either_stream_is_told(tmp_path, kind):
    path = make_media(tmp_path / "video.mp4", [noise(i) for i in range(150)], sine(6))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.best(kind)):
            if packet.size and 3 < packet.pts * packet.time_base < 3.2:
                random = np.random.default_rng(0).bytes(packet.size)
                content[packet.pos : packet.pos + packet.size] = random
    path.write_bytes(content)
    with pytest.raises(media.MediaError, match=r"decodes only to [23]\.\d s of 6"):
        list(media.decode(path, 16000, VIEWS))
    # What a span does not need is not judged.
    list(media.decode(path, 16000, VIEWS, 0.0, 1.5))


def test_sound_that_ends_early_does_not_end_the_frames(tmp_path):
    frames = [numbered(i) for i in range(150)]
    path = make_media(tmp_path / "video.mp4", frames, with_chirp(2, 1))
    sound, pictures = decode(path)
    assert len(sound) == pytest.approx(32000, abs=1024)
    assert [read_number(frame) for frame in pictures[0]] == [0, 25, 50, 75, 100, 125]
    sound = [a for i, a in media.decode(path, 16000, VIEWS, 4.0) if i is None]
    assert not sound

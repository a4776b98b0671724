"""Decoding what is needed gives the pictures that decoding all gives."""

import av
import numpy as np
import pytest
from made_media import make_media, numbered, sine

from avl_tf import media
from avl_tf.media import sparing
from avl_tf.media.progress import Progress

_VIEWS = (media.View(1), media.View(0.4))
_X264 = "bframes=3:b-adapt=0:scenecut=0"
_BLOTS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
_JITTER = np.cumsum(np.random.default_rng(1).choice([17, 40, 93], 149)).tolist()
# What is made, and whether anything can be left out.
KINDS = {
    "closed.mp4": ({"gop": 40, "video_options": {"x264-params": _X264}}, True),
    "closed.mkv": ({"gop": 40, "video_options": {"x264-params": _X264}}, True),
    "closed.ts": ({"gop": 40, "video_options": {"x264-params": _X264}}, True),
    "open.mp4": (
        {"gop": 20, "video_options": {"x264-params": _X264 + ":open-gop=1"}},
        True,
    ),
    "short.mp4": ({"gop": 4}, True),
    "long.mp4": ({"gop": 1000, "video_options": {"x264-params": _X264}}, True),
    "refresh.mp4": (
        {"gop": 20, "video_options": {"x264-params": _X264 + ":intra-refresh=1"}},
        True,
    ),
    "interlaced.mp4": (
        {"gop": 40, "video_options": {"x264-params": _X264 + ":interlaced=1"}},
        False,
    ),
    "jitter.mp4": ({"gop": 30, "pts": [0, *_JITTER]}, True),
    "mpeg4.mp4": ({"gop": 12, "video_codec": "mpeg4", "video_options": {}}, True),
    "vp9.webm": (
        {
            "gop": 20,
            "video_codec": "libvpx-vp9",
            "video_options": {"deadline": "realtime", "cpu-used": "8"},
            "audio_codec": "libopus",
            "rate": 48000,
        },
        True,
    ),
    "bframes.avi": (
        {"gop": 40, "video_options": {"x264-params": _X264}, "audio_codec": "mp3"},
        False,
    ),
}
SPANS = [(0.0, None), (3.3, 4.9)]


def moving(number):
    """Part of a picture that moves: what refers to nothing would be seen at once."""
    return np.roll(_BLOTS, 3 * number, 1) // 2 + numbered(number) // 2


def decode(path, *span, views=_VIEWS, sparing):
    parts = {}
    for index, array in media.decode(path, 16000, views, *span, sparing=sparing):
        if array is None:
            parts.pop(index, None)
        else:
            parts.setdefault(index, []).append(array)
    return {index: np.concatenate(arrays) for index, arrays in parts.items()}


@pytest.fixture
def decoded(monkeypatch):
    times = []
    note_frame = Progress.note_frame

    def count(self, frame):
        timed = note_frame(self, frame)
        times.extend([timed.time] * (self.stream.type == "video"))
        return timed

    monkeypatch.setattr(Progress, "note_frame", count)
    return times


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_and_sound_are_the_same(tmp_path, decoded, kind):
    settings, spares = KINDS[kind]
    rate = settings.get("rate", 44100)
    frames = [moving(i) for i in range(150)]
    path = make_media(tmp_path / kind, frames, sine(6, rate=rate), **settings)
    for span in SPANS:
        whole = decode(path, *span, sparing=False)
        n_all = len(decoded)
        decoded.clear()
        found = decode(path, *span, sparing=True)
        assert found.keys() == whole.keys()
        for index, expected in whole.items():
            assert np.array_equal(found[index], expected)
        if span == (0.0, None):
            assert (len(decoded) < 0.85 * n_all) == spares
        decoded.clear()


def test_at_a_high_rate_all_is_the_same(tmp_path):
    path = make_media(
        tmp_path / "video.mp4", [moving(i) for i in range(60)], sine(2.4), gop=20
    )
    for views in ([media.View(30)], [media.View(1), media.View(7, 32, 32)]):
        whole, found = (decode(path, views=views, sparing=one) for one in (0, 1))
        for index, expected in whole.items():
            assert np.array_equal(found[index], expected)


@pytest.fixture
def damaged(tmp_path):
    """Makes a video of which the packets of a span are noise."""
    path = make_media(
        tmp_path / "video.mp4",
        [moving(i) for i in range(200)],
        sine(8),
        gop=50,
        video_options={"x264-params": _X264},
    )

    def damage(begin_s, end_s):
        content = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.size and begin_s < packet.pts * packet.time_base < end_s:
                    # Behind what a parser reads.
                    begin, end = packet.pos + 60, packet.pos + packet.size
                    content[begin:end] = np.random.default_rng(0).bytes(end - begin)
        path.write_bytes(content)
        return path

    return damage


def test_damage_where_it_is_looked_at_is_told_as_ever(damaged):
    path, messages = damaged(4.1, 4.9), []
    for one in (False, True):
        with pytest.raises(media.MediaError) as caught:
            decode(path, sparing=one)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_damage_where_nobody_looks_passes(damaged):
    # Second 5 is the last that is wanted of the pictures from 4 to 6.
    whole = decode(damaged(9, 9), sparing=False)
    path = damaged(5.3, 5.9)
    with pytest.raises(media.MediaError, match="decodes only to 5"):
        decode(path, sparing=False)
    found = decode(path, sparing=True)
    assert np.array_equal(found[0], whole[0])


def test_a_wanted_frame_that_does_not_come_is_no_loss(tmp_path, monkeypatch, decoded):
    path = make_media(
        tmp_path / "video.mp4", [moving(i) for i in range(150)], sine(6), gop=50
    )
    whole = decode(path, sparing=False)
    monkeypatch.setattr(sparing, "_WARM_UP_S", 0)
    monkeypatch.setattr(
        sparing.Sparing, "_begins", lambda self, packet: packet.pts > 10_000
    )
    begun = sparing.Sparing._sending

    def lost(self, held):
        packet = begun(self, held)
        if self._awaited:  # a decoder that leaves out the wanted ones
            self._context.skip_frame = "NONKEY"
        return packet

    monkeypatch.setattr(sparing.Sparing, "_sending", lost)
    decoded.clear()
    found = decode(path, sparing=True)
    assert np.array_equal(found[0], whole[0])
    assert len(decoded) > 150  # all, after some

"""A file is opened, and no other: what is a list of files or addresses is refused."""

import pathlib
import shutil
import socket
import struct

import av
import numpy as np
import pytest
from made_media import make_media, noise, numbered, read_number, sine
from PIL import Image

from avl_tf import media
from avl_tf.manifest import media_files
from avl_tf.media import formats

READERS = [
    media.read_waveform,
    media.read_image,
    media.duration_s,
    media.has_sound,
    lambda path: media.read_frames(path, 1),
]
HLS = """#EXTM3U
#EXT-X-TARGETDURATION:8
#EXTINF:8,
{}
#EXT-X-ENDLIST
"""
SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=x
c=IN IP4 127.0.0.1
t=0 0
m=video {port} RTP/AVP 96
a=rtpmap:96 H264/90000
"""
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT1S"
 mediaPresentationDuration="PT8S" profiles="urn:mpeg:dash:profile:isoff-main:2011">
<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">
<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""
LISTS = {
    "list.m3u8": HLS,
    "list.mp4": HLS,
    "concat.mp4": "ffconcat version 1.0\nfile '{}'\n",
    "unsafe.mkv": "ffconcat version 1.0\noption safe 0\nfile {}\nduration 8\n",
    "list.mpd": DASH,
    "list.sdp": SDP,
    "list.wav": SDP,
    "list.smil": "<smil><body><video src='{}'/></body></smil>",
    "list.asx": "<asx version='3.0'><entry><ref href='{}'/></entry></asx>",
    "list.pls": "[playlist]\nFile1={}\nNumberOfEntries=1\nVersion=2\n",
    "list.m3u": "#EXTM3U\n#EXTINF:8,x\n{}\n",
    "reference.mov": "RTSPtext\r{}\r",
    "list.svg": "<svg xmlns='http://www.w3.org/2000/svg'><image href='{}'/></svg>",
    "list.xspf": "<playlist><trackList><track><location>{}</location></track>"
    "</trackList></playlist>",
}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "video.mp4"
    return make_media(path, [numbered(n) for n in range(50)], sine(2))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("by", ["path", "relative", "url", "subfile"])
def test_what_names_other_files_is_refused(tmp_path, video, name, by, capfd):
    shutil.copy(video, tmp_path / "video.mp4")
    named = {
        "path": f"{video}",
        "relative": "video.mp4",
        "url": f"file:{video}",
        "subfile": f"subfile,,start,0,end,0,,:{video}",
    }[by]
    (tmp_path / name).write_text(LISTS[name].format(named, port=5004))
    for read in READERS:
        with pytest.raises(media.MediaError) as error:
            read(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["list.m3u8", "concat.mp4", "list.sdp"])
def test_a_list_is_called_one(tmp_path, name):
    (tmp_path / name).write_text(LISTS[name].format(tmp_path / name, port=5004))
    with pytest.raises(media.MediaError, match="a playlist .* names other files"):
        media.duration_s(tmp_path / name)


@pytest.mark.parametrize("name", ["list.mp4", "list.mkv", "list"])
def test_a_list_under_the_name_of_a_video_is_called_one(tmp_path, name):
    (tmp_path / name).write_text(HLS.format("video.mp4"))
    with pytest.raises(media.MediaError, match=r"a playlist \(hls\) that names"):
        media.duration_s(tmp_path / name)


@pytest.fixture
def listener():
    """Yields a port of this machine, and ends the test if anyone called there."""
    with (
        socket.create_server(("127.0.0.1", 0)) as stream,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        port = stream.getsockname()[1]
        datagram.bind(("127.0.0.1", port))
        yield port
        for one in (stream, datagram):
            one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            stream.accept()
        with pytest.raises(TimeoutError):
            datagram.recv(1)


@pytest.mark.parametrize("protocol", ["http", "tcp", "rtsp", "udp", "ftp", "hls+http"])
def test_nothing_is_connected_to(tmp_path, listener, protocol):
    url = f"{protocol}://127.0.0.1:{listener}/video.mp4"
    for name, text in LISTS.items():
        (tmp_path / name).write_text(text.format(url, port=listener))
        with pytest.raises(media.MediaError):
            media.read_waveform(tmp_path / name)


def _with_data_elsewhere(content, path):
    """An MP4 without its data, whose tracks say that it is in another file."""
    text = str(path).replace("/", ":").encode()
    alias = bytes(10) + b"\1x" + bytes(26 + 12) + b"\1y" + bytes(62 + 16)
    alias += struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(text)) + text + bytes(len(text) % 2)
    alias += b"\xff\xff\0\0" + bytes(40)
    box = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    changed, at = bytearray(content), 0
    data = changed.index(b"mdat") + 4
    length = struct.unpack_from(">I", changed, data - 8)[0] - 8
    changed[data : data + length] = bytes(length)
    while (at := changed.find(b"dref", at + 1)) >= 0:
        old = at + 12
        growth = len(box) - struct.unpack_from(">I", changed, old)[0]
        changed[old : old + len(box) - growth] = box
        for outer in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
            size = changed.rindex(outer, 0, at + 4) - 4
            before = struct.unpack_from(">I", changed, size)[0]
            struct.pack_into(">I", changed, size, before + growth)
    return bytes(changed)


def test_data_elsewhere_is_not_fetched(tmp_path, video):
    """QuickTime's references: a track whose data is in another file."""
    (tmp_path / "folder").mkdir()
    shutil.copy(video, tmp_path / "folder" / "secret.mp4")
    path = tmp_path / "folder" / "reference.mov"
    secret = tmp_path / "folder" / "secret.mp4"
    path.write_bytes(_with_data_elsewhere(video.read_bytes(), secret))
    followed = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), options=followed) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50
    for read in (media.read_waveform, lambda path: media.read_frames(path, 5)):
        with pytest.raises(media.MediaError, match="reference.mov: "):
            read(path)


def test_only_the_file_itself_is_opened(tmp_path, video, monkeypatch):
    names = []
    original = av.open

    def counted(file, *args, **kwargs):
        names.append(file.name)
        return original(file, *args, **kwargs)

    monkeypatch.setattr(av, "open", counted)
    path = tmp_path / "loop.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{path}'\n")
    descriptors = pathlib.Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        with pytest.raises(media.MediaError, match="playlist"):
            media.duration_s(path)
        assert media.duration_s(video) > 1
        assert len(media.read_frames(video, 1)) == 2
    assert len(list(descriptors.iterdir())) == before
    # FFmpeg never sees a name that it could open.
    assert names == ["media.mp4"] * 60


@pytest.mark.parametrize(
    "name", ["a%d.png", "a%03d.jpg", "%d.webp", "a*.png", "a?.png"]
)
def test_a_name_is_no_pattern(tmp_path, name):
    for index, value in enumerate((10, 120, 240)):
        numbered_name = name.replace("%d", str(index)).replace("%03d", f"{index:03d}")
        numbered_name = numbered_name.replace("*", str(index)).replace("?", str(index))
        Image.new("RGB", (8, 6), (value,) * 3).save(tmp_path / numbered_name)
    with pytest.raises(FileNotFoundError):
        media.read_image(tmp_path / name)
    Image.new("RGB", (9, 7), (77,) * 3).save(tmp_path / name)
    image = media.read_image(tmp_path / name)
    assert image.shape == (7, 9, 4) and abs(int(image[0, 0, 0]) - 77) <= 2
    assert media.is_image(tmp_path / name)


# Suffix -> FFmpeg's codecs of pictures and of sound, for what this FFmpeg can write.
WRITTEN = {
    **dict.fromkeys(
        ".mp4 .mov .m4v .3gp .mkv .ts .mts .m2ts .flv .f4v".split(), "h264"
    ),
    **dict.fromkeys(".avi .3g2 .asf .wmv".split(), "mpeg4"),
    **dict.fromkeys(".mpg .mpeg .vob .m2v .mxf".split(), "mpeg2video"),
    ".webm": "libvpx",
    ".mjpeg": "mjpeg",
    ".rm": "rv10",
    ".ogv": "libtheora",
}
HEARD = {
    ".wav": "pcm_s16le",
    ".flac": "flac",
    ".mp3": "mp3",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".oga": "flac",
    ".m4a": "aac",
    ".aac": "aac",
    ".wma": "wmav2",
    ".aif": "pcm_s16be",
    ".aiff": "pcm_s16be",
    ".ac3": "ac3",
    ".au": "pcm_s16be",
    ".caf": "pcm_s16be",
    ".mka": "flac",
    ".mp2": "mp2",
    ".wv": "wavpack",
    ".voc": "pcm_u8",
    ".spx": "libopus",
}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_videos_of_every_suffix_are_still_read(tmp_path, suffix):
    codec = WRITTEN[suffix]
    if codec not in av.codecs_available:
        codec = {"h264": "libx264"}.get(codec, codec)
    try:
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        height, width = (144, 176) if suffix in (".3gp", ".3g2", ".rm") else (240, 320)
        images = [numbered(n, height, width) for n in range(30)]
        path = make_media(
            tmp_path / f"a{suffix}",
            images,
            video_codec=codec,
            pixels=pixels,
            gop=12,
        )
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"cannot be written here: {error}")
    assert read_number(media.read_frames(path, 25)[5]) in (4, 5, 6)


@pytest.mark.parametrize("suffix", HEARD)
def test_sound_of_every_suffix_is_still_read(tmp_path, suffix):
    try:
        path = make_media(
            tmp_path / f"a{suffix}", sound=sine(1), audio_codec=HEARD[suffix]
        )
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"cannot be written here: {error}")
    assert np.abs(media.read_waveform(path)).max() > 0.3


@pytest.mark.parametrize("suffix", media_files.IMAGE_SUFFIXES)
@pytest.mark.parametrize("side", [24, 400])
def test_images_of_every_suffix_are_still_read(tmp_path, suffix, side):
    path = tmp_path / f"a{suffix}"
    kind = {".jfif": "JPEG", ".pgm": "PPM", ".tif": "TIFF"}.get(suffix)
    image = Image.fromarray(noise(1, side, side + 8))
    image = image.convert("L") if suffix == ".pgm" else image
    image.save(path, kind)
    for name in (path, path.rename(tmp_path / "no-suffix"), tmp_path / "wrong.mp4"):
        if not name.exists():
            shutil.copy(tmp_path / "no-suffix", name)
        assert media.read_image(name).shape == (side, side + 8, 4)
        assert media.is_image(name)


@pytest.mark.parametrize(
    "name",
    ["hls", "concat", "dash", "sdp", "image2", "lavfi", "tty", "srt", "svg_pipe"],
)
def test_what_must_not_be_read_is_not_on_the_list(name):
    assert name not in formats.READ
    assert name in formats.refusal(name)

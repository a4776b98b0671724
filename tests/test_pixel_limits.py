"""A header that claims a huge picture costs neither time nor memory, but one line."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from made_media import make_media, noise, numbered
from PIL import Image
from test_media import png

from avl_tf import media, still_images
from avl_tf.backbones import Backbone
from avl_tf.extraction import extract
from avl_tf.manifest import Recording
from avl_tf.media import Limits
from avl_tf.records import Record
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import listening

SMALL = Limits(max_megapixels=1, max_video_megapixels=1)


def _blank_png(width, height, colour_type=2):
    """A PNG that is whole, black, and a thousandth of its pixels' size."""
    row = bytes(1 + {0: 1, 2: 3, 6: 4}[colour_type] * width)
    packer = zlib.compressobj(9)
    packed = [packer.compress(row) for _ in range(height)] + [packer.flush()]
    return png(width, height, colour_type, (b"IDAT", b"".join(packed)))


def _encoded(kind, **settings):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 99, 200)).save(buffer, kind, **settings)
    return bytearray(buffer.getvalue())


def _claiming(kind, width, height):
    """A small image file whose header claims another size."""
    if kind == "png":
        return png(width, height, 2, (b"IDAT", zlib.compress(bytes(1000))))
    if kind == "ppm":
        return b"P6\n%d %d\n255\n" % (width, height) + bytes(1000)
    if kind == "y4m":
        head = b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\nFRAME\n" % (width, height)
        return head + bytes(1000)
    if kind == "jpg":
        content = _encoded("JPEG")
        struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    elif kind == "gif":
        content = _encoded("GIF")
        at = content.rindex(b",\0\0\0\0") + 5
        for place in (6, at):
            struct.pack_into("<HH", content, place, width, height)
    elif kind == "bmp":
        content = _encoded("BMP")
        struct.pack_into("<ii", content, 18, width, height)
    elif kind == "webp":
        content = _encoded("WEBP", lossless=True)
        struct.pack_into("<I", content, 21, (width - 1) | (height - 1) << 14)
    elif kind == "tif":
        content = _encoded("TIFF")
        (first,) = struct.unpack_from("<I", content, 4)
        for entry in range(struct.unpack_from("<H", content, first)[0]):
            at = first + 2 + 12 * entry
            tag = struct.unpack_from("<H", content, at)[0]
            size = {0x100: width, 0x101: height, 0x116: height}.get(tag)
            if size:
                struct.pack_into("<HII", content, at + 2, 4, 1, size)
    return bytes(content)


@pytest.mark.parametrize("size", [(65_500, 65_500), (16_000, 16_000), (16_383, 9_000)])
@pytest.mark.parametrize(
    "kind", ["png", "jpg", "gif", "bmp", "webp", "tif", "ppm", "y4m"]
)
def test_a_claim_is_refused_within_bounded_memory(tmp_path, kind, size):
    if kind == "webp":
        size = tuple(min(side, 16_384) for side in size)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(_claiming(kind, *size))
    # In a process that may not grow by more than 300 MB.
    script = (
        "import resource, sys\n"
        "from avl_tf import media\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size + 300_000_000,) * 2)\n"
        "for read in (media.read_image, lambda p: list(media.iter_frames(p, 1, 64))):\n"
        "    try:\n"
        "        read(sys.argv[1])\n"
        "    except media.MediaError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"{path}: ") for line in lines)
    if kind in ("png", "bmp", "webp", "tif", "gif"):
        claim = f"a picture of {size[0]:,} x {size[1]:,} pixels, more than the "
        assert claim + "100 million of --max_megapixels" in lines[0]


def test_a_whole_image_is_judged_by_its_pixels(tmp_path):
    path = tmp_path / "a.png"
    for width, height, colour_type in ((1000, 1000, 2), (999, 1001, 6), (1, 5000, 0)):
        path.write_bytes(_blank_png(width, height, colour_type))
        assert media.read_image(path, SMALL).shape == (height, width, 4)
    for width, height in ((1001, 1000), (1000, 1001), (1, 1_000_001)):
        path.write_bytes(_blank_png(width, height))
        expected = (
            f"a picture of {width:,} x {height:,} pixels, more than the 1 million"
        )
        for read in (media.read_image, still_images.read, media.orientation):
            with pytest.raises(media.MediaError, match=expected):
                read(path, SMALL)
        assert media.is_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif", "bmp", "gif", "avif"])
def test_the_limit_is_the_same_for_every_format(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    settings = {"speed": 10} if suffix == "avif" else {}
    Image.new("RGB", (1200, 900)).save(path, **settings)
    with pytest.raises(media.MediaError, match=r"1,200 x 900 .*--max_megapixels"):
        media.read_image(path, SMALL)
    assert media.read_image(path, Limits(2)).shape == (900, 1200, 4)
    finding, _ = listening.examine(
        {"id": "a", "media": str(_sound(tmp_path)), "image": str(path)}, SMALL
    )
    assert finding and finding.kind == "dead" and "--max_megapixels" in finding.detail


def _sound(folder):
    media.write_wav(folder / "a.wav", np.full(1600, 0.5, np.float32), 16000)
    return folder / "a.wav"


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"),
        ("mkv", "libx264"),
        ("ts", "libx264"),
        ("avi", "mpeg4"),
        ("webm", "libvpx"),
        ("mov", "mjpeg"),
        ("avi", "rawvideo"),
    ],
)
def test_videos_have_a_limit_of_their_own(tmp_path, suffix, codec):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    image = numbered(3, 900, 1200)
    path = make_media(
        tmp_path / f"a.{suffix}", [image] * 3, video_codec=codec, pixels=pixels
    )
    expected = r"1,200 x 900 pixels, more than the 1 million of --max_video_megapixels"
    with pytest.raises(media.MediaError, match=expected):
        media.read_frames(path, 25, limits=SMALL)
    assert len(media.read_frames(path, 25, 32, limits=Limits(1, 2))) == 3


def test_a_video_that_grows_on_the_way_is_refused(tmp_path):
    small = make_media(tmp_path / "a.ts", [noise(0, 48, 64)] * 100)
    large = make_media(tmp_path / "b.ts", [numbered(1, 960, 1280)] * 100)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    for allow_truncated in (False, True):
        frames = media.iter_frames(
            path, 25, 32, allow_truncated=allow_truncated, limits=SMALL
        )
        with pytest.raises(media.MediaError, match="1,280 x 960 pixels, more than"):
            list(frames)
    assert len(media.read_frames(path, 5, 32, allow_truncated=True)) > 30


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 301)])
def test_a_strip_is_not_scaled_by_its_shorter_side(tmp_path, size):
    path, strip = tmp_path / "a.png", r"its longer side is more than 100 times"
    path.write_bytes(_blank_png(*size))
    with pytest.raises(media.MediaError, match=strip):
        media.read_frames(path, 1, short_side=224)
    backbone = Backbone("any", 1, 1, 224, None, 1, "", lambda frames: frames)
    image = still_images.read(path)
    with pytest.raises(ValueError, match=strip):
        still_images.as_frame(image, backbone)
    with pytest.raises(ValueError, match=strip):
        list(media.pick_frames(image[np.newaxis], 1, media.View(1, 224)))
    assert media.read_frames(path, 25).shape == (1, size[1], size[0], 3)
    assert still_images.as_jpeg(str(path), image)[:2] == b"\xff\xd8"


def test_what_a_view_makes_is_bounded(tmp_path):
    path = make_media(tmp_path / "a.mp4", [numbered(3)] * 3)
    with pytest.raises(media.MediaError, match=r"150,000 x 100,000 pixels, more than"):
        media.read_frames(path, 25, short_side=100_000)
    assert media.read_frames(path, 25, short_side=640).shape == (3, 640, 960, 3)


def test_a_side_that_no_jpeg_can_hold_is_told(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(_blank_png(66_000, 2))
    with pytest.raises(media.MediaError, match="66,000 x 2 pixels, of which no JPEG"):
        still_images.as_jpeg(str(path), still_images.read(path))


def test_memory_is_in_proportion_to_the_pixels(tmp_path):
    """Twenty million pixels, with alpha: 14 bytes a pixel and not 65."""
    (tmp_path / "a.png").write_bytes(_blank_png(5000, 4000, 6))
    script = (
        "import resource, sys\n"
        "from avl_tf import still_images\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "assert still_images.read(sys.argv[1]).shape == (4000, 5000, 3)\n"
        "print((peak() - before) * 1024)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 14 * 20_000_000


def test_extraction_passes_its_limits_on(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(_blank_png(1100, 1000))
    recording = Recording("a", str(_sound(tmp_path)), str(path))
    outcomes = [
        next(extract([recording], ExtractionConfig("", keep_images=True, limits=one)))
        for one in (Limits(), SMALL)
    ]
    assert isinstance(outcomes[0], Record) and outcomes[0].image
    assert "1,100 x 1,000 pixels" in outcomes[1]["reason"]

"""Pictures are turned and mirrored as a viewer shows them, in eight orientations."""

import pathlib
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from made_media import make_media
from PIL import Image, ImageOps
from test_media import png

from avl_tf import media, still_images

CASES = pathlib.Path(__file__).parent / "data" / "cases"
# EXIF's number -> a, b, c, d of a display matrix: x' = a x + c y, y' = b x + d y.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def _picture(width=96, height=64):
    """Four colours, so that no turn and no mirror image of it is the same."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (250, 20, 20)
    image[height // 2 :, : width // 2] = (20, 250, 20)
    image[: height // 2, width // 2 :] = (20, 20, 250)
    return image


def _shown(image, orientation):
    """The picture as Pillow turns and mirrors it."""
    shown = Image.fromarray(image)
    shown.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(shown))


def _unlike(image, expected):
    assert image.shape[:2] == expected.shape[:2]
    return np.abs(image[..., :3].astype(int) - expected).mean()


def _matrix(orientation):
    a, b, c, d = (one << 16 for one in MATRICES[orientation])
    return [a, b, 0, c, d, 0, 0, 0, 1 << 30]


def _exif(orientation, order=">"):
    mark = b"MM\0*" if order == ">" else b"II*\0"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize("orientation", MATRICES)
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_videos_are_shown_as_their_matrix_says(tmp_path, suffix, orientation):
    image = _picture()
    path = tmp_path / f"a.{suffix}"
    make_media(path, [image] * 5, matrix=_matrix(orientation))
    expected = _shown(image, orientation)
    frames = media.read_frames(path, 25)
    assert len(frames) == 5
    assert all(_unlike(frame, expected) < 4 for frame in frames)
    (scaled,) = media.read_frames(path, 5, short_side=32, crop=32)
    long_side = expected.shape[0] > expected.shape[1]
    middle = expected[16:80] if long_side else expected[:, 16:80]
    assert _unlike(scaled, middle[::2, ::2]) < 12
    assert media.orientation(path) == orientation


@pytest.mark.parametrize("orientation", MATRICES)
@pytest.mark.parametrize(
    "name", ["a.jpg", "a.png", "a.webp", "b.webp", "a.tif", "a.avif"]
)
def test_stills_are_shown_as_they_say(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, path = _picture(91, 61), tmp_path / name
    settings = {"lossless": True} if name == "b.webp" else {"quality": 95}
    Image.fromarray(image).save(path, exif=exif, **settings)
    expected = _shown(image, orientation)
    assert _unlike(media.read_image(path), expected) < 4
    assert _unlike(still_images.read(path), expected) < 4
    assert _unlike(media.read_frames(path, 25)[0], expected) < 4
    assert media.orientation(path) == orientation
    kept = tmp_path / "kept.jpg"
    kept.write_bytes(still_images.as_jpeg(str(path), still_images.read(path)))
    assert _unlike(np.asarray(Image.open(kept)), expected) < 6


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_a_mirror_in_the_stream_itself_counts(tmp_path, flip):
    image = _picture()
    make_media(tmp_path / "plain.ts", [image] * 30)
    path = tmp_path / "a.ts"
    with (
        av.open(str(tmp_path / "plain.ts")) as source,
        av.open(str(path), "w") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        settings = f"h264_metadata=display_orientation=insert:flip={flip}"
        marked = av.BitStreamFilterContext(settings, source.streams.video[0])
        for packet in [*source.demux(source.streams.video[0]), None]:
            for changed in marked.filter(packet if packet and packet.size else None):
                changed.stream = stream
                target.mux(changed)
            if packet is None or not packet.size:
                break
    mirrored = image[:, ::-1] if flip == "horizontal" else image[::-1]
    assert _unlike(media.read_frames(path, 5)[0], mirrored) < 4


@pytest.mark.parametrize("matrix", [[0] * 9, [1 << 16] * 9, [1 << 16] + [0] * 8])
def test_a_matrix_that_leaves_nothing_of_the_picture_is_ignored(tmp_path, matrix):
    image = _picture()
    make_media(tmp_path / "a.mp4", [image] * 5)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", *matrix)
    (tmp_path / "a.mp4").write_bytes(content)
    assert _unlike(media.read_frames(tmp_path / "a.mp4", 5)[0], image) < 4


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("place", ["before", "after", "as text"])
def test_a_png_says_it_in_several_ways(tmp_path, place, order):
    exif = _exif(6, order)
    text = b"\nexif\n%8d\n" % (len(exif) + 6) + (b"Exif\0\0" + exif).hex().encode()
    profile = (b"iCCP", b"name\0\0" + zlib.compress(bytes(500)))
    pixels = (b"IDAT", zlib.compress(bytes(2 * 10)))
    chunk = (b"eXIf", exif)
    if place == "as text":
        chunk = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text + b"\n"))
    chunks = [pixels, chunk] if place == "after" else [profile, chunk, pixels]
    (tmp_path / "a.png").write_bytes(png(3, 2, 2, *chunks))
    for _ in range(20):  # a name of a profile was once freed twice
        assert media.orientation(tmp_path / "a.png") == 6
    assert media.read_image(tmp_path / "a.png").shape == (3, 2, 4)


def test_the_cases_that_were_wrong():
    with av.open(str(CASES / "flip_h.mp4")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert _unlike(stored, stored[:, ::-1]) > 10
    (frame,) = media.read_frames(CASES / "flip_h.mp4", Fraction(1, 8))
    assert _unlike(frame, stored[:, ::-1]) < 2
    expected = ImageOps.exif_transpose(Image.open(CASES / "exif2.png"))
    image = media.read_image(CASES / "exif2.png")
    assert np.array_equal(image[..., :3], np.asarray(expected.convert("RGB")))

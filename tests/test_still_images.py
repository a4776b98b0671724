import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from avl_tf import images, media, still_images


def _picture(width=120, height=80):
    """Four colours, so that no turn and no mirror image of it is the same."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (250, 20, 20)
    image[height // 2 :, : width // 2] = (20, 250, 20)
    image[: height // 2, width // 2 :] = (20, 20, 250)
    image[height // 2 :, width // 2 :, 0] = np.linspace(0, 250, width - width // 2)
    return Image.fromarray(image)


def _upright(path):
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"), int)


def _decoded(content):
    return np.asarray(images.decode_jpeg(content), int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(120, 80), (600, 400)])
def test_an_image_is_kept_upright(tmp_path, orientation, size):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    _picture(*size).save(path, quality=95, exif=exif)
    image = still_images.read(str(path))
    assert media.orientation(path) == orientation
    assert np.abs(image - _upright(path)).mean() < 2
    content = still_images.as_jpeg(str(path), image)
    kept = Image.open(io.BytesIO(content))
    assert min(kept.size) == min(256, *size)
    assert kept.getexif().get(0x0112, 1) == 1
    expected = Image.fromarray(_upright(path).astype(np.uint8)).resize(kept.size)
    assert np.abs(_decoded(content) - np.asarray(expected, int)).mean() < 3
    assert (content == path.read_bytes()) == (orientation == 1 and size == (120, 80))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_small_jpeg_is_kept_byte_for_byte(tmp_path, mode, progressive):
    path = tmp_path / "a.jpg"
    _picture(300, 256).convert(mode).save(path, progressive=progressive)
    content = still_images.as_jpeg(str(path), still_images.read(str(path)))
    assert content == path.read_bytes()
    assert np.abs(_decoded(content) - _upright(path)).max() <= 1


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGB"), ("a.png", "L"), ("a.png", "P"), ("a.webp", "RGB")],
)
def test_other_formats_become_jpegs(tmp_path, name, mode):
    path = tmp_path / name
    _picture().convert(mode, dither=Image.Dither.NONE).save(path)
    content = still_images.as_jpeg(str(path), still_images.read(str(path)))
    assert content[:2] == b"\xff\xd8"
    assert np.abs(_decoded(content) - _upright(path)).mean() < 4


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[:, 20:, 3], pixels[:, 40:, 3] = 128, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = still_images.read(str(tmp_path / "a.png"))
    assert image[0, ::20].tolist() == [[255] * 3, [127] * 3, [0] * 3]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6])
def test_a_broken_image_is_an_error_that_names_it(tmp_path, share):
    path = tmp_path / "a.jpg"
    _picture().save(path)
    path.write_bytes(path.read_bytes()[: round(share * path.stat().st_size)])
    with pytest.raises(media.MediaError, match="a.jpg: "):
        still_images.read(str(path))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_odd_sizes_are_kept(tmp_path, size):
    path = tmp_path / "a.jpg"
    Image.new("RGB", size, (9, 99, 9)).save(path)
    content = still_images.as_jpeg(str(path), still_images.read(str(path)))
    assert Image.open(io.BytesIO(content)).size == size
    assert images.centre_crop(images.decode_jpeg(content)).shape == (224, 224, 3)


def test_a_damaged_exif_is_none(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    _picture().save(path, exif=exif)
    whole = path.read_bytes()
    at = whole.index(b"Exif")
    for damaged in (
        whole.replace(whole[at + 10 : at + 14], b"\xff" * 4),
        whole.replace(b"\x01\x12", b"\x01\x13").replace(b"\x12\x01", b"\x13\x01"),
    ):
        path.write_bytes(damaged)
        assert media.orientation(path) == 1
        assert media.read_image(path).shape == (80, 120, 4)
    for broken in (whole[: at + 12], b"", b"\xff\xd8\xff"):
        path.write_bytes(broken)
        with pytest.raises(media.MediaError, match="a.jpg: "):
            media.orientation(path)

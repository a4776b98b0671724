"""Still images: a file in, upright pixels out, and those at another size."""

import os

import numpy as np

from avl_tf.errors import UserError
from avl_tf.media.file import MediaFile
from avl_tf.media.orientation import exif_number
from avl_tf.media.pictures import to_array
from avl_tf.media.writer import to_frame
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits

_PIXELS_AT_ONCE = 1 << 18


def read_image(path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Reads an image, upright and mirrored by the orientation it carries.

    Args:
        path: an image; of one that moves, the first picture.
        limits: how large it may be.

    Returns:
        uint8 [H, W, 4], RGBA; alpha is not multiplied in, and 255 where there is none.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it cannot be decoded, or is too large.
    """
    with MediaFile(path, limits=limits) as file:
        return to_array(file.picture(), None, "rgba")


def read_on_white(
    path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS
) -> np.ndarray:
    """Reads an image as it is seen on a white page: upright, uint8 [H, W, 3].

    Raises:
        As read_image.
    """
    image = read_image(path, limits)
    colour, alpha = image[..., :3].copy(), image[..., 3:]
    if alpha.min() < 255:
        # Some rows at a time: what is computed takes eight bytes a value.
        n_rows = max(1, _PIXELS_AT_ONCE // image.shape[1])
        for top in range(0, len(image), n_rows):
            rows = slice(top, top + n_rows)
            share = alpha[rows] / 255
            colour[rows] = np.round(colour[rows] * share + 255 * (1 - share))
    return colour


def orientation(path: str | os.PathLike, limits: Limits = DEFAULT_LIMITS) -> int:
    """Tells the orientation that an image carries, as EXIF numbers them.

    Returns:
        1 (upright) to 8.

    Raises:
        As read_image.
    """
    with MediaFile(path, limits=limits) as file:
        return exif_number(file.picture())


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales an image, bicubic; going smaller averages, without aliasing.

    Args:
        image: uint8 [H, W, 3 or 4]. Alpha is a channel like the others: multiply
            colours by it first, or transparent pixels bleed into visible ones.
        height: pixels wanted.
        width: pixels wanted.

    Returns:
        uint8 [height, width, 3 or 4].

    Raises:
        ValueError: image is of another shape or type, or a size is below 1.
    """
    frame = to_frame(image)
    if height < 1 or width < 1:
        raise UserError(f"height is {height}, width {width}: expected 1 or more.")
    return to_array(frame, (width, height), frame.format.name)

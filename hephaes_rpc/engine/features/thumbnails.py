"""Small PNG images of what image messages hold."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.encodings import COLORS, ImageError, Pixels
from hephaes_rpc.engine.features.images import Picture
from hephaes_rpc.engine.features.pictures import views
from hephaes_rpc.engine.features.readers import member_of

SIDE = 160


def picture_of(message: pa.StructArray) -> Picture:
    """The picture of an array of one image message; ImageError where it has none."""
    names = [member.name for member in message.type]
    known = {name: member_of(message, name)[0].as_py() for name in names if name not in ("data", "header")}
    (data,) = views(member_of(message, "data"))
    if "format" in known and "width" not in known:
        return images.picture_of_file(data, known["format"])
    order = {"encoding": "", "height": 0, "width": 0, "step": 0, "is_bigendian": False}
    about: list[Any] = [known.get(name, unknown) for name, unknown in order.items()]
    return Picture(data, *about)


def file_size(picture: Picture) -> tuple[int, int]:
    """Width and height of the image file that a picture is, from its header; ImageError where there is none."""
    try:
        with Image.open(io.BytesIO(picture.data or b""), formats=("PNG", "JPEG")) as image:
            return image.width, image.height
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError("image file is damaged") from None


def thumbnail(picture: Picture) -> bytes:
    """A PNG of at most SIDE x SIDE pixels; what is not of 8 bits is stretched from its least to its greatest value."""
    return images.encode(smaller(picture, SIDE), "png", None)


def smaller(picture: Picture, side: int) -> Picture:
    """At most ``side`` x ``side`` pixels of 8 bits that a PNG can hold; ImageError where there are no pixels."""
    picture = images.load(picture)
    pixels = picture.pixels
    assert pixels is not None
    height, width = pixels.shape[:2]
    if pixels.shape[2] not in images.PLAIN:
        pixels = pixels[:, :, :1]
    if pixels.dtype != np.uint8:
        pixels = _stretched(pixels)
    color = picture.color if len(COLORS.get(picture.color, "")) == pixels.shape[2] else ""
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return images.resize(Picture(None, pixels=pixels, color=color), *size, "box")


def _stretched(pixels: Pixels) -> Pixels:
    values = pixels.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    least, most = values[finite].min(), values[finite].max()
    scaled: Pixels = ((np.where(finite, values, least) - least) * (255 / ((most - least) or 1))).astype(np.uint8)
    return scaled

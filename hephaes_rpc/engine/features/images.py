"""Images as contiguous arrays: from the data of a message or a PNG or JPEG file, changed, and back to bytes.

Strategy: a ``Picture`` is the stored data of one image with what the message says about it; pixels are made when
something asks for them, as an array of height x width x channels in native byte order that is a view of the data where
that is possible.  Colour is a name for the order of channels and travels with the pixels, so that a conversion is a
lookup of each target channel in the source, and an encoder always knows what is red.  Bayer patterns and YUV become rgb
when pixels are made.  Sizes are checked before anything is allocated or decompressed.
Sources: REP 118 and sensor_msgs/image_encodings (encodings), ITU-R BT.601 (YUV), compressed_depth_image_transport
(the 12 bytes before a compressed depth image).
"""

import io
import re
import struct
from typing import Any, Literal

import numpy as np
from attrs import define, evolve, frozen
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[Any]
Format = Literal["png", "jpeg"]

MAX_PIXELS = 1 << 26
MAX_IMAGE_BYTES = 1 << 30

COLORS = {"gray": "Y", "rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA"}
PLAIN = {1: "gray", 3: "rgb", 4: "rgba"}
_NAMED = {
    **{f"{color}{bits}": (color, f"u{bits // 8}") for color in ("rgb", "bgr", "rgba", "bgra") for bits in (8, 16)},
    "mono8": ("gray", "u1"),
    "mono16": ("gray", "u2"),
}
_GENERIC = re.compile(r"(?P<type>8U|16U|16S|32F)C(?P<channels>[1-9]\d{0,2})?", re.ASCII)
_TYPES = {"8U": "u1", "16U": "u2", "16S": "i2", "32F": "f4"}
_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
_YUV = {"yuv422": 1, "uyvy": 1, "yuv422_yuy2": 0, "yuyv": 0}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # four independent channels: RGBA would be blended with its alpha
_MAGIC: dict[bytes, Format] = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
_DEPTH_HEADER = 12


class ImageError(Exception):
    """An image cannot be read or changed in the way asked for; the message is the cause."""


@frozen
class Encoding:
    """How a pixel lies in memory.

    Args:
        color: A key of COLORS, empty where the encoding does not say.
        dtype: numpy type of a channel, without byte order.
        pattern: Of a Bayer encoding, ``rggb`` etc.
        luma: Of a YUV 4:2:2 encoding, byte of a pixel that is Y; else -1.
    """

    color: str
    dtype: str
    channels: int
    pattern: str = ""
    luma: int = -1


def parse_encoding(name: str) -> Encoding:
    """The encoding of this name; ImageError for one that cannot be read."""
    if name in _NAMED:
        color, dtype = _NAMED[name]
        return Encoding(color, dtype, len(COLORS[color]))
    if match := _GENERIC.fullmatch(name):
        channels = int(match["channels"] or 1)
        return Encoding("gray" if channels == 1 else "", _TYPES[match["type"]], channels)
    if match := _BAYER.fullmatch(name):
        return Encoding("rgb", "u1" if match[2] == "8" else "u2", 1, pattern=match[1])
    if name.lower() in _YUV:
        return Encoding("rgb", "u1", 2, luma=_YUV[name.lower()])
    raise ImageError(f"image encoding {name[:40]!r} is not supported")


@define
class Picture:
    """One image.

    Args:
        data: As stored; None once pixels were made from it and changed.
        encoding: What the message says, empty where it says nothing (a file, or bytes of which nothing is known).
        height, width, step: Likewise, 0 for unknown.
        pixels: ``[height, width, channels]``.
        color: Order of the channels of ``pixels``, empty for unknown.
    """

    data: memoryview | None
    encoding: str = ""
    height: int = 0
    width: int = 0
    step: int = 0
    bigendian: bool = False
    pixels: Pixels | None = None
    color: str = ""

    @property
    def file_format(self) -> Format | None:
        """Format of the file that ``data`` is."""
        if self.data is None:
            return None
        head = bytes(self.data[:8])
        return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def picture_of_file(data: memoryview, description: str) -> Picture:
    """The image of a CompressedImage; ``description`` is its ``format``, which tells compressed depth."""
    if "compressedDepth" not in description:
        return Picture(data)
    if "rvl" in description.lower() or len(data) <= _DEPTH_HEADER:
        raise ImageError("compressed depth that is no PNG is not supported")
    picture = Picture(data[_DEPTH_HEADER:])
    if description.startswith("32FC1"):
        raw = load(picture).pixels
        assert raw is not None
        return Picture(None, pixels=_inverse_depth(raw, data), color="gray")
    return picture


def _inverse_depth(raw: Pixels, data: memoryview) -> Pixels:
    """Metres as float32, NaN where nothing was measured."""
    scale, offset = struct.unpack_from("<ff", data, 4)
    with np.errstate(all="ignore"):
        depth = np.float32(scale) / (raw.astype(np.float32) - np.float32(offset))
    return np.where(raw == 0, np.float32(np.nan), depth).astype(np.float32)


def load(picture: Picture, color: str = "", channels: int = 0, height: int = 0, width: int = 0) -> Picture:
    """The picture with pixels; what its message leaves open may be given, what it says must not be contradicted."""
    if picture.pixels is None:
        if picture.encoding or picture.file_format is None:
            picture = _load_raw(picture, color, channels, height, width)
        else:
            picture = _load_file(picture)
    assert picture.pixels is not None
    found = dict(zip(("height", "width", "channels"), picture.pixels.shape, strict=True))
    for name, wanted in (("height", height), ("width", width), ("channels", channels)):
        if wanted and found[name] != wanted:
            raise ImageError(f"image has {name} {found[name]}, not {wanted}")
    if color and not picture.color and len(COLORS[color]) == found["channels"]:
        picture = evolve(picture, color=color)
    if color and picture.color != color:
        raise ImageError(
            f"image is {picture.color or str(found['channels']) + ' channels of no known colour'}, not {color}"
        )
    return picture


def _load_raw(picture: Picture, color: str, channels: int, height: int, width: int) -> Picture:
    assert picture.data is not None
    height, width = picture.height or height, picture.width or width
    if picture.encoding:
        encoding = parse_encoding(picture.encoding)
    else:
        if not height or not width:
            raise ImageError("image has no known height and width")
        channels = channels or (len(COLORS[color]) if color else len(picture.data) // (height * width))
        encoding = Encoding(color if color and len(COLORS[color]) == channels else "", "u1", channels)
    raw = _view(picture, encoding, height, width)
    if encoding.pattern:
        pixels = _demosaic(raw[:, :, 0], encoding.pattern)
    elif encoding.luma >= 0:
        pixels = _yuv_to_rgb(raw, encoding.luma)
    else:
        pixels = raw
    return Picture(picture.data, picture.encoding, height, width, pixels=pixels, color=encoding.color)


def _view(picture: Picture, encoding: Encoding, height: int, width: int) -> Pixels:
    """The data as an array, rows cut free of their padding."""
    assert picture.data is not None
    if not height or not width:
        raise ImageError("image is empty")
    if height * width > MAX_PIXELS:
        raise ImageError(f"image has more than {MAX_PIXELS} pixels")
    kind = np.dtype(encoding.dtype)
    pixel = kind.itemsize * encoding.channels
    step = picture.step or width * pixel
    if not pixel or step < width * pixel:
        raise ImageError("image has rows longer than its step")
    if len(picture.data) < step * (height - 1) + width * pixel:
        raise ImageError("image has less data than its size needs")
    swapped = kind.newbyteorder(">" if picture.bigendian else "<")
    shape, strides = (height, width, encoding.channels), (step, pixel, kind.itemsize)
    return np.ndarray(shape, swapped, picture.data, strides=strides).astype(kind, copy=False)


def _load_file(picture: Picture) -> Picture:
    """PNG and JPEG; the size is checked before pixels are decoded."""
    assert picture.data is not None
    try:
        with Image.open(io.BytesIO(picture.data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"image has more than {MAX_PIXELS} pixels")
            if picture.file_format == "png" and picture.data[24] == 16 and picture.data[25] != 0:
                raise ImageError("16-bit PNG in colour is not supported")
            pixels = _decoded(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"image has more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError):
        raise ImageError("image file is damaged") from None
    return Picture(picture.data, pixels=pixels, color=PLAIN[pixels.shape[2]])


def _decoded(image: Image.Image) -> Pixels:
    if image.mode in ("I;16", "I"):
        return np.asarray(image).astype(np.uint16)[:, :, None]
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[:, :, None]
    has_alpha = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _yuv_to_rgb(raw: Pixels, luma: int) -> Pixels:
    """4:2:2 with luma at byte ``luma`` of each pixel, BT.601 video range, integer arithmetic."""
    if raw.shape[1] % 2:
        raise ImageError("YUV 4:2:2 image has an odd width")
    y = raw[:, :, luma].astype(np.int32) - 16
    chroma = raw[:, :, 1 - luma].astype(np.int32) - 128
    u, v = np.repeat(chroma[:, 0::2], 2, axis=1), np.repeat(chroma[:, 1::2], 2, axis=1)
    channels = (298 * y + 409 * v, 298 * y - 100 * u - 208 * v, 298 * y + 516 * u)
    return np.stack([np.clip((c + 128) >> 8, 0, 255) for c in channels], axis=2).astype(np.uint8)


_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float64)
_RED_BLUE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float64)


def _demosaic(raw: Pixels, pattern: str) -> Pixels:
    """Bilinear: a channel that a pixel has not is the mean of its neighbours that have it."""
    if raw.shape[0] < 2 or raw.shape[1] < 2:
        raise ImageError("Bayer image is smaller than its pattern")
    channels = []
    for name in "rgb":
        mask = np.zeros(raw.shape)
        for k in range(4):
            if pattern[k] == name:
                mask[k // 2 :: 2, k % 2 :: 2] = 1
        kernel = _GREEN if name == "g" else _RED_BLUE
        mean = _filtered(raw * mask, kernel) / _filtered(mask, kernel)
        channels.append(np.where(mask == 1, raw, np.rint(mean)))
    return np.stack(channels, axis=2).astype(raw.dtype)


def _filtered(values: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the 3 x 3 neighbourhood, zeros beyond the edge."""
    height, width = values.shape
    padded = np.pad(values, 1)
    total = np.zeros(values.shape)
    for i, j in np.argwhere(kernel).tolist():
        total += kernel[i, j] * padded[i : i + height, j : j + width]
    return total


# -- changes -----------------------------------------------------------------------------------------------------------


def _changed(pixels: Pixels, color: str) -> Picture:
    return Picture(None, pixels=pixels, color=color)


def convert_color(picture: Picture, target: str) -> Picture:
    """Channels of ``target`` looked up in those that there are; gray is the mean, a new alpha is opaque."""
    picture = load(picture)
    pixels, source = picture.pixels, picture.color
    assert pixels is not None
    if not source:
        raise ImageError(f"image of {pixels.shape[2]} channels has no known colour; say from which to convert")
    if source == target:
        return _changed(pixels, target)
    if target == "gray":
        color = pixels[:, :, :3]
        mean = (
            color.mean(axis=2, dtype=np.float32) if pixels.dtype.kind == "f" else color.sum(axis=2, dtype=np.int64) // 3
        )
        return _changed(mean.astype(pixels.dtype)[:, :, None], target)
    have = COLORS[source]
    channels = [have.find(name) if source != "gray" or name == "A" else 0 for name in COLORS[target]]
    if -1 not in channels:
        return _changed(pixels[:, :, channels], target)
    opaque = 1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    result = np.full((*pixels.shape[:2], len(channels)), opaque, pixels.dtype)
    result[:, :, :-1] = pixels[:, :, channels[:-1]]
    return _changed(result, target)


def crop(picture: Picture, left: int, top: int, width: int, height: int) -> Picture:
    """The part of the rectangle that lies inside."""
    picture = load(picture)
    assert picture.pixels is not None
    pixels = picture.pixels[top : top + height, left : left + width]
    if not pixels.size:
        raise ImageError("crop lies outside the image")
    return _changed(pixels, picture.color)


def resize(picture: Picture, width: int, height: int, method: str) -> Picture:
    """Resampled by Pillow; channels are independent, integers of 16 bits are computed as floats and rounded."""
    picture = load(picture)
    pixels = picture.pixels
    assert pixels is not None
    filter_ = Image.Resampling[method.upper()]
    if pixels.dtype == np.uint8 and pixels.shape[2] in _MODES:
        source = np.ascontiguousarray(pixels)
        size = (pixels.shape[1], pixels.shape[0])
        image = Image.frombuffer(_MODES[pixels.shape[2]], size, source, "raw", _MODES[pixels.shape[2]], 0, 1)
        result = np.asarray(image.resize((width, height), filter_))
        return _changed(result.reshape(height, width, -1), picture.color)
    bands = [_resize_band(pixels[:, :, k], width, height, filter_) for k in range(pixels.shape[2])]
    return _changed(np.stack(bands, axis=2), picture.color)


def _resize_band(band: Pixels, width: int, height: int, method: Image.Resampling) -> Pixels:
    source = np.ascontiguousarray(band, np.float32)
    image = Image.frombuffer("F", (band.shape[1], band.shape[0]), source, "raw", "F", 0, 1)
    result = np.asarray(image.resize((width, height), method))
    if band.dtype.kind == "f":
        return result
    limits = np.iinfo(band.dtype)
    rounded: Pixels = np.clip(np.rint(result), limits.min, limits.max).astype(band.dtype)
    return rounded


def encode(picture: Picture, format_: Format, quality: int | None) -> bytes:
    """A PNG or JPEG file; a file that is in the format already is passed through."""
    if picture.pixels is None and quality is None and not picture.encoding and picture.file_format == format_:
        assert picture.data is not None
        return bytes(picture.data)
    picture = load(picture)
    pixels = picture.pixels
    assert pixels is not None
    color = picture.color or PLAIN.get(pixels.shape[2], "")
    if not color:
        raise ImageError(f"image of {pixels.shape[2]} channels cannot be encoded")
    if pixels.dtype == np.uint16 and format_ == "png" and color == "gray":
        image = Image.frombuffer("I;16", _size(pixels), pixels.astype("<u2", order="C"), "raw", "I;16", 0, 1)
    elif pixels.dtype == np.uint8:
        mode, stored = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]], "L" if color == "gray" else color.upper()
        image = Image.frombuffer(mode, _size(pixels), np.ascontiguousarray(pixels), "raw", stored, 0, 1)
    else:
        raise ImageError(f"image of {pixels.dtype} {color} does not fit {format_}; scale it or choose another format")
    if format_ == "jpeg" and pixels.shape[2] == 4:
        raise ImageError("JPEG has no alpha channel; convert the image to rgb first")
    target_file = io.BytesIO()
    options: dict[str, Any] = {} if format_ == "png" else {"quality": 75 if quality is None else quality}
    image.save(target_file, format_.upper(), **options)
    return target_file.getvalue()


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]

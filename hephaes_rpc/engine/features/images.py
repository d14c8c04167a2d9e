"""Images as contiguous arrays: from the data of a message or a PNG or JPEG file, changed, and back to bytes.

Strategy: a ``Picture`` is the stored data of one image with what the message says about it; pixels are made when
something asks for them, as an array of height x width x channels in native byte order that is a view of the data where
that is possible.  Colour is a name for the order of channels and travels with the pixels, so that a conversion is a
lookup of each target channel in the source, and an encoder always knows what is red.  Sizes are checked before anything
is allocated or decompressed.
"""

import io
import struct
from typing import Any, Literal

import numpy as np
from attrs import define, evolve
from PIL import Image

from hephaes_rpc.engine.features.depth import after_header, depth_of_rvl, inverse_depth, is_quantised, is_rvl
from hephaes_rpc.engine.features.encodings import (
    COLORS,
    MAX_PIXELS,
    Encoding,
    ImageError,
    Pixels,
    codec_of,
    parse_encoding,
    raw_pixels,
)

Format = Literal["png", "jpeg"]

PLAIN = {1: "gray", 3: "rgb", 4: "rgba"}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # four independent channels: RGBA would be blended with its alpha
_MAGIC: dict[bytes, Format] = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}


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
    if (codec := codec_of(description)) is not None:
        raise ImageError(f"{codec} video is passed on as it is and not decoded")
    if "compressedDepth" not in description:
        return Picture(data)
    if is_rvl(description):
        return Picture(None, pixels=depth_of_rvl(data, description), color="gray")
    picture = Picture(after_header(data))
    if not is_quantised(description):
        return picture
    raw = load(picture).pixels
    assert raw is not None
    return Picture(None, pixels=inverse_depth(raw, data), color="gray")


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
    pixels = raw_pixels(picture.data, encoding, height, width, picture.step, bigendian=picture.bigendian)
    return Picture(picture.data, picture.encoding, height, width, pixels=pixels, color=encoding.color)


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
    if pixels.dtype in (np.int32, np.float64):
        raise ImageError(f"image of {pixels.dtype} cannot be resized without loss")
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

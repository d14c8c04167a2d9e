"""Pixels from the data of image messages: every encoding of sensor_msgs, either byte order, padded rows.

Strategy: the size is checked against the bytes that are there; then the data are seen as an array, without copying
where that is possible.  Bayer patterns and YUV become rgb.
Sources: REP 118 and sensor_msgs/image_encodings (encodings), ITU-R BT.601 (YUV), V4L2 (planes of NV21 and NV24).
"""

import re
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Pixels = NDArray[Any]

MAX_PIXELS = 1 << 26

COLORS = {"gray": "Y", "rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA"}
_NAMED = {
    **{f"{color}{bits}": (color, f"u{bits // 8}") for color in ("rgb", "bgr", "rgba", "bgra") for bits in (8, 16)},
    "mono8": ("gray", "u1"),
    "mono16": ("gray", "u2"),
}
_GENERIC = re.compile(r"(?P<type>8U|8S|16U|16S|32S|32F|64F)C(?P<channels>[1-9]\d{0,2})?", re.ASCII)
_TYPES = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
_BAYER = re.compile(r"bayer_(rggb|bggr|gbrg|grbg)(8|16)")
_YUV = {"yuv422": 1, "uyvy": 1, "yuv422_yuy2": 0, "yuyv": 0}
_SEMI_PLANAR = ("nv21", "nv24")


CODECS = {"h264": "h264", "avc": "h264", "avc1": "h264", "h265": "h265", "hevc": "h265"}


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
        planes: Of a YUV encoding with a plane of Y and one of both colours, its name.
    """

    color: str
    dtype: str
    channels: int
    pattern: str = ""
    luma: int = -1
    planes: str = ""

    @property
    def pixel_channels(self) -> int:
        """Channels of what pixels become."""
        return 3 if self.pattern or self.luma >= 0 or self.planes else self.channels


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
    if name.lower() in _SEMI_PLANAR:
        return Encoding("rgb", "u1", 1, planes=name.lower())
    raise ImageError(f"image encoding {name[:40]!r} is not supported")


def codec_of(description: str) -> str | None:
    """``h264`` or ``h265``, as the format of a message says; None for anything else."""
    return CODECS.get(description.partition(";")[0].strip().lower())


def raw_pixels(
    data: memoryview, encoding: Encoding, height: int, width: int, step: int = 0, *, bigendian: bool = False
) -> Pixels:
    """``[height, width, channels]`` in native byte order; raises ImageError.

    Args:
        step: Bytes from one row to the next, 0 for rows without padding.
    """
    if not height or not width:
        raise ImageError("image is empty")
    if height * width > MAX_PIXELS:
        raise ImageError(f"image has more than {MAX_PIXELS} pixels")
    if encoding.planes:
        return _of_planes(data, encoding.planes, height, width, step or width)
    raw = _rows(data, encoding, height, width, step, bigendian=bigendian)
    if encoding.pattern:
        return _demosaic(raw[:, :, 0], encoding.pattern)
    return _yuv_to_rgb(raw, encoding.luma) if encoding.luma >= 0 else raw


def _rows(data: memoryview, encoding: Encoding, height: int, width: int, step: int, *, bigendian: bool) -> Pixels:
    """The data as an array, rows cut free of their padding."""
    kind = np.dtype(encoding.dtype)
    pixel = kind.itemsize * encoding.channels
    step = step or width * pixel
    if not pixel or step < width * pixel:
        raise ImageError("image has rows longer than its step")
    if len(data) < step * (height - 1) + width * pixel:
        raise ImageError("image has less data than its size needs")
    swapped = kind.newbyteorder(">" if bigendian else "<")
    shape, strides = (height, width, encoding.channels), (step, pixel, kind.itemsize)
    return np.ndarray(shape, swapped, data, strides=strides).astype(kind, copy=False)


def _yuv_to_rgb(raw: Pixels, luma: int) -> Pixels:
    """4:2:2 with luma at byte ``luma`` of each pixel."""
    if raw.shape[1] % 2:
        raise ImageError("YUV 4:2:2 image has an odd width")
    chroma = raw[:, :, 1 - luma]
    return _bt601(raw[:, :, luma], np.repeat(chroma[:, 0::2], 2, axis=1), np.repeat(chroma[:, 1::2], 2, axis=1))


def _of_planes(data: memoryview, planes: str, height: int, width: int, step: int) -> Pixels:
    """NV21 (a V and a U for each 2 x 2 pixels) and NV24 (a U and a V for each pixel) behind the plane of Y."""
    part = 2 if planes == "nv21" else 1
    if height % part or width % part:
        raise ImageError("YUV 4:2:0 image has an odd size")
    rows, pairs, chroma_step = height // part, width // part, step * 2 // part
    if step < width:
        raise ImageError("image has rows longer than its step")
    if len(data) < step * height + chroma_step * (rows - 1) + 2 * pairs:
        raise ImageError("image has less data than its size needs")
    luma = np.ndarray((height, width), np.uint8, data, strides=(step, 1))
    chroma = np.ndarray((rows, pairs, 2), np.uint8, data, step * height, (chroma_step, 2, 1))
    whole = np.repeat(np.repeat(chroma, part, axis=0), part, axis=1)
    first, second = whole[:, :, 0], whole[:, :, 1]
    return _bt601(luma, second, first) if planes == "nv21" else _bt601(luma, first, second)


def _bt601(y: Pixels, u: Pixels, v: Pixels) -> Pixels:
    """Rgb of video range YUV, integer arithmetic."""
    y, u, v = y.astype(np.int32) - 16, u.astype(np.int32) - 128, v.astype(np.int32) - 128
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

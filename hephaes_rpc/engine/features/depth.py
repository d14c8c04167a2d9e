"""Compressed depth images: what stands before the image, quantised depth, and the RVL encoding.

Sources: compressed_depth_image_transport (12 bytes before the image: a number, then float32 quantisation a and b; with
RVL uint32 width and height follow); A. D. Wilson, Fast Lossless Depth Image Compression, ISS 2017 (RVL).
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hephaes_rpc.engine.features.encodings import MAX_PIXELS, ImageError, Pixels

_HEADER = 12
_SIZE = struct.Struct("<II")
_MAX_NIBBLES = 12


def is_rvl(description: str) -> bool:
    """Whether the ``format`` of a compressed depth image says RVL; otherwise it is a PNG."""
    return "rvl" in description.lower()


def is_quantised(description: str) -> bool:
    """Whether the ``format`` of a compressed depth image says that depth was metres in float32."""
    return description.startswith("32FC1")


def after_header(data: memoryview) -> memoryview:
    """The image behind the header; raises ImageError."""
    if len(data) <= _HEADER:
        raise ImageError("compressed depth has no image")
    return data[_HEADER:]


def inverse_depth(raw: Pixels, data: memoryview) -> Pixels:
    """Metres as float32 by the quantisation in the header, NaN where nothing was measured."""
    scale, offset = struct.unpack_from("<ff", data, 4)
    with np.errstate(all="ignore"):
        depth = np.float32(scale) / (raw.astype(np.float32) - np.float32(offset))
    return np.where(raw == 0, np.float32(np.nan), depth).astype(np.float32)


def depth_of_rvl(data: memoryview, description: str) -> Pixels:
    """``[height, width, 1]``: uint16 as it was, or metres in float32; raises ImageError."""
    image = after_header(data)
    if len(image) < _SIZE.size:
        raise ImageError("compressed depth has no image")
    width, height = _SIZE.unpack_from(image)
    if not width * height:
        raise ImageError("image is empty")
    if width * height > MAX_PIXELS:
        raise ImageError(f"image has more than {MAX_PIXELS} pixels")
    raw = _decoded(image[_SIZE.size :], width * height).reshape(height, width, 1)
    return inverse_depth(raw, data) if is_quantised(description) else raw


def _decoded(data: memoryview, n: int) -> NDArray[np.uint16]:
    """Runs of zeros, and of differences to the value before; every number in groups of three bits."""
    numbers = _numbers(data)
    found, deltas = np.zeros(n, np.uint16), np.zeros(len(numbers), np.bool_)
    there = np.zeros(n + 1, np.int8)
    place = at = 0
    while place < n:
        if at + 2 > len(numbers):
            raise ImageError("image file is damaged")
        zeros, values = int(numbers[at]), int(numbers[at + 1])
        at, place = at + 2, place + zeros
        if place + values > n or at + values > len(numbers):
            raise ImageError("image file is damaged")
        deltas[at : at + values] = True
        there[place] += 1
        there[place + values] -= 1
        at, place = at + values, place + values
    steps = numbers[deltas]
    signed = (steps >> 1) ^ -(steps & 1)
    found[np.cumsum(there[:-1]) > 0] = (np.cumsum(signed) & 0xFFFF).astype(np.uint16)
    return found


def _numbers(data: memoryview) -> NDArray[Any]:
    """int64: nibbles of little-endian words, the highest first, whose top bit says that more of the number follows."""
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(">u4").view(np.uint8)
    nibbles = np.stack([words >> 4, words & 15], axis=1).ravel()
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        return np.empty(0, np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    nibbles = nibbles[: ends[-1] + 1]
    position = np.arange(len(nibbles)) - np.repeat(starts, ends - starts + 1)
    if position.max() >= _MAX_NIBBLES:
        raise ImageError("image file is damaged")
    parts = (nibbles & 7).astype(np.int64) << (3 * position)
    return np.asarray(np.add.reduceat(parts, starts), np.int64)

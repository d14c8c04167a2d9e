"""Thumbnails pixel by pixel: every encoding against a computation over the bytes of the message."""

import io
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hephaes_rpc.engine.features.images import Picture
from hephaes_rpc.engine.features.thumbnails import thumbnail
from tests.engine.test_images import _demosaic_slowly
from tests.engine.test_inspection import image_log, look

HEIGHT, WIDTH = 6, 8
Pixel = tuple[int, ...]


def shown(picture: Picture) -> tuple[str, list[list[Pixel]]]:
    """Mode and pixels of a thumbnail, as Pillow reads it."""
    return pixels_of(thumbnail(picture))


def pixels_of(png: bytes) -> tuple[str, list[list[Pixel]]]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        found = np.asarray(image)
        found = found.reshape(image.height, image.width, -1)
        return image.mode, [[tuple(pixel) for pixel in row] for row in found.tolist()]


def raw(encoding: str, data: bytes, height: int = HEIGHT, width: int = WIDTH, *, bigendian: bool = False) -> Picture:
    return Picture(memoryview(data), encoding, height, width, len(data) // height, bigendian)


def random_bytes(size: int, seed: int = 5) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def grid(of: Callable[[int, int], Pixel], height: int = HEIGHT, width: int = WIDTH) -> list[list[Pixel]]:
    return [[of(y, x) for x in range(width)] for y in range(height)]


def stretched(values: Sequence[float]) -> list[int]:
    """From the least (0) to the greatest (255) of the finite ones; what is not finite is 0."""
    finite = [value for value in values if math.isfinite(value)]
    least, most = min(finite), max(finite)
    return [int((value - least) * 255 / (most - least)) if math.isfinite(value) else 0 for value in values]


@pytest.mark.parametrize(
    ("encoding", "order", "mode"),
    [
        ("rgb8", (0, 1, 2), "RGB"),
        ("bgr8", (2, 1, 0), "RGB"),
        ("rgba8", (0, 1, 2, 3), "RGBA"),
        ("bgra8", (2, 1, 0, 3), "RGBA"),
        ("mono8", (0,), "L"),
        ("8UC1", (0,), "L"),
        ("8UC3", (0, 1, 2), "RGB"),
    ],
)
def test_bytes_are_shown_as_they_are(encoding: str, order: Pixel, mode: str) -> None:
    n = len(order)
    data = random_bytes(HEIGHT * WIDTH * n)
    expected = grid(lambda y, x: tuple(data[(y * WIDTH + x) * n + k] for k in order))
    assert shown(raw(encoding, data)) == (mode, expected)


def test_rows_may_be_longer_than_their_pixels() -> None:
    data, step = random_bytes(HEIGHT * (WIDTH * 3 + 5)), WIDTH * 3 + 5
    expected = grid(lambda y, x: tuple(data[y * step + x * 3 + k] for k in (2, 1, 0)))
    assert shown(raw("bgr8", data)) == ("RGB", expected)


def test_of_two_channels_the_first_is_shown() -> None:
    data = random_bytes(HEIGHT * WIDTH * 2)
    assert shown(raw("8UC2", data)) == ("L", grid(lambda y, x: (data[(y * WIDTH + x) * 2],)))


@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "code", "channels"),
    [("mono16", "H", 1), ("16UC1", "H", 1), ("16SC1", "h", 1), ("rgb16", "H", 3), ("32FC1", "f", 1)],
)
def test_wider_values_are_stretched(encoding: str, code: str, channels: int, bigendian: bool) -> None:
    n = HEIGHT * WIDTH * channels
    numbers = np.random.default_rng(3).integers(-900 if code != "H" else 0, 2000, n).tolist()
    if code == "f":
        numbers = [0.25 * number for number in numbers[:-3]] + [math.nan, math.inf, -math.inf]
    data = struct.pack(f"{'>' if bigendian else '<'}{n}{code}", *numbers)
    expected = stretched(numbers)
    mode, found = shown(raw(encoding, data, bigendian=bigendian))
    assert mode == ("L" if channels == 1 else "RGB")
    flat = [value for row in found for pixel in row for value in pixel]
    assert max(abs(a - b) for a, b in zip(flat, expected, strict=True)) <= (0 if code == "f" else 1)
    assert (min(flat), max(flat)) == (0, 255)


@pytest.mark.parametrize("value", [0.0, 3.5, math.nan])
def test_what_is_everywhere_the_same_is_black(value: float) -> None:
    data = struct.pack(f"<{HEIGHT * WIDTH}f", *[value] * HEIGHT * WIDTH)
    assert shown(raw("32FC1", data)) == ("L", grid(lambda y, x: (0,)))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern: str) -> None:
    data = random_bytes(HEIGHT * WIDTH)
    mosaic = np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH)
    expected = [[tuple(pixel) for pixel in row] for row in _demosaic_slowly(mosaic, pattern).tolist()]
    assert shown(raw(f"bayer_{pattern}8", data)) == ("RGB", expected)


@pytest.mark.parametrize(("encoding", "luma"), [("uyvy", 1), ("yuv422", 1), ("yuyv", 0), ("yuv422_yuy2", 0)])
def test_yuv(encoding: str, luma: int) -> None:
    """BT.601 in floats, within the rounding of integers."""
    data = random_bytes(HEIGHT * WIDTH * 2)

    def of(y: int, x: int) -> Pixel:
        pair = (y * WIDTH + x // 2 * 2) * 2
        u, v = data[pair + 1 - luma] - 128, data[pair + 3 - luma] - 128
        bright = 1.164 * (data[(y * WIDTH + x) * 2 + luma] - 16)
        channels = bright + 1.596 * v, bright - 0.392 * u - 0.813 * v, bright + 2.017 * u
        return tuple(round(min(255.0, max(0.0, channel))) for channel in channels)

    mode, found = shown(raw(encoding, data))
    assert mode == "RGB"
    assert np.abs(np.array(found) - np.array(grid(of))).max() <= 2


@pytest.mark.parametrize(("mode", "encoding"), [("RGB", "rgb8"), ("L", "mono8")])
def test_large_images_are_means_of_squares(mode: str, encoding: str) -> None:
    n = len(mode) if mode != "L" else 1
    data = random_bytes(240 * 320 * n)
    found_mode, found = shown(raw(encoding, data, 240, 320))
    assert (found_mode, len(found), len(found[0])) == (mode, 120, 160)
    for y, x in ((0, 0), (7, 100), (119, 159), (60, 3)):
        for k in range(n):
            square = [data[((2 * y + dy) * 320 + 2 * x + dx) * n + k] for dy in (0, 1) for dx in (0, 1)]
            assert abs(found[y][x][k] - sum(square) / 4) <= 1


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_files_are_shown_by_their_pixels(form: str) -> None:
    data = random_bytes(HEIGHT * WIDTH * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (WIDTH, HEIGHT), data).save(file, form)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        expected = [[tuple(pixel) for pixel in row] for row in np.asarray(image).tolist()]
    assert shown(Picture(memoryview(file.getvalue()))) == ("RGB", expected)


@pytest.mark.parametrize(("encoding", "order"), [("rgb8", (0, 1, 2)), ("bgr8", (2, 1, 0))])
def test_an_inspection_has_those_pixels(tmp_path: Path, encoding: str, order: Pixel) -> None:
    pixels: np.ndarray[Any, Any] = np.frombuffer(random_bytes(HEIGHT * WIDTH * 3), np.uint8).reshape(HEIGHT, WIDTH, 3)
    found = look(image_log(tmp_path / "i.mcap", encoding, pixels), thumbnails=True).result
    image = found.topics["/camera"].field_candidates["data"].image
    assert image is not None
    mode, shown_ = pixels_of(image.thumbnail_png)
    assert (mode, shown_) == ("RGB", [[tuple(pixel[k] for k in order) for pixel in row] for row in pixels.tolist()])

"""Images: every encoding against a loop over bytes, colour tables both ways, PNG and JPEG, hostile data."""

import io
import itertools
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hephaes_rpc.engine.features import images
from hephaes_rpc.engine.features.encodings import COLORS, ImageError
from hephaes_rpc.engine.features.images import Picture, convert_color, crop, encode, load, resize
from tests.thorough import examples


def picture(data: bytes, encoding: str, height: int, width: int, step: int = 0, *, bigendian: bool = False) -> Picture:
    return Picture(memoryview(data), encoding, height, width, step, bigendian)


def pixels(found: Picture) -> Any:
    assert found.pixels is not None
    return found.pixels


def of(array: Any, color: str) -> Picture:
    return Picture(None, pixels=np.asarray(array), color=color)


ENCODINGS = {
    "rgb8": ("B", 3), "bgr8": ("B", 3), "rgba8": ("B", 4), "bgra8": ("B", 4), "mono8": ("B", 1), "8UC1": ("B", 1),
    "8UC2": ("B", 2), "8UC3": ("B", 3), "8UC4": ("B", 4), "8UC5": ("B", 5), "mono16": ("H", 1), "16UC1": ("H", 1),
    "16UC3": ("H", 3), "rgb16": ("H", 3), "bgra16": ("H", 4), "16SC1": ("h", 1), "32FC1": ("f", 1), "32FC2": ("f", 2),
    "8SC1": ("b", 1), "8SC3": ("b", 3), "32SC1": ("i", 1), "32SC2": ("i", 2), "64FC1": ("d", 1), "64FC4": ("d", 4),
    "16UC": ("H", 1), "16SC12": ("h", 12), "bgr16": ("H", 3), "rgba16": ("H", 4),
}  # fmt: skip


@settings(max_examples=examples(150), deadline=None)
@given(
    st.sampled_from(list(ENCODINGS)),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_pixels_are_what_a_loop_over_the_bytes_finds(
    encoding: str, height: int, width: int, padding: int, bigendian: bool, cut: bool, data: st.DataObject
) -> None:
    """Rows are padded, numbers in either byte order; the last row may lack its padding."""
    code, channels = ENCODINGS[encoding]
    size = struct.calcsize(code)
    step = width * channels * size + padding
    raw = data.draw(st.binary(min_size=step * height, max_size=step * height))
    raw = raw[: len(raw) - padding] if cut else raw
    found = pixels(load(picture(raw, encoding, height, width, step, bigendian=bigendian)))
    assert found.shape == (height, width, channels)
    assert found.dtype.isnative
    for i, j, k in itertools.product(range(height), range(width), range(channels)):
        (value,) = struct.unpack_from((">" if bigendian else "<") + code, raw, i * step + (j * channels + k) * size)
        assert found[i, j, k] == value or (value != value and np.isnan(found[i, j, k]))


def test_nothing_is_copied_where_bytes_are_pixels() -> None:
    raw = bytearray(range(24))
    found = pixels(load(Picture(memoryview(raw), "rgb8", 2, 3, 12)))
    raw[3] = 99
    assert found[0, 1, 0] == 99


@pytest.mark.parametrize(
    ("given_", "cause"),
    [
        (picture(b"abc", "rgb8", 1, 2), "less data"),
        (picture(b"abcdef", "rgb8", 1, 2, 5), "longer than its step"),
        (picture(b"", "rgb8", 0, 2), "empty"),
        (picture(b"a", "rgb8", 2**31, 2**31), "more than"),
        (picture(b"abc", "h264", 1, 1), "'h264' is not supported"),
        (picture(b"abcdef", "nv21", 2, 3), "odd size"),
        (picture(bytes(11), "nv21", 2, 4), "less data"),
        (picture(bytes(11), "nv24", 2, 2), "less data"),
        (picture(bytes(99), "nv24", 2, 4, 3), "longer than its step"),
        (picture(b"abc", "8UC0", 1, 1), "not supported"),
        (picture(b"abc", "rgb8\0", 1, 1), "not supported"),
        (picture(b"abcd", "yuv422", 2, 1), "odd width"),
        (picture(b"abcd", "bayer_rggb8", 1, 4), "smaller than its pattern"),
        (Picture(memoryview(b"abcd")), "no known height"),
        (Picture(memoryview(b"\x89PNG\r\n\x1a\nabcd")), "damaged"),
        (Picture(memoryview(b"\xff\xd8\xff\xe0abcd")), "damaged"),
    ],
)
def test_what_is_no_image_says_why(given_: Picture, cause: str) -> None:
    with pytest.raises(ImageError, match=cause):
        load(given_)


def test_what_a_message_leaves_open_may_be_given_but_not_contradicted() -> None:
    raw = Picture(memoryview(bytes(range(24))))
    found = load(raw, "bgra", 0, 2, 3)
    assert pixels(found).shape == (2, 3, 4)
    assert found.color == "bgra"
    assert pixels(load(raw, "", 2, 4, 3)).shape == (4, 3, 2)
    assert load(picture(bytes(24), "8UC4", 2, 3), "bgra").color == "bgra"
    for more in ({"color": "rgb"}, {"height": 3}, {"width": 2}, {"channels": 3}):
        with pytest.raises(ImageError):
            load(picture(bytes(24), "bgra8", 2, 3), **more)


# -- colours -----------------------------------------------------------------------------------------------------------


def _value(pixel: dict[str, int], name: str) -> int:
    return pixel.get(name, 255)


@pytest.mark.parametrize("target", list(COLORS))
@pytest.mark.parametrize("source", list(COLORS))
def test_every_conversion_of_the_table(source: str, target: str) -> None:
    """Channels keep their meaning: bgra to bgr does not swap red and blue."""
    pixel = {"Y": 90, "R": 1, "G": 2, "B": 3, "A": 4}
    if source == "gray":
        pixel |= dict.fromkeys("RGB", 90)
        del pixel["A"]
    given_ = of([[[pixel[name] for name in COLORS[source]]]], source)
    found = pixels(convert_color(given_, target)).ravel().tolist()
    alpha = 255 if source in ("gray", "rgb", "bgr") else 4
    gray = 90 if source == "gray" else (1 + 2 + 3) // 3
    meaning = {**pixel, "A": alpha, "Y": gray}
    assert given_.pixels is not None
    expected = [meaning[name] for name in COLORS[target]]
    if source in ("gray", "rgb", "bgr") and target in ("rgba", "bgra"):
        expected[-1] = int(np.iinfo(given_.pixels.dtype).max)
    assert found == expected


@pytest.mark.parametrize(("source", "there"), list(itertools.permutations(["rgb", "bgr", "rgba", "bgra"], 2)))
def test_there_and_back(source: str, there: str) -> None:
    rng = np.random.default_rng(1)
    start = rng.integers(0, 256, (3, 4, len(COLORS[source])), np.uint8)
    back = pixels(convert_color(convert_color(of(start, source), there), source))
    if len(COLORS[there]) < len(COLORS[source]):
        start[:, :, 3] = 255
    assert np.array_equal(back, start)


def test_gray_of_floats_and_unknown_colours() -> None:
    found = pixels(convert_color(of(np.array([[[0.5, 1.0, 1.5]]], np.float32), "rgb"), "gray"))
    assert found.tolist() == [[[1.0]]]
    with pytest.raises(ImageError, match="no known colour"):
        convert_color(picture(bytes(6), "8UC3", 1, 2), "rgb")


# -- Bayer and YUV -----------------------------------------------------------------------------------------------------


def _demosaic_slowly(raw: Any, pattern: str) -> Any:
    """Each channel by what the pixel has, or the mean of the nearest neighbours that have it."""
    height, width = raw.shape
    result = np.zeros((height, width, 3), raw.dtype)
    for i, j in itertools.product(range(height), range(width)):
        for k, name in enumerate("rgb"):
            if pattern[i % 2 * 2 + j % 2] == name:
                result[i, j, k] = raw[i, j]
                continue
            near: dict[int, list[int]] = {}
            for di, dj in itertools.product((-1, 0, 1), repeat=2):
                y, x = i + di, j + dj
                if 0 <= y < height and 0 <= x < width and pattern[y % 2 * 2 + x % 2] == name:
                    near.setdefault(abs(di) + abs(dj), []).append(int(raw[y, x]))
            found = near[min(near)]
            result[i, j, k] = np.rint(sum(found) / len(found))
    return result


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from(["rggb", "bggr", "gbrg", "grbg"]),
    st.sampled_from([8, 16]),
    st.integers(2, 6),
    st.integers(2, 6),
    st.integers(0, 2**32),
)
def test_bayer(pattern: str, bits: int, height: int, width: int, seed: int) -> None:
    kind = np.dtype(f"u{bits // 8}")
    raw = np.random.default_rng(seed).integers(0, 2**bits, (height, width), kind)
    found = load(picture(raw.tobytes(), f"bayer_{pattern}{bits}", height, width))
    assert found.color == "rgb"
    assert pixels(found).dtype == kind
    assert np.array_equal(pixels(found), _demosaic_slowly(raw, pattern))


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "UYVY"), ("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV"), ("yuyv", "YUYV")]
)
def test_yuv(encoding: str, order: str) -> None:
    """Primaries of BT.601 in video range come back within rounding."""
    known = {
        (81, 90, 240): (255, 0, 0),
        (145, 54, 34): (0, 255, 0),
        (41, 240, 110): (0, 0, 255),
        (235, 128, 128): (255,) * 3,
    }
    for (y, u, v), rgb in known.items():
        raw = bytes({"Y": y, "U": u, "V": v}[name] for name in order)
        found = pixels(load(picture(raw, encoding, 1, 2)))
        assert np.abs(found.astype(int) - np.array([[rgb, rgb]])).max() <= 2


def _rgb_of(y: int, u: int, v: int) -> list[int]:
    """BT.601 in video range, in real numbers."""
    y, u, v = 1.164383 * (y - 16), u - 128, v - 128
    return [round(min(255, max(0, c))) for c in (y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u)]


@settings(max_examples=examples(40), deadline=None)
@given(st.sampled_from(["nv21", "NV24"]), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.randoms())
def test_planes(encoding: str, height: int, width: int, padding: int, random_: Any) -> None:
    height, width = 2 * height, 2 * width
    step = width + padding
    half = encoding == "nv21"
    raw = random_.randbytes(step * height + (step * height // 2 if half else 2 * step * height))
    found = pixels(load(picture(raw, encoding, height, width, step)))
    assert found.shape == (height, width, 3)
    for i, j in itertools.product(range(height), range(width)):
        at = step * height + (i // 2 * step + j // 2 * 2 if half else i * 2 * step + 2 * j)
        first, second = raw[at], raw[at + 1]
        u, v = (second, first) if half else (first, second)
        assert np.abs(found[i, j].astype(int) - _rgb_of(raw[i * step + j], u, v)).max() <= 2


def test_every_name_of_sensor_msgs_is_known() -> None:
    names = [f"{color}{bits}" for color in ("rgb", "rgba", "bgr", "bgra", "mono") for bits in (8, 16)]
    names += ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv21", "nv24"]
    names += [f"{kind}C{n}" for kind in ("8U", "8S", "16U", "16S", "32S", "32F", "64F") for n in (1, 2, 3, 4)]
    names += [f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)]
    for name in names:
        assert load(picture(bytes(4 * 4 * 8 * 4), name, 4, 4)).pixels is not None
    for name in ("32UC1", "64SC1", "16FC1", "8UC1000", "rgb32", "bayer_rgbg8"):
        with pytest.raises(ImageError):
            load(picture(bytes(4 * 4 * 8 * 4), name, 4, 4))


def test_what_does_not_survive_a_resize_is_not_resized() -> None:
    for encoding in ("32SC1", "64FC1"):
        with pytest.raises(ImageError, match="cannot be resized without loss"):
            resize(picture(bytes(32), encoding, 2, 2), 1, 1, "box")


# -- crop, resize ------------------------------------------------------------------------------------------------------


def test_crop_keeps_what_lies_inside() -> None:
    start = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(pixels(crop(of(start, "bgr"), 1, 2, 3, 9)), start[2:, 1:4])
    assert crop(of(start, "bgr"), 1, 2, 3, 9).color == "bgr"
    with pytest.raises(ImageError, match="outside"):
        crop(of(start, "bgr"), 5, 0, 1, 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f4"])
def test_resize_keeps_type_and_channels_apart(kind: str, channels: int) -> None:
    """A constant stays constant, whatever the other channels (alpha too) are."""
    constants = [7, 200, 0, 3][:channels]
    start = np.full((6, 4, channels), constants, np.dtype(kind))
    for method in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"):
        found = pixels(resize(of(start, ""), 3, 5, method))
        assert found.dtype == start.dtype
        assert np.allclose(found, np.full((5, 3, channels), constants), atol=1e-4 if kind == "f4" else 0)


def test_resize_is_that_of_pillow() -> None:
    start = np.random.default_rng(2).integers(0, 256, (8, 9, 3), np.uint8)
    expected = np.asarray(Image.fromarray(start).resize((5, 4), Image.Resampling.BICUBIC))
    assert np.array_equal(pixels(resize(of(start, "bgr"), 5, 4, "bicubic")), expected)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", list(COLORS))
def test_png_shows_the_colours_that_the_picture_has(color: str) -> None:
    start = np.random.default_rng(3).integers(0, 256, (3, 4, len(COLORS[color])), np.uint8)
    data = encode(of(start, color), "png", None)
    shown = {"gray": "gray", "rgb": "rgb", "bgr": "rgb", "rgba": "rgba", "bgra": "rgba"}[color]
    expected = start[:, :, [COLORS[color].index(name) for name in COLORS[shown]]]
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image).reshape(expected.shape), expected)
    again = load(Picture(memoryview(data)))
    assert again.color == shown
    assert np.array_equal(pixels(again), expected)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_depth_stays_16_bit(encoding: str) -> None:
    start = np.array([[0, 1, 255], [256, 40000, 65535]], ">u2")
    data = encode(picture(start.tobytes(), encoding, 2, 3, bigendian=True), "png", None)
    assert data[24] == 16
    assert pixels(load(Picture(memoryview(data))))[:, :, 0].tolist() == start.tolist()


def test_jpeg_quality() -> None:
    start = of(np.random.default_rng(4).integers(0, 256, (32, 32, 3), np.uint8), "rgb")
    sizes = [len(encode(start, "jpeg", quality)) for quality in (10, None, 95)]
    assert sizes == sorted(sizes)
    assert encode(start, "jpeg", None) == encode(start, "jpeg", 75)


def test_files_pass_through_untouched() -> None:
    jpeg = encode(of(np.zeros((4, 4, 3), np.uint8), "rgb"), "jpeg", None) + b"tail"
    assert encode(Picture(memoryview(jpeg)), "jpeg", None) == jpeg
    assert encode(Picture(memoryview(jpeg)), "jpeg", 30) != jpeg
    assert encode(Picture(memoryview(jpeg)), "png", None).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("array", "format_", "cause"),
    [
        (np.zeros((1, 1, 1), np.uint16), "jpeg", "uint16"),
        (np.zeros((1, 1, 3), np.uint16), "png", "uint16"),
        (np.zeros((1, 1, 1), np.float32), "png", "float32"),
        (np.zeros((1, 1, 4), np.uint8), "jpeg", "alpha"),
        (np.zeros((1, 1, 2), np.uint8), "png", "2 channels"),
    ],
)
def test_nothing_is_cut_to_8_bit_to_fit_a_file(array: Any, format_: Any, cause: str) -> None:
    with pytest.raises(ImageError, match=cause):
        encode(of(array, images.PLAIN.get(array.shape[2], "")), format_, None)


def _png(width: int, height: int, depth: int = 8, kind: int = 0, rows: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8193, 9700, 20000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_size(side: int) -> None:
    """Below, inside and above the range in which Pillow warns, no pixel is decoded."""
    with pytest.raises(ImageError, match="more than"):
        load(Picture(memoryview(_png(side, side))))


def test_png_of_16_bit_colour_is_not_cut_to_8() -> None:
    with pytest.raises(ImageError, match="16-bit"):
        load(Picture(memoryview(_png(1, 1, 16, 2, bytes(7)))))


def test_palettes_and_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.putdata([0, 1])
    target = io.BytesIO()
    palette.save(target, "PNG")
    assert pixels(load(Picture(memoryview(target.getvalue())))).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    target = io.BytesIO()
    palette.save(target, "PNG", transparency=0)
    assert pixels(load(Picture(memoryview(target.getvalue())))).tolist() == [[[1, 2, 3, 0], [4, 5, 6, 255]]]


# -- compressed depth: RVL ---------------------------------------------------------------------------------------------


def _rvl(values: list[int]) -> bytes:
    """Wilson's encoder, nibble by nibble."""
    nibbles: list[int] = []

    def write(value: int) -> None:
        while True:
            value, low = value >> 3, value & 7
            nibbles.append(low | (8 if value else 0))
            if not value:
                return

    at = previous = 0
    while at < len(values):
        zeros = next((k for k in range(at, len(values)) if values[k]), len(values))
        write(zeros - at)
        end = next((k for k in range(zeros, len(values)) if not values[k]), len(values))
        write(end - zeros)
        for value in values[zeros:end]:
            delta = value - previous
            write((delta << 1) ^ (delta >> 31))
            previous = value
        at = end
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{n:x}" for n in nibbles[k : k + 8]), 16) for k in range(0, len(nibbles), 8)]
    return struct.pack(f"<{len(words)}I", *words)


DEPTHS = st.sampled_from([0, 0, 0, 1, 2, 500, 501, 40000, 65535])


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.data())
def test_rvl(height: int, width: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(DEPTHS, min_size=height * width, max_size=height * width))
    head = struct.pack("<iff", 0, 10.0, -2.0) + struct.pack("<II", width, height)
    packed = head + _rvl(values)
    found = pixels(images.picture_of_file(memoryview(packed), "16UC1; compressedDepth rvl"))
    assert (found.dtype, found.shape) == (np.uint16, (height, width, 1))
    assert found.ravel().tolist() == values
    metres = pixels(images.picture_of_file(memoryview(packed), "32FC1; compressedDepth rvl")).ravel().tolist()
    assert all(np.isnan(m) if not v else abs(m - 10 / (v + 2)) < 1e-6 for m, v in zip(metres, values, strict=True))
    for cut in (packed[: len(head) - 1], packed[:12], packed[:3]):
        with pytest.raises(ImageError):
            images.picture_of_file(memoryview(cut), "16UC1; compressedDepth rvl")


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=64))
def test_hostile_rvl(width: int, height: int, body: bytes) -> None:
    head = bytes(12) + struct.pack("<II", width % 300 if height % 3 else width, height % 300)
    with suppress(ImageError):
        found = images.picture_of_file(memoryview(head + body), "16UC1; compressedDepth rvl")
        assert pixels(found).size <= images.MAX_PIXELS


# -- compressed depth --------------------------------------------------------------------------------------------------


def test_compressed_depth() -> None:
    depth = np.array([[0, 1000, 65535]], np.uint16)
    png = encode(of(depth[:, :, None], "gray"), "png", None)
    head = struct.pack("<iff", 0, 10.0, -2.0)
    found = images.picture_of_file(memoryview(head + png), "16UC1; compressedDepth png")
    assert pixels(load(found))[0, :, 0].tolist() == [0, 1000, 65535]
    assert encode(images.picture_of_file(memoryview(head + png), "16UC1; compressedDepth"), "png", None) == png
    metres = pixels(load(images.picture_of_file(memoryview(head + png), "32FC1; compressedDepth png")))[0, :, 0]
    assert np.isnan(metres[0])
    assert np.allclose(metres[1:], [10 / 1002, 10 / 65537])
    with pytest.raises(ImageError, match="compressed depth"):
        images.picture_of_file(memoryview(head), "16UC1; compressedDepth")


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b""]), st.binary(max_size=80), st.booleans())
def test_any_bytes_are_an_image_or_say_why(magic: bytes, rest: bytes, real: bool) -> None:
    start = encode(of(np.zeros((3, 3, 1), np.uint8), "gray"), "jpeg" if magic[:1] == b"\xff" else "png", None)
    data = start[: len(start) // 2] + rest if real else magic + rest
    with suppress(ImageError):
        load(Picture(memoryview(data)))

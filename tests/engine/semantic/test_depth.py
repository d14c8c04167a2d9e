"""Depth and other images as matrices of numbers in a dataset, against numpy."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.engine.semantic.converting import header, made, run, spec_of, table, write_log
from tests.factories import START_NS

COMPRESSED, IMAGE = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"
RNG = np.random.default_rng(6)


def decoded(topic: str, dtype: str, **more: Any) -> dict[str, Any]:
    return {"source": {"topic": topic}, "dtype": dtype, "transforms": ["image_decode"], **more}


def depth_message(depth: Any, text: str) -> Any:
    file = io.BytesIO()
    Image.fromarray(depth).save(file, "PNG")
    data = np.frombuffer(struct.pack("<iff", 1, 120.0, -3.0) + file.getvalue(), np.uint8)
    return made(2, COMPRESSED, header=header(2, START_NS), format=text, data=data)


def test_compressed_depth_as_a_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = "/camera/depth/compressedDepth"
    depths = [RNG.integers(0, 3000, (4, 6), np.uint16) * RNG.integers(0, 2, (4, 6), np.uint16) for _ in range(5)]
    for text, dtype in (("16UC1; compressedDepth png", "int64"), ("32FC1; compressedDepth png", "float32")):
        messages = [(topic, START_NS + k, COMPRESSED, depth_message(d, text)) for k, d in enumerate(depths)]
        messages.append((topic, START_NS + 9, COMPRESSED, depth_message(np.zeros((4, 7), np.uint16), text)))
        log = write_log(tmp_path / f"{dtype}.mcap", monkeypatch, 2, messages)
        found = table(log, tmp_path / dtype, spec_of(topic, {"d": decoded(topic, dtype, shape=[4, 6])}))["d"]
        assert found.type == pa.list_(pa.list_(getattr(pa, dtype)(), 6), 4)
        assert found.to_pylist()[-1] is None
        for row, depth in zip(found.to_pylist(), depths, strict=False):
            metres = np.where(depth == 0, np.nan, np.float32(120) / (depth.astype(np.float32) + np.float32(3)))
            expected = depth if dtype == "int64" else metres.astype(np.float32)
            assert np.array_equal(np.array(row, expected.dtype), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("encoding", "kind", "dtype"),
    [("8SC2", "i1", "int64"), ("32SC1", ">i4", "int64"), ("64FC1", ">f8", "float64"), ("64FC3", "<f8", "float32")],
)
def test_wide_pixels_are_kept_or_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, kind: str, dtype: str
) -> None:
    channels = int(encoding[-1])
    values = RNG.normal(0, 1e5, (3, 5, channels)) if "f" in kind else RNG.integers(-100, 100, (3, 5, channels)) * 10**6
    pixels = values.astype(kind)
    step = 5 * channels * pixels.itemsize + 3
    data = np.pad(pixels.view(np.uint8).reshape(3, -1), ((0, 0), (0, 3))).ravel()
    order = 1 if kind.startswith(">") else 0
    members = {"height": 3, "width": 5, "encoding": encoding, "is_bigendian": order, "step": step, "data": data}
    log = write_log(
        tmp_path / "a.mcap",
        monkeypatch,
        2,
        [("/image", START_NS, IMAGE, made(2, IMAGE, header=header(2, START_NS), **members))],
    )
    spec = spec_of("/image", {"d": decoded("/image", dtype)})
    expected = pixels.astype(pixels.dtype.newbyteorder("=")).astype(dtype)
    assert np.array_equal(np.array(table(log, tmp_path / "out", spec)["d"].to_pylist()[0]), expected)
    (manifest,) = [Path(o.path) for o in run(log, tmp_path / "m", spec).outputs if o.role == "manifest"]
    assert ('"narrowed": 45' in manifest.read_text()) == (dtype == "float32")

"""Transforms at their edges, and image messages all the way to features; the rest is tested against the twin."""

import io
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hephaes_rpc.engine.features.compiled import FeatureBatch, FeatureSet
from hephaes_rpc.engine.features.readers import Rows, SourceRows
from hephaes_rpc.engine.features.sources import Context
from hephaes_rpc.engine.features.steps import CannotApplyError, Column, Kind, Tally
from hephaes_rpc.engine.features.transforms import bind
from hephaes_rpc.engine.messages.msgdef import Definition, parse_definition
from hephaes_rpc.engine.specs import transform_params as t
from hephaes_rpc.errors import HephaesError, SpecError
from tests.engine.test_features import compiled, path, rows_of, spec_of


def run(
    transform: t.Transform, values: list[Any], kind: pa.DataType, size: int | None = None
) -> tuple[list[Any], Tally]:
    """What is left of a column, and what happened."""
    column = Column(np.arange(len(values)), pa.array(values, kind), np.zeros(len(values), np.bool_))
    tally = Tally(len(values))
    out = Kind(kind, size)
    for step in bind(transform, out):
        column = step.apply(column, tally)
        out = step.kind
    column.values.validate(full=True)
    assert column.values.type == out.type
    return column.values.to_pylist(), tally


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("transform", "kind", "values", "expected"),
    [
        (t.Cast(dtype="int64"), pa.float64(), [1.9, -1.9, NAN, INF, 2.0**63, -(2.0**63)], [1, -1, -(2**63)]),
        (t.Cast(dtype="int64"), pa.uint64(), [2**63 - 1, 2**63], [2**63 - 1]),
        (t.Cast(dtype="int64"), pa.string(), ["12", " -3 ", "4.0", "", str(2**63)], [12, -3]),
        (t.Cast(dtype="float64"), pa.string(), ["1e3", "nan?", "inf", "x"], [1000.0, INF]),
        (t.Cast(dtype="float32"), pa.string(), ["0.5", "1e300"], [0.5]),
        (t.Cast(dtype="float32"), pa.float64(), [1e39, INF, -1e39, 1.5], [INF, 1.5]),
        (t.Cast(dtype="bool"), pa.float32(), [0.0, NAN, -2.0], [False, True, True]),
        (t.Cast(dtype="bool"), pa.string(), ["", "0"], [False, True]),
        (t.Cast(dtype="bytes"), pa.string(), ["é"], ["é".encode()]),
        (t.Cast(dtype="bytes"), pa.list_(pa.int16()), [[1, 255], [256], [-1], []], [b"\x01\xff", b""]),
        (t.Cast(dtype="json"), pa.list_(pa.float64()), [[1.0, NAN]], ['[1.0,{"__float__":"nan"}]']),
        (t.Clamp(min=2), pa.uint8(), [0, 3], [2, 3]),
        (t.Clamp(max=300), pa.uint8(), [0, 255], [0, 255]),
        (t.Clamp(max=0.5), pa.int8(), [-1, 3], [-1.0, 0.5]),
        (t.Clamp(min=0, max=1), pa.float32(), [NAN, -INF, INF], [NAN, 0.0, 1.0]),
        (t.Clamp(max=0), pa.bool_(), [True, False], [0, 0]),
        (t.Scale(scale=2, offset=1), pa.bool_(), [True, False], [0.0, -2.0]),
        (t.Normalize(min=0, max=4), pa.uint64(), [2**64 - 1], [2.0**62]),
        (t.Normalize(mean=1, scale=2), pa.int64(), [5], [2.0]),
        (t.Normalize(std=2), pa.int64(), [5], [2.5]),
        (t.OneHot(depth=3), pa.float64(), [2.9, -0.5, -1.0, 3.0, NAN], [[0, 0, 1], [1, 0, 0]]),
        (t.MultiHot(depth=3), pa.list_(pa.uint8()), [[0, 2, 2], [], [1, 3]], [[1, 0, 1], [0, 0, 0]]),
        (t.MultiHot(depth=2), pa.bool_(), [True], [[0, 1]]),
        (t.Length(pad_to=3, pad_value=7), pa.binary(), [b"\x01", b"abcd"], [[1, 7, 7], [97, 98, 99]]),
        (t.Length(pad_to=2), pa.list_(pa.string()), [["a"]], [["a", ""]]),
        (t.Length(pad_to=2, pad_value=1), pa.list_(pa.list_(pa.int8(), 2)), [[[3, 4]]], [[[3, 4], [1, 1]]]),
        (t.Length(pad_to=0), pa.list_(pa.int8()), [[3]], [[]]),
        (t.Length(truncate_to=2, min=1), pa.list_(pa.int8()), [[1, 2, 3], []], [[1, 2]]),
        (t.Length(max=1), pa.list_(pa.int8()), [[1, 2], [1]], [[1]]),
        (t.Length(exact=0), pa.list_(pa.int8()), [[], [1]], [[]]),
    ],
)  # fmt: skip
def test_edges(transform: t.Transform, kind: pa.DataType, values: list[Any], expected: list[Any]) -> None:
    found, tally = run(transform, values, kind)
    assert repr(found) == repr(expected)
    assert sum(tally.causes.values()) == len(values) - len(expected)


@pytest.mark.parametrize(
    ("transform", "kind"),
    [
        (t.Clamp(min=1), pa.string()),
        (t.Scale(scale=2), pa.struct([("a", pa.int8())])),
        (t.Clamp(min=256), pa.uint8()),
        (t.Clamp(max=-1), pa.uint64()),
        (t.Length(exact=2), pa.int8()),
        (t.Length(exact=2), pa.list_(pa.int8(), 3)),
        (t.Length(min=4), pa.list_(pa.int8(), 3)),
        (t.Length(pad_to=1 << 40), pa.list_(pa.int8())),
        (t.Length(pad_to=2, pad_value=300), pa.list_(pa.int8())),
        (t.Length(pad_to=2, pad_value=0.5), pa.list_(pa.int8())),
        (t.Length(pad_to=2, pad_value=1), pa.list_(pa.string())),
        (t.Length(pad_to=2), pa.list_(pa.list_(pa.int8()))),
        (t.OneHot(depth=3), pa.list_(pa.int8())),
        (t.OneHot(depth=1 << 40), pa.int8()),
        (t.MultiHot(depth=3), pa.list_(pa.list_(pa.int8()))),
        (t.Cast(dtype="bytes"), pa.float64()),
        (t.Cast(dtype="bytes"), pa.int8()),
        (t.Cast(dtype="int64"), pa.struct([("a", pa.int8())])),
        (t.ImageEncode(), pa.string()),
        (t.ImageResize(width=1 << 20, height=1 << 20), pa.binary()),
    ],
)
def test_what_can_never_apply_is_refused(transform: t.Transform, kind: pa.DataType) -> None:
    with pytest.raises(CannotApplyError):
        bind(transform, Kind(kind))


def test_sizes_that_the_definition_fixes_are_known() -> None:
    (step,) = bind(t.Cast(dtype="int64"), Kind(pa.binary(), 4))
    assert step.kind.type == pa.list_(pa.int64(), 4)
    found, _ = run(t.Cast(dtype="int64"), [b"abcd"], pa.binary(), 4)
    assert found == [[97, 98, 99, 100]]


# -- images ------------------------------------------------------------------------------------------------------------

IMAGE = parse_definition(
    "sensor_msgs/Image",
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
    "uint32 step\nuint8[] data\n",
    2,
)
COMPRESSED = parse_definition("sensor_msgs/CompressedImage", "std_msgs/Header header\nstring format\nuint8[] data\n", 2)
NESTED = parse_definition(
    "test/Cameras",
    "sensor_msgs/Image[] images\nuint8[] blob\n" + "=" * 10 + "\nMSG: sensor_msgs/Image\n"
    "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n",
    2,
)
HEADER = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""}


def image(array: Any, encoding: str, padding: int = 0, *, bigendian: bool = False) -> dict[str, Any]:
    """A message with these pixels."""
    array = np.asarray(array)
    height, width, _ = array.shape
    rows = array.astype(array.dtype.newbyteorder(">" if bigendian else "<")).reshape(height, -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    about = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": int(bigendian),
        "step": data.shape[1],
    }
    return {"header": HEADER, **about, "data": data.tobytes()}


def features_of(definition: Definition, **features: Any) -> FeatureSet:
    return compiled(spec_of(features), definition)


def batch_of(features: FeatureSet, definition: Definition, found: list[Any]) -> FeatureBatch:
    rows = rows_of(features, {"/m": found, "/j": [None] * len(found)}, definition)
    batch = features.evaluation().evaluate(rows)
    for name, column in batch.columns.items():
        assert column.type == features.schema.field(name).type
        column.validate(full=True)
    return batch


def column_of(definition: Definition, messages: list[Any], **feature: Any) -> list[Any]:
    features = features_of(definition, f={"source": path("data", "/m"), "dtype": "bytes", **feature})
    return batch_of(features, definition, messages).columns["f"].to_pylist()


RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize("source", [path("data", "/m"), path(None, "/m")])
def test_an_image_that_nothing_changes_is_its_data(source: Any) -> None:
    """Padding included, and nothing but the data is read."""
    message = image(RGB, "bgr8", 2)
    features = features_of(IMAGE, f={"source": source, "dtype": "bytes"})
    assert features.needs["/m"].select == {"data"}
    assert not features.features[0].encoded_image
    batch = batch_of(features, IMAGE, [message, None])
    assert batch.columns["f"].to_pylist() == [message["data"], None]


def test_an_image_of_a_message_becomes_png() -> None:
    feature = {"source": path(None, "/m"), "dtype": "bytes", "transforms": ["image_encode"]}
    features = features_of(IMAGE, f=feature)
    assert features.features[0].encoded_image
    assert features.needs["/m"].select == {"data", "height", "width", "encoding", "step", "is_bigendian"}
    depth = np.array([[[1], [700]]], np.uint16)
    found = [
        image(RGB, "bgr8", 5),
        image(depth, "16UC1", 3, bigendian=True),
        image(RGB, "nv21"),
        None,
        image(RGB, "rgb8"),
    ]
    batch = batch_of(features, IMAGE, found)
    first, second, *rest, last = batch.columns["f"].to_pylist()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(first))), RGB[:, :, ::-1])
    assert np.asarray(Image.open(io.BytesIO(second))).tolist() == [[1, 700]]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(last))), RGB)
    assert rest == [None, None]


def test_chains_stay_contiguous_arrays() -> None:
    transforms = [
        {"image_color_convert": {"from": "bgr", "to": "rgb"}},
        {"image_crop": {"left": 1, "width": 2, "height": 2}},
        {"image_resize": {"width": 4, "height": 4, "filter": "nearest"}},
    ]
    (found,) = column_of(IMAGE, [image(RGB, "bgr8", 1)], transforms=transforms, shape=[4, 4, 3])
    expected = RGB[:, 1:, ::-1].repeat(2, axis=0).repeat(2, axis=1)
    assert found == expected.tobytes()


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_pixels_as_numbers(dtype: str) -> None:
    transforms = [{"image_color_convert": {"to": "gray"}}]
    messages = [image(RGB, "rgb8"), image(RGB[:1], "rgb8")]
    found = column_of(IMAGE, messages, dtype=dtype, transforms=transforms)
    gray = RGB.astype(int).sum(axis=2, keepdims=True) // 3
    assert found == [gray.tolist(), gray[:1].tolist()]
    assert column_of(IMAGE, messages, dtype=dtype, transforms=transforms, shape=[2, 3]) == [
        gray[:, :, 0].tolist(),
        None,
    ]
    resized = [*transforms, {"image_resize": {"width": 3, "height": 2}}]
    features = features_of(IMAGE, f={"source": path("data", "/m"), "dtype": dtype, "transforms": resized})
    assert str(features.schema.field("f").type).count("fixed_size_list") == 3


def test_numbers_after_pixels() -> None:
    transforms = [{"image_crop": {"width": 1, "height": 1}}, {"scale": {"scale": 0.5}}]
    assert column_of(IMAGE, [image(RGB + 1, "rgb8")], dtype="float64", transforms=transforms) == [[[[0.5, 1.0, 1.5]]]]


def test_colours_that_contradict_the_message_fail() -> None:
    transforms = [{"image_color_convert": {"from": "rgb", "to": "gray"}}, "image_encode"]
    features = features_of(IMAGE, f={"source": path("data", "/m"), "dtype": "bytes", "transforms": transforms})
    evaluation = features.evaluation()
    evaluation.evaluate(rows_of(features, {"/m": [image(RGB, "bgr8"), image(RGB, "8UC3")], "/j": [None] * 2}, IMAGE))
    assert evaluation.counts["f"].causes == {"image is bgr, not rgb": 1}


def test_bytes_of_which_nothing_is_known() -> None:
    known = {"from": "bgra", "to": "rgb", "height": 1, "width": 2}
    transforms = [{"image_color_convert": known}]
    features = features_of(NESTED, f={"source": path("blob", "/m"), "dtype": "bytes", "transforms": transforms})
    found = batch_of(
        features, NESTED, [{"images": [], "blob": bytes([1, 2, 3, 4, 5, 6, 7, 8])}, {"images": [], "blob": b"1"}]
    )
    assert found.columns["f"].to_pylist() == [bytes([3, 2, 1, 7, 6, 5]), None]


def test_an_image_inside_an_array() -> None:
    feature = {
        "source": path("images[-1].data", "/m"),
        "dtype": "bytes",
        "transforms": [{"image_color_convert": {"to": "rgb"}}],
    }
    features = features_of(NESTED, f=feature)
    assert features.needs["/m"].select == {f"images.{name}" for name in image(RGB, "x") if name != "header"}
    messages = [{"images": [image(RGB[:1], "rgb8"), image(RGB, "bgr8", 4)], "blob": b""}, {"images": [], "blob": b""}]
    assert batch_of(features, NESTED, messages).columns["f"].to_pylist() == [RGB[:, :, ::-1].tobytes(), None]


def test_files_in_messages() -> None:
    target = io.BytesIO()
    Image.fromarray(RGB).save(target, "PNG")
    png = target.getvalue()
    message = {"header": HEADER, "format": "png", "data": png}
    features = features_of(
        COMPRESSED,
        same={"source": path("data", "/m"), "dtype": "bytes"},
        png={"source": path(None, "/m"), "dtype": "bytes", "transforms": ["image_encode"]},
        jpeg={"source": path(None, "/m"), "dtype": "bytes", "transforms": [{"image_encode": {"format": "jpeg"}}]},
        pixels={"source": path("data", "/m"), "dtype": "bytes", "transforms": [{"image_color_convert": {"to": "bgr"}}]},
    )
    batch = batch_of(features, COMPRESSED, [message, {**message, "data": png[:40]}])
    found = {name: column.to_pylist() for name, column in batch.columns.items()}
    assert [feature.encoded_image for feature in features.features] == [True, True, True, False]
    assert found["same"] == [png, png[:40]]
    assert found["png"] == [png, png[:40]]
    assert found["jpeg"][0].startswith(b"\xff\xd8")
    assert found["jpeg"][1] is None
    assert found["pixels"] == [RGB[:, :, ::-1].tobytes(), None]


def test_a_default_image() -> None:
    default = image(RGB, "bgr8")
    del default["header"]
    feature = {"source": path(None), "dtype": "bytes", "transforms": [{"image_color_convert": {"to": "rgb"}}]}
    features = compiled(spec_of({"f": feature}, default_value=default), IMAGE)
    rows = rows_of(features, {"/m": [image(RGB, "rgb8")] * 2, "/j": [None, image(RGB, "rgb8")]}, IMAGE)
    batch = features.evaluation().evaluate(rows)
    assert batch.columns["f"].to_pylist() == [RGB[:, :, ::-1].tobytes(), RGB.tobytes()]
    assert batch.present["f"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("feature", "pointer"),
    [
        ({"dtype": "native", "transforms": [{"image_crop": {"width": 1, "height": 1}}]}, "/features/f/dtype"),
        ({"dtype": "bool", "transforms": [{"image_crop": {"width": 1, "height": 1}}]}, "/features/f/dtype"),
        (
            {"dtype": "bytes", "shape": [4], "transforms": [{"image_resize": {"width": 1, "height": 1}}]},
            "/features/f/shape",
        ),
        (
            {"dtype": "bytes", "shape": [2, 1, 3], "transforms": [{"image_resize": {"width": 1, "height": 1}}]},
            "/features/f/shape",
        ),
    ],
)
def test_what_images_are_not_is_refused(feature: Any, pointer: str) -> None:
    with pytest.raises((SpecError, HephaesError)) as caught:
        features_of(IMAGE, f={"source": path("data", "/m"), **feature})
    assert [e["pointer"] for e in caught.value.data["errors"]] == [pointer]


def test_a_batch_of_no_rows() -> None:
    features = features_of(
        IMAGE,
        a={"source": path("data", "/m"), "dtype": "bytes", "transforms": ["image_encode"]},
        b={"source": path("data", "/m"), "dtype": "float32", "transforms": [{"image_color_convert": {"to": "gray"}}]},
        c={"source": path("data", "/m"), "dtype": "int64", "shape": [3]},
    )
    kind = pa.struct([(name, pa.null()) for name in ()])
    assert kind.num_fields == 0
    batch = batch_of(features, IMAGE, [])
    assert [len(column) for column in batch.columns.values()] == [0, 0, 0]


def test_context_is_all_that_is_known_of_the_log() -> None:
    features = FeatureSet.compile(
        spec_of({"a": {"source": {"kind": "metadata", "key": "source_file"}, "dtype": "native"}}, required=True),
        {"/m": IMAGE, "/j": IMAGE},
        Context("e", "x.mcap", "/m"),
    )
    rows = Rows(np.arange(2), {"/m": SourceRows(np.ones(2, np.bool_)), "/j": SourceRows(np.zeros(2, np.bool_))})
    assert features.evaluation().evaluate(rows).columns["a"].to_pylist() == ["x.mcap", "x.mcap"]

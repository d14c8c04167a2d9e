"""Points of clouds against a loop over the bytes: every data type, both byte orders, padding, hostile layouts."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from hephaes_rpc.engine.features.clouds import DATATYPES, Cloud, CloudError, points_of
from hephaes_rpc.engine.features.steps import Tally
from hephaes_rpc.engine.specs.message_sources import MAX_POINT_VALUES, PointsSource, parse_point_field
from hephaes_rpc.errors import SpecError
from tests.engine.semantic.converting import Ros, errors, header, made, run, spec_of, table, write_log
from tests.factories import START_NS
from tests.reference import tfrecord as twin
from tests.thorough import examples

CODES = dict(zip(DATATYPES, "bBhHiIfd", strict=True))
CLOUD, FIELD = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/PointField"
TOPIC = "/lidar"


def slow_points(message: Any, names: list[str]) -> list[list[list[Any]]]:
    """Rows of points of values, one ``struct.unpack`` per value."""
    known = {each.name: each for each in message.fields}
    data, rows = bytes(message.data), []
    for i in range(message.height):
        row = []
        for j in range(message.width):
            at = i * message.row_step + j * message.point_step
            point = []
            for text in names:
                part = parse_point_field(text)
                each = known[part.name]
                code = (">" if message.is_bigendian else "<") + CODES[each.datatype]
                for k in range(part.first, part.stop):
                    point.append(struct.unpack_from(code, data, at + each.offset + k * struct.calcsize(code))[0])
            row.append(point)
        rows.append(row)
    return rows if message.width else []


def field(ros: Ros, name: str, offset: int, datatype: int, count: int = 1) -> Any:
    return made(ros, FIELD, name=name, offset=offset, datatype=datatype, count=count)


def cloud(ros: Ros, fields: list[Any], height: int, width: int, data: bytes, **more: Any) -> Any:
    step = more.pop("point_step")
    members = {"is_bigendian": False, "row_step": step * width, "is_dense": True} | more
    return made(
        ros,
        CLOUD,
        header=header(ros, START_NS),
        height=height,
        width=width,
        fields=fields,
        point_step=step,
        data=np.frombuffer(data, np.uint8),
        **members,
    )


@st.composite
def any_cloud(draw: st.DrawFn) -> tuple[Any, list[str], str]:
    """A cloud of fields of any types in any places, the fields that are wanted and their dtype."""
    kinds = draw(st.lists(st.sampled_from(list(CODES)), min_size=1, max_size=4))
    fields, names, at = [], [], draw(st.integers(0, 3))
    for k, datatype in enumerate(kinds):
        count = draw(st.sampled_from([0, 1, 1, 3]))
        fields.append(field(2, f"f{k}", at, datatype, count))
        names += [f"f{k}"] if count < 2 else draw(st.sampled_from([[f"f{k}[1]"], [f"f{k}[0:3]"], [f"f{k}[1:3]"]]))
        at += max(count, 1) * struct.calcsize(CODES[datatype]) + draw(st.integers(0, 3))
    height, width = draw(st.integers(0, 3)), draw(st.integers(0, 4))
    row_step = width * at + draw(st.integers(0, 5))
    size = row_step * max(height - 1, 0) + (width * at if height else 0)
    data = draw(st.binary(min_size=size, max_size=size + 3))
    made_ = cloud(2, fields, height, width, data, point_step=at, row_step=row_step, is_bigendian=draw(st.booleans()))
    wanted = draw(st.permutations(names))
    whole = all(kinds[int(parse_point_field(name).name[1:])] < 7 for name in wanted)
    return made_, wanted, "int64" if whole else draw(st.sampled_from(["float32", "float64"]))


def layout_of(message: Any) -> Cloud:
    fields = [
        {name: getattr(each, name) for name in ("name", "offset", "datatype", "count")} for each in message.fields
    ]
    return Cloud(
        message.height, message.width, fields, bool(message.is_bigendian), message.point_step, message.row_step,
        memoryview(bytes(message.data)),
    )  # fmt: skip


def narrowed(value: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float32(value))


@settings(max_examples=examples(150), deadline=None)
@given(any_cloud(), st.booleans())
def test_points_are_what_a_loop_over_the_bytes_finds(drawn: tuple[Any, list[str], str], skip: bool) -> None:
    message, names, dtype = drawn
    expected: Any = slow_points(message, names)
    source = PointsSource(topic="/x", fields=names, dtype=dtype, skip_nans=skip)  # type: ignore[arg-type]
    tally = Tally(1)
    flat = [value for row in expected for point in row for value in point]
    if dtype == "float32" and any(math.isinf(narrowed(v)) and not math.isinf(v) for v in flat):
        with pytest.raises(CloudError, match="does not fit float32"):
            points_of(layout_of(message), source, list(map(parse_point_field, names)), tally)
        return
    found = points_of(layout_of(message), source, list(map(parse_point_field, names)), tally)
    if dtype == "float32":
        assert tally.changes["narrowed"] == sum(v == v and narrowed(v) != v for v in flat)
        expected = [[list(map(narrowed, point)) for point in row] for row in expected]
    elif dtype == "float64":
        expected = [[list(map(float, point)) for point in row] for row in expected]
    assert found.dtype == np.dtype(dtype)
    if not skip:
        assert repr(found.tolist()) == repr(expected)
        return
    every = [point for row in expected for point in row]
    kept = [point for point in every if not any(v != v for v in point)]
    assert tally.changes["skipped_points"] == len(every) - len(kept)
    assert repr([point for row in found.tolist() for point in row]) == repr(kept)


UINT32 = st.sampled_from([0, 1, 2, 3, 8, 16, 255, 2**16, 2**31, 2**32 - 1]) | st.integers(0, 40)


@settings(max_examples=examples(300), deadline=None)
@given(st.tuples(*[UINT32] * 7), st.integers(0, 255), st.booleans(), st.binary(max_size=200), st.booleans())
def test_any_layout_gives_points_or_says_why(
    sizes: tuple[int, ...], datatype: int, bigendian: bool, data: bytes, whole: bool
) -> None:
    """What comes out is never more than the bytes justify."""
    height, width, point_step, row_step, offset, count, datatypes = sizes
    fields = [{"name": "x", "offset": offset, "datatype": datatypes if whole else datatype % 10, "count": count}]
    one = Cloud(height, width, fields, bigendian, point_step, row_step, memoryview(data))
    source = PointsSource(topic="/x", fields=["x" if whole else "x[0:3]"], dtype="float64")
    try:
        found = points_of(one, source, list(map(parse_point_field, source.fields)), Tally(1))
    except CloudError:
        return
    assert found.shape[0] * found.shape[1] == height * width
    assert found.size <= 3 * len(data)


XYZI = [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7), ("ring", 16, 4), ("t", 18, 8)]


def drive(ros: Ros, n: int = 6) -> list[tuple[str, int, str, Any]]:
    """Clouds of other sizes each, one of them empty, some points without coordinates."""
    rng = np.random.default_rng(3)
    kind = np.dtype({"names": [f[0] for f in XYZI], "formats": ["<f4"] * 4 + ["<u2", "<f8"], "itemsize": 32})
    found = []
    for k in range(n):
        points = np.zeros((1, 5 * k), kind) if k % 2 else np.zeros((3, k), kind)
        for name in kind.names or ():
            points[name] = rng.integers(0, 1000, points.shape)
        points["y"][:, 1::3] = np.nan
        fields = [field(ros, *each) for each in XYZI]
        data = np.pad(points.reshape(points.shape).view(np.uint8).reshape(points.shape[0], -1), ((0, 0), (0, 8)))
        step = {"point_step": 32, "row_step": 32 * points.shape[1] + 8}
        found.append((TOPIC, START_NS + k * 10**8, CLOUD, cloud(ros, fields, *points.shape, data.tobytes(), **step)))
    return found


def points(*fields: str, dtype: str = "native", **more: Any) -> dict[str, Any]:
    names = {"fields": list(fields)} if fields else {}
    return {"source": {"kind": "points", "topic": TOPIC, **names, **more}, "dtype": dtype}


@pytest.mark.parametrize(("ros", "name"), [(1, "a.bag"), (1, "a.mcap"), (2, "a.mcap")])
def test_columns_of_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ros: Ros, name: str) -> None:
    messages = drive(ros)
    log = write_log(tmp_path / name, monkeypatch, ros, messages)
    spec = spec_of(
        TOPIC,
        {
            "xyz": points(),
            "grid": points("x", organized=True),
            "ring": points("ring", dtype="int64") | {"source": {**points("ring")["source"], "dtype": "int64"}},
            "clean": points("x", "y", "t", dtype="float64", skip_nans=True),
            "padded": points("x", "y", dtype="float32") | {"transforms": [{"length": {"pad_to": 8}}], "shape": [8, 2]},
        },
    )
    found = table(log, tmp_path / "out", spec)
    of = {name: found.schema.field(name).type for name in found.column_names}
    assert of["xyz"] == pa.list_(pa.list_(pa.float32(), 3))
    assert of["grid"] == pa.list_(pa.list_(pa.list_(pa.float32(), 1)))
    assert of["ring"] == pa.list_(pa.list_(pa.int64(), 1))
    assert of["clean"] == pa.list_(pa.list_(pa.float64(), 3))
    assert of["padded"] == pa.list_(pa.list_(pa.float32(), 2), 8)
    for row, (_, _, _, message) in zip(found.to_pylist(), messages, strict=True):
        flat = [point for line in slow_points(message, ["x", "y", "z", "ring", "t"]) for point in line]
        assert repr(row["xyz"]) == repr([point[:3] for point in flat])
        assert row["grid"] == slow_points(message, ["x"])
        assert row["ring"] == [[point[3]] for point in flat]
        assert row["clean"] == [[x, y, t] for x, y, _, _, t in flat if y == y]
        assert repr(row["padded"]) == repr(([point[:2] for point in flat] + [[0.0, 0.0]] * 8)[:8])


def test_records_of_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = drive(2)
    log = write_log(tmp_path / "a.mcap", monkeypatch, 2, messages)
    result = run(log, tmp_path / "out", spec_of(TOPIC, {"p": points("x", "t")}, output={"format": "tfrecord"}))
    records = twin.read(next(Path(o.path) for o in result.outputs if o.role == "dataset"))
    for record, (_, _, _, message) in zip(records, messages, strict=True):
        flat = [value for line in slow_points(message, ["x", "t"]) for point in line for value in point]
        assert record["p"][1] == flat


def test_what_cannot_be_read_costs_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = [field(2, "x", 0, 7), field(2, "n", 4, 2, 3)]
    data = bytes(range(70))
    broken = {
        "has less data than its size needs": cloud(2, good, 1, 9, data, point_step=8),
        "rows longer than its row_step": cloud(2, good, 2, 2, data, point_step=8, row_step=15),
        "points of no bytes": cloud(2, good, 1, 3, data, point_step=0),
        "'x' lies beyond the bytes": cloud(2, [field(2, "x", 6, 7)], 1, 3, data, point_step=8),
        "no field 'x'; it has y": cloud(2, [field(2, "y", 0, 7)], 1, 3, data, point_step=8),
        "no field 'x'; it has none": cloud(2, [], 1, 3, data, point_step=8),
        "unknown data type 99": cloud(2, [field(2, "x", 0, 99)], 1, 3, data, point_step=8),
        "'x' has 2 elements; say which": cloud(2, [field(2, "x", 0, 7, 2)], 1, 3, data, point_step=8),
        "huge": cloud(2, good, 2**32 - 1, 2**32 - 1, data, point_step=2**32 - 1, row_step=0),
    }
    sound = cloud(2, good, 2, 4, data, point_step=8)
    messages = [*broken.values(), sound, cloud(2, [], 2**32 - 1, 0, data, point_step=8)]
    log = write_log(
        tmp_path / "a.mcap", monkeypatch, 2, [(TOPIC, START_NS + k, CLOUD, m) for k, m in enumerate(messages)]
    )
    spec = spec_of(TOPIC, {"p": points("x"), "g": points("x", organized=True), "n": points("n[1]", "n[5]")})
    found = table(log, tmp_path / "out", spec)
    assert found["p"].to_pylist() == [*[None] * len(broken), [p for r in slow_points(sound, ["x"]) for p in r], []]
    assert found["g"].to_pylist()[-2:] == [slow_points(sound, ["x"]), []]
    assert found["n"].to_pylist() == [*[None] * (len(broken) + 1), []]
    with pytest.raises(CloudError, match="has 3 elements, no element 5"):
        points_of(layout_of(sound), PointsSource(topic="/x"), [parse_point_field("n[5]")], Tally(1))
    for cause, message in broken.items():
        if cause != "huge":
            with pytest.raises(CloudError, match=cause.replace("(", ".")):
                points_of(layout_of(message), PointsSource(topic="/x"), [parse_point_field("x")], Tally(1))


def test_what_the_spec_says_wrongly_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word = made(2, "std_msgs/msg/String", data="hello")
    log = write_log(
        tmp_path / "a.mcap", monkeypatch, 2, [*drive(2, 1), ("/talk", START_NS, "std_msgs/msg/String", word)]
    )
    other = {"source": {"kind": "points", "topic": "/talk"}, "dtype": "native"}
    (found,) = errors(log, tmp_path / "out", spec_of("/talk", {"p": other}))
    assert found[0] == "/features/p/source/topic"
    assert "are no clouds of points, but std_msgs/msg/String" in found[1]
    (found,) = errors(log, tmp_path / "out", spec_of(TOPIC, {"p": points("x", dtype="int64")}))
    assert found[0] == "/features/p/dtype"
    for wrong in ([], ["x", "x"], ["x[3:3]"], [f"x[0:{MAX_POINT_VALUES + 1}]"], [""]):
        with pytest.raises(SpecError):
            run(log, tmp_path / "out", spec_of(TOPIC, {"p": {"source": points()["source"] | {"fields": wrong}}}))


@pytest.mark.parametrize(
    "name",
    [
        "swri-robotics__bag-reader-java/src/test/resources/PointCloud2.bag",
        "embarktrucks__embag/test/test.bag",
    ],
)
def test_clouds_of_real_robots(name: str, tmp_path: Path, shared: Path) -> None:
    """Against rosbags and numpy's structured types, over whole clouds."""
    log = shared / "corpus" / name
    with AnyReader([log]) as reader:
        links = [c for c in reader.connections if c.msgtype == CLOUD]
        messages = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages(links)]
    topic, first = links[0].topic, messages[0]
    names = [each.name for each in first.fields if each.name != "rgb"]
    spec = spec_of(topic, {"p": {"source": {"kind": "points", "topic": topic, "fields": names}, "dtype": "float32"}})
    (path,) = [output.path for output in run(log, tmp_path, spec).outputs if output.role == "dataset"]
    found = pq.read_table(path)["p"]
    assert len(found) == len(messages)
    assert len(found[0].values) > 1000
    for k, message in enumerate(messages):
        parts = {
            "names": [each.name for each in message.fields],
            "formats": ["<" + DATATYPES[each.datatype] for each in message.fields],
            "offsets": [each.offset for each in message.fields],
            "itemsize": message.point_step,
        }
        points_ = np.frombuffer(message.data.tobytes(), np.dtype(parts), count=message.height * message.width)
        expected = np.stack([points_[name].astype(np.float32) for name in names], axis=1)
        values = np.array(found[k].values.flatten(), np.float32).reshape(-1, len(names))
        assert np.array_equal(values, expected, equal_nan=True)

"""TFRecord files against their slow twin, and as TensorFlow itself reads them."""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.datasets.writers import open_writer
from hephaes_rpc.engine.datasets.writers.base import WriterResult
from hephaes_rpc.engine.specs.spec import TFRecordOutput
from hephaes_rpc.errors import SpecError
from tests.engine.arrow_values import arrays
from tests.reference import tfrecord as twin
from tests.tensorflow_client import TensorFlow
from tests.thorough import examples

OUTPUTS = st.builds(
    TFRecordOutput,
    compression=st.sampled_from(["none", "gzip"]),
    image_payload_contract=st.sampled_from(["bytes_v2", "legacy_list_v1"]),
    float64=st.sampled_from(["float32", "bytes"]),
    absent_keys=st.sampled_from(["write", "omit"]),
)
METADATA = {"hephaes.version": "1"}


def schema_of(columns: dict[str, pa.Array]) -> pa.Schema:
    return pa.schema([("timestamp_ns", pa.int64()), *((name, array.type) for name, array in columns.items())])


def batch_of(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    n = len(next(iter(columns.values())))
    time = pa.array(range(10**18, 10**18 + n), pa.int64())
    return pa.RecordBatch.from_arrays([time, *columns.values()], schema=schema_of(columns))


def write(path: Path, batches: list[pa.RecordBatch], output: TFRecordOutput) -> WriterResult:
    """A finished file with its features file beside it."""
    writer = open_writer(output, batches[0].schema, path, METADATA)
    for batch in batches:
        writer.write(batch)
        writer.flush()
    result = writer.finish()
    assert writer.pending_bytes == 0
    assert writer.read_back(print).rows == result.rows == sum(batch.num_rows for batch in batches)
    for suffix, content in result.sidecars.items():
        path.with_name(path.stem + suffix).write_bytes(content)
    return result


def same(found: twin.Example, wanted: twin.Example) -> None:
    """Equal, NaN to NaN, zeros with their sign; keys in the same order."""
    assert list(found) == list(wanted)
    assert repr(found) == repr(wanted)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(150))
@given(arrays(), OUTPUTS, st.integers(0, 6))
def test_records_equal_the_slow_twin(tmp_path: Path, array: pa.StructArray, output: TFRecordOutput, cut: int) -> None:
    batch = batch_of({"f": array})
    result = write(tmp_path / "a.tfrecord", [batch[:cut], batch[cut:]], output)
    records = twin.read(tmp_path / "a.tfrecord")
    for found, row in zip(records, batch.to_pylist(), strict=True):
        same(found, twin.expected(batch.schema, row, output))
    declared = json.loads(result.sidecars[".features.json"])
    assert declared["rows"] == len(records)
    for record in records:
        assert output.absent_keys == "omit" or list(record) == list(declared["features"])
        for key, (kind, values) in record.items():
            entry = declared["features"][key]
            assert kind == entry["kind"]
            assert entry["values"] in (-1, len(values))


POINT = pa.struct([("x", pa.float64()), ("name", pa.string())])
SHAPE = pa.struct([("points", pa.list_(POINT)), ("corners", pa.list_(pa.float32(), 2)), ("id", pa.uint64())])
KIND = pa.struct(
    [
        ("flag", pa.bool_()),
        ("small", pa.int8()),
        ("big", pa.uint64()),
        ("x", pa.float64()),
        ("blob", pa.binary()),
        ("covariance", pa.list_(pa.float64(), 3)),
        ("ranges", pa.list_(pa.float32())),
        ("names", pa.list_(pa.string())),
        ("shapes", pa.list_(SHAPE)),
        ("pair", pa.list_(SHAPE, 2)),
        ("nothing", pa.struct([("present", pa.bool_())])),
    ]
)


def shape(i: int) -> dict[str, Any]:
    points = [{"x": j + 0.1, "name": f"p{j}"} for j in range(i)]
    return {"points": points, "corners": [i + 0.5, -0.0], "id": 2**64 - 1 - i}


def message(i: int) -> dict[str, Any]:
    return {
        "flag": i % 2 == 0,
        "small": -i,
        "big": 2**63 + i,
        "x": [math.nan, math.inf, 0.1, 1e300][i % 4],
        "blob": bytes(range(i)),
        "covariance": [0.5, 1e-50, float(i)],
        "ranges": [float(k) for k in range(i)],
        "names": [f"ü{k}" for k in range(i)],
        "shapes": [shape(k) for k in range(i)],
        "pair": [shape(1), shape(i)],
        "nothing": {"present": True},
    }


ROWS = [message(0), None, message(3), message(1), None, message(2)]


@pytest.mark.parametrize(
    "output",
    [
        TFRecordOutput(),
        TFRecordOutput(compression="gzip", float64="bytes"),
        TFRecordOutput(absent_keys="omit"),
    ],
    ids=["default", "gzip-exact", "omit"],
)
def test_tensorflow_reads_what_was_written(tmp_path: Path, tensorflow: TensorFlow, output: TFRecordOutput) -> None:
    batch = batch_of({"f": pa.array(ROWS, KIND), "g": pa.array([{"x": k} for k in range(6)], pa.struct([("x", "i2")]))})
    write(tmp_path / "a.tfrecord", [batch[:2], batch[2:]], output)
    records = tensorflow.read(tmp_path / "a.tfrecord")
    assert records.rows == len(ROWS)
    for i, row in enumerate(batch.to_pylist()):
        wanted = twin.expected(batch.schema, row, output)
        assert wanted.keys() <= records.features.keys()
        for key, feature in records.features.items():
            kind, values = wanted.get(key, ("absent", []))
            assert kind in records.kinds[key]
            assert repr(feature.row(i)) == repr(values), (i, key)
    if output.absent_keys == "write":
        assert all(len(kinds) == 1 for kinds in records.kinds.values())
        assert {"absent", "none"}.isdisjoint(kind for kinds in records.kinds.values() for kind in kinds)


def test_what_does_not_survive_is_counted_by_field(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array(ROWS, KIND), "g": pa.array([{"x": 0.5}] * 6, pa.struct([("x", pa.float64())]))})
    counts = write(tmp_path / "a.tfrecord", [batch], TFRecordOutput()).counts
    ids = 4 + sum((0, 3, 1, 2)) + 2 * 4
    altered = 4 + sum(i * (i - 1) // 2 for i in (3, 2)) + sum(i + 1 for i in (0, 3, 1, 2)) + 2
    assert counts == {"f": {"wrapped_uint64": ids, "narrowed_float64": altered}}
    exact = write(tmp_path / "b.tfrecord", [batch], TFRecordOutput(float64="bytes")).counts
    assert exact == {"f": {"wrapped_uint64": ids}}


def test_features_file_says_how_to_parse(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array(ROWS, KIND)})
    result = write(tmp_path / "a.tfrecord", [batch], TFRecordOutput(compression="gzip", float64="bytes"))
    declared = json.loads(result.sidecars[".features.json"])
    assert declared["compression_type"] == "GZIP"
    assert declared["metadata"] == METADATA
    features = declared["features"]
    assert list(features)[:3] == ["timestamp_ns", "f__present", "f__flag"]
    assert features["f__big"] == {"kind": "int64", "dtype": "uint64", "shape": [], "values": 1, "path": ["f", "big"]}
    assert features["f__covariance"] == {
        "kind": "bytes",
        "dtype": "float64",
        "shape": [3],
        "values": 1,
        "path": ["f", "covariance"],
        "lengths": ["__sequence_length__f__covariance"],
        "encoding": "little_endian",
    }
    assert features["f__shapes__points__name"]["shape"] == [-1, -1]
    assert features["f__shapes__points__name"]["lengths"] == [
        "__sequence_length__f__shapes",
        "__sequence_length__f__shapes__points",
    ]
    assert features["f__pair__corners"]["values"] == 4
    assert features["__sequence_length__f__pair__points"]["values"] == 2


def test_images_keep_their_bytes_or_become_integers(tmp_path: Path) -> None:
    image = pa.struct([("format", pa.string()), ("data", pa.binary())])
    other = pa.struct([("data", pa.binary())])
    rows = [{"format": "png", "data": b"\x00\xff"}, None, {"format": "", "data": b""}]
    columns = {"i": pa.array(rows, image), "o": pa.array([{"data": b"ab"}] * 3, other)}
    for contract, kind in (("bytes_v2", "bytes"), ("legacy_list_v1", "int64")):
        write(tmp_path / "a.tfrecord", [batch_of(columns)], TFRecordOutput(image_payload_contract=contract))
        records = twin.read(tmp_path / "a.tfrecord")
        assert [r["i__data"][0] for r in records] == [kind] * 3
        assert [r["o__data"] for r in records] == [("bytes", [b"ab"])] * 3
        if kind == "int64":
            assert [r["i__data"][1] for r in records] == [[0, 255], [], []]
            assert [r["__sequence_length__i__data"][1] for r in records] == [[2], [0], [0]]


def test_a_member_called_present_does_not_hide_the_flag(tmp_path: Path) -> None:
    kind = pa.struct([("present", pa.bool_()), ("voltage", pa.float32())])
    rows = [{"present": False, "voltage": 1.5}, None, {"present": True, "voltage": 2.5}]
    write(tmp_path / "a.tfrecord", [batch_of({"battery": pa.array(rows, kind)})], TFRecordOutput())
    records = twin.read(tmp_path / "a.tfrecord")
    assert [r["battery__present"][1] for r in records] == [[1], [0], [1]]
    assert [r["battery__present_"][1] for r in records] == [[0], [0], [1]]


@pytest.mark.parametrize(
    ("columns", "one", "two"),
    [
        ({"a": [("b__c", "i1"), ("b", pa.struct([("c", "i1")]))]}, "a.b__c", "a.b.c"),
        ({"a": [("b", pa.struct([("x", "i1")]))], "a__b": [("x", "i1")]}, "a.b.x", "a__b.x"),
        ({"a": [("b__present", "i1")], "a__b": [("x", "i1")]}, "a.b__present", "a__b"),
        ({"a": [("present", "i1"), ("present_", "i1")]}, "a.present", "a.present_"),
        ({"a": [("b", pa.list_(pa.int8()))], "__sequence_length__a": [("b", "i1")]}, "a.b", "__sequence_length__a.b"),
    ],
)
def test_colliding_keys_are_refused_with_both_names(
    tmp_path: Path, columns: dict[str, list[Any]], one: str, two: str
) -> None:
    schema = pa.schema([("timestamp_ns", pa.int64()), *((name, pa.struct(kind)) for name, kind in columns.items())])
    path = tmp_path / "a.tfrecord"
    with pytest.raises(SpecError, match="both have the TFRecord key") as refusal:
        open_writer(TFRecordOutput(), schema, path, {})
    assert repr(one) in refusal.value.message
    assert repr(two) in refusal.value.message
    assert not path.exists()


def test_types_that_no_message_has_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([("timestamp_ns", pa.int64()), ("a", pa.struct([("b", pa.date32())]))])
    with pytest.raises(SpecError, match=r"field 'a.b' has the type date32"):
        open_writer(TFRecordOutput(), schema, tmp_path / "a", {})


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_same_rows_same_bytes_however_batched_and_gzip_says_no_time(tmp_path: Path, compression: str) -> None:
    batch = batch_of({"f": pa.array(ROWS * 50, KIND)})
    output = TFRecordOutput(compression=compression)
    write(tmp_path / "a.tfrecord", [batch], output)
    write(tmp_path / "b.tfrecord", [batch[:7], batch[7:7], batch[7:]], output)
    a = (tmp_path / "a.tfrecord").read_bytes()
    assert a == (tmp_path / "b.tfrecord").read_bytes()
    if compression == "gzip":
        assert a[:9] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00"
        assert zlib.decompress(a, 31) == (write_plain(tmp_path, batch)).read_bytes()


def write_plain(folder: Path, batch: pa.RecordBatch) -> Path:
    write(folder / "plain.tfrecord", [batch], TFRecordOutput())
    return folder / "plain.tfrecord"


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_no_rows_is_a_file_too(tmp_path: Path, compression: str) -> None:
    batch = batch_of({"f": pa.array([], KIND)})
    assert write(tmp_path / "a.tfrecord", [batch], TFRecordOutput(compression=compression)).rows == 0
    assert twin.read(tmp_path / "a.tfrecord") == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("cut", [1, 5, 100])
def test_reading_back_notices_a_file_cut_short(tmp_path: Path, compression: str, cut: int) -> None:
    path = tmp_path / "a.tfrecord"
    writer = open_writer(
        TFRecordOutput(compression=compression), batch_of({"f": pa.array(ROWS, KIND)}).schema, path, {}
    )
    writer.write(batch_of({"f": pa.array(ROWS * 20, KIND)}))
    writer.finish()
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(OSError, match=r"cut off|beyond the end"):
        writer.read_back(print)


def test_abandoning_twice_is_fine(tmp_path: Path) -> None:
    batch = batch_of({"f": pa.array(ROWS, KIND)})
    writer = open_writer(TFRecordOutput(compression="gzip"), batch.schema, tmp_path / "a.tfrecord", {})
    writer.write(batch)
    writer.abandon()
    writer.abandon()

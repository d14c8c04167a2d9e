"""Pages of rows equal what the libraries read; anything else that lies there is a sentence, never a crash."""

import base64
import contextlib
import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hephaes_rpc.engine.datasets import rowpages
from hephaes_rpc.engine.datasets.rowpages import Place, RowsPage, Wanted, read_rows, read_schema
from hephaes_rpc.engine.datasets.writers.parquet import ParquetFile
from hephaes_rpc.engine.datasets.writers.tfrecord import TFRecordFile
from hephaes_rpc.engine.specs.spec import ParquetOutput, TFRecordOutput
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import unstructure
from tests.reference import tfrecord as twin
from tests.thorough import examples

IMAGE = pa.struct([("height", pa.uint32()), ("width", pa.uint32()), ("encoding", pa.string()), ("data", pa.binary())])
SCHEMA = pa.schema(
    [
        ("timestamp_ns", pa.int64()),
        ("imu", pa.struct([("x", pa.float64()), ("v", pa.list_(pa.float64(), 2)), ("n", pa.list_(pa.int32()))])),
        ("id", pa.uint64()),
        ("on", pa.bool_()),
        ("text", pa.string()),
        ("camera", IMAGE),
    ]
)


def row(n: int) -> dict[str, Any]:
    image = {"height": 2, "width": 3, "encoding": "rgb8", "data": bytes([n % 256] * 18)}
    imu = {"x": float("nan") if n == 3 else n / 4, "v": [n, -n], "n": list(range(n % 4))}
    return {
        "timestamp_ns": 1_700_000_000_000_000_000 + n,
        "imu": None if n % 5 == 4 else imu,
        "id": 2**64 - 1 - n,
        "on": n % 2 == 0,
        "text": f"row {n} é",
        "camera": image,
    }


ROWS = [row(n) for n in range(45)]


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "x.parquet"
    writer = ParquetFile(ParquetOutput(row_group_rows=7), SCHEMA, path, {"made": "here"}, {})
    writer.write(pa.RecordBatch.from_pylist(ROWS, SCHEMA))
    writer.finish()
    return path


@pytest.fixture(params=["none", "gzip"])
def tfrecord(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "x.tfrecord"
    output = TFRecordOutput(compression=request.param, float64="bytes")
    writer = TFRecordFile(output, SCHEMA, path, {"made": "here"}, {})
    writer.write(pa.RecordBatch.from_pylist(ROWS, SCHEMA))
    for suffix, data in writer.finish().sidecars.items():
        path.with_name(f"x{suffix}").write_bytes(data)
    return path


def wanted(path: Path, **more: Any) -> Wanted:
    return Wanted("id", str(path), path.suffix[1:], **more)


def walk(path: Path, limit: int, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    place: Place | None = Place()
    while place is not None:
        page = read_rows(wanted(path, place=place, limit=limit, **more))
        assert page.total == len(ROWS)
        assert 1 <= len(page.items) <= limit
        found += page.items
        place = page.next
    return found


@pytest.mark.parametrize("limit", [1, 6, 7, 16, 44, 45, 500])
def test_parquet_pages(parquet: Path, limit: int) -> None:
    assert walk(parquet, limit) == [unstructure(each) for each in pq.read_table(parquet).to_pylist()]


def test_parquet_columns(parquet: Path) -> None:
    page = read_rows(wanted(parquet, columns=("imu.x", "text"), limit=2))
    assert page.columns == ["imu.x", "text"]
    assert page.items == [{"imu": {"x": n / 4}, "text": f"row {n} é"} for n in range(2)]
    for name in ("nothing", "imu.v.list", ""):
        with pytest.raises(HephaesError) as error:
            read_rows(wanted(parquet, columns=(name,)))
        assert (error.value.kind, error.value.data["errors"][0]["path"]) == ("invalid_params", "columns")


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_tfrecord_pages(tfrecord: Path, limit: int) -> None:
    found = walk(tfrecord, limit)
    assert len(found) == len(ROWS)
    for n, (item, example) in enumerate(zip(found, twin.read(tfrecord), strict=True)):
        assert list(item) == list(example)
        assert item["timestamp_ns"] == {"__int64__": str(ROWS[n]["timestamp_ns"])}
        assert item["id"] == {"__int64__": str(ROWS[n]["id"])}
        assert item["on"] is ROWS[n]["on"]
        assert item["text"] == ROWS[n]["text"]
        if ROWS[n]["imu"] is not None:
            assert item["imu__v"] == ROWS[n]["imu"]["v"]
            assert item["imu__n"] == ROWS[n]["imu"]["n"]
            assert item["imu__x"] == unstructure(ROWS[n]["imu"]["x"])


def test_tfrecord_without_its_features(tfrecord: Path) -> None:
    tfrecord.with_name("x.features.json").unlink()
    page = read_rows(wanted(tfrecord, limit=1, columns=("text", "on")))
    assert page.items == [{"text": unstructure("row 0 é".encode()), "on": 1}]
    schema = read_schema(wanted(tfrecord))
    assert schema.row_count == len(ROWS)
    assert {each.name: each.dtype for each in schema.columns}["text"] == "bytes"


def test_schemas(parquet: Path, tfrecord: Path) -> None:
    found = read_schema(wanted(parquet))
    assert (found.row_count, found.row_groups, found.metadata) == (45, 7, {"made": "here"})
    columns = {each.name: each for each in found.columns}
    assert (columns["imu.x"].dtype, columns["imu.x"].null_count) == ("float64", 9)
    assert (columns["imu.v"].shape, columns["imu.n"].shape) == ([2], [-1])
    assert (columns["text"].min, columns["text"].max) == ("row 0 é", "row 9 é")
    assert (columns["id"].min, columns["id"].max) == (2**64 - 45, 2**64 - 1)
    assert columns["camera.data"].min is None
    written = read_schema(wanted(tfrecord))
    assert written.row_count == 45
    assert written.metadata["made"] == "here"
    assert {each.name: (each.dtype, each.shape) for each in written.columns}["imu__v"] == ("float64", [2])


def pictures(page: RowsPage) -> list[Any]:
    return [item["camera"]["data"] if "camera" in item else item["camera__data"] for item in page.items]


def test_images(parquet: Path, tfrecord: Path) -> None:
    for path in (parquet, tfrecord):
        assert pictures(read_rows(wanted(path, limit=1))) == [unstructure(bytes(18))]
        omitted = pictures(read_rows(wanted(path, limit=2, images="omit")))
        assert omitted == [{"__omitted__": True, "size_bytes": 18}] * 2
        (_, small) = pictures(read_rows(wanted(path, limit=2, images="thumbnail")))
        with Image.open(io.BytesIO(base64.b64decode(small["value"]))) as image:
            assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (3, 2), (1, 1, 1))


def test_images_that_are_files_or_none(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.fromarray(np.zeros((400, 10, 3), np.uint8)).save(png, "png")
    data = {"a": [png.getvalue()], "b": [png.getvalue()[:40]], "c": [b"just bytes"]}
    pq.write_table(pa.table(data), tmp_path / "x.parquet")
    (item,) = read_rows(wanted(tmp_path / "x.parquet", images="thumbnail")).items
    with Image.open(io.BytesIO(base64.b64decode(item["a"]["value"]))) as image:
        assert max(image.size) <= 160
    assert item["b"]["__omitted__"]
    assert item["c"] == unstructure(b"just bytes")


def test_large_rows_end_a_page_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"x": ["a" * 1000] * 10}), tmp_path / "x.parquet")
    monkeypatch.setattr(rowpages, "PAGE_BYTES", 2500)
    page = read_rows(wanted(tmp_path / "x.parquet"))
    assert (len(page.items), page.total, page.next) == (2, 10, Place(2))
    monkeypatch.setattr(rowpages, "PAGE_BYTES", 10)
    assert len(read_rows(wanted(tmp_path / "x.parquet")).items) == 1
    monkeypatch.setattr(rowpages, "MAX_ROW_BYTES", 900)
    with pytest.raises(HephaesError, match=r"row 0 of .* takes more than") as error:
        read_rows(wanted(tmp_path / "x.parquet"))
    assert error.value.kind == "unsupported"


def test_beyond_the_end(parquet: Path, tfrecord: Path) -> None:
    for path in (parquet, tfrecord):
        place = Place(45, path.stat().st_size if path.suffix == ".tfrecord" else 0)
        page = read_rows(wanted(path, place=place))
        assert (page.items, page.total, page.next) == ([], 45, None)


def test_types_of_other_programs(tmp_path: Path) -> None:
    from datetime import date
    from decimal import Decimal

    data = {
        "d": [date(2024, 1, 2)],
        "m": [Decimal("1.50")],
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())),
    }
    pq.write_table(pa.table(data), tmp_path / "x.parquet")
    (item,) = read_rows(wanted(tmp_path / "x.parquet")).items
    assert item == {"d": "2024-01-02", "m": "1.50", "map": [["k", 1]]}
    assert [each.name for each in read_schema(wanted(tmp_path / "x.parquet")).columns] == [
        "d",
        "m",
        "map.key",
        "map.value",
    ]


def test_gone_and_damaged(tmp_path: Path, parquet: Path, tfrecord: Path) -> None:
    for name, read in (("rows", read_rows), ("schema", read_schema)):
        for suffix in ("parquet", "tfrecord"):
            with pytest.raises(HephaesError) as error:
                read(wanted(tmp_path / f"gone.{suffix}"))
            assert (name, error.value.kind, error.value.data) == (name, "output_unavailable", {"output_id": "id"})
            broken = tmp_path / f"broken.{suffix}"
            broken.write_bytes(b"nothing of the kind" * 9)
            with pytest.raises(HephaesError, match="is damaged") as error:
                read(wanted(broken))
            assert error.value.kind == "bad_input"


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.integers(0, 10**6))
def test_any_bytes_are_rows_or_a_sentence(tmp_path: Path, at: int, byte: int, cut: int) -> None:
    path = tmp_path / "y.tfrecord"
    if not path.exists():
        writer = TFRecordFile(TFRecordOutput(), SCHEMA, path, {}, {})
        writer.write(pa.RecordBatch.from_pylist(ROWS[:4], SCHEMA))
        writer.finish()
        path.with_name("good").write_bytes(path.read_bytes())
    data = bytearray(path.with_name("good").read_bytes())
    data[at % len(data)] = byte
    for content in (bytes(data), bytes(data[: cut % len(data)]), gzip.compress(bytes(data))[: cut % len(data)]):
        path.write_bytes(content)
        kinds = []
        try:
            assert orjson.dumps(read_rows(wanted(path)).items)
        except HephaesError as error:
            kinds.append(error.kind)
        assert kinds in ([], ["bad_input"])


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=60))
def test_any_payload_is_an_example_or_a_sentence(data: bytes) -> None:
    with contextlib.suppress(ValueError, IndexError, struct.error):
        rowpages._example(data)

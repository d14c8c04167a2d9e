"""Real logs through the whole pipeline, read back by other libraries, against rosbags' own messages."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hephaes_rpc.engine.specs.spec import Layout, ParquetOutput, TFRecordOutput
from hephaes_rpc.errors import LogError
from tests.conftest import DATA
from tests.corpus import (
    Messages,
    check_parquet,
    check_tfrecord,
    field_sources,
    read_with_rosbags,
    run,
    schema_beside,
)
from tests.tensorflow_client import TensorFlow

FOREIGN = ["unchunked.mcap"]
UNKNOWN_TO_ROSBAGS = [*FOREIGN, "json-lz4.mcap", "protobuf-zstd.mcap"]
NAMES = sorted(
    path.name for path in DATA.iterdir() if path.suffix in (".bag", ".mcap") and path.name not in UNKNOWN_TO_ROSBAGS
)
LAYOUTS: list[Layout] = ["topics", "wide"]

Wanted = dict[str, Messages]


@cache
def messages(name: str) -> dict[tuple[str, str], Messages]:
    return read_with_rosbags(DATA / name)


def datasets(name: str, folder: Path, output: ParquetOutput | TFRecordOutput) -> list[tuple[Path, Wanted]]:
    """The dataset files made of a log, and what must be in each field."""
    result = run(DATA / name, folder, output)
    known = messages(name)
    assert result.counts["messages"] == sum(len(m.values) for m in known.values())
    assert result.counts["decode_failures"] == 0
    made = [(Path(o.path), field_sources(Path(o.path))) for o in result.outputs if o.role == "dataset"]
    assert sorted(source for _, fields in made for source in fields.values()) == sorted(known)
    return [(path, {field: known[source] for field, source in fields.items()}) for path, fields in made]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_parquet_is_bit_for_bit_what_rosbags_reads(name: str, layout: Layout, tmp_path: Path) -> None:
    for path, wanted in datasets(name, tmp_path, ParquetOutput(layout=layout)):
        assert check_parquet(path, wanted, layout) == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_tensorflow_reads_what_rosbags_reads(name: str, layout: Layout, tmp_path: Path, tensorflow: TensorFlow) -> None:
    run(DATA / name, tmp_path / f"ParquetOutput-{layout}", ParquetOutput(layout=layout))
    exact = layout == "wide"
    output = TFRecordOutput(layout=layout, float64="bytes" if exact else "float32", compression="gzip")
    for path, wanted in datasets(name, tmp_path / "t", output):
        schema = schema_beside(tmp_path / "t", layout, path)
        assert check_tfrecord(path, wanted, layout, tensorflow, schema, exact=exact) == []


@pytest.mark.parametrize("name", FOREIGN)
def test_a_log_without_a_decodable_topic_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"no topic can be decoded; topic '.*' is left out: message encoding") as refusal:
        run(DATA / name, tmp_path / "out", ParquetOutput())
    assert refusal.value.kind == "unsupported"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "count"), [("json-lz4.mcap", 124), ("protobuf-zstd.mcap", 5)])
def test_messages_that_are_not_of_ros_are_converted(name: str, count: int, tmp_path: Path) -> None:
    result = run(DATA / name, tmp_path, ParquetOutput(layout="topics"))
    assert (result.counts["messages"], result.counts["decode_failures"]) == (count, 0)
    tables = [pq.read_table(output.path) for output in result.outputs if output.role == "dataset"]
    assert sum(len(table) for table in tables) == count
    assert all(column.null_count == 0 for table in tables for column in table.columns)


def spoil(messages: Messages) -> Messages:
    """The same with the last bit of one float flipped."""
    values = deepcopy(messages.values)
    position = values[3].position
    position.x = float(np.nextafter(np.float64(position.x), 10.0))
    return Messages(messages.topic, messages.type_name, messages.times, values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_comparison_sees_one_bit_and_one_message(layout: Layout, tmp_path: Path, tensorflow: TensorFlow) -> None:
    ((parquet, wanted),) = datasets("poses.bag", tmp_path / "p", ParquetOutput(layout=layout))
    ((records, _),) = datasets("poses.bag", tmp_path / "t", TFRecordOutput(layout=layout, float64="bytes"))
    ((field, right),) = wanted.items()
    schema = pq.read_schema(parquet)
    bit = {field: spoil(right)}
    fewer = {field: right.pick(range(len(right.values) - 1))}
    assert check_parquet(parquet, bit, layout) == [f"{field}.position.x: other values"]
    assert check_tfrecord(records, bit, layout, tensorflow, schema, exact=True) == [
        f"{field}__position__x: other values"
    ]
    assert check_parquet(parquet, fewer, layout) != []
    assert check_tfrecord(records, fewer, layout, tensorflow, schema) != []


def test_reports_and_manifests_name_no_place(tmp_path: Path) -> None:
    result = run(DATA / "turtlesim-bz2.bag", tmp_path, TFRecordOutput(layout="topics"))
    for output in result.outputs:
        if output.format in ("json", "md"):
            text = Path(output.path).read_text(encoding="utf-8")
            assert str(tmp_path) not in text
            assert str(DATA) not in text
            assert output.format == "md" or json.loads(text)

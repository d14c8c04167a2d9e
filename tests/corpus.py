"""A log as rosbags deserialises it, against the datasets made of it: message by message, bit by bit.

Both sides are taken apart the same way: below a list of messages, every leaf of the type becomes one flat array with
the message that each value belongs to, and every list becomes its lengths.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import frozen
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from hephaes_rpc.engine.pipeline import ConvertResult, ConvertTask, Phase, Unit, convert
from hephaes_rpc.engine.specs.spec import ConversionSpec, Layout, ParquetOutput, TFRecordOutput
from tests.tensorflow_client import Records, TensorFlow

Rows = NDArray[np.int64]


class Context:
    """Surroundings of a conversion that only listen."""

    temp_tag = "test"

    def __init__(self) -> None:
        self.told: list[tuple[Phase, int, int, Unit, str]] = []

    def progress(self, phase: Phase, done: int, total: int, unit: Unit, message: str = "") -> None:
        self.told.append((phase, done, total, unit, message))

    def check(self) -> None:
        pass


def run(log: Path, folder: Path, output: ParquetOutput | TFRecordOutput, **more: Any) -> ConvertResult:
    """Convert all topics of a log."""
    spec = ConversionSpec(output=output, **more)
    task = ConvertTask(log_path=str(log), spec=spec, output_dir=str(folder), episode_id="episode", stem="all")
    return convert(task, Context())


@frozen(eq=False)
class Messages:
    """The messages of one topic and type as rosbags has them, in time order."""

    topic: str
    type_name: str
    times: Rows
    values: list[Any]

    def pick(self, positions: Sequence[int]) -> "Messages":
        """Some of them."""
        return Messages(self.topic, self.type_name, self.times[positions], [self.values[i] for i in positions])


def read_with_rosbags(log: Path) -> dict[tuple[str, str], Messages]:
    """All messages of a log by topic and type."""
    found: dict[tuple[str, str], tuple[list[int], list[Any]]] = {}
    is_bag = log.suffix == ".bag" and log.is_file()
    store = get_typestore(Stores.ROS1_NOETIC if is_bag else Stores.ROS2_HUMBLE)
    with AnyReader([log], default_typestore=store) as reader:
        for connection in reader.connections:
            found.setdefault((connection.topic, connection.msgtype), ([], []))
        for connection, time, data in reader.messages():
            times, values = found[connection.topic, connection.msgtype]
            times.append(time)
            values.append(reader.deserialize(data, connection.msgtype))
    return {key: Messages(*key, np.array(times, np.int64), values) for key, (times, values) in found.items()}


@frozen(eq=False)
class Leaf:
    """All values of one leaf (or, ``is_length``, the lengths of one list), and the row that each belongs to."""

    path: tuple[str, ...]
    is_length: bool
    values: Any
    rows: Rows

    def differs(self, other: "Leaf") -> str | None:
        """What is not the same, bit for bit."""
        name = ".".join(self.path) + (" (length)" if self.is_length else "")
        if (self.path, self.is_length) != (other.path, other.is_length):
            return f"{name} stands where {'.'.join(other.path)} should"
        if not np.array_equal(self.rows, other.rows):
            return f"{name}: other numbers of values"
        if not _same(self.values, other.values):
            return f"{name}: other values"
        return None

    @property
    def key(self) -> str:
        """Its key in a TFRecord."""
        path = (*self.path[:1], "present_") if self.path[1:] == ("present",) else self.path
        return ("__sequence_length__" if self.is_length else "") + "__".join(path)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) or isinstance(b, list):
        return type(a) is type(b) and a == b
    return bool(a.dtype == b.dtype and a.tobytes() == b.tobytes())


def leaves_of_objects(kind: pa.DataType, path: tuple[str, ...], values: Any, rows: Rows) -> Iterator[Leaf]:
    """The leaves of rosbags' objects whose columns have the Arrow type ``kind``."""
    if pa.types.is_struct(kind):
        if [member.name for member in kind] == ["present"] and not all(hasattr(v, "present") for v in values):
            yield Leaf((*path, "present"), False, np.ones(len(values), np.bool_), rows)
            return
        for member in kind:
            inner = [getattr(value, member.name) for value in values]
            yield from leaves_of_objects(member.type, (*path, member.name), inner, rows)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = np.array([len(value) for value in values], np.int64)
        yield Leaf(path, True, lengths, rows)
        if len(values) and isinstance(values[0], np.ndarray):
            inner = np.concatenate(values)
        else:
            inner = list(chain.from_iterable(values))
        yield from leaves_of_objects(kind.value_type, path, inner, np.repeat(rows, lengths))
    elif pa.types.is_binary(kind):
        yield Leaf(path, False, [value.tobytes() for value in values], rows)
    elif pa.types.is_string(kind):
        yield Leaf(path, False, list(values), rows)
    else:
        yield Leaf(path, False, _numbers(kind, values), rows)


def _numbers(kind: pa.DataType, values: Any) -> NDArray[Any]:
    dtype = np.dtype(kind.to_pandas_dtype())
    if isinstance(values, np.ndarray):
        return values if values.dtype == dtype else values.astype(dtype)
    if dtype.kind in "iu" and dtype != np.uint64:
        return np.array(values, np.int64).astype(dtype)
    return np.array(values, dtype)


def leaves_of_array(array: pa.Array, path: tuple[str, ...], rows: Rows) -> Iterator[Leaf]:
    """The leaves of an Arrow array without nulls."""
    kind = array.type
    assert not array.null_count, path
    if pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            yield from leaves_of_array(array.field(i), (*path, kind.field(i).name), rows)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = np.full(len(array), kind.list_size) if pa.types.is_fixed_size_list(kind) else _lengths(array)
        yield Leaf(path, True, lengths.astype(np.int64), rows)
        yield from leaves_of_array(array.flatten(), path, np.repeat(rows, lengths))
    elif pa.types.is_binary(kind) or pa.types.is_string(kind):
        yield Leaf(path, False, array.to_pylist(), rows)
    else:
        yield Leaf(path, False, array.to_numpy(zero_copy_only=False), rows)


def _lengths(array: pa.Array) -> NDArray[Any]:
    lengths: NDArray[Any] = array.value_lengths().to_numpy(zero_copy_only=False)
    return lengths


def compare_column(name: str, column: pa.Array, messages: Messages) -> list[str]:
    """Differences between a column of the messages' rows and the messages."""
    rows = np.arange(len(column))
    ours = leaves_of_array(column, (name,), rows)
    theirs = leaves_of_objects(column.type, (name,), messages.values, rows)
    return [text for a, b in zip(ours, theirs, strict=True) if (text := a.differs(b))]


def compare_records(
    name: str, kind: pa.DataType, records: Records, messages: Messages, at: Rows, *, exact: bool = False
) -> list[str]:
    """Differences between what TensorFlow read of a field and the messages, which stand in the rows ``at``.

    Args:
        exact: float64 values are bytes.
    """
    present = np.zeros(records.rows, np.bool_)
    present[at] = True
    problems = []
    if records.features[f"{name}__present"].values.tolist() != present.astype(int).tolist():
        problems.append(f"{name}__present: other rows")
    for leaf in leaves_of_objects(kind, (name,), messages.values, at):
        feature, (wanted, rows) = records.features[leaf.key], _written(leaf, at, exact)
        owner = np.repeat(np.arange(records.rows), np.diff(feature.starts))
        mine = present[owner]
        if not np.array_equal(owner[mine], rows):
            problems.append(f"{leaf.key}: other numbers of values")
        elif isinstance(wanted, list):
            found = [value for value, is_mine in zip(feature.values, mine.tolist(), strict=True) if is_mine]
            blank = [
                value.strip(b"\0") for value, is_mine in zip(feature.values, mine.tolist(), strict=True) if not is_mine
            ]
            if found != wanted or any(blank):
                problems.append(f"{leaf.key}: other values")
        elif not _same(feature.values[mine], wanted) or (not leaf.is_length and feature.values[~mine].any()):
            problems.append(f"{leaf.key}: other values")
    return problems


def _written(leaf: Leaf, at: Rows, exact: bool) -> tuple[Any, Rows]:
    """Values as TFRecord has them, and their rows."""
    values = leaf.values
    if isinstance(values, list):
        return [value.encode() if isinstance(value, str) else value for value in values], leaf.rows
    if values.dtype == np.float64 and exact:
        ends = np.searchsorted(leaf.rows, np.append(at, np.iinfo(np.int64).max))
        return [values[a:b].tobytes() for a, b in pairwise(ends)], at
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(np.float32), leaf.rows
    return values.astype(np.int64), leaf.rows


# -- whole logs --------------------------------------------------------------------------------------------------------


def check_log(log: Path, messages: dict[tuple[str, str], Messages], folder: Path, tf: TensorFlow | None) -> list[str]:
    """All that differs between rosbags' messages of a log and the datasets in both formats and layouts."""
    problems = []
    for output in (ParquetOutput, TFRecordOutput):
        for layout in ("topics", "wide"):
            into = folder / f"{output.__name__}-{layout}"
            found = _check(log, messages, into, output, layout, tf)
            problems += [f"{output.__name__} {layout}: {text}" for text in found]
    return problems


def _check(
    log: Path,
    messages: dict[tuple[str, str], Messages],
    folder: Path,
    output: type[ParquetOutput | TFRecordOutput],
    layout: Layout,
    tf: TensorFlow | None,
) -> list[str]:
    made = output(layout=layout)
    result = run(log, folder, made)
    total = sum(len(m.values) for m in messages.values())
    if result.counts["messages"] != total:
        return [f"{result.counts['messages']} messages of {total}"]
    if result.counts["decode_failures"]:
        return list(result.warnings)
    problems = []
    seen: set[tuple[str, str]] = set()
    for dataset in [Path(o.path) for o in result.outputs if o.role == "dataset"]:
        fields = field_sources(dataset)
        wanted = {name: messages[source] for name, source in fields.items()}
        seen |= set(fields.values())
        if made.format == "parquet":
            problems += check_parquet(dataset, wanted, layout)
        elif tf is not None:
            problems += check_tfrecord(dataset, wanted, layout, tf, schema_beside(folder, layout, dataset))
    missing = {source for source, found in messages.items() if found.values} - seen
    if missing or not seen <= messages.keys():
        problems.append(
            f"topics without a dataset: {sorted(missing)}, datasets of none: {sorted(seen - messages.keys())}"
        )
    return problems


def field_sources(dataset: Path) -> dict[str, tuple[str, str]]:
    """Field -> topic and type, from the manifest."""
    topics = json.loads(dataset.with_name(f"{dataset.name}.manifest.json").read_bytes())["conversion"]["topics"]
    return {name: (entry["topic"], entry["type"]) for name, entry in topics.items()}


def schema_beside(folder: Path, layout: Layout, dataset: Path) -> pa.Schema:
    """The Arrow schema of a TFRecord dataset: that of the Parquet file made of the same log, in a folder beside."""
    beside = folder.with_name(f"ParquetOutput-{layout}") / f"{dataset.stem}.parquet"
    return pq.read_schema(beside)


def expected_rows(wanted: dict[str, Messages], layout: Layout) -> tuple[Rows, dict[str, tuple[Messages, Rows]]]:
    """Row times; and per field the messages it shows and the rows they stand in."""
    if layout == "topics":
        return next(iter(wanted.values())).times if wanted else np.empty(0, np.int64), {
            name: (m, np.arange(len(m.values))) for name, m in wanted.items()
        }
    times = np.unique(np.concatenate([np.empty(0, np.int64), *(m.times for m in wanted.values())]))
    shown = {}
    for name, m in wanted.items():
        last = sorted({time: i for i, time in enumerate(m.times.tolist())}.values())
        shown[name] = m.pick(last), np.searchsorted(times, m.times[last])
    return times, shown


def check_parquet(dataset: Path, wanted: dict[str, Messages], layout: Layout) -> list[str]:
    """Differences of a Parquet file."""
    table = pq.read_table(dataset).combine_chunks()
    times, shown = expected_rows(wanted, layout)
    if table["timestamp_ns"].to_numpy().tolist() != times.tolist():
        return [f"{dataset.name}: other row times"]
    problems = []
    for name, (messages, rows) in shown.items():
        column = pa.concat_arrays(table[name].chunks) if table[name].num_chunks else pa.array([], table[name].type)
        if np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).tolist() != rows.tolist():
            problems.append(f"{name}: other rows")
        else:
            problems += compare_column(name, column.drop_null(), messages)
    return problems


def check_tfrecord(
    dataset: Path,
    wanted: dict[str, Messages],
    layout: Layout,
    tf: TensorFlow,
    schema: pa.Schema,
    *,
    exact: bool = False,
) -> list[str]:
    """Differences of a TFRecord file as TensorFlow reads it."""
    records = tf.read(dataset)
    times, shown = expected_rows(wanted, layout)
    if records.features["timestamp_ns"].values.tolist() != times.tolist():
        return [f"{dataset.name}: other row times"]
    problems = [f"{key} is {kinds}" for key, kinds in records.kinds.items() if len(kinds) > 1 or "absent" in kinds]
    for name, (messages, rows) in shown.items():
        problems += compare_records(name, schema.field(name).type, records, messages, rows, exact=exact)
    return problems

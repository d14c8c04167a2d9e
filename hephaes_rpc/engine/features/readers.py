"""Readers: the columns that sources of features give for a batch of rows.

A topic that a row has no message of leaves the row without a value, unless a default stands for it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from attrs import evolve, field, frozen

from hephaes_rpc.engine.features.columns import Flags, Int64s, Part, select
from hephaes_rpc.engine.features.encodings import ImageError
from hephaes_rpc.engine.features.fieldpath import FieldPath
from hephaes_rpc.engine.features.images import Picture, picture_of_file
from hephaes_rpc.engine.features.pictures import views
from hephaes_rpc.engine.features.steps import INT64, Column, Kind, Tally
from hephaes_rpc.engine.specs.spec import MetadataKey


@frozen(eq=False)
class SourceRows:
    """What a batch of rows takes from one topic.

    Args:
        present: bool[n], rows that have a message of it.
        values: The messages, null in rows without one; None where nothing of them is read.
        log_time_ns, publish_time_ns: int64[n], meaningless where not present; None where nobody asked.
    """

    present: Flags
    values: pa.StructArray | None = None
    log_time_ns: Int64s | None = None
    publish_time_ns: Int64s | None = None

    @classmethod
    def of(cls, values: pa.StructArray) -> "SourceRows":
        """Messages alone."""
        return cls(values.is_valid().to_numpy(zero_copy_only=False), values)

    def part(self, which: slice) -> "SourceRows":
        """Some of the rows."""
        members: tuple[Any, ...] = tuple(None if each is None else each[which] for each in self._members())
        return SourceRows(*members)

    def then(self, other: "SourceRows") -> "SourceRows":
        """These rows and others behind them."""
        pairs = zip(self._members(), other._members(), strict=True)
        members: tuple[Any, ...] = tuple(None if each is None else _behind(each, more) for each, more in pairs)
        return SourceRows(*members)

    def _members(self) -> tuple[Any, ...]:
        return self.present, self.values, self.log_time_ns, self.publish_time_ns


@frozen(eq=False)
class Rows:
    """A batch of rows: their times (int64[n], ns) and what they take from each topic."""

    timestamp_ns: Int64s
    sources: Mapping[str, SourceRows]

    def __len__(self) -> int:
        return len(self.timestamp_ns)

    def part(self, first: int, last: int | None = None) -> "Rows":
        """The rows [first, last), as far as there are."""
        which = slice(first, last)
        return Rows(self.timestamp_ns[which], {name: source.part(which) for name, source in self.sources.items()})

    def then(self, other: "Rows") -> "Rows":
        """These rows and others behind them."""
        sources = {name: source.then(other.sources[name]) for name, source in self.sources.items()}
        return Rows(_behind(self.timestamp_ns, other.timestamp_ns), sources)


def _behind(first: Any, second: Any) -> Any:
    return np.concatenate([first, second]) if isinstance(first, np.ndarray) else pa.concat_arrays([first, second])


class Reader(Protocol):
    """A compiled source."""

    @property
    def kind(self) -> Kind:
        """What it gives."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics whose absence leaves a row without a value."""
        ...

    def read(self, rows: Rows, tally: Tally) -> Column:
        """The values of a batch."""
        ...


def whole(rows: Rows, values: pa.Array) -> Column:
    """A column with a value in every row."""
    return Column(np.arange(len(rows)), values, np.zeros(len(rows), np.bool_))


def _repeated(value: pa.Array, n: int) -> pa.Array:
    return value.take(pa.array(np.zeros(n, np.int64)))


@frozen(eq=False)
class Constant:
    kind: Kind
    value: pa.Array
    topics: tuple[str, ...] = ()

    def read(self, rows: Rows, tally: Tally) -> Column:  # noqa: ARG002  (a constant never fails)
        """See Reader."""
        return whole(rows, _repeated(self.value, len(rows)))


@frozen(eq=False)
class RowTime:
    kind: Kind = field(factory=lambda: Kind(INT64))
    topics: tuple[str, ...] = ()

    def read(self, rows: Rows, tally: Tally) -> Column:  # noqa: ARG002  (every row has a time)
        """See Reader."""
        return whole(rows, pa.array(rows.timestamp_ns))


@frozen(eq=False)
class PresentTopics:
    kind: Kind = field(factory=lambda: Kind(pa.list_(pa.string())))
    topics: tuple[str, ...] = ()

    def read(self, rows: Rows, tally: Tally) -> Column:  # noqa: ARG002  (an empty list is a value)
        """See Reader."""
        names = sorted(rows.sources)
        flags = np.zeros((len(rows), len(names)), np.bool_)
        for k, name in enumerate(names):
            flags[:, k] = rows.sources[name].present
        place = np.nonzero(flags)[1]
        offsets = np.concatenate(([0], np.cumsum(flags.sum(axis=1)))).astype(np.int32)
        return whole(rows, pa.ListArray.from_arrays(pa.array(offsets), pa.array(names, pa.string()).take(place)))


@frozen(eq=False)
class OfTopic:
    """What belongs to the message of a topic; ``extract`` gives it for the rows that have one (int64, ascending)."""

    kind: Kind
    topic: str
    extract: Callable[[SourceRows, Int64s], Part]
    cause: str = ""
    default: pa.Array | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """See Reader."""
        return () if self.default is not None else (self.topic,)

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        source = rows.sources[self.topic]
        there = np.flatnonzero(source.present)
        values, kept = self.extract(source, there)
        column = Column(there, None, np.zeros(len(there), np.bool_)).keep(values, kept, tally, self.cause)
        absent = np.flatnonzero(~source.present)
        if not len(absent):
            return column
        if self.default is None:
            tally.fail(absent, f"topic {self.topic} has no message")
            return column
        tally.change("defaults", len(absent))
        found = np.concatenate([column.rows, absent])
        order = np.argsort(found, kind="stable")
        place = np.minimum(order, len(column.rows))
        values = pa.concat_arrays([column.values, self.default]).take(pa.array(place))
        return Column(found[order], values, order >= len(column.rows))


@frozen(eq=False)
class Pictures:
    """Images: the data of image messages with what these say about it."""

    messages: OfTopic
    is_file: bool
    kind: Kind = field(factory=lambda: Kind(None))

    @property
    def topics(self) -> tuple[str, ...]:
        """See Reader."""
        return self.messages.topics

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        column = self.messages.read(rows, tally)
        data = views(member_of(column.values, "data"))
        known = {name: member_of(column.values, name).to_pylist() for name in _names(column.values) if name != "data"}
        if not self.is_file:
            about = _about(known, len(data))
            return evolve(column, values=[Picture(view, *said) for view, said in zip(data, about, strict=True)])
        done, kept = [], np.ones(len(data), np.bool_)
        for k, (view, description) in enumerate(zip(data, known["format"], strict=True)):
            try:
                done.append(picture_of_file(view, description))
            except ImageError as error:
                kept[k] = False
                tally.fail(column.rows[k : k + 1], str(error))
        return Column(column.rows[kept], done, column.filled[kept])


def _about(known: Mapping[str, list[Any]], n: int) -> Iterable[tuple[Any, ...]]:
    """Encoding, height, width, step and byte order of each image."""
    unknown: dict[str, Any] = {"encoding": "", "height": 0, "width": 0, "step": 0, "is_bigendian": False}
    return zip(*(known.get(name, [missing] * n) for name, missing in unknown.items()), strict=True)


def _names(messages: pa.StructArray) -> list[str]:
    return [member.name for member in messages.type]


def member_of(messages: pa.StructArray, name: str) -> pa.Array:
    return messages.field(messages.type.get_field_index(name))


@frozen(eq=False)
class Joined:
    """Concat and stack."""

    kind: Kind
    parts: tuple[Reader, ...]
    join: Callable[[list[pa.Array], Tally], Part]

    @property
    def topics(self) -> tuple[str, ...]:
        """See Reader."""
        return tuple(dict.fromkeys(topic for part in self.parts for topic in part.topics))

    def read(self, rows: Rows, tally: Tally) -> Column:
        """See Reader."""
        columns = [part.read(rows, tally) for part in self.parts]
        have = np.zeros(len(rows), np.int64)
        filled = np.zeros(len(rows), np.bool_)
        for column in columns:
            have[column.rows] += 1
            filled[column.rows[column.filled]] = True
        common = have == len(columns)
        arrays = [select(column.values, common[column.rows]) for column in columns]
        found = Column(np.flatnonzero(common), None, filled[common])
        return found.keep(*self.join(arrays, tally), tally, "the shapes of the parts differ")


def stamps_of(key: MetadataKey) -> Callable[[SourceRows, Int64s], Part]:
    def extract(source: SourceRows, there: Int64s) -> Part:
        times = source.log_time_ns if key == "log_time_ns" else source.publish_time_ns
        assert times is not None
        return pa.array(times[there]), None

    return extract


def extractor(path: FieldPath, members: Sequence[str] = ()) -> Callable[[SourceRows, Int64s], Part]:
    """Field names are followed before rows without a message are left out, so that nothing else is copied."""
    names: list[str] = []
    for step in path.steps:
        if not isinstance(step, str):
            break
        names.append(step)
    rest = evolve(path, steps=path.steps[len(names) :])

    def extract(source: SourceRows, there: Int64s) -> Part:
        values = source.values
        assert values is not None
        for name in names:
            values = member_of(values, name)
        if members:
            values = pa.StructArray.from_arrays([member_of(values, name) for name in members], list(members))
        if len(there) < len(values):
            values = values.filter(pa.array(source.present))
        return rest.extract(values)

    return extract if not members or len(names) == len(path.steps) else _member_extractor(path, members)


def _member_extractor(path: FieldPath, members: Sequence[str]) -> Callable[[SourceRows, Int64s], Part]:
    """Some members of messages inside arrays."""
    whole_message = extractor(path)

    def extract(source: SourceRows, there: Int64s) -> Part:
        values, kept = whole_message(source, there)
        return pa.StructArray.from_arrays([member_of(values, name) for name in members], list(members)), kept

    return extract

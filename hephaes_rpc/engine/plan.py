"""Which messages every row takes, from the time index alone.

Strategy: a mapping is resolved to streams first; from there on names play no part.  Messages of a stream are numbered
in time order (stable: file order breaks ties), and a stream's share of a table is a ``Picks``: a compact description,
never larger than the stream, that yields for any range of rows the messages they take.  ``Points`` lists rows and
messages; ``Between`` stores for each sample the first grid row at or after it, so that a grid of any density costs
nothing.  Sorted merges over int64 arrays: O(n log n) in messages, nothing in rows x streams.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.spec import TIMESTAMP, Resample
from hephaes_rpc.errors import SpecError

Int64s = NDArray[np.int64]
MAX_GRID_ROWS = 100_000_000
TOPIC_SLUG_CHARS = 100


# -- names -------------------------------------------------------------------------------------------------------------


class Named(Protocol):
    """What has a topic and a type: a stream of a log, or a row of an asset's topic table."""

    @property
    def topic(self) -> str:
        """Name of the topic."""
        ...

    @property
    def type_name(self) -> str:
        """Name of the message type."""
        ...


N = TypeVar("N", bound=Named)


def selectors(streams: Iterable[N]) -> dict[str, N]:
    """The name by which a mapping takes each stream, in order of topic.

    The bare topic where it has one type; ``topic@type`` where it has several; ``topic@type@2`` for the second stream
    that has the type too (another definition of it).
    """
    ordered = sorted(streams, key=lambda s: (s.topic, s.type_name))
    of_topic = Counter(s.topic for s in ordered)
    named: dict[str, N] = {}
    for stream in ordered:
        name = stream.topic if of_topic[stream.topic] == 1 else f"{stream.topic}@{stream.type_name}"
        named[_unused(name, named, "@")] = stream
    return named


def auto_mapping(streams: Iterable[Named]) -> dict[str, list[str]]:
    """One field per stream, named after its topic: ``/imu/data`` is ``imu_data``; a clash gets ``_2``, ``_3``."""
    mapping: dict[str, list[str]] = {}
    for name, stream in selectors(streams).items():
        slug = re.sub(r"[^0-9a-z]+", "_", stream.topic.lower()).strip("_")[:TOPIC_SLUG_CHARS] or "topic"
        mapping[_unused(slug, {*mapping, TIMESTAMP}, "_")] = [name]
    return mapping


def _unused(name: str, used: Mapping[str, object] | set[str], mark: str) -> str:
    """``name``, or ``name`` with the first free number from 2."""
    free, k = name, 1
    while free in used:
        k += 1
        free = f"{name}{mark}{k}"
    return free


def resolve(mapping: Mapping[str, Sequence[str]], streams: Iterable[N]) -> dict[str, tuple[str, N]]:
    """Field -> (selector, stream): the first listed topic that the log has.

    Raises:
        SpecError: No topic of a field is in the log, or a topic has several types and the mapping does not say which.
    """
    known = selectors(streams)
    several: dict[str, list[str]] = {}
    for name, stream in known.items():
        if name != stream.topic:
            several.setdefault(stream.topic, []).append(name)
    return {field: _first(field, topics, known, several) for field, topics in mapping.items()}


def _first(
    field: str, topics: Sequence[str], known: Mapping[str, N], several: Mapping[str, list[str]]
) -> tuple[str, N]:
    for topic in topics:
        if topic in known:
            return topic, known[topic]
        if topic in several:
            choices = ", ".join(repr(name) for name in several[topic])
            raise SpecError(f"mapping field {field!r}: topic {topic!r} has several types; name one of {choices}")
    wanted = " or ".join(repr(topic) for topic in topics)
    near = difflib.get_close_matches(topics[0], known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SpecError(f"mapping field {field!r}: the log has no topic {wanted}{hint}", field=field, topics=list(topics))


# -- rows --------------------------------------------------------------------------------------------------------------


@frozen(eq=False)
class Grid:
    """Rows at ``start_ns + k * step_ns``."""

    start_ns: int
    step_ns: int
    n_rows: int

    def times(self, first: int, last: int) -> Int64s:
        """Times of rows [first, last), int64, ns."""
        return self.at(np.arange(first, last, dtype=np.int64))

    def at(self, rows: Int64s) -> Int64s:
        """Times of these rows, int64, ns."""
        return self.start_ns + rows * self.step_ns


@frozen(eq=False)
class Listed:
    """Rows at the given times (int64, ns, ascending)."""

    row_time: Int64s

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.row_time)

    def times(self, first: int, last: int) -> Int64s:
        """Times of rows [first, last), int64, ns."""
        return self.row_time[first:last]

    def at(self, rows: Int64s) -> Int64s:
        """Times of these rows, int64, ns."""
        return self.row_time[rows]


RowTimes = Grid | Listed


@frozen(eq=False)
class Window:
    """What rows [first, last) of a table take from one stream.

    Args:
        rows: int64[m], ascending, counted from ``first``.
        lo: int64[m], message in time order.
        hi, weight: int64[m] and float64[m] where rows lie between two messages (weight 0: exactly ``lo``), else None.
    """

    rows: Int64s
    lo: Int64s
    hi: Int64s | None = None
    weight: NDArray[np.float64] | None = None


class Picks(Protocol):
    """The messages one stream gives to the rows of one table; later rows never take earlier messages."""

    def uses(self) -> tuple[Int64s, Int64s]:
        """Messages taken (int64, ascending, distinct) and the first row that takes each."""
        ...

    def window(self, first: int, last: int) -> Window:
        """Picks of rows [first, last)."""
        ...

    def keep_from(self, row: int) -> int:
        """Least message that rows from ``row`` on may take; a number beyond all messages when there is none."""
        ...


@frozen(eq=False)
class Points:
    """Row ``row[j]`` takes message ``message[j]``; both int64[m] ascending, ``row`` strictly."""

    row: Int64s
    message: Int64s

    def uses(self) -> tuple[Int64s, Int64s]:
        """See Picks."""
        message, first = np.unique(self.message, return_index=True)
        return message, self.row[first]

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        a, b = np.searchsorted(self.row, (first, last))
        return Window(self.row[a:b] - first, self.message[a:b])

    def keep_from(self, row: int) -> int:
        """See Picks."""
        a = int(np.searchsorted(self.row, row))
        return int(self.message[a]) if a < len(self.message) else np.iinfo(np.int64).max


@frozen(eq=False)
class Every:
    """Row k takes message k."""

    n: int

    def uses(self) -> tuple[Int64s, Int64s]:
        """See Picks."""
        every = np.arange(self.n, dtype=np.int64)
        return every, every

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        return Window(np.arange(last - first, dtype=np.int64), np.arange(first, last, dtype=np.int64))

    def keep_from(self, row: int) -> int:
        """See Picks."""
        return row


@frozen(eq=False)
class Between:
    """Grid rows inside a stream's range take the sample at their time, or blend the two around it.

    Args:
        sample: int64[m], message of each distinct time (the last of equal ones).
        time: int64[m], ns.
        first_row: int64[m + 1], least grid row at or after each sample; the last entry is one beyond the last row used.
    """

    grid: Grid
    sample: Int64s
    time: Int64s
    first_row: Int64s

    @classmethod
    def of(cls, times: Int64s, grid: Grid) -> "Between":
        """Picks of a stream with these times (int64, sorted, ns)."""
        sample = _last_of_equal(times)
        time = times[sample]
        rows = -((grid.start_ns - time) // grid.step_ns)
        end = (time[-1:] - grid.start_ns) // grid.step_ns + 1
        return cls(grid, sample, time, np.concatenate((rows, end)))

    def uses(self) -> tuple[Int64s, Int64s]:
        """See Picks."""
        start, stop = self.first_row[:-1], self.first_row[1:]
        on_sample = self.grid.start_ns + start * self.grid.step_ns == self.time
        first = np.where(stop > start, start, np.iinfo(np.int64).max)
        blended = start + on_sample
        as_upper = np.where(stop > blended, blended, np.iinfo(np.int64).max)[:-1]
        first[1:] = np.minimum(first[1:], as_upper)
        used = np.flatnonzero(first != np.iinfo(np.int64).max)
        return self.sample[used], first[used]

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        if not len(self.sample):
            return Window(np.empty(0, np.int64), np.empty(0, np.int64))
        rows = np.arange(max(first, int(self.first_row[0])), min(last, int(self.first_row[-1])), dtype=np.int64)
        lower = np.searchsorted(self.first_row[:-1], rows, side="right") - 1
        time = self.grid.start_ns + rows * self.grid.step_ns
        before = time - self.time[lower]
        upper = np.where(before == 0, lower, np.minimum(lower + 1, len(self.sample) - 1))
        gap = np.maximum(self.time[upper] - self.time[lower], 1)
        return Window(rows - first, self.sample[lower], self.sample[upper], before / gap)

    def keep_from(self, row: int) -> int:
        """See Picks."""
        if not len(self.sample) or row >= self.first_row[-1]:
            return np.iinfo(np.int64).max
        lower = int(np.searchsorted(self.first_row[:-1], row, side="right")) - 1
        return int(self.sample[max(lower, 0)])


@frozen(eq=False)
class Table:
    """Rows of one output file: their times, and the picks of each stream (by position)."""

    times: RowTimes
    picks: dict[int, Picks]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.times.n_rows


def topic_table(stream: int, times: Int64s) -> Table:
    """Every message of one stream; ``times`` int64, sorted, ns."""
    return Table(Listed(times), {stream: Every(len(times))})


def wide_table(times: Sequence[Int64s], resample: Resample | None) -> Table:
    """One table over several streams; ``times[k]`` int64, sorted, ns."""
    if resample is None:
        return _union_table(times)
    grid = _grid(times, resample)
    if resample.method == "interpolate":
        return Table(grid, {k: Between.of(t, grid) for k, t in enumerate(times)})
    return Table(grid, {k: _buckets(t, grid) for k, t in enumerate(times)})


def _union_table(times: Sequence[Int64s]) -> Table:
    """A row per distinct time, with the last message of each stream at that time."""
    row_time = np.unique(np.concatenate([*times, np.empty(0, np.int64)]))
    picks: dict[int, Picks] = {}
    for k, t in enumerate(times):
        last = _last_of_equal(t)
        picks[k] = Points(np.searchsorted(row_time, t[last]), last)
    return Table(Listed(row_time), picks)


def _grid(times: Sequence[Int64s], resample: Resample) -> Grid:
    filled = [t for t in times if len(t)]
    step = resample.step_ns
    if not filled:
        return Grid(0, step, 0)
    start, end = min(int(t[0]) for t in filled), max(int(t[-1]) for t in filled)
    n_rows = (end - start) // step + 1
    if n_rows > MAX_GRID_ROWS:
        raise SpecError(
            f"resampling {(end - start) / 1e9:.0f} s at {resample.freq_hz:g} Hz makes {n_rows} rows; "
            f"the limit is {MAX_GRID_ROWS}"
        )
    return Grid(start, step, n_rows)


def _buckets(times: Int64s, grid: Grid) -> Points:
    """The last message of each bucket ``[start + k * step, start + (k + 1) * step)``."""
    bucket = (times - grid.start_ns) // grid.step_ns
    last = _last_of_equal(bucket)
    return Points(bucket[last], last)


def _last_of_equal(values: Int64s) -> Int64s:
    """Positions of the last of each run of equal values; ``values`` sorted."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, np.int64)

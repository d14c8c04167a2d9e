"""Which messages every row takes, from the time index alone.

Strategy: a mapping is resolved to streams first; from there on names play no part.  Messages of a stream are numbered
in time order (stable: file order breaks ties), and a stream's share of a table is a ``Picks``: a compact description,
never larger than the stream, that yields for any range of rows the messages they take.  ``Points`` lists rows and
messages; ``Between`` stores for each sample the first grid row at or after it, so that a grid of any density costs
nothing.  Sorted merges over int64 arrays: O(n log n) in messages, nothing in rows x streams.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.spec import TIMESTAMP, Resample
from hephaes_rpc.serde import Issue, Path, shown

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Numbers: TypeAlias = NDArray[np.signedinteger[Any]]
PIECE_SAMPLES = 1 << 18
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
    found = {field: _first(field, topics, known, several) for field, topics in mapping.items()}
    issues = {field: one for field, one in found.items() if isinstance(one, Issue)}
    if issues:
        field = next(iter(issues))
        raise spec_error(list(issues.values()), field=field, topics=list(mapping[field]))
    return {field: one for field, one in found.items() if not isinstance(one, Issue)}


def _first(
    field: str, topics: Sequence[str], known: Mapping[str, N], several: Mapping[str, list[str]]
) -> tuple[str, N] | Issue:
    """The selector and stream of a field, or what is wrong with it."""
    for topic in topics:
        if topic in known:
            return topic, known[topic]
        if topic in several:
            choices = ", ".join(repr(name) for name in several[topic])
            message = f"mapping field {field!r}: topic {topic!r} has several types; name one of {choices}"
            return Issue(("mapping", field), message, f"one of {choices}", shown(topic), several[topic][0])
    wanted = " or ".join(repr(topic) for topic in topics)
    import difflib  # only what has failed looks for what was meant

    near = (*difflib.get_close_matches(topics[0], known, n=1, cutoff=0.5), None)[0]
    hint = f"; did you mean {near!r}?" if near else ""
    message = f"mapping field {field!r}: the log has no topic {wanted}{hint}"
    choices = ", ".join(map(repr, known))
    return Issue(("mapping", field), message, f"one of {choices}", shown(topics[0]), near)


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


@frozen(eq=False)
class Spans:
    """Rows of a grid without those between its spans.

    Args:
        first_row: int64[m], first row of each span; ascending from 0.
        start_ns: int64[m], its time.
    """

    first_row: Int64s
    start_ns: Int64s
    step_ns: int
    n_rows: int

    def times(self, first: int, last: int) -> Int64s:
        """Times of rows [first, last), int64, ns."""
        return self.at(np.arange(first, last, dtype=np.int64))

    def at(self, rows: Int64s) -> Int64s:
        """Times of these rows, int64, ns."""
        span = np.searchsorted(self.first_row, rows, side="right") - 1
        return self.start_ns[span] + (rows - self.first_row[span]) * self.step_ns


RowTimes = Grid | Listed | Spans


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

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """In pieces of bounded size: messages taken (int64, ascending, distinct), the first row that takes each."""
        ...

    def window(self, first: int, last: int) -> Window:
        """Picks of rows [first, last)."""
        ...

    def keep_from(self, row: int) -> int:
        """Least message that rows from ``row`` on may take; a number beyond all messages when there is none."""
        ...


@frozen(eq=False)
class Points:
    """Row ``row[j]`` takes message ``message[j]``; both int32[m] or int64[m], ascending, ``row`` strictly."""

    row: Numbers
    message: Numbers

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """See Picks."""
        yield from _first_uses(self.message, self.row, None)

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        a, b = np.searchsorted(self.row, np.array((first, last), self.row.dtype))
        return Window(self.row[a:b].astype(np.int64) - first, self.message[a:b].astype(np.int64))

    def keep_from(self, row: int) -> int:
        """See Picks."""
        a = int(np.searchsorted(self.row, np.array(row, self.row.dtype)))
        return int(self.message[a]) if a < len(self.message) else np.iinfo(np.int64).max


@frozen(eq=False)
class Every:
    """Row k takes message k."""

    n: int

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """See Picks."""
        for first in range(0, self.n, PIECE_SAMPLES):
            every = np.arange(first, min(self.n, first + PIECE_SAMPLES), dtype=np.int64)
            yield every, every

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        return Window(np.arange(last - first, dtype=np.int64), np.arange(first, last, dtype=np.int64))

    def keep_from(self, row: int) -> int:
        """See Picks."""
        return row


@frozen(eq=False)
class Chosen:
    """Row k takes message ``message[k]`` where ``present[k]``.

    Args:
        message: int32[n] or int64[n], ascending; of a row without message that of the next row that has one.
        present: bool[n]; None: every row has a message.
    """

    message: Numbers
    present: NDArray[np.bool_] | None

    @classmethod
    def of(cls, message: Numbers, n_messages: int) -> "Chosen":
        """From a message per row, -1 for none; ascending but for those."""
        present = message >= 0
        if present.all():
            return cls(message, None)
        following = np.where(present, message, message.dtype.type(n_messages))
        return cls(np.minimum.accumulate(following[::-1])[::-1], present)

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """See Picks."""
        yield from _first_uses(self.message, None, self.present)

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        message = self.message[first:last].astype(np.int64)
        if self.present is None:
            return Window(np.arange(len(message), dtype=np.int64), message)
        rows = np.flatnonzero(self.present[first:last])
        return Window(rows, message[rows])

    def keep_from(self, row: int) -> int:
        """See Picks."""
        return int(self.message[row]) if row < len(self.message) else np.iinfo(np.int64).max


@frozen(eq=False)
class AtTimes:
    """Rows take the last message of their very time.

    Args:
        rows: Rows at distinct times, among them all of the messages.
        message_time: int64[n], sorted, ns.
    """

    rows: Listed
    message_time: Int64s

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """See Picks."""
        time, first = self.message_time, 0
        while first < len(time):
            stop = int(np.searchsorted(time, time[min(len(time), first + PIECE_SAMPLES) - 1], side="right"))
            message = first + last_of_equal(time[first:stop])
            yield message, np.searchsorted(self.rows.row_time, time[message])
            first = stop

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        rows = self.rows.times(first, last)
        begin = end = 0
        if len(rows):
            begin = int(np.searchsorted(self.message_time, rows[0]))
            end = int(np.searchsorted(self.message_time, rows[-1], side="right"))
        message = begin + last_of_equal(self.message_time[begin:end])
        return Window(np.searchsorted(rows, self.message_time[message]), message)

    def keep_from(self, row: int) -> int:
        """See Picks."""
        if row >= self.rows.n_rows:
            return np.iinfo(np.int64).max
        message = int(np.searchsorted(self.message_time, self.rows.row_time[row]))
        return message if message < len(self.message_time) else np.iinfo(np.int64).max


@frozen(eq=False)
class Between:
    """Grid rows inside a stream's range take the sample at their time, or blend the two around it.

    Args:
        sample: int64[m], the messages that rows take, each the last of its time.
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
        found = [np.empty(0, np.int64)]
        first = 0
        while first < len(times):  # in pieces, each with the neighbours of its samples
            last = min(len(times), first + PIECE_SAMPLES) - 1
            stop = int(np.searchsorted(times, times[last], side="right"))
            ahead = stop if stop == len(times) else int(np.searchsorted(times, times[stop], side="right"))
            behind = max(0, first - 1)
            sample = last_of_equal(times[behind:ahead]) + behind
            found.append(sample[cls._at(times, sample, grid)._used()[0]])
            first = stop
        samples = np.sort(np.concatenate(found))
        return cls._at(times, samples[last_of_equal(samples)], grid)

    @classmethod
    def _at(cls, times: Int64s, sample: Int64s, grid: Grid) -> "Between":
        """Picks among these samples."""
        time = times[sample]
        rows, rest = np.divmod(distance(time, grid.start_ns), np.uint64(grid.step_ns))
        rows = np.where(time > grid.start_ns, rows + (rest > 0), np.uint64(0))
        first_row = np.minimum(rows, np.uint64(grid.n_rows)).astype(np.int64)
        ends = [(t - grid.start_ns) // grid.step_ns + 1 for t in time[-1:].tolist()]
        end = np.array([min(max(end, 0), grid.n_rows) for end in ends], np.int64)
        return cls(grid, sample, time, np.concatenate((first_row, end)))

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """See Picks."""
        used, first = self._used()
        yield self.sample[used], first

    def _used(self) -> tuple[Int64s, Int64s]:
        """Which samples a row takes, and the first row that does."""
        start, stop = self.first_row[:-1], self.first_row[1:]
        on_sample = self.grid.at(start) == self.time
        first = np.where(stop > start, start, np.iinfo(np.int64).max)
        blended = start + on_sample
        as_upper = np.where(stop > blended, blended, np.iinfo(np.int64).max)[:-1]
        first[1:] = np.minimum(first[1:], as_upper)
        used = np.flatnonzero(first != np.iinfo(np.int64).max)
        return used, first[used]

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        if not len(self.sample):
            return Window(np.empty(0, np.int64), np.empty(0, np.int64))
        rows = np.arange(max(first, int(self.first_row[0])), min(last, int(self.first_row[-1])), dtype=np.int64)
        lower = np.searchsorted(self.first_row[:-1], rows, side="right") - 1
        before = distance(self.grid.at(rows), self.time[lower])
        upper = np.where(before == 0, lower, np.minimum(lower + 1, len(self.sample) - 1))
        gap = np.maximum(distance(self.time[upper], self.time[lower]), np.uint64(1))
        return Window(rows - first, self.sample[lower], self.sample[upper], before / gap)

    def keep_from(self, row: int) -> int:
        """See Picks."""
        if not len(self.sample) or row >= self.first_row[-1]:
            return np.iinfo(np.int64).max
        lower = int(np.searchsorted(self.first_row[:-1], row, side="right")) - 1
        return int(self.sample[max(lower, 0)])


@frozen(eq=False)
class PartOf:
    """Picks of the rows ``[first, first + n)`` of a table, counted from 0."""

    picks: Picks
    first: int
    n: int

    def uses(self) -> Iterator[tuple[Int64s, Int64s]]:
        """See Picks."""
        window = self.window(0, self.n)
        messages, rows = [window.lo], [window.rows]
        if window.hi is not None and window.weight is not None:
            blended = window.weight > 0
            messages.append(window.hi[blended])
            rows.append(window.rows[blended])
        message, row = np.concatenate(messages), np.concatenate(rows)
        order = np.lexsort((row, message))
        taken, at = np.unique(message[order], return_index=True)
        yield taken, row[order][at]

    def window(self, first: int, last: int) -> Window:
        """See Picks."""
        return self.picks.window(self.first + first, self.first + last)

    def keep_from(self, row: int) -> int:
        """See Picks."""
        return self.picks.keep_from(self.first + row)


@frozen(eq=False)
class Table:
    """Rows of one output file: their times, and the picks of each stream (by position)."""

    times: RowTimes
    picks: dict[int, Picks]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.times.n_rows

    def part(self, first: int, last: int) -> "Table":
        """The rows [first, last)."""
        picks: dict[int, Picks] = {k: PartOf(picks, first, last - first) for k, picks in self.picks.items()}
        return Table(Listed(self.times.times(first, last)), picks)


def topic_table(stream: int, times: Int64s) -> Table:
    """Every message of one stream; ``times`` int64, sorted, ns."""
    return Table(Listed(times), {stream: Every(len(times))})


def wide_table(times: Sequence[Int64s], resample: Resample | None) -> Table:
    """One table over several streams; ``times[k]`` int64, sorted, ns."""
    if resample is None:
        return _union_table(times)
    filled = [t for t in times if len(t)]
    start = min((int(t[0]) for t in filled), default=0)
    end = max((int(t[-1]) for t in filled), default=start - 1)
    grid = grid_between(start, end, resample.step_ns, ("resample", "freq_hz"))
    if resample.method == "interpolate":
        return Table(grid, {k: Between.of(t, grid) for k, t in enumerate(times)})
    return Table(grid, {k: _in_buckets(t, grid) for k, t in enumerate(times)})


def _in_buckets(times: Int64s, grid: Grid) -> Points:
    bucket, message = buckets(times, grid.start_ns, grid.step_ns, grid.n_rows)
    return Points(bucket.astype(np.int64), message)


def _union_table(times: Sequence[Int64s]) -> Table:
    """A row per distinct time, with the last message of each stream at that time."""
    row_time = np.concatenate([*times, np.empty(0, np.int64)])
    row_time.sort()
    rows = Listed(_distinct(row_time))
    return Table(rows, {k: AtTimes(rows, t) for k, t in enumerate(times)})


def _distinct(times: Int64s) -> Int64s:
    """Sorted times without repetitions, in the same memory."""
    kept, first = 0, 0
    while first < len(times):
        stop = int(np.searchsorted(times, times[min(len(times), first + PIECE_SAMPLES) - 1], side="right"))
        piece = times[first + last_of_equal(times[first:stop])]
        times[kept : kept + len(piece)] = piece
        kept, first = kept + len(piece), stop
    return times[:kept]


def narrow(numbers: Int64s, n: int) -> Numbers:
    """Numbers up to ``n`` in the smallest type that holds one beyond."""
    return numbers.astype(np.int32) if n < 2**31 - 1 else numbers


def grid_between(start_ns: int, end_ns: int, step_ns: int, place: Path) -> Grid:
    """The grid from ``start_ns`` to ``end_ns`` or shortly before it (no rows where that is earlier).

    Args:
        place: Where the spec says the rate.

    Raises:
        SpecError: It has more than MAX_GRID_ROWS rows.
    """
    n_rows = max(0, (end_ns - start_ns) // step_ns + 1)
    check_grid_rows(n_rows, end_ns - start_ns, step_ns, place)
    return Grid(start_ns, step_ns, n_rows)


def check_grid_rows(n_rows: int, length_ns: int, step_ns: int, place: Path) -> None:
    """Raise SpecError for a grid of too many rows, whose rate the spec says at ``place``."""
    if n_rows > MAX_GRID_ROWS:
        rate = f"{1e9 / step_ns:g}"
        message = f"resampling {length_ns / 1e9:.0f} s at {rate} Hz makes {n_rows} rows; the limit is {MAX_GRID_ROWS}"
        most = MAX_GRID_ROWS * 1e9 / max(length_ns, 1)
        raise spec_error([Issue(place, message, f"at most {most:g}", rate)])


def buckets(times: Int64s, start_ns: int, step_ns: int, n_buckets: int) -> tuple[UInt64s, Int64s]:
    """The buckets ``[start + k * step, start + (k + 1) * step)``, k below ``n_buckets``, that hold a message.

    Args:
        times: int64[n], sorted, ns.

    Returns:
        uint64[m], ascending: the buckets; int64[m]: the last message of each.
    """
    found, message = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for first in range(int(np.searchsorted(times, start_ns)), len(times), PIECE_SAMPLES):
        bucket = distance(times[first : first + PIECE_SAMPLES + 1], start_ns) // np.uint64(step_ns)
        last = last_of_equal(bucket)
        last = last[last < PIECE_SAMPLES]  # of the one behind the piece only its bucket matters
        if n_buckets < 2**64:
            last = last[bucket[last] < np.uint64(n_buckets)]
        found.append(bucket[last])
        message.append(first + last)
    return np.concatenate(found), np.concatenate(message)


def distance(later: Int64s, earlier: Int64s | int) -> UInt64s:
    """``later - earlier``, exact wherever ``later`` is not earlier."""
    if isinstance(earlier, int):
        return later.view(np.uint64) - np.uint64(earlier % 2**64)
    return later.view(np.uint64) - earlier.view(np.uint64)


def _first_uses(
    message: Numbers, row: Numbers | None, present: NDArray[np.bool_] | None
) -> Iterator[tuple[Int64s, Int64s]]:
    """``Picks.uses`` of ascending messages, where ``present``, taken by ``row`` (None: by the rows in turn)."""
    before = -1
    for first in range(0, len(message), PIECE_SAMPLES):
        part = slice(first, min(len(message), first + PIECE_SAMPLES))
        taken = message[part].astype(np.int64)
        rows = np.arange(part.start, part.stop) if row is None else row[part].astype(np.int64)
        if present is not None:
            chosen = np.flatnonzero(present[part])
            taken, rows = taken[chosen], rows[chosen]
        new = np.diff(taken, prepend=before) != 0
        before = taken[-1] if len(taken) else before
        yield taken[new], rows[new]


def last_of_equal(values: Int64s | UInt64s) -> Int64s:
    """Positions of the last of each run of equal values; ``values`` sorted."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, np.int64)

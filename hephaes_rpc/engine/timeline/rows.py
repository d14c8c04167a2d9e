"""Which messages the rows of a row strategy take.

Strategy: the messages of every topic are given as their times on the topic's clock, sorted; a row strategy is sorted
merges over these arrays.  A join is worked out for JOIN_ROWS rows at a time: the neighbours of the row times by binary
search, the limits by exact distances; rows that a join drops are taken out at the end, once, from all of them.  What a
row takes never goes back in a topic's order from one row to the next, whatever the policy; that is what lets
``assembly`` forget messages.  The module knows neither streams nor payloads; a topic without messages is an empty
array.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.spec import Join, PerMessageRows, ResampleRows, RowStrategy, TriggerRows
from hephaes_rpc.engine.timeline.plan import (
    Between,
    Chosen,
    Every,
    Grid,
    Int64s,
    Listed,
    Numbers,
    Picks,
    Points,
    RowTimes,
    Spans,
    Table,
    UInt64s,
    buckets,
    check_grid_rows,
    distance,
    grid_between,
)
from hephaes_rpc.serde import Issue, Path, shown

JOIN_ROWS = 1 << 16
RATE = ("row_strategy", "freq_hz")
NO_TIMES = np.empty(0, np.int64)

Bools = NDArray[np.bool_]


@frozen(eq=False)
class JoinRows:
    """What one joined topic gives to the rows of a plan.

    Args:
        picks: A message per row, or none.
        dropped: Rows that this join dropped (a row counts for the first join that does).
        absent: Rows without a message; zeros or the default value stand in for it, or nothing.
        forward_filled: Rows with a message that only ``missing`` ``forward_fill`` allows.
    """

    join: Join
    picks: Chosen
    dropped: int
    absent: int
    forward_filled: int
    _rows: Listed
    _times: Int64s
    _filled: Bools | None

    @property
    def substituted(self) -> int:
        """Rows without a message in which zeros or the default value stand in."""
        return self.absent if has_substitute(self.join) else 0

    def present(self, first: int, last: int) -> Bools:
        """Which of the rows [first, last) have a message."""
        if self.picks.present is None:
            return np.ones(last - first, np.bool_)
        return self.picks.present[first:last]

    def filled(self, first: int, last: int) -> Bools:
        """Which of the rows [first, last) have a message that only ``forward_fill`` allows."""
        return np.zeros(last - first, np.bool_) if self._filled is None else self._filled[first:last]

    def ages(self, first: int, last: int) -> tuple[Int64s, Bools]:
        """Row time minus message time of rows [first, last), ns; where there is one that fits 64 bits."""
        known = self.present(first, last)
        row, message = self._rows.times(first, last)[known], self.picks.message[first:last][known]
        time = self._times[message]
        age = np.zeros(last - first, np.int64)
        age[known] = difference = row - time
        valid = known.copy()
        valid[known] = ((row ^ time) & (row ^ difference)) >= 0
        return age, valid


@frozen(eq=False)
class RowPlan:
    """The rows of a strategy.

    Args:
        table: Row times, and picks by position of the topic in what ``plan_rows`` was given.
        joins: By topic, in the order of the strategy; empty but for a trigger strategy.
        candidates: Rows before any was dropped.
        warnings: What is other than the spec may expect.
    """

    table: Table
    candidates: int
    joins: dict[str, JoinRows] = field(factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def dropped(self) -> int:
        """Candidates that did not become rows: dropped by joins, or empty."""
        return self.candidates - self.table.n_rows

    def present(self, position: int, first: int, last: int) -> Bools:
        """Which of the rows [first, last) take something from the topic at ``position``."""
        found = np.zeros(last - first, np.bool_)
        if position in self.table.picks:
            found[self.table.picks[position].window(first, last).rows] = True
        return found


def has_substitute(join: Join) -> bool:
    """Whether zeros or a default value stand in for a message that is not there."""
    return join.missing == "zeros" or (join.missing == "default" and join.default_value is not None)


def plan_rows(strategy: RowStrategy, times: Mapping[str, Int64s]) -> RowPlan:
    """The rows of a log.

    Args:
        times: Topic -> times of its selected messages on its clock (int64, sorted, ns), for every topic that the
            strategy uses; a topic that the log does not have may be left out.

    Raises:
        SpecError: A grid has too many rows, or a join with ``missing`` ``error`` finds nothing for a row.
    """
    if isinstance(strategy, TriggerRows):
        return _trigger(strategy, times)
    if isinstance(strategy, PerMessageRows):
        own = times.get(strategy.topic, NO_TIMES)
        picks: dict[int, Picks] = {k: Every(len(own)) for k, topic in enumerate(times) if topic == strategy.topic}
        return RowPlan(Table(Listed(own), picks), len(own))
    return _Resampling(strategy, times).plan()


# -- trigger -----------------------------------------------------------------------------------------------------------


@frozen(eq=False)
class _Joined:
    """A join over all trigger messages: message per row (-1: none), which of them are filled, which rows it drops."""

    join: Join
    message: Numbers
    filled: Bools | None
    drops: Bools | None


def _trigger(strategy: TriggerRows, times: Mapping[str, Int64s]) -> RowPlan:
    trigger = times.get(strategy.trigger_topic, NO_TIMES)
    joined = [
        _join(join, trigger, times.get(join.topic, NO_TIMES), ("row_strategy", "joins", k, "missing"))
        for k, join in enumerate(strategy.joins)
    ]
    keep = np.ones(len(trigger), np.bool_)
    dropped = []
    for one in joined:
        dropped.append(0 if one.drops is None else int(np.count_nonzero(one.drops & keep)))
        if one.drops is not None:
            keep &= ~one.drops
    rows = Listed(trigger if keep.all() else trigger[keep])
    position = {topic: k for k, topic in enumerate(times)}
    picks: dict[int, Picks] = {}
    if strategy.trigger_topic in position:
        kept = _narrow(np.flatnonzero(keep), len(trigger))
        picks[position[strategy.trigger_topic]] = Every(len(trigger)) if keep.all() else Chosen(kept, None)
    joins = {}
    for one, lost in zip(joined, dropped, strict=True):
        found = _kept(one, keep, lost, rows, times.get(one.join.topic, NO_TIMES))
        joins[one.join.topic] = found
        if one.join.topic in position:
            picks[position[one.join.topic]] = found.picks
    return RowPlan(Table(rows, picks), len(trigger), joins)


def _join(join: Join, rows: Int64s, times: Int64s, place: Path) -> _Joined:
    """One topic joined to all row times; ``place`` is where the spec says what a row without message is."""
    fills = join.missing == "forward_fill"
    message = np.empty(len(rows), _number_type(len(times)))
    filled = np.zeros(len(rows), np.bool_) if fills else None
    for first in range(0, len(rows), JOIN_ROWS):
        part = slice(first, first + JOIN_ROWS)
        found = _candidates(join, rows[part], times)
        if filled is not None:
            filled[part] = found < 0
            found = np.where(found < 0, np.searchsorted(times, rows[part], side="right") - 1, found)
            filled[part] &= found >= 0
        message[part] = found
    absent = message < 0
    if join.missing == "error" and absent.any():
        time = int(rows[np.argmax(absent)])
        text = (
            f"topic {join.topic!r} has no message for the row at {time} ns, which its join makes an error "
            f"(missing 'error'); {np.count_nonzero(absent)} of {len(rows)} rows have none"
        )
        issue = Issue(place, text, "another policy, or a wider tolerance", shown(join.missing))
        raise spec_error([issue], topic=join.topic, row_time_ns=time)
    drops = join.missing == "drop" or (join.required and not has_substitute(join))
    return _Joined(join, message, filled, absent if drops and absent.any() else None)


def _candidates(join: Join, rows: Int64s, times: Int64s) -> Int64s:
    """The message that the sync policy gives each row, -1 for none (int64); ``rows`` and ``times`` sorted, ns."""
    if not len(times):
        return np.full(len(rows), -1, np.int64)
    after = np.searchsorted(times, rows, side="right")
    earlier = np.maximum(after - 1, 0)
    age = distance(rows, times[earlier])
    exact = join.sync_policy == "exact-within-tolerance"
    tolerance = 0 if exact and join.tolerance_ns is None else join.tolerance_ns
    past = (after > 0) & _within(age, join.staleness_ns) & _within(age, tolerance)
    if join.sync_policy == "last-known-before" or join.no_future:
        return np.where(past, earlier, -1)
    next_time = times[np.minimum(after, len(times) - 1)]
    later = np.searchsorted(times, next_time, side="right") - 1
    ahead = distance(next_time, rows)
    future = (after < len(times)) & _within(ahead, tolerance) & ~(past & (age <= ahead))
    return np.where(future, later, np.where(past, earlier, -1))


def _within(distances: UInt64s, limit_ns: int | None) -> Bools:
    if limit_ns is None or limit_ns >= 2**64:
        return np.ones(len(distances), np.bool_)
    return distances <= np.uint64(limit_ns)


def _kept(one: _Joined, keep: Bools, dropped: int, rows: Listed, times: Int64s) -> JoinRows:
    """The join over the rows that are kept."""
    every = bool(keep.all())
    message = one.message if every else one.message[keep]
    filled = one.filled if every or one.filled is None else one.filled[keep]
    absent = int(np.count_nonzero(message < 0))
    n_filled = 0 if filled is None else int(np.count_nonzero(filled))
    return JoinRows(one.join, Chosen.of(message, len(times)), dropped, absent, n_filled, rows, times, filled)


def _number_type(n: int) -> type[np.int32] | type[np.int64]:
    """The smallest type that numbers ``n`` messages and one beyond."""
    return np.int32 if n < 2**31 else np.int64


def _narrow(numbers: Int64s, n: int) -> Numbers:
    return numbers.astype(_number_type(n), copy=False)


# -- resample ----------------------------------------------------------------------------------------------------------


class _Resampling:
    """A grid over topics, and what they give to it."""

    def __init__(self, strategy: ResampleRows, times: Mapping[str, Int64s]) -> None:
        self.step = strategy.step_ns
        self.strategy = strategy
        self.times: Sequence[Int64s] = list(times.values())
        self.warnings: list[str] = []
        bounds = self.times
        anchor = strategy.anchor_topic
        if anchor is not None:
            bounds = [times.get(anchor, NO_TIMES)]
            if not len(bounds[0]):
                bounds = self.times
                self.warnings.append(
                    f"anchor topic {anchor!r} has no message; the grid reaches over all topics instead"
                )
        bounds = [t for t in bounds if len(t)]
        self.start = min((int(t[0]) for t in bounds), default=0)
        self.end = max((int(t[-1]) for t in bounds), default=self.start - 1)
        self.n_rows = max(0, (self.end - self.start) // self.step + 1)

    def plan(self) -> RowPlan:
        """The rows."""
        table = self._sparse() if self.strategy.skip_empty else self._dense()
        return RowPlan(table, self.n_rows, warnings=tuple(self.warnings))

    def _dense(self) -> Table:
        grid = grid_between(self.start, self.end, self.step, RATE)
        if self.strategy.method == "interpolate":
            return Table(grid, {k: Between.of(self._known(t), grid) for k, t in enumerate(self.times)})
        found = [buckets(t, self.start, self.step, self.n_rows) for t in self.times]
        return Table(grid, {k: Points(bucket.astype(np.int64), last) for k, (bucket, last) in enumerate(found)})

    def _sparse(self) -> Table:
        if self.strategy.method == "interpolate":
            return self._spans()
        found = [buckets(t, self.start, self.step, self.n_rows) for t in self.times]
        filled = np.unique(np.concatenate([*(bucket for bucket, _ in found), np.empty(0, np.uint64)]))
        rows = Listed((np.uint64(self.start % 2**64) + filled * np.uint64(self.step)).view(np.int64))
        return Table(rows, {k: Points(np.searchsorted(filled, bucket), last) for k, (bucket, last) in enumerate(found)})

    def _spans(self) -> Table:
        """Rows inside the range of a topic: each topic's rows lie in one span, so its picks have a grid of its own."""
        known = [self._known(t) for t in self.times]
        ranges = [self._rows_of(t) for t in known]
        spans: list[tuple[int, int]] = []
        for first, stop in sorted(r for r in ranges if r[0] < r[1]):
            if spans and first <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], stop))
            else:
                spans.append((first, stop))
        n_rows = sum(stop - first for first, stop in spans)
        check_grid_rows(n_rows, n_rows * self.step, self.step, RATE)
        before = [0]
        for first, stop in spans:
            before.append(before[-1] + stop - first)
        picks: dict[int, Picks] = {}
        for k, (t, (first, stop)) in enumerate(zip(known, ranges, strict=True)):
            skipped = next((span[0] - n for span, n in zip(spans, before, strict=False) if first < span[1]), 0)
            grid = Grid(self.start + skipped * self.step, self.step, n_rows)
            picks[k] = Between.of(t, grid) if first < stop else Points(NO_TIMES, NO_TIMES)
        starts = np.array([self.start + first * self.step for first, _ in spans], np.int64)
        rows: RowTimes = Spans(np.array(before[:-1], np.int64), starts, self.step, n_rows)
        return Table(rows, picks)

    def _known(self, times: Int64s) -> Int64s:
        """Times that rows may use: up to the first behind the last row, which may be its later neighbour."""
        last = self.start + (self.n_rows - 1) * self.step
        behind = int(np.searchsorted(times, last, side="right"))
        if behind == len(times) or (behind and times[behind - 1] == last):
            return times[:behind]
        return times[: np.searchsorted(times, times[behind], side="right")]

    def _rows_of(self, times: Int64s) -> tuple[int, int]:
        """The grid rows [first, stop) from the first to the last of these times."""
        if not len(times):
            return 0, 0
        first, last = (int(t) - self.start for t in (times[0], times[-1]))
        return max(0, -(-first // self.step)), min(self.n_rows, last // self.step + 1)

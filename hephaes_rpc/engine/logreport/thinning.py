"""Series of points, thinned while they come, so that no extreme is lost on a screen.

Strategy: time is cut into columns.  Of every column the point with the least and the one with the greatest value are
kept, where and when they were: what is kept is a subset of what came, and a line through it covers the same pixels as
a line through everything, as long as a column is no wider than a pixel.  Cost is linear, memory that of the columns.
"""

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.logs.types import Int64s

Float64s = NDArray[np.float64]


@frozen(eq=False)
class Columns:
    """How time is cut: ``n`` columns of ``width_ns`` from ``start_ns``."""

    start_ns: int
    width_ns: int
    n: int

    @classmethod
    def over(cls, start_ns: int, end_ns: int, n: int) -> "Columns":
        """At most ``n`` columns that hold both ends."""
        return cls(start_ns, max(1, -(-(end_ns - start_ns + 1) // n)), n)

    def of(self, times: Int64s) -> Int64s:
        """The column of each time; times beyond the ends are in the first and last one."""
        return np.clip((times - self.start_ns) // self.width_ns, 0, self.n - 1)


@frozen(eq=False)
class Points:
    """A series as it is drawn.

    Args:
        times: int64[n], log time in ns, ascending.
        values: float64[n], finite.
        count: Finite values that came; more than n where the series was thinned.
        nonfinite: NaN and infinite values that came.
        spacing_ns: How far apart two points may lie because of what was left out between them; 0 where nothing was.
        low, high, mean: Of all finite values that came; NaN without any.
    """

    times: Int64s
    values: Float64s
    count: int
    nonfinite: int
    spacing_ns: int
    low: float
    high: float
    mean: float


class Thinner:
    """Takes points in any order and keeps the extremes of each column.

    Args:
        keep_all: Up to how many points nothing is left out.
    """

    def __init__(self, columns: Columns, keep_all: int) -> None:
        self._columns, self._keep_all = columns, keep_all
        self._kept: list[tuple[Int64s, Float64s]] = []
        self._extremes: _Extremes | None = None
        self._count = self._nonfinite = 0
        self._sum = 0.0
        self._low, self._high = np.inf, -np.inf

    def add(self, times: Int64s, values: NDArray[Any]) -> None:
        """More points: int64[n] in ns, numbers[n]."""
        data = np.asarray(values, np.float64)
        finite = np.isfinite(data)
        if not finite.all():
            self._nonfinite += int(len(data) - np.count_nonzero(finite))
            times, data = times[finite], data[finite]
        if not len(data):
            return
        self._count += len(data)
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum += float(data.sum())
        self._low, self._high = min(self._low, float(data.min())), max(self._high, float(data.max()))
        if self._extremes is not None:
            self._extremes.add(times, data)
            return
        self._kept.append((times, data))
        if self._count > self._keep_all:
            self._extremes = _Extremes(self._columns)
            for part in self._kept:
                self._extremes.add(*part)
            self._kept = []

    def points(self) -> Points:
        """What is left of all points that came."""
        if self._extremes is not None:
            times, values = self._extremes.points()
        else:
            times = np.concatenate([np.empty(0, np.int64), *(part[0] for part in self._kept)])
            values = np.concatenate([np.empty(0, np.float64), *(part[1] for part in self._kept)])
        order = np.argsort(times, kind="stable")
        low, high, mean = (self._low, self._high, self._sum / self._count) if self._count else (np.nan,) * 3
        spacing_ns = 0 if self._extremes is None else 2 * self._columns.width_ns
        return Points(times[order], values[order], self._count, self._nonfinite, spacing_ns, low, high, mean)


class _Extremes:
    """The least and the greatest point of each column; of equal ones that which came first."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._low = np.full(columns.n, np.inf)
        self._high = np.full(columns.n, -np.inf)
        self._low_at = np.zeros(columns.n, np.int64)
        self._high_at = np.zeros(columns.n, np.int64)

    def add(self, times: Int64s, values: Float64s) -> None:
        column = self._columns.of(times)
        if (np.diff(column) < 0).any():
            order = np.argsort(column, kind="stable")
            column, times, values = column[order], times[order], values[order]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1])
        counts = np.diff(np.append(starts, len(column)))
        where = column[starts]
        least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        lower, higher = least < self._low[where], most > self._high[where]
        self._low_at[where[lower]] = times[_first(values, least, starts, counts)][lower]
        self._high_at[where[higher]] = times[_first(values, most, starts, counts)][higher]
        self._low[where[lower]] = least[lower]
        self._high[where[higher]] = most[higher]

    def points(self) -> tuple[Int64s, Float64s]:
        there = np.flatnonzero(self._low <= self._high)
        two = there[(self._low_at[there] != self._high_at[there]) | (self._low[there] != self._high[there])]
        return (
            np.concatenate([self._low_at[there], self._high_at[two]]),
            np.concatenate([self._low[there], self._high[two]]),
        )


def _first(values: Float64s, wanted: Float64s, starts: Int64s, counts: Int64s) -> Int64s:
    """Where in each run of ``values`` the wanted value is for the first time."""
    hits = np.flatnonzero(values == np.repeat(wanted, counts))
    return hits[np.searchsorted(hits, starts)]

"""A part of a log's time."""

from typing import TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.logs.types import Int64s

Bools: TypeAlias = NDArray[np.bool_]


@frozen
class Window:
    """Log times from ``start_ns`` on and before ``end_ns``; None is no bound."""

    start_ns: int | None = None
    end_ns: int | None = None

    def holds(self, times: Int64s) -> Bools:
        """Which times lie in it."""
        inside = np.ones(len(times), np.bool_)
        if self.start_ns is not None:
            inside &= times >= self.start_ns
        if self.end_ns is not None:
            inside &= times < self.end_ns
        return inside

    def of(self, times: Int64s) -> Int64s:
        """The times that lie in it."""
        return times if self == WHOLE else times[self.holds(times)]


WHOLE = Window()

"""Columns of values on their way to features, and what a step over them is.

A column holds the rows that still have a value; a row that fails in a step leaves, and the tally counts why.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from attrs import define, evolve, field, frozen

from hephaes_rpc.engine.features.columns import Flags, Int64s, Part, is_list

MAX_SIZE = 1 << 24
INT64 = pa.int64()
FLOAT32 = pa.float32()
FLOAT64 = pa.float64()


class CannotApplyError(ValueError):
    """Something cannot apply to the type it meets; the message says why."""


@frozen
class Kind:
    """What the values of a column are.

    Args:
        type: Arrow type; None where they are pictures.
        size: Bytes of each value where the definition fixes it (``uint8[N]``).
        is_time: Whether the leaves are stamps or durations.
        is_json: Whether the text is JSON already.
        shape: Of pictures: height, width, channels; -1 where it is not known beforehand.
        encoded: Whether each value is an image file.
    """

    type: pa.DataType | None
    size: int | None = None
    is_time: bool = False
    is_json: bool = False
    shape: tuple[int, int, int] = (-1, -1, -1)
    encoded: bool = False

    def __str__(self) -> str:
        if self.type is None:
            return "an image"
        return "a stamp" if self.is_time and not is_list(self.type) else f"a value of type {self.type}"


@define(eq=False)
class Tally:
    """What happened to the values of one feature in ``n`` rows; of a row's failures only the first one counts."""

    n: int
    causes: Counter[str] = field(factory=Counter)
    changes: Counter[str] = field(factory=Counter)
    _runs: list[tuple[Int64s, str]] = field(factory=list)
    _failed: Flags = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._failed = np.zeros(self.n, np.bool_)

    def fail(self, rows: Int64s, cause: str) -> None:
        """These rows have no value, because of ``cause``."""
        rows = rows[~self._failed[rows]]
        if len(rows):
            self._failed[rows] = True
            self.causes[cause] += len(rows)
            self._runs.append((rows, cause))

    def change(self, what: str, count: int) -> None:
        """So many values were clamped, narrowed, padded or truncated."""
        if count:
            self.changes[what] += count

    def cause(self, row: int) -> str:
        """Why this row has no value."""
        return next((cause for rows, cause in self._runs if row in rows), "it is absent")


@frozen(eq=False)
class Column:
    """The values of the rows that have one.

    Args:
        rows: int64[m], ascending.
        values: m values without nulls, or m pictures.
        filled: bool[m], rows whose value a default stands for.
    """

    rows: Int64s
    values: Any
    filled: Flags

    def keep(self, values: Any, kept: Flags | None, tally: Tally, cause: str) -> "Column":
        """The column with other values, of the flagged rows only."""
        if kept is None:
            return evolve(self, values=values)
        tally.fail(self.rows[~kept], cause)
        return Column(self.rows[kept], values, self.filled[kept])


class Step(Protocol):
    """A transform bound to a type."""

    @property
    def kind(self) -> Kind:
        """What goes out."""
        ...

    def apply(self, column: Column, tally: Tally) -> Column:
        """The column anew."""
        ...


Move: TypeAlias = Callable[[pa.Array, Tally], Part]


@frozen(eq=False)
class ArrayStep:
    """A step over an Arrow array; ``cause`` is why rows are left out."""

    kind: Kind
    move: Move
    cause: str = ""

    def apply(self, column: Column, tally: Tally) -> Column:
        """See Step."""
        values, kept = self.move(column.values, tally)
        return column.keep(values, kept, tally, self.cause)

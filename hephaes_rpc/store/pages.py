"""Pages of lists by keyset: a cursor names the last row seen, so rows added meanwhile neither shift nor repeat any."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.serde import encode, unstructure
from hephaes_rpc.store.db import Row, Session
from hephaes_rpc.store.values import from_json

T = TypeVar("T")

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
EXACT_TOTAL = 100_000


@frozen
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        total: Rows that pass the filters; exact up to 100,000.
        next_cursor: Where the next page starts, None at the end.
        total_is_lower_bound: There are more than ``total``.
    """

    items: list[T]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool = False


class Where:
    """Conditions of a list, all of which must hold."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.bindings: dict[str, Any] = {}

    def add(self, condition: str, value: Any) -> None:
        """Demand ``condition``, in which ``?`` stands for ``value``; nothing when that is None."""
        if value is not None:
            name = f"w{len(self.bindings)}"
            self.conditions.append(f"({condition.replace('?', f':{name}')})")
            self.bindings[name] = value


FEW = 10_000
"""Rows that may be looked at one by one; the condition that so few rows meet leads the search for a page."""


@frozen
class Way:
    """One way to the rows of a list.

    Args:
        source: What follows FROM.
        conditions: What must hold, beside the conditions of the list that ``source`` does not imply.
        number: What stands for the column ``Listing.number`` in orders and cursors.
        is_sorted: It leads to all rows in another order than the page's: they are sorted by their keys alone, and the
            columns are looked up for those of the page.
    """

    source: str
    conditions: tuple[str, ...]
    number: str
    is_sorted: bool = False


@frozen
class Route:
    """The ways to a page and to the total, or the total itself, chosen by what the filters find."""

    page: Way
    total: Way | int


@frozen
class Order:
    """Which rows of a list a page is to hold.

    Args:
        sort: A key of ``Listing.sorts``.
        after: The keys of the last row seen, the tie-break last; None at the start.
    """

    sort: str
    is_descending: bool
    after: tuple[Any, ...] | None
    limit: int


@frozen
class Listing:
    """A list that can be paged.

    Args:
        name: Keeps its cursors apart from those of other lists.
        columns: What is selected.
        source: What follows FROM.
        id: Column that breaks ties.
        sorts: Field on the wire -> SQL keys; none is ever null, all run in the same direction.
        default: The sort when none is asked for.
        number: A unique column; a sort by it needs no tie-break.
    """

    name: str
    columns: str
    source: str
    id: str
    sorts: Mapping[str, tuple[str, ...]] = field(hash=False)
    default: str
    number: str | None = None

    def page(
        self,
        session: Session,
        filters: Any,
        where: Where,
        make: Callable[[list[Row]], list[T]],
        *,
        limit: int,
        cursor: str | None,
        sort: str | None,
        route: Callable[[Order], Route | None] = lambda _order: None,
    ) -> Page[T]:
        """The page after ``cursor``: two statements and those of ``make`` and ``route``.

        Args:
            filters: attrs object that ``where`` was made from; a cursor is bound to it and to ``sort``.
            make: Rows (of ``columns``) to items.
            limit: 1 to 500.
            sort: A key of ``sorts``, after ``-`` to descend.
            route: How to get there; None where it goes without saying.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise _refused("limit", f"limit must be from 1 to {MAX_LIMIT}", f"integer, 1 to {MAX_LIMIT}", str(limit))
        sort = sort or self.default
        if sort.removeprefix("-") not in self.sorts:
            expected = "one of " + ", ".join(self.sorts) + ", with - before it to descend"
            raise _refused("sort", f"{self.name} cannot be sorted by {sort!r}", expected, repr(sort))
        down, name = sort.startswith("-"), sort.removeprefix("-")
        bound_to = self._binding(filters, sort)
        n_keys = len(self.keys(name))
        after = None if cursor is None else tuple(_decode(cursor, bound_to, n_keys))
        chosen = route(Order(name, down, after, limit))
        way = chosen.page if chosen else Way(self.source, tuple(where.conditions), self.number or "")
        total_way = chosen.total if chosen else way
        keys = [way.number if key == self.number else key for key in self.keys(name)]
        bindings = dict(where.bindings)
        conditions = list(way.conditions)
        if after is not None:
            seen = {f"k{index}": value for index, value in enumerate(after)}
            conditions.append(f"({', '.join(keys)}) {'<' if down else '>'} ({', '.join(f':{each}' for each in seen)})")
            bindings |= seen
        order = ", ".join(f"{key} {'DESC' if down else 'ASC'}" for key in keys)
        found_by = f"FROM {way.source} WHERE {_all(conditions)} ORDER BY {order} LIMIT {limit + 1}"
        if way.is_sorted:
            sorted_ids = f"(SELECT {self.id} AS sorted_id {found_by})"
            found_by = f"FROM {sorted_ids} CROSS JOIN {self.source} WHERE {self.id} = sorted_id ORDER BY {order}"
        rows = session.all(f"SELECT {self.columns}, {', '.join(keys)} {found_by}", bindings)
        found = len(rows)
        total = total_way if isinstance(total_way, int) else count(session, total_way, where.bindings, EXACT_TOTAL + 1)
        rows = rows[:limit]
        return Page(
            items=make([row[: -len(keys)] for row in rows]),
            total=min(total, EXACT_TOTAL),
            next_cursor=_encode(bound_to, rows[-1][-len(keys) :]) if found > limit else None,
            total_is_lower_bound=total > EXACT_TOTAL,
        )

    def keys(self, sort: str) -> tuple[str, ...]:
        """What a sort orders by, the tie-break last."""
        keys = self.sorts[sort]
        return keys if keys == (self.number,) else (*keys, self.id)

    def _binding(self, filters: Any, sort: str) -> str:
        return hashlib.sha256(encode([self.name, sort, unstructure(filters)])).hexdigest()[:16]


def count(session: Session, way: Way, bindings: Mapping[str, Any], most: int) -> int:
    """How many rows a way leads to; no more than ``most`` are counted."""
    found: int = session.value(
        f"SELECT count(*) FROM (SELECT 1 FROM {way.source} WHERE {_all(way.conditions)} LIMIT {most})", bindings
    )
    return found


def _all(conditions: Sequence[str]) -> str:
    return " AND ".join(conditions) or "true"


def _encode(bound_to: str, keys: Row) -> str:
    return base64.urlsafe_b64encode(encode([bound_to, *keys])).decode()


def _decode(cursor: str, bound_to: str, n_keys: int) -> list[Any]:
    keys: list[Any]
    try:
        owner, *keys = from_json(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        owner, keys = None, []
    if owner != bound_to or len(keys) != n_keys or not all(isinstance(key, int | float | str) for key in keys):
        message = "the cursor belongs to other filters or another sort"
        raise HephaesError("cursor_mismatch", message, hint="start again without a cursor")
    return keys


def _refused(path: str, message: str, expected: str, got: str) -> ParamsError:
    return ParamsError([{"path": path, "message": message, "expected": expected, "got": got}])

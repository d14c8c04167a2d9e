"""What filters and orders ask of every asset, as columns in memory: any filters in any order take milliseconds.

Strategy: one array per trait, in the order of registration, so that a filter is a comparison of an array and the total
a count; tags that many assets carry are a bit per asset, searched text is one run of bytes.  Every other order of the
list is a rank per asset, taken from its index.  Ranks never contradict the order, but may tie: an asset that is new or
has changed takes the rank of the one before it.  A page is picked by rank, all ties included, and SQL puts the few
assets that were picked in their order, so that ties cost a little time and nothing else.  Columns are those of one
state of the database and follow it by the assets that have changed since; far behind, they are made anew.
"""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from hephaes_native import textscan
from hephaes_rpc.model.assets import IndexingStatus
from hephaes_rpc.store.assetsearch import ROOT_MARK, AssetFilters, can_stand_in_a_path, spellings, tag_id, to_ns
from hephaes_rpc.store.db import Row, Session
from hephaes_rpc.store.findings import kind_bit, severity_rank
from hephaes_rpc.store.pages import FEW, Order
from hephaes_rpc.store.values import folded, from_json, to_json, to_us

Mask: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.int64]

SPARE = 5_000
"""Changes that are followed, and assets that may be added, before columns are to be made anew."""
AT_ONCE = 500
"""Changes that a request can wait for."""
MANY_TAGS = 256
CHUNK = 20_000
SAMPLE_BYTES = 1 << 20

_NOT_FINITE = float("inf")
_NO_START = -(2**63)
_NO_SCORE = -1
_STATUSES = get_args(IndexingStatus)
_TRAITS: dict[str, Any] = {
    "numbers": np.int64,
    "status": np.uint8,
    "type": np.uint16,
    "size": np.int64,
    "duration": np.float64,
    "start_ns": np.int64,
    "score": np.int8,
    "severity": np.uint8,
    "finding_kinds": np.int64,
}
_SELECT = (
    "a.registered_at, a.indexing_status, a.file_type, a.file_size, coalesce(a.duration, 9e999),"
    f" coalesce(a.start_ns, {_NO_START}), coalesce(a.score, {_NO_SCORE}), a.severity, a.finding_kinds,"
    " CAST(a.search_text AS BLOB)"
)
_SORTS = {
    "last_indexed_time": ("assets_by_index_time", "index_order"),
    "file_name": ("assets_by_name", "file_name"),
    "file_size": ("assets_by_size", "file_size"),
}


def state(session: Session) -> int:
    """How many changes of assets there have been."""
    found: int = session.value("SELECT coalesce(max(n), 0) FROM asset_changes")
    return found


class AssetColumns:
    """The assets of one workspace as a session sees them; one thread at a time.

    Args:
        session: Where they are read from, all of them.
        n_assets: How many there are at most.
        prefix: The workspace's root with a slash behind it.

    Attributes:
        state: Of which state of the database they are.
    """

    def __init__(self, session: Session, n_assets: int, prefix: str) -> None:
        self.state = state(session)
        self._root = folded(prefix)
        self._size = 0
        self._changes = 0
        capacity = n_assets + SPARE
        self._traits = {name: np.zeros(capacity, dtype) for name, dtype in _TRAITS.items()}
        self._types: dict[str, int] = {}
        self._text = bytearray()
        self._starts = np.zeros(capacity + SPARE, np.int64)
        self._owners = np.zeros(capacity + SPARE, np.int32)
        self._n_texts = 0
        self._later_texts: dict[int, int] = {}
        rows = session.each(f"SELECT {_SELECT} FROM assets a ORDER BY a.registered_at")
        while chunk := list(islice(rows, CHUNK)):
            self._append(chunk)
        self._ranks = {sort: np.zeros(capacity, np.int32) for sort in _SORTS}
        for sort, (index, column) in _SORTS.items():
            order = session.each(f"SELECT registered_at FROM assets INDEXED BY {index} ORDER BY {column}, id")
            self._ranks[sort][self._places(_numbers(order))] = np.arange(1, self._size + 1)
        self._tags: dict[str, NDArray[np.uint8]] = {}
        for (tag,) in session.all(f"SELECT id FROM tags WHERE asset_count > {FEW} ORDER BY 1 LIMIT {MANY_TAGS}"):
            self._tags[tag] = np.packbits(self._carrying(session, tag, capacity))
        sample = np.frombuffer(bytes(self._text[:SAMPLE_BYTES]), np.uint8)
        self._commonness = np.bincount(sample, minlength=256)

    @property
    def is_worn(self) -> bool:
        """Whether so much has changed that they had better be made anew."""
        return self._changes >= SPARE // 2

    def follow(self, session: Session) -> bool:
        """Take over what has changed; False when that is more than a request can wait for, or they are ahead."""
        now = state(session)
        if now == self.state:
            return True
        if not 0 < now - self.state <= AT_ONCE or self._changes + AT_ONCE > SPARE:
            return False
        changed = [row[0] for row in session.all("SELECT DISTINCT asset FROM asset_changes WHERE n > ?", (self.state,))]
        rows = session.all(
            f"SELECT {_SELECT} FROM json_each(?) i CROSS JOIN assets a ON a.registered_at = i.value ORDER BY 1",
            (to_json(changed),),
        )
        if len(rows) < len(changed):
            return False
        known = [row for row in rows if self._size and row[0] <= self._traits["numbers"][self._size - 1]]
        self._replace(known)
        self._append(rows[len(known) :])
        numbers = [row[0] for row in rows]
        self._follow_orders(session, numbers)
        self._follow_tags(session, numbers)
        self._changes += len(rows)
        self.state = now
        return True

    def find(self, session: Session, filters: AssetFilters, order: Order) -> tuple[list[int], int]:
        """The numbers of few assets, among them the next page with one more, and how many meet the filters."""
        rows = np.flatnonzero(self._meeting(session, filters))
        ranks = rows if order.sort == "registered_time" else self._ranks[order.sort][rows]
        if order.is_descending:
            ranks = -ranks
        total = len(rows)
        fresh = ranks
        if order.after is not None:
            seen = self._rank_of(session, order.sort, order.after) * (-1 if order.is_descending else 1)
            left = ranks >= seen
            rows, ranks = rows[left], ranks[left]
            fresh = ranks[ranks > seen]
        if len(fresh) > order.limit + 1:
            rows = rows[ranks <= np.partition(fresh, order.limit)[order.limit]]
        return self._traits["numbers"][rows].tolist(), total

    def _meeting(self, session: Session, filters: AssetFilters) -> Mask:
        met = np.ones(self._size, np.bool_)
        numbers, size, duration, start = (
            self._traits[name][: self._size] for name in ("numbers", "size", "duration", "start_ns")
        )
        if filters.status is not None:
            met &= self._traits["status"][: self._size] == _STATUSES.index(filters.status)
        if filters.type is not None:
            code = self._types.get(filters.type.lower())
            met &= False if code is None else self._traits["type"][: self._size] == code
        _bound(met, size, filters.min_size_bytes, filters.max_size_bytes)
        if _bound(met, duration, filters.min_duration, filters.max_duration):
            met &= duration != _NOT_FINITE
        if _bound(met, start, to_ns(filters.start_after), to_ns(filters.start_before, 999)):
            met &= start != _NO_START
        score, severity, kinds = (self._traits[name][: self._size] for name in ("score", "severity", "finding_kinds"))
        if _bound(met, score, filters.min_score, filters.max_score):
            met &= score != _NO_SCORE
        if filters.severity is not None:
            met &= severity >= severity_rank(filters.severity)
        if filters.finding is not None:
            met &= (kinds & kind_bit(filters.finding)) != 0
        _bound(
            met,
            numbers,
            None if filters.registered_after is None else to_us(filters.registered_after),
            None if filters.registered_before is None else to_us(filters.registered_before),
        )
        if filters.tag is not None:
            met &= self._tagged(session, filters.tag)
        if filters.search:
            met &= self._holding(folded(filters.search))
        return met

    def _tagged(self, session: Session, selector: str) -> Mask:
        tag = tag_id(session, selector)
        if tag is None:
            return np.zeros(self._size, np.bool_)
        if tag in self._tags:
            return np.unpackbits(self._tags[tag], count=self._size).view(np.bool_)
        return self._carrying(session, tag, self._size)

    def _carrying(self, session: Session, tag: str, n: int) -> Mask:
        found = np.zeros(n, np.bool_)
        found[self._places(_numbers(session.each("SELECT asset FROM asset_tags WHERE tag_id = ?", (tag,))))] = True
        return found

    def _holding(self, text: str) -> Mask:
        found = np.zeros(self._size, np.uint8)
        if can_stand_in_a_path(text):
            for needle in [*spellings(text, self._root), *([ROOT_MARK] if text in self._root else [])]:
                data = np.frombuffer(needle.encode(), np.uint8)
                rarest, second, *_ = [*np.argsort(self._commonness[data], kind="stable").tolist()] * 2
                starts, owners = (each[: self._n_texts].data for each in (self._starts, self._owners))
                textscan.find(self._text, starts, owners, data.data, rarest, second, found.data)
        return found.view(np.bool_)

    def _rank_of(self, session: Session, sort: str, key: Sequence[Any]) -> int:
        """The rank of the last asset that does not come after ``key``; -1 when there is none."""
        if sort == "registered_time":
            return int(np.searchsorted(self._traits["numbers"][: self._size], key[0], "right")) - 1
        return self._rank_near(session, sort, key, "<=", -1)

    def _rank_near(self, session: Session, sort: str, key: Sequence[Any], operator: str, otherwise: int) -> int:
        index, column = _SORTS[sort]
        number = session.value(
            f"SELECT registered_at FROM assets INDEXED BY {index} WHERE ({column}, id) {operator} (?, ?)"
            f" ORDER BY {column} DESC, id DESC LIMIT 1",
            key,
        )
        return otherwise if number is None else int(self._ranks[sort][self._places(np.array([number]))[0]])

    def _places(self, numbers: Rows) -> Rows:
        """Where the assets with these numbers stand."""
        return np.searchsorted(self._traits["numbers"][: self._size], numbers)

    def _append(self, rows: Sequence[Row]) -> None:
        self._set(np.arange(self._size, self._size + len(rows)), rows)
        self._append_texts(range(self._size, self._size + len(rows)), [row[-1] for row in rows])
        self._size += len(rows)

    def _replace(self, rows: Sequence[Row]) -> None:
        places = self._places(np.array([row[0] for row in rows], np.int64))
        self._set(places, rows)
        for place, row in zip(places.tolist(), rows, strict=True):
            segment = self._later_texts.get(place, place)
            start = int(self._starts[segment])
            end = int(self._starts[segment + 1]) if segment + 1 < self._n_texts else len(self._text)
            if self._text[start : end - 1] != row[-1]:
                self._text[start:end] = bytes(end - start)
                self._append_texts([place], [row[-1]])

    def _set(self, places: Rows, rows: Sequence[Row]) -> None:
        for name, values in zip(_TRAITS, _by_column(rows, self._types), strict=True):
            self._traits[name][places] = values

    def _append_texts(self, owners: Iterable[int], texts: Sequence[bytes]) -> None:
        for owner, text in zip(owners, texts, strict=True):
            if owner != self._n_texts:
                self._later_texts[owner] = self._n_texts
            self._starts[self._n_texts] = len(self._text)
            self._owners[self._n_texts] = owner
            self._n_texts += 1
            self._text += text
            self._text.append(0)

    def _follow_orders(self, session: Session, numbers: Sequence[int]) -> None:
        places = dict(zip(numbers, self._places(np.array(numbers)).tolist(), strict=True))
        for sort, (_, column) in _SORTS.items():
            changed = session.all(
                f"SELECT registered_at, {column}, id FROM assets"
                f" WHERE registered_at IN (SELECT value FROM json_each(?)) ORDER BY {column}, id",
                (to_json(list(numbers)),),
            )
            for number, *key in changed:
                self._ranks[sort][places[number]] = self._rank_near(session, sort, key, "<", 0)

    def _follow_tags(self, session: Session, numbers: Sequence[int]) -> None:
        given = to_json(list(numbers))
        carried = session.all(
            "SELECT tag_id, json_group_array(asset) FROM asset_tags WHERE asset IN (SELECT value FROM json_each(?))"
            " AND tag_id IN (SELECT value FROM json_each(?)) GROUP BY 1",
            (given, to_json(list(self._tags))),
        )
        places = self._places(np.array(numbers))
        now = {tag: self._places(np.array(from_json(assets))) for tag, assets in carried}
        for tag, bits in self._tags.items():
            np.bitwise_and.at(bits, places >> 3, ~_bit(places))
            if tag in now:
                np.bitwise_or.at(bits, now[tag] >> 3, _bit(now[tag]))


def _numbers(rows: Iterable[Row]) -> Rows:
    return np.fromiter((row[0] for row in rows), np.int64)


def _by_column(rows: Sequence[Row], types: dict[str, int]) -> list[list[Any]]:
    """The values of every trait; statuses and types as codes."""
    numbers, statuses, kinds, *others = ([row[at] for row in rows] for at in range(len(_TRAITS)))
    codes = {status: code for code, status in enumerate(_STATUSES)}
    return [
        numbers,
        [codes[each] for each in statuses],
        [types.setdefault(each, len(types)) for each in kinds],
        *others,
    ]


def _bound(met: Mask, values: NDArray[Any], least: float | None, most: float | None) -> bool:
    """Leave only what is within bounds; whether there are any."""
    if least is not None:
        met &= values >= least
    if most is not None:
        met &= values <= most
    return least is not None or most is not None


def _bit(places: Rows) -> NDArray[np.uint8]:
    """The bit that stands for each place in its byte."""
    bits: NDArray[np.uint8] = np.right_shift(0x80, places & 7).astype(np.uint8)
    return bits

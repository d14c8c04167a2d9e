"""How the assets that meet a set of conditions are found among a million.

Strategy: every condition can be asked of a row, and nearly every one can lead: it has an index that enumerates just the
assets that meet it.  Each leader is first asked to how many it leads.  If one leads to few, these are looked at one by
one and sorted.  If none does, then the rows are dense: a page is found soon by walking in the order of the list (a
text, a tag, a status or a type lead in the order of registration anyway), and the total is counted behind the leader to
the fewest, in indexes alone where these can tell, or, where all lead to more than is ever told, in one index that holds
all traits.
"""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from datetime import datetime
from typing import Any, NamedTuple

from attrs import frozen

from hephaes_rpc.model.assets import IndexingStatus
from hephaes_rpc.model.quality import FindingKind, Severity
from hephaes_rpc.store.db import Session
from hephaes_rpc.store.findings import kind_bit, severity_rank
from hephaes_rpc.store.pages import EXACT_TOTAL, FEW, Route, Way, count
from hephaes_rpc.store.values import folded, normalized, to_json, to_us

NUMBER = "a.registered_at"
ROOT_MARK = "\x01\x01"
"""Stands for the root in ``search_text``, so that the text stays right when the workspace moves; two characters, so
that whatever is searched together with it has the three that the search index needs."""

ORDERS = {
    "registered_time": "assets a NOT INDEXED",
    "last_indexed_time": "assets a INDEXED BY assets_by_index_time",
    "file_name": "assets a INDEXED BY assets_by_name",
    "file_size": "assets a INDEXED BY assets_by_size",
}
TRAITS = "assets a INDEXED BY assets_by_traits"
_IN_TEXT = "instr(replace(a.search_text, char(1, 1), :root), :search) > 0"
_MIN_TEXT = 3


@frozen(kw_only=True)
class AssetFilters:
    """Which assets; all conditions must hold, bounds are inclusive.

    Args:
        search: Part of name, type or path, whatever the case.
        tag: Id or name of a tag; an unknown one finds nothing.
        type: File type, whatever the case.
        min_duration: Seconds; assets without a known duration are left out, likewise for the start and the score.
        finding: At least one finding is of this kind.
        severity: At least one finding is as severe as this, or more.
    """

    search: str | None = None
    tag: str | None = None
    type: str | None = None
    status: IndexingStatus | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    start_after: datetime | None = None
    start_before: datetime | None = None
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    registered_after: datetime | None = None
    registered_before: datetime | None = None
    min_score: int | None = None
    max_score: int | None = None
    finding: FindingKind | None = None
    severity: Severity | None = None


class _Leader(NamedTuple):
    """An index that enumerates the assets that meet a condition.

    Args:
        rows: FROM clause with the assets beside the index; ``alone`` without them, where that is enough to count.
        number: The number of an asset in it; None where it does not enumerate in that order.
    """

    rows: str
    alone: str
    conditions: tuple[str, ...]
    number: str | None


class _Condition(NamedTuple):
    """What must hold, as asked of a row, the index that can lead to it, and as asked of a number."""

    of_row: str
    leader: _Leader | None
    of_number: str | None = None


class AssetSearch:
    """Filters over the assets of one workspace.

    Args:
        filters: The conditions.
        root: The workspace's root with a slash behind it.

    Attributes:
        bindings: Values of the statements.
    """

    def __init__(self, filters: AssetFilters, root: str) -> None:
        self.bindings: dict[str, Any] = {}
        self._conditions: list[_Condition] = []
        self._tag = filters.tag
        self._bounds = _bounds(filters)
        self.bindings |= dict(self._bounds.values())
        if filters.search:
            self._add_text(folded(filters.search), folded(root))
        if filters.tag is not None:
            self._add_tag()
        if filters.type is not None:
            self._add_equal("file_type", "assets_by_type", filters.type.lower())
        if filters.status is not None:
            self._add_equal("indexing_status", "assets_by_status", filters.status)
        self._add_range("duration", "assets_by_duration", filters.min_duration, filters.max_duration)
        self._add_range("start_ns", "assets_by_start", to_ns(filters.start_after), to_ns(filters.start_before, 999))
        self._add_range("file_size", "assets_by_size", filters.min_size_bytes, filters.max_size_bytes)
        self._add_range("score", "assets_by_score", filters.min_score, filters.max_score)
        if filters.severity is not None:
            self._add_range("severity", "assets_by_severity", severity_rank(filters.severity), None, "a.severity > 0")
        if filters.finding is not None:
            self.bindings["finding"] = kind_bit(filters.finding)
            self._conditions.append(_Condition("a.finding_kinds & :finding <> 0", None))

    def chosen(self, numbers: list[int], total: int) -> Route:
        """How to get to a page that is among few assets, of which the numbers are known."""
        self.bindings["numbers"] = to_json(numbers)
        return Route(Way("json_each(:numbers) i CROSS JOIN assets a ON a.registered_at = i.value", (), NUMBER), total)

    def route(self, session: Session, sort: str) -> Route | None:
        """How to get to a page in the order ``sort``, and to the total."""
        if self._tag is not None:
            self.bindings["tag"] = tag_id(session, self._tag)
        leaders = [each.leader for each in self._conditions if each.leader is not None]
        if self._bounds:
            numbers = ORDERS["registered_time"]
            leaders.append(_Leader(numbers, numbers, (), NUMBER))
        by_number = sort == "registered_time"
        if not leaders:
            return Route(self._walk(ORDERS[sort]), self._walk(ORDERS["registered_time"])) if self._conditions else None
        if len(leaders) == 1 and len(self._conditions) <= 1 and by_number and leaders[0].number:
            return Route(self._through(leaders[0]), self._total(leaders[0]))
        most = EXACT_TOTAL if len(leaders) > 1 else FEW
        found = [count(session, self._counting(leader), self.bindings, most + 1) for leader in leaders]
        fewest = min(found)
        leader = leaders[found.index(fewest)]
        if fewest <= FEW:
            return Route(self._through(leader), self._total(leader))
        ordered = [each for each in leaders if each.number] if by_number else []
        page = self._through(ordered[0]) if ordered else self._walk(self._order(sort))
        is_all_dense = fewest > EXACT_TOTAL and not any(each.alone != each.rows for each in leaders)
        return Route(page, self._walk(TRAITS) if is_all_dense and len(leaders) > 1 else self._total(leader))

    def _order(self, sort: str) -> str:
        """What enumerates in an order; assets of one status lie together in that of indexing, so that has an index."""
        if sort == "last_indexed_time" and "indexing_status" in self.bindings:
            return "assets a INDEXED BY assets_by_status_and_index_time"
        return ORDERS[sort]

    def _total(self, leader: _Leader) -> Way:
        """The way behind a leader to be counted, without the rows if all else can be asked of their numbers."""
        others = [each for each in self._conditions if each.leader is not leader]
        asked = [each.of_number.format(leader.number) for each in others if each.of_number and leader.number]
        if len(asked) < len(others):
            return self._through(leader)
        way = self._counting(leader)
        return Way(way.source, (*way.conditions, *asked), way.number)

    def _through(self, leader: _Leader) -> Way:
        """The way behind a leader; every other condition is asked of the rows."""
        number = leader.number or NUMBER
        others = [each.of_row for each in self._conditions if each.leader is not leader]
        return Way(leader.rows, (*leader.conditions, *others, *self._within(number)), number)

    def _counting(self, leader: _Leader) -> Way:
        """The way behind a leader whose rows need not be seen."""
        number = leader.number or NUMBER
        return Way(leader.alone, (*leader.conditions, *self._within(number)), number)

    def _walk(self, source: str) -> Way:
        return Way(source, (*(each.of_row for each in self._conditions), *self._within(NUMBER)), NUMBER)

    def _within(self, number: str) -> list[str]:
        return [f"{number} {operator} :{name}" for operator, (name, _) in self._bounds.items()]

    def _add_text(self, text: str, root: str) -> None:
        if not can_stand_in_a_path(text):
            self._conditions.append(_Condition("false", None))
            return
        self.bindings |= {"search": text, "root": root}
        if text in root:
            self._conditions.append(_Condition(f"(substr(a.file_path, 1, 1) <> '/' OR {_IN_TEXT})", None))
            return
        leader = None
        if len(text) >= _MIN_TEXT:
            phrases = ('"{}"'.format(each.replace('"', '""')) for each in spellings(text, root))
            self.bindings["match"] = " OR ".join(phrases)
            rows = "assets_search s CROSS JOIN assets a ON a.registered_at = s.rowid"
            leader = _Leader(rows, "assets_search s", ("s.assets_search MATCH :match",), "s.rowid")
        self._conditions.append(_Condition(_IN_TEXT, leader))

    def _add_tag(self) -> None:
        rows = "asset_tags x CROSS JOIN assets a ON a.registered_at = x.asset"
        leader = _Leader(rows, "asset_tags x", ("x.tag_id = :tag",), "x.asset")
        of_number = "EXISTS (SELECT 1 FROM asset_tags y WHERE y.tag_id = :tag AND y.asset = {})"
        self._conditions.append(_Condition(of_number.format(NUMBER), leader, of_number))

    def _add_equal(self, column: str, index: str, value: str) -> None:
        self.bindings[column] = value
        condition = f"a.{column} = :{column}"
        source = f"assets a INDEXED BY {index}"
        of_number = (
            f"EXISTS (SELECT 1 FROM assets y INDEXED BY {index} WHERE y.{column} = :{column}"
            " AND y.registered_at = {})"
        )
        self._conditions.append(_Condition(condition, _Leader(source, source, (condition,), NUMBER), of_number))

    def _add_range(self, column: str, index: str, least: float | None, most: float | None, held: str = "") -> None:
        """Bounds of a column; ``held`` is what its index asks of its rows, where the bounds do not say so."""
        bounds = [held] if held else []
        for operator, value in ((">=", least), ("<=", most)):
            if value is not None:
                name = f"{column}{len(bounds)}"
                self.bindings[name] = value
                bounds.append(f"a.{column} {operator} :{name}")
        if bounds:
            source = f"assets a INDEXED BY {index}"
            self._conditions.append(_Condition(" AND ".join(bounds), _Leader(source, source, tuple(bounds), None)))


def tag_id(session: Session, selector: str) -> str | None:
    """The id of the tag with that id or name."""
    found: str | None = session.value(
        "SELECT id FROM tags WHERE id = lower(trim(?1)) OR normalized_name = ?2 ORDER BY id = lower(trim(?1))"
        " DESC LIMIT 1",
        (selector, normalized(selector)),
    )
    return found


def _bounds(filters: AssetFilters) -> dict[str, tuple[str, int]]:
    """Operator -> (name, bound) of the time of registration."""
    found = {}
    if filters.registered_after is not None:
        found[">="] = ("registered_after", to_us(filters.registered_after))
    if filters.registered_before is not None:
        found["<="] = ("registered_before", to_us(filters.registered_before))
    return found


def spellings(text: str, root: str) -> list[str]:
    """What ``text``, which is no part of the root, may look like in a ``search_text``, where the root is a mark.

    The root stands behind a blank there.
    """
    found = [text]
    for at in range(len(text)):
        is_behind_blank = at == 0 or text[at - 1] == " "
        if is_behind_blank and text.startswith(root, at):
            found.append(text[:at] + ROOT_MARK + text[at + len(root) :])
        if root.endswith(text[: at + 1]):
            found.append(ROOT_MARK + text[at + 1 :])
        if is_behind_blank and root.startswith(text[at:]):
            found.append(text[:at] + ROOT_MARK)
    return [each for each in dict.fromkeys(found) if each != ROOT_MARK]


def can_stand_in_a_path(text: str) -> bool:
    """Whether a ``search_text`` may hold ``text``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text and ROOT_MARK[0] not in text


def to_ns(when: datetime | None, within_us: int = 0) -> int | None:
    """A time in ns, the last of its microsecond if ``within_us`` says so; the nearest that 64 bits hold."""
    return None if when is None else max(-(2**63), min(2**63 - 1, to_us(when) * 1000 + within_us))

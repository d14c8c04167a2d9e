"""Columns in memory find what SQL finds, in the same order, whoever has changed the workspace meanwhile."""

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.model.assets import AssetListItem
from hephaes_rpc.store import assetcolumns, assetmemory
from hephaes_rpc.store.assets import LISTING, AssetFilters
from hephaes_rpc.store.assetsearch import AssetSearch
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.store.test_assets import metadata
from tests.store.test_assetsearch import Known, choices, known, meets

__all__ = ["known"]


@pytest.fixture
def other(workspace: OpenWorkspace) -> Iterator[OpenWorkspace]:
    """The same workspace as another process has it; it is never large there."""
    opened = OpenWorkspace(workspace.id, workspace.name, workspace.root)
    opened.assets.memory.find = lambda *_: None  # type: ignore[method-assign]
    yield opened
    opened.close()


@pytest.fixture
def columns(workspace: OpenWorkspace, known: list[Known], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes lists come from columns from now on: anything else fails."""
    monkeypatch.setattr(assetmemory, "LARGE", 0)
    monkeypatch.setattr(assetmemory, "REST", 0.0)
    monkeypatch.setattr(assetcolumns, "FEW", 10)

    def begin() -> None:
        workspace.assets.list(AssetFilters(type="bag"))
        workspace.assets.memory.wait()

    return begin


def walk(workspace: OpenWorkspace, filters: AssetFilters, sort: str, limit: int = 7) -> tuple[list[AssetListItem], int]:
    found: list[AssetListItem] = []
    cursor = None
    while True:
        page = workspace.assets.list(filters, limit=limit, cursor=cursor, sort=sort)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found, page.total


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody but the columns choose a way."""

    def route(*_: Any) -> None:
        raise AssertionError("not from the columns")

    monkeypatch.setattr(AssetSearch, "route", route)


def test_filters_find_what_meets_them(
    workspace: OpenWorkspace, known: list[Known], columns: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns()
    refuse(monkeypatch)
    draw = random.Random(7)
    options = choices(known)
    given = [each for option in options.values() for each in option]
    for n in (2, 2, 3, 4, 8):
        subsets = itertools.combinations(options.values(), n)
        given += [{key: value for one in map(draw.choice, subset) for key, value in one.items()} for subset in subsets]
    for each in given:
        filters = AssetFilters(**each)
        expected = {one.item.id for one in known if meets(one, filters)}
        items, total = walk(workspace, filters, draw.choice(["", "-"]) + draw.choice(list(LISTING.sorts)), 40)
        assert ({item.id for item in items}, len(items), total) == (expected, len(expected), len(expected)), each


class Writer:
    """Changes a workspace in any of the ways in which lists may change."""

    def __init__(self, workspace: OpenWorkspace, draw: random.Random) -> None:
        self.workspace = workspace
        self.draw = draw
        self.n = 0

    def write(self) -> None:
        self.n += 1
        item = self.draw.choice(self.workspace.assets.list(limit=500).items)
        tag = self.draw.choice(("Good", "bad", "Rare"))
        choice = self.draw.randrange(7)
        name = (
            f"{self.draw.choice('adz')}_{self.draw.randrange(1000)}_{self.n}.{self.draw.choice(('bag', 'mcap', 'db3'))}"
        )
        if choice == 0:
            self.workspace.assets.register(self.workspace.root / "new" / name, self.draw.randrange(20), 1)
        elif choice == 1:
            found = metadata(duration=float(self.draw.randrange(10)), start_ns=self.draw.randrange(10) * 1_000_000_500)
            self.workspace.assets.save_metadata(item.id, found, self.draw.randrange(20), 1)
        elif choice == 2:
            self.workspace.assets.save_failure(item.id, "x")
        elif choice == 3:
            size, fingerprint = 1000 + self.n, f"print {self.n}"
            self.workspace.assets.save_metadata(item.id, metadata(), size, 1, fingerprint)
            self.workspace.assets.register_many([(Path("/moved") / name, size, 1)], lambda _: fingerprint)
        elif tag not in [each.name for each in item.tags]:
            self.workspace.tags.attach(item.id, tag)
        elif choice == 4:
            self.workspace.tags.detach(item.id, tag)


@pytest.mark.parametrize("seed", range(4))
def test_changes_are_followed(
    workspace: OpenWorkspace,
    other: OpenWorkspace,
    known: list[Known],
    columns: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    draw = random.Random(seed)
    columns()
    writers = [Writer(each, draw) for each in (workspace, other)]
    options = choices(known)
    seen = assetcolumns.AssetColumns.find
    n_found = []

    def counting(*args: Any) -> Any:
        n_found.append(1)
        return seen(*args)

    monkeypatch.setattr(assetcolumns.AssetColumns, "find", counting)
    for _ in range(60):
        for _ in range(draw.randrange(1, 6)):
            draw.choice(writers).write()
        picked = draw.sample(list(options.values()), draw.randrange(1, 3))
        filters = AssetFilters(**{key: value for one in map(draw.choice, picked) for key, value in one.items()})
        for sort in draw.sample([sign + name for sign in ("", "-") for name in LISTING.sorts], 3):
            before = len(n_found)
            found = walk(workspace, filters, sort)
            assert len(n_found) > before
            assert found == walk(other, filters, sort), (filters, sort)


def test_a_cursor_stays_where_it_is_while_assets_come(
    workspace: OpenWorkspace, other: OpenWorkspace, columns: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns()
    refuse(monkeypatch)
    filters = AssetFilters(min_size_bytes=0)
    for sort in (sign + name for sign in ("", "-") for name in LISTING.sorts):
        there = [item.id for item in walk(workspace, filters, sort)[0]]
        found: list[str] = []
        cursor = None
        while True:
            page = workspace.assets.list(filters, limit=20, cursor=cursor, sort=sort)
            found += [item.id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            other.assets.register(Path(f"/late/{sort}/{len(found)}.bag"), len(found) % 20, 1)
        assert [each for each in found if each in there] == there
        assert len(found) == len(set(found))


def test_too_many_changes_go_by_sql_until_there_are_new_columns(
    workspace: OpenWorkspace, columns: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns()
    monkeypatch.setattr(assetcolumns, "AT_ONCE", 3)
    first = workspace.assets.memory._columns
    workspace.assets.register_many([(Path(f"/many/{n}.bag"), 1, 1) for n in range(9)])
    page = workspace.assets.list(AssetFilters(search="/many/"))
    assert page.total == 9
    workspace.assets.memory.wait()
    assert workspace.assets.memory._columns is not first
    refuse(monkeypatch)
    assert workspace.assets.list(AssetFilters(search="/many/")) == page


def test_an_asset_that_is_gone_is_not_found(workspace: OpenWorkspace, columns: Callable[[], None]) -> None:
    columns()
    item = workspace.assets.list(AssetFilters(search="_0")).items[5]
    with workspace.db.write("assets") as session:
        session.run("DELETE FROM assets WHERE id = ?", (item.id,))
    for _ in range(2):
        assert item.id not in [each.id for each in walk(workspace, AssetFilters(search="_0"), "file_name")[0]]
        workspace.assets.memory.wait()


def test_worn_columns_are_made_anew(
    workspace: OpenWorkspace, columns: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assetcolumns, "SPARE", 20)
    monkeypatch.setattr(assetcolumns, "AT_ONCE", 5)
    columns()
    refuse(monkeypatch)
    seen = set()
    for n in range(60):
        workspace.assets.register(Path(f"/many/{n}.bag"), 1, 1)
        assert workspace.assets.list(AssetFilters(search="/many/")).total == n + 1
        seen.add(id(workspace.assets.memory._columns))
        workspace.assets.memory.wait()
    assert len(seen) > 3


def test_small_workspaces_have_none(workspace: OpenWorkspace, known: list[Known]) -> None:
    workspace.assets.list(AssetFilters(type="bag"))
    workspace.assets.memory.wait()
    assert workspace.assets.memory._columns is None

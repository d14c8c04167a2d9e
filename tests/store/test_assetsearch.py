"""Whatever leads the search, the same assets are found, in the same order, and counted alike."""

import itertools
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.model.assets import AssetListItem
from hephaes_rpc.store import assetsearch, pages
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.values import EPOCH, normalized
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.store.test_assets import metadata

N = 120
WORDS = ("Drive", "NIGHT", "straße", "tunnel", "dock")


class Known:
    """An asset and what else the filters ask for."""

    def __init__(self, item: AssetListItem, duration: float | None, start_ns: int | None) -> None:
        self.item = item
        self.duration = duration
        self.start_ns = start_ns


@pytest.fixture
def known(workspace: OpenWorkspace) -> list[Known]:
    """Assets with all traits, in the order of their registration."""
    draw = random.Random(3)
    traits: dict[str, tuple[float | None, int | None]] = {}
    tags = [workspace.tags.create(name) for name in ("Good", "bad", "Rare")]
    for n in range(N):
        folder = workspace.root / "logs" if n % 3 else Path("/archive")
        path = folder / f"{draw.choice(WORDS)}_{draw.choice(WORDS)}_{n:03}.{draw.choice(('bag', 'MCAP'))}"
        asset = workspace.assets.register(path, draw.randrange(20), 1)
        traits[asset.id] = (None, None)
        if n % 4:
            duration, start_ns = float(draw.randrange(10)), draw.randrange(10) * 1_000_000_500
            found = metadata(duration=duration, start_ns=start_ns)
            workspace.assets.save_metadata(asset.id, found, draw.randrange(20), 1)
            traits[asset.id] = (duration, start_ns)
        if n % 7 == 0:
            workspace.assets.save_failure(asset.id, "x")
        for tag, share in zip(tags, (0.7, 0.3, 0.03), strict=True):
            if draw.random() < share:
                workspace.tags.attach(asset.id, tag.id)
    items = workspace.assets.list(limit=500, sort="registered_time").items
    return [Known(item, *traits[item.id]) for item in items]


def meets(known: Known, filters: AssetFilters) -> bool:
    """The filters, asked of one asset at a time."""
    item = known.item
    start_us = None if known.start_ns is None else known.start_ns // 1000
    text = f"{item.file_name} {item.file_type} {item.file_path}".casefold()

    def within(value: Any, low: Any, high: Any) -> bool:
        if low is None and high is None:
            return True
        return value is not None and (low is None or value >= low) and (high is None or value <= high)

    def us(when: Any) -> int | None:
        return None if when is None else (when - EPOCH) // timedelta(microseconds=1)

    return (
        (filters.search is None or filters.search.casefold() in text)
        and (filters.tag is None or any(normalized(tag.name) == normalized(filters.tag) for tag in item.tags))
        and (filters.type is None or item.file_type == filters.type.lower())
        and (filters.status is None or item.indexing_status == filters.status)
        and within(known.duration, filters.min_duration, filters.max_duration)
        and within(start_us, us(filters.start_after), us(filters.start_before))
        and within(item.file_size, filters.min_size_bytes, filters.max_size_bytes)
        and within(item.registered_time, filters.registered_after, filters.registered_before)
    )


def choices(known: list[Known]) -> dict[str, list[dict[str, Any]]]:
    root = known[1].item.file_path.rpartition("/logs/")[0]
    middle = known[N // 2].item.registered_time
    at = EPOCH + timedelta(seconds=4)
    return {
        "search": [
            {"search": text}
            for text in ("drive", "STRASSE_", "_0", "nothing", f"{root}/l", root[-3:] + "/logs/n", "mcap /", "bag /arc",
                         root[1:4], f"bag {root}/logs", '"quoted"', "a\0b", "\x01\x01lo", "dr", "/a", "\ud800xyz")
        ],
        "tag": [{"tag": " good"}, {"tag": "RARE"}, {"tag": "nobody"}],
        "type": [{"type": "bag"}, {"type": "MCAP"}, {"type": "txt"}],
        "status": [{"status": "indexed"}, {"status": "failed"}, {"status": "indexing"}],
        "duration": [{"min_duration": 3.0}, {"min_duration": 2.0, "max_duration": 2.0}, {"max_duration": 0.0}],
        "start": [{"start_after": at}, {"start_before": at}, {"start_after": at, "start_before": at}],
        "size": [{"min_size_bytes": 15}, {"max_size_bytes": 3}, {"min_size_bytes": 7, "max_size_bytes": 7}],
        "registered": [{"registered_after": middle}, {"registered_before": middle}],
    }  # fmt: skip


@pytest.mark.parametrize(("few", "exact"), [(0, 10**6), (5, 30), (10**6, 10**6), (0, 3)])
def test_every_way_finds_the_same(
    workspace: OpenWorkspace, known: list[Known], monkeypatch: pytest.MonkeyPatch, few: int, exact: int
) -> None:
    monkeypatch.setattr(assetsearch, "FEW", few)
    for module in (assetsearch, pages):
        monkeypatch.setattr(module, "EXACT_TOTAL", exact)
    keys: dict[str, Callable[[AssetListItem], Any]] = {
        "registered_time": lambda item: item.registered_time,
        "last_indexed_time": lambda item: (item.last_indexed_time or EPOCH, item.id),
        "file_name": lambda item: (item.file_name.encode(), item.id),
        "file_size": lambda item: (item.file_size, item.id),
    }
    draw = random.Random(few * 31 + exact)
    options = choices(known)
    singles = [given for each in options.values() for given in each]
    pairs = [a | b for one, two in itertools.combinations(options.values(), 2) for a in one for b in two]
    triples = [
        draw.choice(a) | draw.choice(b) | draw.choice(c) for a, b, c in itertools.combinations(options.values(), 3)
    ]
    for given in [{}, *singles, *draw.sample(pairs, 60), *triples]:
        filters = AssetFilters(**given)
        sort, down = draw.choice(list(keys)), draw.random() < 0.5
        expected = [each.item.id for each in known if meets(each, filters)]
        by_key = {each.item.id: keys[sort](each.item) for each in known}
        expected.sort(key=by_key.__getitem__, reverse=down)
        found: list[str] = []
        cursor = None
        while True:
            page = workspace.assets.list(filters, limit=40, cursor=cursor, sort=("-" if down else "") + sort)
            found += [item.id for item in page.items]
            assert (page.total, page.total_is_lower_bound) == (min(len(expected), exact), len(expected) > exact), given
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == expected, (given, sort, down)


def test_a_tag_may_be_named_by_its_id(workspace: OpenWorkspace, known: list[Known]) -> None:
    rare = next(tag for tag in workspace.tags.list().items if tag.name == "Rare")
    by_id = workspace.assets.list(AssetFilters(tag=f" {rare.id.upper()} "))
    assert by_id.total == rare.asset_count > 0
    assert by_id.items == workspace.assets.list(AssetFilters(tag="rare")).items


def test_a_moved_workspace_is_found_by_its_new_path(
    workspace: OpenWorkspace, known: list[Known], tmp_path: Path
) -> None:
    new = tmp_path / "elsewhere"
    workspace.close()
    workspace.root.rename(new)
    with_new_root = OpenWorkspace(workspace.id, workspace.name, new)
    n_inside = sum(each.item.file_path.startswith(f"{workspace.root}/") for each in known)
    assert with_new_root.assets.list(AssetFilters(search="elsewhere/logs")).total == n_inside
    assert with_new_root.assets.list(AssetFilters(search=f"{workspace.root}/")).total == 0
    with_new_root.close()

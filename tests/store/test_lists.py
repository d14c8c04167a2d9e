"""Every list: order, pages that stay stable, cursors that are bound, a constant number of statements, no writes."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from hephaes_rpc.engine.specs.document import SpecDocument
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.store import app as app_module
from hephaes_rpc.store import assets, configs, conversions, joblists, outputs, pages
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.conversions import ConversionFilters
from hephaes_rpc.store.joblists import JobFilters
from hephaes_rpc.store.outputs import OutputFilters
from hephaes_rpc.store.pages import Listing, Page
from hephaes_rpc.store.values import new_id
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.store.conftest import fingerprint
from tests.store.test_assets import metadata, tag


class Noun:
    """One list: how to read it, how to add a row, and filters that pass everything."""

    def __init__(
        self, listing: Listing, read: Callable[..., Page[Any]], add: Callable[[int], None], all_passing: Any
    ) -> None:
        self.listing = listing
        self.read = read
        self.add = add
        self.all_passing = all_passing


@pytest.fixture(params=["assets", "configs", "jobs", "conversions", "outputs", "workspaces"])
def noun(request: pytest.FixtureRequest, app: AppStore, workspace: OpenWorkspace, tmp_path: Path) -> Noun:
    """A list with a few rows; the values that it can be sorted by repeat."""
    counter = itertools.count()

    def add_asset(n: int) -> None:
        asset = workspace.assets.register(Path(f"/logs/{n}/{n % 3}.bag"), n % 4, 1)
        tag(workspace, f"tag {n}", asset)
        if n % 2:
            workspace.assets.save_metadata(asset.id, metadata(), n % 4, 1)

    def add_job(_: int) -> None:
        workspace.jobs.create("index", [workspace.assets.list().items[0].id], {}, {})

    def add_conversion(_: int) -> None:
        folder = str(workspace.outputs_dir / new_id())
        workspace.conversions.create([workspace.assets.list().items[0].id], {}, {}, output_path=folder)

    def add_output(n: int) -> None:
        asset_id = workspace.assets.list().items[0].id
        made = workspace.conversions.create([asset_id], {}, {}, output_path=str(workspace.outputs_dir / new_id()))
        folder = Path(made.output_path)
        folder.mkdir()
        (folder / f"{n % 3}.manifest.json").write_text(f'{{"n": {n}}}')
        files = [f"{folder}/{n % 3}.parquet", f"{folder}/{n % 3}.manifest.json"]
        sizes = [{"path": path, "size_bytes": n % 4} for path in files]
        workspace.outputs.publish(made.id, made.job_id, [asset_id], sizes)

    def add_workspace(n: int) -> None:
        app.create_workspace(str(tmp_path / "roots" / str(next(counter))), name=f"name {n % 3}", activate=n % 2 == 0)

    def add_config(n: int) -> None:
        workspace.configs.create(f"name {n % 3} {next(counter)}", SpecDocument(spec=ConversionSpec()))

    add_asset(0)
    nouns = {
        "configs": Noun(configs.LISTING, lambda _=None, *a, **k: workspace.configs.list(*a, **k), add_config, None),
        "assets": Noun(assets.LISTING, workspace.assets.list, add_asset, AssetFilters(type="bag")),
        "jobs": Noun(joblists.LISTING, workspace.jobs.list, add_job, JobFilters(status="queued")),
        "conversions": Noun(conversions.LISTING, workspace.conversions.list, add_conversion, None),
        "outputs": Noun(outputs.LISTING, workspace.outputs.list, add_output, OutputFilters(availability="ready")),
        "workspaces": Noun(app_module.LISTING, lambda _=None, *a, **k: app.workspaces(*a, **k), add_workspace, None),
    }
    found = nouns[request.param]
    for n in range(1, 12):
        found.add(n)
    return found


def sorts(noun: Noun) -> Iterator[str]:
    for name in noun.listing.sorts:
        yield name
        yield f"-{name}"


def walk(noun: Noun, sort: str, limit: int, between: Callable[[], None] = lambda: None) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = noun.read(None, limit=limit, cursor=cursor, sort=sort)
        assert len(page.items) <= limit
        found += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found
        between()


def test_pages_hold_what_one_page_holds(noun: Noun) -> None:
    for sort in sorts(noun):
        whole = noun.read(None, limit=500, sort=sort)
        assert whole.next_cursor is None
        ids = [item.id for item in whole.items]
        assert len(set(ids)) == len(ids) == whole.total >= 11
        for limit in (1, 4, whole.total):
            assert walk(noun, sort, limit) == ids


def test_ties_are_broken_by_id_in_the_direction_of_the_sort(noun: Noun) -> None:
    for name in noun.listing.sorts:
        up = [item.id for item in noun.read(None, sort=name).items]
        assert [item.id for item in noun.read(None, sort=f"-{name}").items] == up[::-1]


def test_the_default_order_is_the_newest_first(noun: Noun) -> None:
    page = noun.read()
    by = {"assets": "registered_time", "configs": "updated_at", "workspaces": "last_opened_at"}.get(
        noun.listing.name, "created_at"
    )
    values = [getattr(item, by) or datetime.min.replace(tzinfo=UTC) for item in page.items]
    assert values == sorted(values, reverse=True)
    assert noun.read(sort=f"-{by}").items == page.items


def test_rows_that_are_added_neither_repeat_nor_hide_others(noun: Noun) -> None:
    numbers = itertools.count(100)
    for sort in sorts(noun):
        before = [item.id for item in noun.read(None, limit=500, sort=sort).items]
        found = walk(noun, sort, 5, between=lambda: noun.add(next(numbers)))
        assert len(set(found)) == len(found)
        known = set(before)
        assert [row for row in found if row in known] == before


def test_a_cursor_is_bound_to_filters_and_sort(noun: Noun) -> None:
    page = noun.read(None, limit=2)
    assert page.next_cursor is not None
    others: list[tuple[Any, str | None]] = [(None, sort) for sort in sorts(noun) if sort != noun.listing.default]
    if noun.all_passing is not None:
        assert noun.read(noun.all_passing).total == page.total
        others.append((noun.all_passing, None))
    for filters, sort in others:
        with pytest.raises(HephaesError) as refusal:
            noun.read(filters, cursor=page.next_cursor, sort=sort)
        assert (refusal.value.kind, refusal.value.code) == ("cursor_mismatch", 400)
    for broken in ("", "x", "é", "bnVsbA==", page.next_cursor[:-8], page.next_cursor + "AAAA"):
        with pytest.raises(HephaesError) as refusal:
            noun.read(None, cursor=broken)
        assert refusal.value.kind == "cursor_mismatch"


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_limits_are_guarded(noun: Noun, limit: int) -> None:
    with pytest.raises(ParamsError, match="limit must be from 1 to 500"):
        noun.read(None, limit=limit)


def test_an_unknown_sort_is_refused(noun: Noun) -> None:
    for sort in ("nothing", "--created_at", "rowid", "id; DROP TABLE jobs"):
        with pytest.raises(ParamsError, match="cannot be sorted by"):
            noun.read(None, sort=sort)


def test_totals_beyond_the_exact_are_lower_bounds(noun: Noun, monkeypatch: pytest.MonkeyPatch) -> None:
    total = noun.read().total
    for exact, expected in ((total, (total, False)), (total - 1, (total - 1, True))):
        monkeypatch.setattr(pages, "EXACT_TOTAL", exact)
        page = noun.read()
        assert (page.total, page.total_is_lower_bound) == expected


def test_reading_writes_nothing(noun: Noun, app: AppStore, workspace: OpenWorkspace, tmp_path: Path) -> None:
    before = fingerprint(tmp_path)
    for sort in sorts(noun):
        walk(noun, sort, 3)
    for item in workspace.assets.list().items:
        workspace.assets.detail(item.id)
        workspace.assets.by_path(Path(item.file_path))
    for job in workspace.jobs.list().items:
        workspace.jobs.get(job.id)
        workspace.jobs.payload(job.id)
    for conversion in workspace.conversions.list().items:
        workspace.conversions.get(conversion.id)
    for output in workspace.outputs.list().items:
        workspace.outputs.get(output.id)
    for config in workspace.configs.list().items:
        workspace.configs.get(config.id)
        workspace.configs.state(config.id, 1)
    workspace.assets.to_index()
    workspace.jobs.counts()
    workspace.jobs.orphans(lambda _: False)
    assert app.workspace(None) in app.open_workspaces()
    assert app.active_workspace_id is not None
    assert fingerprint(tmp_path) == before


def count_statements(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> int:
    seen = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        seen.append(sql)
        return True

    with monkeypatch.context() as patch:
        from hephaes_rpc.store.connections import Connections

        plain = Connections.lend

        def traced(self: Connections) -> apsw.Connection:
            connection = plain(self)
            connection.exec_trace = trace
            return connection

        patch.setattr(Connections, "lend", traced)
        call()
    return len([sql for sql in seen if sql not in ("BEGIN", "COMMIT")])


@pytest.mark.parametrize("noun", ["assets", "configs", "jobs", "conversions", "outputs"], indirect=True)
def test_a_list_takes_the_same_statements_however_long(noun: Noun, monkeypatch: pytest.MonkeyPatch) -> None:
    few = count_statements(monkeypatch, lambda: noun.read(None, limit=2))
    many = count_statements(monkeypatch, lambda: noun.read(None, limit=500))
    assert few == many == (3 if noun.listing.name == "assets" else 2)


def test_a_detail_takes_few_statements(workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = workspace.assets.register(Path("/logs/a.bag"), 1, 1)
    assert count_statements(monkeypatch, lambda: workspace.assets.detail(asset.id)) == 6
    for n in range(5):
        tag(workspace, f"tag {n}", asset)
        workspace.conversions.create([asset.id], {}, {}, output_path=str(workspace.outputs_dir / "x"))
    assert count_statements(monkeypatch, lambda: workspace.assets.detail(asset.id)) == 6


@pytest.mark.parametrize(
    ("listing", "sort"),
    [
        (listing, sort)
        for listing in (assets.LISTING, configs.LISTING, joblists.LISTING, conversions.LISTING, outputs.LISTING)
        for sort in listing.sorts
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_orders_come_from_an_index(listing: Listing, sort: str, workspace: OpenWorkspace) -> None:
    keys = (*listing.sorts[sort], listing.id)
    for direction, sign in (("ASC", ">"), ("DESC", "<")):
        order = ", ".join(f"{key} {direction}" for key in keys)
        with workspace.db.read() as session:
            plan = session.all(
                f"EXPLAIN QUERY PLAN SELECT {listing.columns} FROM {listing.source}"
                f" WHERE ({', '.join(keys)}) {sign} ({', '.join('?' for _ in keys)}) ORDER BY {order} LIMIT 101",
                (0,) * len(keys),
            )
        steps = [row[3] for row in plan]
        assert "USE TEMP B-TREE FOR ORDER BY" not in steps
        assert any("SEARCH" in step and "USING INDEX" in step for step in steps), steps


def test_job_filters(workspace: OpenWorkspace) -> None:
    one, two = (workspace.assets.register(Path(f"/logs/{name}.bag"), 1, 1) for name in "ab")
    index = workspace.jobs.create("index", [one.id], {}, {})
    both = workspace.conversions.create([one.id, two.id], {}, {}, output_path=str(workspace.outputs_dir / "x")).job
    workspace.jobs.claim_job(both.id, "me")

    def found(**filters: Any) -> list[str]:
        return [job.id for job in workspace.jobs.list(JobFilters(**filters)).items]

    assert found() == [both.id, index.id]
    assert found(type="index") == [index.id]
    assert found(status="running") == [both.id]
    assert found(asset_id=one.id) == [both.id, index.id]
    assert found(asset_id=two.id) == [both.id]
    assert found(created_before=index.created_at) == [index.id]
    assert found(created_after=index.created_at + timedelta(microseconds=1), asset_id=one.id) == [both.id]


def test_conversion_filters_leave_out_what_has_no_policy(workspace: OpenWorkspace) -> None:
    from hephaes_rpc.model.jobs import RepresentationPolicy

    asset = workspace.assets.register(Path("/logs/a.bag"), 1, 1)

    def made(contract: Any, markers: list[str]) -> str:
        policy = RepresentationPolicy(1, "tfrecord", contract, contract, "typed_features", "presence_flag", markers, [])
        folder = str(workspace.outputs_dir / "x")
        created = workspace.conversions.create([asset.id], {}, {}, output_path=folder, policy=policy)
        assert created.representation_policy == created.job.representation_policy == policy
        return created.id

    plain = made("bytes_v2", [])
    legacy = made("legacy_list_v1", ["legacy_list_image_payload"])
    none = workspace.conversions.create([asset.id], {}, {}, output_path=str(workspace.outputs_dir / "x")).id

    def found(**filters: Any) -> list[str]:
        return [item.id for item in workspace.conversions.list(ConversionFilters(**filters)).items]

    assert found() == [none, legacy, plain]
    assert found(image_payload_contract="bytes_v2") == found(legacy_compatible=False) == [plain]
    assert found(image_payload_contract="legacy_list_v1") == found(legacy_compatible=True) == [legacy]
    assert found(image_payload_contract="other") == []


@pytest.mark.parametrize("few", [0, 3, 1000])
@pytest.mark.parametrize("long", [False, True])
def test_jobs_in_the_order_of_their_changes(
    workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch, few: int, long: bool
) -> None:
    """Whatever is asked for and whichever way leads there, also when a job changed long after it was made."""
    monkeypatch.setattr(joblists, "FEW", few)
    asset = workspace.assets.register(Path("/logs/a.bag"), 1, 1)
    made = [workspace.jobs.create(("index", "analyze")[n % 3 == 2], [asset.id], {}, {}) for n in range(12)]
    for n in (4, 8, 1, 7, 5, 2):
        workspace.jobs.claim_job(made[n].id, "me")
    if long:
        with workspace.db.write("jobs") as session:
            session.run("UPDATE jobs SET updated_at = updated_at + ? WHERE id = ?", (2 * joblists.LONG_US, made[1].id))
    jobs = [workspace.jobs.get(job.id) for job in made]
    middle = {"created_after": made[1].created_at, "created_before": made[8].created_at}
    for traits in ({}, {"status": "running"}, {"type": "index"}, {"status": "running", "type": "index"}):
        for times in ({}, middle, {"created_before": made[4].created_at}, {"created_after": made[3].created_at}):
            for of in ({}, {"asset_id": asset.id}):
                expected = [
                    job.id
                    for job in sorted(jobs, key=lambda job: (job.updated_at, job.id))
                    if all(getattr(job, name) == value for name, value in traits.items())
                    and times.get("created_after", job.created_at) <= job.created_at
                    and job.created_at <= times.get("created_before", job.created_at)
                ]
                filters = JobFilters(**traits, **times, **of)
                up = workspace.jobs.list(filters, sort="updated_at")
                assert ([job.id for job in up.items], up.total) == (expected, len(expected)), filters
                first = workspace.jobs.list(filters, sort="-updated_at", limit=2)
                assert [job.id for job in first.items] == expected[::-1][:2]
                if first.next_cursor is not None:
                    rest = workspace.jobs.list(filters, sort="-updated_at", cursor=first.next_cursor)
                    assert [job.id for job in rest.items] == expected[::-1][2:]

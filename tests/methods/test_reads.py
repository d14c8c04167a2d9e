"""Every method that reads: as many statements for many rows as for few, nothing written, the documented members."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.engine.specs.document import SpecDocument
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.model.quality import Finding, Quality, Score, ScoreReason
from hephaes_rpc.registry import REGISTRY
from hephaes_rpc.store.configs import ConfigChange
from hephaes_rpc.store.joblists import JobFilters
from hephaes_rpc.store.joblogs import NewLine
from tests.methods.conftest import Table
from tests.methods.test_conversions import topic
from tests.store.conftest import fingerprint
from tests.store.test_assets import metadata
from tests.store.test_drafts import GOOD, document, new
from tests.store.test_lists import count_statements

STATEMENTS = {
    "workspaces/list": 5,
    "assets/list": 3,
    "assets/get": 7,
    "tags/list": 2,
    "jobs/list": 2,
    "jobs/get": 1,
    "jobs/logs": 3,
    "conversionConfigs/list": 2,
    "conversionConfigs/get": 3,
    "conversionConfigs/diff": 3,
    "conversionConfigs/export": 1,
    "drafts/list": 2,
    "drafts/get": 3,
    "scripts/list": 1,
    "conversions/capabilities": 0,
    "conversions/list": 2,
    "conversions/get": 3,
    "outputs/list": 3,
    "outputs/get": 2,
    "outputs/content": 1,
    "dashboard/summary": 2,
    "dashboard/trends": 1,
    "dashboard/blockers": 2,
}
"""Beside what choosing the workspace takes; ``outputs/list`` and the dashboard look at the files once."""

ELSEWHERE = {"outputs/rows", "outputs/schema", "scripts/check", "workspaces/check"}
"""They read files, by a worker or as a whole; of the database they ask where those are."""
READING = {"list", "get", "logs", "diff", "export", "capabilities", "rows", "schema", "content", "check"}

ASSET = {
    "id": str,
    "file_path": str,
    "file_name": str,
    "file_type": str,
    "file_size": int,
    "registered_time": str,
    "indexing_status": str,
    "last_indexed_time": (str, type(None)),
    "duplicate_of": (str, type(None)),
}
ITEM = {**ASSET, "tags": list, "score": (int, type(None)), "severity": (str, type(None))}
PAGE = {"items": list, "total": int, "next_cursor": (str, type(None)), "total_is_lower_bound": bool}
TAG = {"id": str, "name": str, "created_at": str}
WORKSPACE = {
    "id": str,
    "name": str,
    "active_job_count": int,
    "root_path": str,
    "workspace_dir": str,
    "database_path": str,
    "created_at": str,
    "updated_at": str,
    "last_opened_at": (str, type(None)),
    "status": str,
    "status_reason": (str, type(None)),
}
METADATA = {
    "duration": float,
    "start_time": str,
    "start_ns": int,
    "start_ns_str": str,
    "end_time": str,
    "end_ns": int,
    "end_ns_str": str,
    "message_count": int,
    "topic_count": int,
    "sensor_types": list,
    "topics": list,
    "default_episode": dict,
    "raw_metadata": dict,
    "indexing_error": (str, type(None)),
}
SUMMARY = {
    "inventory": dict.fromkeys(
        ("asset_count", "total_asset_bytes", "registered_last_24h", "registered_last_7d", "registered_last_30d"), int
    ),
    "indexing": {"status_counts": dict},
    "jobs": {"active_count": int, "failed_last_24h": int, "status_counts": dict},
    "conversions": {"status_counts": dict},
    "outputs": {
        "output_count": int,
        "total_output_bytes": int,
        "outputs_created_last_7d": int,
        "format_counts": list,
        "availability_counts": list,
    },
    "freshness": {
        "computed_at": str,
        **dict.fromkeys(
            (
                "latest_asset_registration_at",
                "latest_asset_indexed_at",
                "latest_job_update_at",
                "latest_conversion_update_at",
                "latest_output_update_at",
            ),
            (str, type(None)),
        ),
    },
}
TRENDS = (
    "registrations_by_day",
    "job_failures_by_day",
    "conversions_by_day",
    "conversion_failures_by_day",
    "outputs_created_by_day",
)
BLOCKERS = (
    "pending_assets",
    "failed_assets",
    "failed_jobs",
    "failed_conversions",
    "missing_outputs",
    "invalid_outputs",
)


def fill(table: Table, n: int) -> None:
    """``n`` more rows of every noun."""
    workspace = table.app.store.workspace(None)
    for _ in range(n):
        k = workspace.assets.list().total
        asset = workspace.assets.register(Path(f"/logs/{k}.bag"), k, 1)
        found = [Finding("gap", "warning", "/t", None, 1, 2, {"duration_ns": 1.0}, "a gap") for _ in range(n)]
        quality = Quality("messages", Score(92, [ScoreReason(8, "gap", "/t", "a gap")]), found, [], None)
        workspace.assets.save_metadata(asset.id, metadata(topics=[topic("/t")]), k, 1, quality=quality)
        workspace.tags.create(f"tag {k}")
        workspace.tags.attach(asset.id, f"tag {k}")
        workspace.jobs.create("index", [asset.id], {}, {})
        folder = workspace.outputs_dir / str(k)
        folder.mkdir()
        (folder / "x.json").write_bytes(b"1234")
        made = workspace.conversions.create([asset.id], {}, {}, output_path=str(folder))
        files = [{"path": str(folder / "x.json"), "size_bytes": 4}]
        workspace.outputs.publish(made.id, made.job_id, [asset.id], files)
        workspace.job_logs.add(made.job_id, [NewLine(0, line, "info", "sidecar", "said") for line in range(n)])
        config = workspace.configs.create(f"config {k}", SpecDocument(spec=ConversionSpec()))
        for number in range(3):
            workspace.configs.update(config.id, ConfigChange(metadata={"n": number}))
        draft = workspace.drafts.create(asset.id, new(GOOD, f"draft {k}"))
        for number in range(3):
            workspace.drafts.update(draft.id, document(f"/{number}"), str(number))


def calls(table: Table) -> dict[str, Callable[[], Any]]:
    workspace = table.app.store.workspace(None)
    ids = {
        "assets/get": {"asset_id": workspace.assets.list().items[-1].id},
        "jobs/get": {"job_id": workspace.jobs.list().items[-1].id},
        "conversions/get": {"conversion_id": workspace.conversions.list().items[-1].id},
        "jobs/logs": {"job_id": workspace.jobs.list(JobFilters(type="convert")).items[-1].id},
        **{
            f"conversionConfigs/{verb}": {"config_id": workspace.configs.list().items[-1].id}
            for verb in ("get", "diff", "export")
        },
        "drafts/get": {"draft_id": workspace.drafts.list().items[-1].id},
        "outputs/get": {"output_id": workspace.outputs.list().items[-1].id},
        "outputs/content": {"output_id": workspace.outputs.list().items[-1].id},
    }
    return {name: lambda name=name: table.call(name, **ids.get(name, {})) for name in STATEMENTS}


def test_statements_do_not_grow_with_rows(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(table, 2)
    few = {name: count_statements(monkeypatch, call) for name, call in calls(table).items()}
    fill(table, 30)
    many = {name: count_statements(monkeypatch, call) for name, call in calls(table).items()}
    assert many == few
    chosen = 3  # which workspace is the active one, and that it is there
    told = {name: n - (0 if name == "workspaces/list" else chosen) for name, n in few.items()}
    assert told == STATEMENTS


def test_reads_write_nothing(table: Table, tmp_path: Path) -> None:
    fill(table, 3)
    for call in calls(table).values():
        call()
    table.app.notify.flush()
    before = fingerprint(tmp_path)
    table.sent.clear()
    for call in calls(table).values():
        call()
    for params in ({"search": "bag"}, {"tag": "tag 1"}, {"sort": "file_name"}, {"min_duration": 1.0, "type": "bag"}):
        table.call("assets/list", **params)
    assert fingerprint(tmp_path) == before
    table.app.notify.flush()
    assert table.sent == []


def assert_shape(found: Any, shape: dict[str, Any]) -> None:
    assert set(found) == set(shape)
    for name, expected in shape.items():
        if isinstance(expected, dict):
            assert_shape(found[name], expected)
        else:
            assert isinstance(found[name], expected), name


def test_members(table: Table) -> None:
    fill(table, 2)
    page = table.call("workspaces/list")
    assert_shape(page, {**PAGE, "active_workspace_id": (str, type(None))})
    assert_shape(page["items"][0], WORKSPACE)
    page = table.call("assets/list")
    assert_shape(page, PAGE)
    assert_shape(page["items"][0], ITEM)
    assert_shape(page["items"][0]["tags"][0], TAG)
    detail = table.call("assets/get", asset_id=page["items"][0]["id"])
    assert set(detail) == {"asset", "metadata", "quality", "tags", "related_jobs", "conversions"}
    assert_shape(detail["asset"], ASSET)
    assert_shape(detail["metadata"], METADATA)
    assert_shape(table.call("tags/list")["items"][0], {**TAG, "asset_count": int})
    assert_shape(table.call("dashboard/summary"), SUMMARY)
    trends = table.call("dashboard/trends", days=2)
    assert_shape(trends, {"days": int, **dict.fromkeys(TRENDS, list)})
    assert all(set(day) == {"date", "count"} for name in TRENDS for day in trends[name])
    assert_shape(table.call("dashboard/blockers"), dict.fromkeys(BLOCKERS, int))


@pytest.mark.parametrize("days", [0, 91, -1, 1.5, "7"])
def test_days_are_bounded(table: Table, days: Any) -> None:
    from hephaes_rpc.errors import ParamsError

    with pytest.raises(ParamsError, match="days"):
        table.call("dashboard/trends", days=days)
    assert len(table.call("dashboard/trends", days=90)["registrations_by_day"]) == 90
    assert table.call("dashboard/trends")["days"] == 7


def test_the_table_of_reads_is_whole() -> None:
    reading = {name for name in REGISTRY.methods if name.rpartition("/")[2] in READING or name.startswith("dashboard/")}
    assert reading == STATEMENTS.keys() | ELSEWHERE

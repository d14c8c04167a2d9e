"""The dashboard's figures are those that counting gives, whatever has happened before."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.model.jobs import JobError
from hephaes_rpc.store.db import Session
from hephaes_rpc.store.values import now_us
from hephaes_rpc.store.workspace import OpenWorkspace
from tests.store.test_assets import metadata
from tests.store.test_lists import count_statements

COUNTED = {
    "assets": "SELECT indexing_status, count(*), sum(file_size) FROM assets GROUP BY 1",
    "jobs": "SELECT status, count(*), 0 FROM jobs GROUP BY 1",
    "conversions": "SELECT j.status, count(*), 0 FROM conversions c JOIN jobs j ON j.id = c.job_id GROUP BY 1",
    "output_formats": "SELECT format, count(*), 0 FROM outputs GROUP BY 1",
    "outputs": "SELECT availability_status, count(*), sum(size_bytes) FROM outputs GROUP BY 1",
}
BY_HOUR = {
    "assets": "SELECT registered_at / 3600000000, count(*) FROM assets GROUP BY 1",
    "job_failures": "SELECT finished_at / 3600000000, count(*) FROM jobs WHERE status = 'failed' GROUP BY 1",
    "conversions": "SELECT created_at / 3600000000, count(*) FROM conversions GROUP BY 1",
    "conversion_failures": "SELECT j.finished_at / 3600000000, count(*) FROM conversions c JOIN jobs j"
    " ON j.id = c.job_id WHERE j.status = 'failed' GROUP BY 1",
    "outputs": "SELECT created_at / 3600000000, count(*) FROM outputs GROUP BY 1",
}


def assert_counted(session: Session) -> None:
    for noun, sql in COUNTED.items():
        kept = session.all("SELECT key, n, size_bytes FROM counters WHERE noun = ? AND n > 0 ORDER BY 1", (noun,))
        assert kept == sorted(session.all(sql)), noun
    for series, sql in BY_HOUR.items():
        assert session.all("SELECT hour, n FROM hours WHERE series = ? AND n > 0 ORDER BY 1", (series,)) == sorted(
            session.all(sql)
        ), series


def fail(workspace: OpenWorkspace, job_id: str) -> None:
    workspace.jobs.claim_job(job_id, "me")
    error = JobError("bad_input", "x")
    assert workspace.jobs.transition(job_id, expect=("running",), to="failed", error=error) is not None


def test_counts_follow_every_change(workspace: OpenWorkspace) -> None:
    draw = random.Random(5)
    assets, jobs = [], []
    for n in range(40):
        assets.append(workspace.assets.register(Path(f"/logs/{n}.bag"), n, 1))
        one = draw.choice(assets).id
        folder = str(workspace.outputs_dir / str(n))
        match n % 5:
            case 0:
                workspace.assets.save_metadata(one, metadata(), draw.randrange(1000), 2)
            case 1:
                workspace.assets.save_failure(one, "x")
            case 2:
                jobs.append(workspace.jobs.create("index", [one], {}, {}).id)
            case _:
                made = workspace.conversions.create([one], {}, {"assets": [1]}, output_path=folder)
                jobs.append(made.job_id)
                file = {"path": f"{folder}/{n}.{draw.choice(('parquet', 'json'))}", "size_bytes": n}
                workspace.outputs.publish(made.id, made.job_id, [one], [file])
        if n % 3 == 0 and jobs:
            job = workspace.jobs.get(draw.choice(jobs))
            if job.status == "queued":
                fail(workspace, job.id)
            elif job.status == "failed":
                again = workspace.jobs.create(job.type, job.target_asset_ids_json, {}, {}, retry_of=job.id)
                conversion = workspace.conversions.of_job(job.id)
                if conversion is not None:
                    workspace.conversions.move_to_job(conversion, again.id)
                jobs.append(again.id)
        with workspace.db.read() as session:
            assert_counted(session)
    workspace.outputs.refresh()
    with workspace.db.write() as session:
        assert_counted(session)
        session.run("DELETE FROM conversions WHERE id = (SELECT id FROM conversions LIMIT 1)")
        assert_counted(session)
        session.run("DELETE FROM jobs WHERE id = (SELECT job_id FROM conversions LIMIT 1)")
        assert_counted(session)
        session.run("DELETE FROM assets WHERE id IN (SELECT id FROM assets LIMIT 5)")
        assert_counted(session)


def test_an_empty_workspace(workspace: OpenWorkspace) -> None:
    now = datetime(2024, 3, 3, 0, 0, 1, tzinfo=UTC)
    summary = workspace.dashboard.summary(now)
    assert summary.inventory.asset_count == summary.inventory.total_asset_bytes == 0
    assert summary.indexing.status_counts == {"pending": 0, "indexing": 0, "indexed": 0, "failed": 0}
    assert set(summary.jobs.status_counts.values()) == {0}
    assert [each.key for each in summary.outputs.availability_counts] == ["ready", "missing", "invalid"]
    assert summary.outputs.format_counts == []
    assert summary.freshness.computed_at == now
    assert summary.freshness.latest_conversion_update_at is summary.freshness.latest_asset_indexed_at is None
    trends = workspace.dashboard.trends(3, now)
    assert [each.date for each in trends.registrations_by_day] == ["2024-03-01", "2024-03-02", "2024-03-03"]
    assert {each.count for each in trends.conversions_by_day} == {0}


def test_windows_roll_and_days_are_those_of_utc(workspace: OpenWorkspace) -> None:
    now = datetime(2024, 3, 3, 0, 30, 15, tzinfo=UTC)
    ages = {
        "now": timedelta(0),
        "a day": timedelta(days=1),
        "more than a day": timedelta(days=1, microseconds=1),
        "a week": timedelta(days=7),
        "more than a week": timedelta(days=7, microseconds=1),
        "a month": timedelta(days=30),
        "more than a month": timedelta(days=30, seconds=1),
    }
    with workspace.db.write() as session:
        for n, age in enumerate(ages.values()):
            at = int((now - age).timestamp()) * 1_000_000 + (now - age).microsecond
            session.run(
                "INSERT INTO assets (registered_at, id, file_path, file_name, file_type, file_size, mtime_ns,"
                " search_text) VALUES (?, ?, ?, 'a', 'bag', 1, 1, 'a')",
                (at, str(n), f"/{n}.bag"),
            )
    inventory = workspace.dashboard.summary(now).inventory
    assert (inventory.registered_last_24h, inventory.registered_last_7d, inventory.registered_last_30d) == (2, 4, 6)
    days = workspace.dashboard.trends(9, now).registrations_by_day
    assert [each.count for each in days] == [0, 2, 0, 0, 0, 0, 0, 2, 1]


def test_failures_and_freshness(workspace: OpenWorkspace) -> None:
    asset = workspace.assets.register(Path("/a.bag"), 5, 1)
    made = workspace.conversions.create([asset.id], {}, {}, output_path=str(workspace.outputs_dir / "x"))
    fail(workspace, made.job_id)
    job = workspace.jobs.get(made.job_id)
    now = datetime.now(UTC)
    summary = workspace.dashboard.summary(now)
    assert (summary.jobs.failed_last_24h, summary.jobs.active_count) == (1, 0)
    assert summary.conversions.status_counts["failed"] == 1
    assert summary.freshness.latest_conversion_update_at == summary.freshness.latest_job_update_at == job.updated_at
    assert summary.freshness.latest_asset_registration_at == asset.registered_time
    assert workspace.dashboard.summary(now + timedelta(days=2)).jobs.failed_last_24h == 0
    assert workspace.dashboard.trends(1, now).conversion_failures_by_day[0].count == 1
    assert workspace.dashboard.blockers().failed_conversions == workspace.dashboard.blockers().failed_jobs == 1


def test_one_statement_each_from_indexes(workspace: OpenWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from hephaes_rpc.store import dashboard

    calls: list[Any] = [
        lambda: workspace.dashboard.summary(datetime.now(UTC)),
        lambda: workspace.dashboard.trends(90, datetime.now(UTC)),
        lambda: workspace.dashboard.blockers(),
    ]
    assert [count_statements(monkeypatch, call) for call in calls] == [1, 1, 1]
    with workspace.db.read() as session:
        since = dict.fromkeys(("day", "week", "month"), now_us())
        steps = [row[3] for row in session.all(f"EXPLAIN QUERY PLAN {dashboard._SUMMARY}", since)]
    scanned = {step for step in steps if step.startswith("SCAN") and " INDEX " not in step and "subquery" not in step}
    assert scanned <= {"SCAN CONSTANT ROW", "SCAN counters"}

"""Figures over everything in a workspace, one statement each, from counts that triggers keep."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hephaes_rpc.model.assets import IndexingStatus
from hephaes_rpc.model.conversions import Availability
from hephaes_rpc.model.dashboard import (
    ConversionFigures,
    DashboardBlockers,
    DashboardSummary,
    DashboardTrends,
    DayCount,
    Freshness,
    IndexingFigures,
    InventoryFigures,
    JobFigures,
    KeyCount,
    OutputFigures,
)
from hephaes_rpc.model.jobs import JobStatus
from hephaes_rpc.store.db import Database
from hephaes_rpc.store.values import from_json, to_time, to_us

HOUR_US = 3_600_000_000
DAY = timedelta(days=1)

_COUNTERS = "SELECT json_group_array(json_array(noun, key, n, size_bytes)) FROM counters WHERE n > 0"
# Whole hours are counted already; of the hour in which a window begins only its later part counts.
_RECENT = (
    "(SELECT coalesce(sum(n), 0) FROM hours WHERE series = '{series}' AND hour > :{since} / 3600000000)"
    " + (SELECT count(*) FROM {rows} AND {time} >= :{since} AND {time} < (:{since} / 3600000000 + 1) * 3600000000)"
)
_ASSETS = ("assets", "assets WHERE true", "registered_at")
_FAILED_JOBS = ("job_failures", "jobs INDEXED BY jobs_failed WHERE status = 'failed'", "finished_at")
_OUTPUTS = ("outputs", "outputs WHERE true", "created_at")
_ACTIVE = ("queued", "running", "cancelling")


def _recent(what: tuple[str, str, str], since: str) -> str:
    series, rows, time = what
    return _RECENT.format(series=series, rows=rows, time=time, since=since)


_SUMMARY = f"""SELECT
    ({_COUNTERS}),
    {_recent(_ASSETS, "day")}, {_recent(_ASSETS, "week")}, {_recent(_ASSETS, "month")},
    {_recent(_FAILED_JOBS, "day")}, {_recent(_OUTPUTS, "week")},
    (SELECT max(registered_at) FROM assets),
    (SELECT max(nullif(index_order, 0)) FROM (SELECT index_order FROM assets ORDER BY index_order DESC LIMIT 1)),
    (SELECT max(updated_at) FROM jobs),
    (SELECT max(updated_at) FROM (
        SELECT max(updated_at) AS updated_at FROM conversions
        UNION ALL SELECT max(updated_at) FROM jobs WHERE conversion_id IS NOT NULL)),
    (SELECT max(updated_at) FROM outputs)"""


class Dashboard:
    """The figures of one workspace."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def summary(self, now: datetime) -> DashboardSummary:
        """What there is, and how fresh it is."""
        windows = {"day": 1, "week": 7, "month": 30}
        since = {name: to_us(now - days * DAY) for name, days in windows.items()}
        with self._db.read() as session:
            ((counters, *recent, asset_at, index_at, job_at, conversion_at, output_at),) = session.all(_SUMMARY, since)
        counts = _Counts(counters)
        last_day, last_week, last_month, failed_last_day, outputs_last_week = recent
        return DashboardSummary(
            inventory=InventoryFigures(
                asset_count=counts.total("assets"),
                total_asset_bytes=counts.size_bytes("assets"),
                registered_last_24h=last_day,
                registered_last_7d=last_week,
                registered_last_30d=last_month,
            ),
            indexing=IndexingFigures(counts.by_key("assets", get_args(IndexingStatus))),
            jobs=JobFigures(
                active_count=sum(counts.of("jobs", status) for status in _ACTIVE),
                failed_last_24h=failed_last_day,
                status_counts=counts.by_key("jobs", get_args(JobStatus)),
            ),
            conversions=ConversionFigures(counts.by_key("conversions", get_args(JobStatus))),
            outputs=OutputFigures(
                output_count=counts.total("outputs"),
                total_output_bytes=counts.size_bytes("outputs"),
                outputs_created_last_7d=outputs_last_week,
                format_counts=counts.most_common("output_formats"),
                availability_counts=[KeyCount(key, counts.of("outputs", key)) for key in get_args(Availability)],
            ),
            freshness=Freshness(
                computed_at=now,
                latest_asset_registration_at=to_time(asset_at),
                latest_asset_indexed_at=to_time(index_at),
                latest_job_update_at=to_time(job_at),
                latest_conversion_update_at=to_time(conversion_at),
                latest_output_update_at=to_time(output_at),
            ),
        )

    def trends(self, days: int, now: datetime) -> DashboardTrends:
        """Counts per calendar day in UTC, today the last."""
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        dates = [today - ago * DAY for ago in reversed(range(days))]
        with self._db.read() as session:
            rows = session.all(
                "SELECT series, hour / 24, sum(n) FROM hours WHERE hour >= ? AND hour < ? GROUP BY 1, 2",
                (to_us(dates[0]) // HOUR_US, to_us(today + DAY) // HOUR_US),
            )
        found = {(series, day): n for series, day, n in rows}

        def series(name: str) -> list[DayCount]:
            return [
                DayCount(date.date().isoformat(), found.get((name, to_us(date) // HOUR_US // 24), 0)) for date in dates
            ]

        return DashboardTrends(
            days=days,
            registrations_by_day=series("assets"),
            job_failures_by_day=series("job_failures"),
            conversions_by_day=series("conversions"),
            conversion_failures_by_day=series("conversion_failures"),
            outputs_created_by_day=series("outputs"),
        )

    def blockers(self) -> DashboardBlockers:
        """What waits for somebody to do something about it."""
        with self._db.read() as session:
            counts = _Counts(session.value(_COUNTERS))
        return DashboardBlockers(
            pending_assets=counts.of("assets", "pending"),
            failed_assets=counts.of("assets", "failed"),
            failed_jobs=counts.of("jobs", "failed"),
            failed_conversions=counts.of("conversions", "failed"),
            missing_outputs=counts.of("outputs", "missing"),
            invalid_outputs=counts.of("outputs", "invalid"),
        )


class _Counts:
    """The rows of ``counters``."""

    def __init__(self, text: str) -> None:
        rows: list[Any] = from_json(text)
        self._found = {(noun, key): (n, size_bytes) for noun, key, n, size_bytes in rows}

    def of(self, noun: str, key: str) -> int:
        n: int
        n, _ = self._found.get((noun, key), (0, 0))
        return n

    def total(self, noun: str) -> int:
        return sum(n for (each, _), (n, _) in self._found.items() if each == noun)

    def size_bytes(self, noun: str) -> int:
        return sum(size for (each, _), (_, size) in self._found.items() if each == noun)

    def by_key(self, noun: str, keys: tuple[Any, ...]) -> dict[str, int]:
        return {key: self.of(noun, key) for key in keys}

    def most_common(self, noun: str) -> list[KeyCount]:
        found = [KeyCount(key, n) for (each, key), (n, _) in self._found.items() if each == noun]
        return sorted(found, key=lambda each: (-each.count, each.key))

"""A workspace in figures."""

from datetime import datetime

from attrs import frozen


@frozen
class KeyCount:
    """How many there are of a kind."""

    key: str
    count: int


@frozen
class DayCount:
    """How many there were on a day (YYYY-MM-DD, UTC)."""

    date: str
    count: int


@frozen
class InventoryFigures:
    """Assets; the windows roll back from now, the lower bound included."""

    asset_count: int
    total_asset_bytes: int
    registered_last_24h: int
    registered_last_7d: int
    registered_last_30d: int


@frozen
class IndexingFigures:
    """Assets by indexing status, every status listed."""

    status_counts: dict[str, int]


@frozen
class JobFigures:
    """Jobs by status, every status listed; ``active_count`` are those that wait or are at work."""

    active_count: int
    failed_last_24h: int
    status_counts: dict[str, int]


@frozen
class ConversionFigures:
    """Conversions by the status of their job, every status listed."""

    status_counts: dict[str, int]


@frozen
class OutputFigures:
    """Outputs; missing ones count but weigh nothing.  Formats: those there are, most frequent first."""

    output_count: int
    total_output_bytes: int
    outputs_created_last_7d: int
    format_counts: list[KeyCount]
    availability_counts: list[KeyCount]


@frozen
class Freshness:
    """When things last happened; null where nothing has."""

    computed_at: datetime
    latest_asset_registration_at: datetime | None
    latest_asset_indexed_at: datetime | None
    latest_job_update_at: datetime | None
    latest_conversion_update_at: datetime | None
    latest_output_update_at: datetime | None


@frozen
class DashboardSummary:
    """What there is in a workspace, and how fresh it is."""

    inventory: InventoryFigures
    indexing: IndexingFigures
    jobs: JobFigures
    conversions: ConversionFigures
    outputs: OutputFigures
    freshness: Freshness


@frozen
class DashboardTrends:
    """Counts per calendar day in UTC, oldest first, today the last."""

    days: int
    registrations_by_day: list[DayCount]
    job_failures_by_day: list[DayCount]
    conversions_by_day: list[DayCount]
    conversion_failures_by_day: list[DayCount]
    outputs_created_by_day: list[DayCount]


@frozen
class DashboardBlockers:
    """What waits for somebody to do something about it."""

    pending_assets: int
    failed_assets: int
    failed_jobs: int
    failed_conversions: int
    missing_outputs: int
    invalid_outputs: int

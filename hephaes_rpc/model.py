"""The nouns, as they travel: frozen attrs classes whose fields are the names on the wire.

Times are aware datetimes in UTC; ``*_ns`` are int64 nanoseconds since the Unix epoch; durations seconds; sizes bytes.
"""

from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

WorkspaceStatus = Literal["ready", "missing", "invalid"]
IndexingStatus = Literal["pending", "indexing", "indexed", "failed"]
JobType = Literal["index", "convert", "analyze"]
JobStatus = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "interrupted"]
Phase = Literal["queued", "index", "analyze", "plan", "decode", "write", "publish"]
Unit = Literal["bytes", "rows", "messages", "assets"]
DraftStatus = Literal["draft", "confirmed", "saved", "discarded"]
MappingMode = Literal["auto", "custom", "spec", "saved-config"]
OutputRole = Literal["dataset", "manifest", "report", "sidecar"]
Availability = Literal["ready", "missing", "invalid"]
ConfigStatus = Literal["ready", "needs_migration", "invalid"]
ChangeKind = Literal["create", "update", "duplicate", "migration", "import"]
Severity = Literal["info", "warning", "error"]
Basis = Literal["index", "messages"]
FindingKind = Literal[
    "damaged_log",
    "undecodable_topic",
    "gap",
    "missing_messages",
    "jitter",
    "rate_change",
    "out_of_order",
    "duplicate_times",
    "late_start",
    "early_end",
    "decode_failures",
    "sequence_drops",
    "clock_offset",
    "clock_jump",
    "unset_stamps",
    "frozen_frames",
    "repeated_frames",
    "nonfinite_values",
    "constant_field",
]

FINAL: frozenset[JobStatus] = frozenset(("succeeded", "failed", "cancelled"))
RETRIABLE: frozenset[JobStatus] = frozenset(("failed", "cancelled"))
ACTIVE: frozenset[JobStatus] = frozenset(("queued", "running", "cancelling"))


@frozen
class Workspace:
    """A registered workspace; ``active_job_count`` is 0 unless it is ready."""

    id: str
    name: str
    active_job_count: int
    root_path: str
    workspace_dir: str
    database_path: str
    created_at: datetime
    updated_at: datetime
    last_opened_at: datetime | None
    status: WorkspaceStatus
    status_reason: str | None


@frozen
class Tag:
    """A tag of one workspace."""

    id: str
    name: str
    created_at: datetime


@frozen
class TagEntry(Tag):
    """A tag with the number of assets that carry it."""

    asset_count: int


@frozen
class Asset:
    """A registered log; ``file_size`` is that at registration or at the last index.

    ``duplicate_of`` is the id of the asset registered first among those whose logs are the same, as far as their
    fingerprints tell; null for that one and for the rest.
    """

    id: str
    file_path: str
    file_name: str
    file_type: str
    file_size: int
    registered_time: datetime
    indexing_status: IndexingStatus
    last_indexed_time: datetime | None
    duplicate_of: str | None


@frozen
class AssetListItem(Asset):
    """An asset with its tags; ``score`` and ``severity`` (of the worst finding) are null where nothing is known."""

    tags: list[Tag]
    score: int | None = None
    severity: Severity | None = None


@frozen
class TopicSummary:
    """One stream of an indexed log; ``rate_hz`` is (messages - 1) / span; ``undecodable`` says why, or null."""

    name: str
    message_type: str
    message_count: int
    rate_hz: float
    modality: str
    encoding: str
    schema_encoding: str
    start_ns: int | None
    end_ns: int | None
    max_gap_ns: int | None
    out_of_order: int
    undecodable: str | None


@frozen
class Episode:
    """The whole log as one episode."""

    episode_id: str
    label: str
    duration: float


@frozen
class AssetMetadata:
    """What indexing found; ``indexing_error`` is the last failure, cleared by success."""

    duration: float | None
    start_time: datetime | None
    end_time: datetime | None
    start_ns: int | None
    end_ns: int | None
    message_count: int
    topic_count: int
    sensor_types: list[str]
    topics: list[TopicSummary]
    default_episode: Episode | None
    raw_metadata: dict[str, Any]
    indexing_error: str | None


@frozen
class Finding:
    """Something that is wrong with a log, or worth knowing before it is used; docs/quality.md tells of every kind.

    Args:
        topic: None where the whole log is meant.
        field: Dotted path in the messages of the topic; None where it is about no field.
        start_ns, end_ns: Log times between which it was found; None where it has no place in time.
        numbers: What was measured, by names that belong to the kind.
        message: One sentence that names the topic, the numbers and the place.
    """

    kind: FindingKind
    severity: Severity
    topic: str | None
    field: str | None
    start_ns: int | None
    end_ns: int | None
    numbers: dict[str, float]
    message: str


@frozen
class ScoreReason:
    """Why a score is not 100: the points that all findings of a kind on a topic take away."""

    points: float
    kind: FindingKind
    topic: str | None
    message: str


@frozen
class Score:
    """How good a log is, 0 to 100; the reasons are sorted by their points, the greatest first."""

    value: int
    reasons: list[ScoreReason]


@frozen
class TopicQuality:
    """What was measured of one stream.

    Args:
        rate_hz: (messages - 1) / span; None below two messages.
        period_ns: Median time between two messages; None below two messages.
        jitter_ns: Median distance of the periods from their median.
        is_regular: It comes at a steady rate; only then are gaps, missing messages, late starts and early ends told.
        max_gap_ns: Longest time between two messages that follow each other.
        missing: Messages that should have come, by the period; 0 unless regular.
        out_of_order: Messages that lie in the file behind one with a later log time.
        duplicates: Messages with the log time of another one.
        decode_failures: Malformed messages; this and what follows is None until the messages were read.
        sequence_missing: Numbers left out by ``header.seq``; None where it does not count messages.
        stamp_offset_ns: Median of header stamp minus log time; None without stamps.
        nonfinite_fields: Fields with a NaN or infinity -> messages that have one.
        constant_fields: Numeric fields that have one value in all messages.
    """

    topic: str
    message_type: str
    message_count: int
    rate_hz: float | None
    period_ns: int | None
    jitter_ns: int | None
    is_regular: bool
    max_gap_ns: int | None
    missing: int
    out_of_order: int
    duplicates: int
    decode_failures: int | None = None
    sequence_missing: int | None = None
    stamp_offset_ns: int | None = None
    nonfinite_fields: dict[str, int] | None = None
    constant_fields: list[str] | None = None


@frozen
class Quality:
    """What is known of the quality of a log.

    Args:
        basis: ``index`` until an ``analyze`` job has read the messages.
        findings: The worst first, then by topic and time.
        content_fingerprint: Of all readable messages, the same whatever the container; None until they were read.
    """

    basis: Basis
    score: Score
    findings: list[Finding]
    topics: list[TopicQuality]
    content_fingerprint: str | None = None


@frozen
class JobError:
    """Why a job failed; ``kind`` is one of the closed table of kinds."""

    kind: str
    message: str
    hint: str | None = None
    data: dict[str, Any] = field(factory=dict)


@frozen
class Progress:
    """How far a job is; ``percentage`` is monotone within an attempt, ``rate`` in units per second.

    Args:
        message: What is being worked on, in words.
    """

    job_id: str
    status: JobStatus
    phase: Phase
    done: int
    total: int
    unit: Unit
    percentage: int
    rate: float | None
    eta_s: float | None
    message: str | None


@frozen
class RepresentationPolicy:
    """How image payloads and nulls are represented in the outputs of a conversion."""

    policy_version: int
    output_format: Literal["parquet", "tfrecord"]
    requested_image_payload_contract: Literal["bytes_v2", "legacy_list_v1"] | None
    image_payload_contract: Literal["bytes_v2", "legacy_list_v1"] | None
    payload_encoding: str | None
    null_encoding: str | None
    compatibility_markers: list[str]
    warnings: list[str]


@frozen
class Job:
    """A unit of background work; a retry is a job of its own that names its predecessor in ``retry_of``."""

    id: str
    type: JobType
    status: JobStatus
    target_asset_ids_json: list[str]
    config_json: dict[str, Any]
    representation_policy: RepresentationPolicy | None
    output_path: str | None
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    max_attempts: int
    retry_of: str | None
    progress: Progress | None
    error: JobError | None
    signal: str | None


@frozen
class JobLogLine:
    """A line of a job's log: what the sidecar did with it, or what its worker said."""

    number: int
    attempt: int
    time: datetime
    level: Literal["info", "warning", "error"]
    source: Literal["sidecar", "worker"]
    text: str


@frozen
class ConfigSummary:
    """A saved conversion config; what begins with ``spec_`` is null or 0 while it is invalid.

    Args:
        metadata: Free notes, part of the document.
        spec_document_version: That of the document as it is stored.
        draft_count: Draft revisions made for it.
        migration_notes: Summaries of its migrations, the newest first.
        invalid_reason: Why its document cannot be used.
        last_opened_at: When it was last run.
        status: ``needs_migration`` is as good as ready: an older document, rewritten when it is next run or changed.
    """

    id: str
    name: str
    description: str | None
    metadata: dict[str, Any]
    spec_document_version: int
    spec_schema_name: str | None
    spec_schema_version: int | None
    spec_row_strategy_kind: Literal["trigger", "per-message", "resample"] | None
    spec_output_format: Literal["parquet", "tfrecord"] | None
    spec_output_compression: str | None
    spec_feature_count: int
    revision_count: int
    draft_count: int
    migration_notes: list[str]
    invalid_reason: str | None
    latest_preview_available: bool
    latest_preview_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_opened_at: datetime | None
    status: ConfigStatus


@frozen
class DraftSummary:
    """A draft of a spec; its revisions are never changed.

    Args:
        source_asset_id: The log it was drafted for.
        revision_number: Of its current revision, the newest.
        confirmed_revision_number: Of the revision that was confirmed; null unless it is confirmed or saved.
        saved_config_id: The config it was saved as.
        preview_ready: The current revision has a good preview.
    """

    id: str
    source_asset_id: str | None
    status: DraftStatus
    revision_number: int
    confirmed_revision_number: int | None
    saved_config_id: str | None
    preview_ready: bool
    created_at: datetime
    updated_at: datetime
    discarded_at: datetime | None


@frozen
class ConversionSummary:
    """A conversion; its status is that of its job."""

    id: str
    job_id: str
    status: JobStatus
    asset_ids: list[str]
    config: dict[str, Any]
    output_path: str
    error_message: str | None
    representation_policy: RepresentationPolicy | None
    created_at: datetime
    updated_at: datetime


@frozen
class ConversionDetail(ConversionSummary):
    """A conversion with its job and the files it has published (absolute paths, sorted)."""

    output_files: list[str]
    job: Job


@frozen
class AssetDetail:
    """An asset with what is known of it; at most ten jobs and conversions, newest first; no quality before indexing."""

    asset: Asset
    metadata: AssetMetadata | None
    quality: Quality | None
    tags: list[Tag]
    related_jobs: list[Job]
    conversions: list[ConversionSummary]


@frozen
class OutputSummary:
    """A published file; ``size_bytes`` is 0 while it is missing."""

    id: str
    conversion_id: str
    job_id: str
    asset_ids: list[str]
    relative_path: str
    file_name: str
    format: str
    role: OutputRole
    media_type: str | None
    size_bytes: int
    availability_status: Availability
    metadata: dict[str, Any]
    content_url: str
    created_at: datetime
    updated_at: datetime


@frozen
class OutputDetail(OutputSummary):
    """An output with the absolute path of its file."""

    file_path: str | None


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

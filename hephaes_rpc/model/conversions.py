"""Saved specs, drafts of them, conversions and the files that these have published."""

from datetime import datetime
from typing import Any, Literal

from attrs import frozen

from hephaes_rpc.model.jobs import Job, JobStatus, RepresentationPolicy

DraftStatus = Literal["draft", "confirmed", "saved", "discarded"]
MappingMode = Literal["auto", "custom", "spec", "saved-config"]
OutputRole = Literal["dataset", "manifest", "report", "sidecar"]
Availability = Literal["ready", "missing", "invalid"]
ConfigStatus = Literal["ready", "needs_migration", "invalid"]
ChangeKind = Literal["create", "update", "duplicate", "migration", "import"]


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

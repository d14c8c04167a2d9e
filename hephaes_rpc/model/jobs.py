"""Background work and how far it is."""

from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

JobType = Literal["index", "convert", "analyze"]
JobStatus = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "interrupted"]
Phase = Literal["queued", "index", "analyze", "plan", "decode", "write", "publish"]
Unit = Literal["bytes", "rows", "messages", "assets"]
FINAL: frozenset[JobStatus] = frozenset(("succeeded", "failed", "cancelled"))
RETRIABLE: frozenset[JobStatus] = frozenset(("failed", "cancelled"))
ACTIVE: frozenset[JobStatus] = frozenset(("queued", "running", "cancelling"))


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

"""Registered logs and what is known of them."""

from datetime import datetime
from typing import Any, Literal

from attrs import frozen

from hephaes_rpc.model.conversions import ConversionSummary
from hephaes_rpc.model.jobs import Job
from hephaes_rpc.model.quality import Quality, Severity
from hephaes_rpc.model.workspaces import Tag

IndexingStatus = Literal["pending", "indexing", "indexed", "failed"]


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
class AssetDetail:
    """An asset with what is known of it; at most ten jobs and conversions, newest first; no quality before indexing."""

    asset: Asset
    metadata: AssetMetadata | None
    quality: Quality | None
    tags: list[Tag]
    related_jobs: list[Job]
    conversions: list[ConversionSummary]

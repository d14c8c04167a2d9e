"""Revisions of drafts as they are stored and as they are told; of drafts and of the configs they were saved as."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

from attrs import frozen

from hephaes_rpc.engine.authoring.authored import Inspection, PreviewResult
from hephaes_rpc.engine.specs.document import to_dict
from hephaes_rpc.engine.specs.patches import Operation, difference
from hephaes_rpc.errors import ParamsError
from hephaes_rpc.serde import structure
from hephaes_rpc.store.db import Row
from hephaes_rpc.store.documents import READINGS
from hephaes_rpc.store.values import from_json, to_time

T = TypeVar("T")

REVISION = (
    "r.id, r.draft_id, r.revision_number, r.label, r.document_version, r.document_sha256, b.data,"
    " r.inspection_request, r.draft_request, r.preview_request, p.data, r.created_at, r.updated_at"
)
REVISIONS = (
    "draft_revisions r LEFT JOIN blobs b ON b.sha256 = r.document_sha256"
    " LEFT JOIN blobs p ON p.sha256 = r.preview_sha256"
)


@frozen
class DraftRevision:
    """One state of a draft's document.

    Args:
        changes: What makes its document of the one before, as JSON Patch.
        preview_ready: It has a good preview: no bad record, the writer takes the rows, and there are rows if the
            dataset has any.
    """

    id: str
    draft_id: str
    revision_number: int
    label: str | None
    spec_document_version: int
    changes: list[Operation]
    invalid_reason: str | None
    preview_ready: bool
    created_at: datetime
    updated_at: datetime


@frozen
class DraftRevisionDetail(DraftRevision):
    """A revision with its document and what was made for it.

    Args:
        spec_document_json: The document as it is stored.
        inspection: Only where it is asked for; null, as ``preview`` is, where another version made it.
        draft_result: What was thought about the draft, without its spec and preview.
    """

    spec_document_json: dict[str, Any] | None
    inspection_request: dict[str, Any]
    inspection: Inspection | None
    draft_request: dict[str, Any]
    draft_result: dict[str, Any] | None
    preview_request: dict[str, Any] | None
    preview: PreviewResult | None


def is_good(preview: dict[str, Any]) -> bool:
    """Whether a preview shows that its revision converts: nothing bad, and rows if the dataset has any."""
    estimated = preview.get("estimate", {}).get("rows")
    return bool(preview.get("preflight_ok")) and (bool(preview.get("rows")) or estimated == 0)


def is_ready(preview: bytes | None) -> bool:
    return preview is not None and is_good(from_json(preview))


def revisions_of(rows: Sequence[Row]) -> Iterator[DraftRevision]:
    """Revisions by rows of REVISION, which are those of whole drafts, each in order of numbers."""
    for _, of_draft in groupby(rows, key=lambda row: row[1]):
        before: dict[str, Any] | None = None
        for row in of_draft:
            reading = READINGS.of(row[5], row[6])
            content = to_dict(reading.document) if reading.document is not None else reading.content
            changes = [] if before is None or content is None else difference(before, content)
            before = content or before
            yield _revision(row, changes, reading.reason)


def _revision(row: Row, changes: list[Operation], invalid_reason: str | None) -> DraftRevision:
    revision_id, draft_id, number, label, version, _, _, _, _, _, preview, created_at, updated_at = row
    return DraftRevision(
        id=revision_id,
        draft_id=draft_id,
        revision_number=number,
        label=label,
        spec_document_version=version,
        changes=changes,
        invalid_reason=invalid_reason,
        preview_ready=is_ready(preview),
        created_at=to_time(created_at),
        updated_at=to_time(updated_at),
    )


def snapshot(data: bytes | None, cls: type[T]) -> T | None:
    """What was made for a revision; None where there is nothing, or nothing of this form."""
    try:
        return None if data is None else structure(from_json(data), cls)
    except ParamsError:
        return None


def value(data: str | bytes | None) -> Any:
    return None if data is None else from_json(data)

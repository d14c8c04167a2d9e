"""Drafts of specs: immutable revisions on the way from a log to a saved config.

Strategy: what may become of a draft is one table (``MOVES``): event, status -> status; an event that has no entry for a
status is refused.  A revision keeps its document for good, what was inspected and drafted for it, and the last preview
that was made of it.  Revisions tell what they changed as JSON Patch.
"""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from typing import Any, Literal, TypeVar

import attrs
from attrs import frozen

from hephaes_rpc.engine.authoring.authored import Inspection, PreviewResult
from hephaes_rpc.engine.specs.document import VERSION, SpecDocument
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.conversions import DraftStatus, DraftSummary
from hephaes_rpc.store.blobs import store_blob
from hephaes_rpc.store.configs import NOUN as CONFIGS
from hephaes_rpc.store.configs import insert_config
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.documents import READINGS, stored_form
from hephaes_rpc.store.draftrows import (
    REVISION,
    REVISIONS,
    DraftRevision,
    DraftRevisionDetail,
    is_good,
    is_ready,
    revisions_of,
    snapshot,
    value,
)
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Page, Where
from hephaes_rpc.store.values import from_json, new_id, now_us, to_json, to_time

T = TypeVar("T")

NOUN = "drafts"

Event = Literal["update", "good_preview", "bad_preview", "confirm", "save", "discard"]

MOVES: dict[Event, dict[DraftStatus, DraftStatus]] = {
    "update": {"draft": "draft", "confirmed": "draft"},
    "good_preview": {"draft": "draft", "confirmed": "confirmed"},
    "bad_preview": {"draft": "draft", "confirmed": "draft"},
    "confirm": {"draft": "confirmed", "confirmed": "confirmed"},
    "save": {"confirmed": "saved"},
    "discard": {"draft": "discarded", "confirmed": "discarded"},
}
"""What becomes of a draft; what is not here is refused."""

_COLUMNS = (
    "d.id, d.source_asset_id, d.status, c.revision_number, f.revision_number, d.saved_config_id, p.data,"
    " d.created_at, d.updated_at, d.discarded_at"
)
_SOURCE = (
    "drafts d JOIN draft_revisions c ON c.id = d.current_revision_id"
    " LEFT JOIN draft_revisions f ON f.id = d.confirmed_revision_id"
    " LEFT JOIN blobs p ON p.sha256 = c.preview_sha256"
)
LISTING = Listing(
    name="drafts",
    columns=_COLUMNS,
    source=_SOURCE,
    id="d.id",
    sorts={"updated_at": ("d.updated_at",), "created_at": ("d.created_at",)},
    default="-updated_at",
)


@frozen(kw_only=True)
class DraftFilters:
    """Which drafts."""

    status: DraftStatus | None = None
    asset_id: str | None = None
    saved_config_id: str | None = None


@frozen
class DraftDetail(DraftSummary):
    """A draft with one of its revisions, the current one unless another is asked for; ``revisions``: newest first."""

    revision: DraftRevisionDetail
    revisions: list[DraftRevision]


@frozen(kw_only=True)
class NewDraft:
    """What a draft begins with.

    Args:
        inspection, draft_result: As they travel.
        preview_request, preview: None without a preview.
    """

    document: SpecDocument
    label: str | None = None
    inspection_request: dict[str, Any]
    inspection: dict[str, Any]
    draft_request: dict[str, Any]
    draft_result: dict[str, Any]
    preview_request: dict[str, Any] | None = None
    preview: dict[str, Any] | None = None


class Drafts:
    """The drafts of one workspace."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # Reading ----------------------------------------------------------------------------------------------------------

    def list(
        self,
        filters: DraftFilters | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        sort: str | None = None,
    ) -> Page[DraftSummary]:
        """A page of drafts, the last changed first unless sorted otherwise."""
        filters = filters or DraftFilters()
        where = Where()
        where.add("d.status = ?", filters.status)
        where.add("d.source_asset_id = ?", filters.asset_id)
        where.add("d.saved_config_id = ?", filters.saved_config_id)
        with self._db.read() as session:
            return LISTING.page(
                session,
                filters,
                where,
                lambda rows: [_summary(row) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
            )

    def get(self, draft_id: str, revision_number: int | None = None, *, inspection: bool = False) -> DraftDetail:
        """One draft with a revision, by default the current one.

        Args:
            inspection: With what was inspected, which is long.

        Raises:
            HephaesError: ``draft_not_found``, ``draft_revision_not_found``.
        """
        with self._db.read() as session:
            return self._detail(session, draft_id, revision_number, inspection=inspection)

    def document(self, draft_id: str, revision_number: int | None = None) -> tuple[DraftSummary, SpecDocument, int]:
        """A draft, the document of a revision (the current one by default), and the number of that.

        Raises:
            HephaesError: ``draft_not_found``, ``draft_revision_not_found``, ``invalid_spec``.
        """
        with self._db.read() as session:
            summary = _require(session, draft_id)
            row = _revision_row(session, summary, revision_number)
        reading = READINGS.of(row[5], row[6])
        if reading.document is None:
            message = f"revision {row[2]} of the draft {draft_id} cannot be used: {reading.reason}"
            raise HephaesError("invalid_spec", message, draft_id=draft_id, errors=[])
        return summary, reading.document, row[2]

    # Changing ---------------------------------------------------------------------------------------------------------

    def create(self, asset_id: str, new: NewDraft) -> DraftDetail:
        """A draft with revision 1."""
        draft_id, revision_id, now = new_id(), new_id(), now_us()
        with self._db.write(NOUN) as session:
            session.run(
                "INSERT INTO drafts (id, source_asset_id, current_revision_id, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (draft_id, asset_id, revision_id, now, now),
            )
            preview = None if new.preview is None else _blob(session, new.preview, now)
            session.run(
                "INSERT INTO draft_revisions (id, draft_id, revision_number, label, document_sha256, document_version,"
                " inspection_request, inspection_sha256, draft_request, draft_result_sha256, preview_request,"
                " preview_sha256, created_at, updated_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    revision_id,
                    draft_id,
                    new.label,
                    store_blob(session, stored_form(new.document), now),
                    VERSION,
                    to_json(new.inspection_request),
                    _blob(session, new.inspection, now),
                    to_json(new.draft_request),
                    _blob(session, new.draft_result, now),
                    None if preview is None else to_json(new.preview_request or {}),
                    preview,
                    now,
                    now,
                ),
            )
            return self._detail(session, draft_id, None)

    def update(self, draft_id: str, document: SpecDocument, label: str | None) -> DraftDetail:
        """A new revision, which becomes the current one; what was confirmed no longer is.

        Raises:
            HephaesError: ``draft_not_found``, ``draft_state``.
        """
        revision_id, now = new_id(), now_us()
        with self._db.write(NOUN) as session:
            summary = _require(session, draft_id)
            status = _moved(summary, "update")
            session.run(
                "INSERT INTO draft_revisions (id, draft_id, revision_number, label, document_sha256, document_version,"
                " inspection_request, inspection_sha256, draft_request, draft_result_sha256, created_at, updated_at)"
                " SELECT ?, draft_id, revision_number + 1, ?, ?, ?, inspection_request, inspection_sha256,"
                " draft_request, draft_result_sha256, ?, ? FROM draft_revisions"
                " WHERE draft_id = ? AND revision_number = ?",
                (
                    revision_id,
                    label,
                    store_blob(session, stored_form(document), now),
                    VERSION,
                    now,
                    now,
                    draft_id,
                    summary.revision_number,
                ),
            )
            session.run(
                "UPDATE drafts SET status = ?, current_revision_id = ?, confirmed_revision_id = NULL, updated_at = ?"
                " WHERE id = ?",
                (status, revision_id, now, draft_id),
            )
            return self._detail(session, draft_id, None)

    def require_open(self, draft_id: str) -> DraftSummary:
        """A draft that may be previewed; raises ``draft_not_found``, ``draft_state``."""
        with self._db.read() as session:
            summary = _require(session, draft_id)
        _moved(summary, "good_preview")
        return summary

    def save_preview(
        self, draft_id: str, revision_number: int, request: dict[str, Any], preview: dict[str, Any]
    ) -> DraftDetail:
        """Keep a preview of a revision; a bad one of the confirmed revision takes the confirmation away.

        Raises:
            HephaesError: ``draft_not_found``, ``draft_revision_not_found``, ``draft_state``.
        """
        now = now_us()
        with self._db.write(NOUN) as session:
            summary = _require(session, draft_id)
            row = _revision_row(session, summary, revision_number)
            bad = not is_good(preview) and revision_number == summary.confirmed_revision_number
            status = _moved(summary, "bad_preview" if bad else "good_preview")
            session.run(
                "UPDATE draft_revisions SET preview_request = ?, preview_sha256 = ?, updated_at = ? WHERE id = ?",
                (to_json(request), _blob(session, preview, now), now, row[0]),
            )
            kept = "NULL" if bad else "confirmed_revision_id"
            session.run(
                f"UPDATE drafts SET status = ?, confirmed_revision_id = {kept}, updated_at = ? WHERE id = ?",
                (status, now, draft_id),
            )
            return self._detail(session, draft_id, revision_number)

    def confirm(self, draft_id: str, revision_number: int | None) -> DraftDetail:
        """Confirm the current revision, which must have a good preview.

        Args:
            revision_number: The revision that is meant; another than the current one is refused.

        Raises:
            HephaesError: ``draft_not_found``, ``draft_revision_not_found``, ``draft_state``, ``draft_not_previewed``.
        """
        with self._db.write(NOUN, durable=True) as session:
            summary = _require(session, draft_id)
            status = _moved(summary, "confirm")
            row = _revision_row(session, summary, revision_number)
            if row[2] != summary.revision_number:
                message = f"revision {row[2]} is not the current one, which is {summary.revision_number}"
                raise HephaesError("draft_state", message, draft_id=draft_id, status=summary.status)
            if not is_ready(row[10]):
                message = f"revision {row[2]} of the draft has no good preview"
                raise HephaesError(
                    "draft_not_previewed",
                    message,
                    hint="drafts/preview",
                    draft_id=draft_id,
                    revision_number=row[2],
                )
            session.run(
                "UPDATE drafts SET status = ?, confirmed_revision_id = current_revision_id, updated_at = ?"
                " WHERE id = ?",
                (status, now_us(), draft_id),
            )
            return self._detail(session, draft_id, None)

    def discard(self, draft_id: str) -> DraftDetail:
        """Give a draft up; its revisions are kept.  Raises ``draft_not_found``, ``draft_state``."""
        now = now_us()
        with self._db.write(NOUN, durable=True) as session:
            status = _moved(_require(session, draft_id), "discard")
            session.run(
                "UPDATE drafts SET status = ?, discarded_at = ?, updated_at = ? WHERE id = ?",
                (status, now, now, draft_id),
            )
            return self._detail(session, draft_id, None)

    def save_config(self, draft_id: str, name: str, description: str | None) -> str:
        """The id of a new config with the confirmed document; the draft is saved.

        Raises:
            HephaesError: ``draft_not_found``, ``draft_state`` (it is not confirmed), ``config_name_taken``.
        """
        with self._db.write(NOUN, CONFIGS, durable=True) as session:
            summary = _require(session, draft_id)
            status = _moved(summary, "save")
            row = _revision_row(session, summary, summary.confirmed_revision_number)
            document = READINGS.of(row[5], row[6]).document
            if document is None:
                message = f"revision {row[2]} of the draft cannot be used"
                raise HephaesError("draft_state", message, draft_id=draft_id, status=summary.status)
            told = f"saved from revision {row[2]} of a draft"
            config_id: str = insert_config(session, name, description, document, "create", told)[0]
            session.run(
                "UPDATE drafts SET status = ?, saved_config_id = ?, updated_at = ? WHERE id = ?",
                (status, config_id, now_us(), draft_id),
            )
            return config_id

    # Rows -------------------------------------------------------------------------------------------------------------

    def _detail(
        self, session: Session, draft_id: str, revision_number: int | None, *, inspection: bool = False
    ) -> DraftDetail:
        summary = _require(session, draft_id)
        wanted = revision_number or summary.revision_number
        rows = session.all(
            f"SELECT {REVISION} FROM {REVISIONS} WHERE r.draft_id = ? ORDER BY r.revision_number", (draft_id,)
        )
        if not any(row[2] == wanted for row in rows):
            raise _no_revision(draft_id, wanted)
        revisions = list(revisions_of(rows))
        found = next(row for row in rows if row[2] == wanted)
        snapshots = session.one(
            "SELECT i.data, r.data FROM draft_revisions v LEFT JOIN blobs i ON i.sha256 = v.inspection_sha256"
            " LEFT JOIN blobs r ON r.sha256 = v.draft_result_sha256 WHERE v.id = ?",
            (found[0],),
        )
        assert snapshots is not None
        revision = DraftRevisionDetail(
            **attrs.asdict(next(each for each in revisions if each.revision_number == wanted), recurse=False),
            spec_document_json=READINGS.of(found[5], found[6]).content,
            inspection_request=from_json(found[7]),
            inspection=snapshot(snapshots[0], Inspection) if inspection else None,
            draft_request=from_json(found[8]),
            draft_result=value(snapshots[1]),
            preview_request=value(found[9]),
            preview=snapshot(found[10], PreviewResult),
        )
        return DraftDetail(**attrs.asdict(summary, recurse=False), revision=revision, revisions=revisions[::-1])


def _moved(summary: DraftSummary, event: Event) -> DraftStatus:
    """The status after an event; raises ``draft_state``."""
    status = MOVES[event].get(summary.status)
    if status is None:
        may = " or ".join(MOVES[event])
        message = f"the draft is {summary.status}; {event.replace('_', ' ')} needs one that is {may}"
        raise HephaesError("draft_state", message, draft_id=summary.id, status=summary.status)
    return status


def _require(session: Session, draft_id: str) -> DraftSummary:
    row = session.one(f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE d.id = ?", (draft_id,))
    if row is None:
        raise HephaesError("draft_not_found", f"no draft has the id {draft_id}", draft_id=draft_id)
    return _summary(row)


def _revision_row(session: Session, summary: DraftSummary, revision_number: int | None) -> Row:
    number = revision_number or summary.revision_number
    row = session.one(
        f"SELECT {REVISION} FROM {REVISIONS} WHERE r.draft_id = ? AND r.revision_number = ?", (summary.id, number)
    )
    if row is None:
        raise _no_revision(summary.id, number)
    return row


def _no_revision(draft_id: str, number: int) -> HephaesError:
    message = f"the draft {draft_id} has no revision {number}"
    return HephaesError("draft_revision_not_found", message, draft_id=draft_id, revision_number=number)


def _summary(row: Row) -> DraftSummary:
    draft_id, asset_id, status, number, confirmed, config_id, preview, created_at, updated_at, discarded_at = row
    return DraftSummary(
        id=draft_id,
        source_asset_id=asset_id,
        status=status,
        revision_number=number,
        confirmed_revision_number=confirmed,
        saved_config_id=config_id,
        preview_ready=is_ready(preview),
        created_at=to_time(created_at),
        updated_at=to_time(updated_at),
        discarded_at=to_time(discarded_at),
    )


def _blob(session: Session, value: dict[str, Any], now: int) -> str:
    return store_blob(session, to_json(value).encode(), now)

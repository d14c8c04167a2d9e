"""Saved conversion configs: a name over a history of documents.

Strategy: a revision is never changed; whatever changes about a config adds one, and names its cause.  Reading writes
nothing: an older document is migrated in memory, and becomes a revision of its own when the config is next run or
changed.  A document that cannot be used says why, and keeps nobody from reading, renaming or replacing it.
"""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from datetime import datetime
from typing import Any

import attrs
from attrs import evolve, frozen

from hephaes_rpc.engine.authoring.authored import PreviewResult
from hephaes_rpc.engine.specs.document import VERSION, SpecDocument, to_dict
from hephaes_rpc.engine.specs.spec import ConversionSpec
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.conversions import ChangeKind, ConfigStatus, ConfigSummary
from hephaes_rpc.store.blobs import store_blob
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.documents import READINGS, Reading, stored_form
from hephaes_rpc.store.draftrows import REVISION, REVISIONS, DraftRevision, revisions_of, snapshot
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Page, Where
from hephaes_rpc.store.values import from_json, new_id, normalized, now_us, to_json, to_time

NOUN = "conversionConfigs"

_COLUMNS = (
    "c.id, c.name, c.description, c.metadata, c.created_at, c.updated_at, c.last_opened_at,"
    " r.id, r.revision_number, r.document_version, r.document_sha256, b.data,"
    " (SELECT count(*) FROM config_revisions x WHERE x.config_id = c.id),"
    " (SELECT count(*) FROM drafts d JOIN draft_revisions v ON v.draft_id = d.id WHERE d.saved_config_id = c.id),"
    " (SELECT max(v.updated_at) FROM drafts d JOIN draft_revisions v ON v.draft_id = d.id"
    " WHERE d.saved_config_id = c.id AND v.preview_sha256 IS NOT NULL),"
    " (SELECT json_group_array(x.change_summary ORDER BY x.revision_number DESC) FROM config_revisions x"
    " WHERE x.config_id = c.id AND x.change_kind = 'migration' AND x.change_summary IS NOT NULL)"
)
_SOURCE = (
    "conversion_configs c"
    " LEFT JOIN config_revisions r ON r.config_id = c.id AND r.revision_number ="
    " (SELECT max(x.revision_number) FROM config_revisions x WHERE x.config_id = c.id)"
    " LEFT JOIN blobs b ON b.sha256 = r.document_sha256"
)
_REVISION_COLUMNS = (
    "r.id, r.config_id, r.revision_number, r.change_kind, r.change_summary, r.document_version, r.document_sha256,"
    " r.created_at, b.data"
)
_REVISIONS = "config_revisions r LEFT JOIN blobs b ON b.sha256 = r.document_sha256"

LISTING = Listing(
    name="configs",
    columns=_COLUMNS,
    source=_SOURCE,
    id="c.id",
    sorts={"updated_at": ("c.updated_at",), "name": ("c.name",)},
    default="-updated_at",
)


@frozen
class ConfigRevision:
    """One state of a config's document.

    Args:
        change_summary: What changed, in words.
        spec_document_version: That of the document as it is stored.
        spec_document_json: The document as it is stored; null where that is no JSON object.
        resolved_spec: Its spec in the current version; null where it is invalid.
        invalid_reason: Why it cannot be used.
    """

    id: str
    config_id: str
    revision_number: int
    change_kind: ChangeKind
    change_summary: str | None
    spec_document_version: int
    spec_document_json: dict[str, Any] | None
    resolved_spec: ConversionSpec | None
    invalid_reason: str | None
    created_at: datetime


@frozen
class ConfigDetail(ConfigSummary):
    """A config with its document and its history.

    Args:
        spec_document_json: The document as it is stored; null where that is no JSON object.
        spec_document_text: What is stored where that is no JSON object.
        resolved_spec: The spec in the current version; null while the config is invalid.
        resolved_spec_document: The document in the current version.
        revisions: The newest first; ``revision_count`` tells how many there are.
        latest_preview: The last one that was made of a draft that was saved as this config; null, too, where another
            version made it.
        draft_revisions: Of those drafts, the newest first.
    """

    spec_document_json: dict[str, Any] | None
    spec_document_text: str | None
    resolved_spec: ConversionSpec | None
    resolved_spec_document: SpecDocument | None
    latest_preview: PreviewResult | None
    revisions: list[ConfigRevision]
    draft_revisions: list[DraftRevision]


@frozen(kw_only=True)
class ConfigChange:
    """What is to become of a config; None keeps what there is.

    Args:
        description: Blank takes it away.
        metadata: Replaces what there is, that of ``restore_revision`` too.
        restore_revision: Number of the revision whose spec and metadata are wanted back; not beside ``spec``.
    """

    name: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None
    spec: ConversionSpec | None = None
    restore_revision: int | None = None


@frozen
class ConfigInUse:
    """What is run when a config is run."""

    id: str
    name: str
    revision_id: str
    revision_number: int
    document: SpecDocument


@frozen
class ConfigState:
    """A config with one of its revisions."""

    id: str
    name: str
    description: str | None
    metadata: dict[str, Any]
    revision_id: str | None
    revision_number: int
    sha256: str | None
    document_version: int | None
    reading: Reading

    @property
    def document(self) -> SpecDocument:
        """Its document in the current version; raises ``config_invalid``."""
        if self.reading.document is None:
            raise self._invalid()
        return self.reading.document

    @property
    def content(self) -> dict[str, Any]:
        """Its document as it is stored; raises ``config_invalid``."""
        if self.reading.content is None:
            raise self._invalid()
        return self.reading.content

    def _invalid(self) -> HephaesError:
        message = f"revision {self.revision_number} of the config {self.name} cannot be used: {self.reading.reason}"
        return HephaesError("config_invalid", message, config_id=self.id, reason=self.reading.reason)


class Configs:
    """The saved configs of one workspace; a config is named by its id or by its name, whatever the case and blanks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def list(
        self, limit: int = DEFAULT_LIMIT, cursor: str | None = None, sort: str | None = None
    ) -> Page[ConfigSummary]:
        """A page of configs, the last changed first unless sorted otherwise."""
        with self._db.read() as session:
            return LISTING.page(
                session,
                None,
                Where(),
                lambda rows: [self._summary(row) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
            )

    def get(self, selector: str, revision_limit: int = DEFAULT_LIMIT) -> ConfigDetail:
        """One config with its newest revisions; raises ``config_not_found``."""
        with self._db.read() as session:
            return self._detail(session, _find(session, selector), revision_limit)

    def create(
        self,
        name: str,
        document: SpecDocument,
        description: str | None = None,
        kind: ChangeKind = "create",
        summary: str | None = None,
    ) -> ConfigDetail:
        """A new config with revision 1; raises ``config_name_taken``.

        Args:
            name: Not blank, and no id.
            document: Its metadata become those of the config.
            description: Not blank.
            kind: Where the document comes from; ``summary`` says it in words.
        """
        with self._db.write(NOUN, durable=True) as session:
            return self._detail(session, insert_config(session, name, description, document, kind, summary), 1)

    def duplicate(self, selector: str, change: ConfigChange) -> ConfigDetail:
        """A new config with the document of another; without a name it is called a copy of the other.

        Args:
            selector: The other.
            change: What is different in the new one.

        Raises:
            HephaesError: ``config_not_found``, ``config_invalid``, ``config_name_taken``.
        """
        with self._db.write(NOUN, durable=True) as session:
            source = self._current(session, selector)
            document = source.reading.document
            if document is None:
                raise self._invalid(session, source)
            if change.metadata is not None:
                document = evolve(document, metadata=change.metadata)
            name = change.name or _free_name(session, f"Copy of {source.name}")
            description = source.description if change.description is None else change.description
            summary = f"copied from {source.name}, revision {source.revision_number}"
            return self._detail(session, insert_config(session, name, description, document, "duplicate", summary), 1)

    def update(
        self, selector: str, change: ConfigChange, revision_limit: int = DEFAULT_LIMIT
    ) -> tuple[ConfigDetail, bool]:
        """A config after ``change``, and whether that changed anything: only then is a revision added.

        Raises:
            HephaesError: ``config_not_found``, ``config_revision_not_found``, ``config_name_taken``,
                ``config_invalid``: the revision to restore is, or the config is and metadata need its document.
        """
        with self._db.write(NOUN, durable=True) as session:
            old = self._current(session, selector)
            is_migrated = old.reading.is_old
            if is_migrated:
                old = self._migrated(session, old)
            document = self._wanted(session, old, change)
            name = change.name or old.name
            description = old.description if change.description is None else change.description.strip() or None
            said = [*_renamed(old, name, description), *_rewritten(old.reading.document, document, change)]
            if said:
                _require_free(session, name, old.id)
                now = now_us()
                sha256 = old.sha256 if document is None else store_blob(session, stored_form(document), now)
                version = old.document_version if document is None else VERSION
                if sha256 is None or version is None:
                    raise self._invalid(session, old)
                _insert_revision(session, old, sha256, version, "update", "; ".join(said), now)
                session.run(
                    "UPDATE conversion_configs SET name = ?, normalized_name = ?, description = ?, metadata = ?,"
                    " updated_at = ? WHERE id = ?",
                    (name, normalized(name), description, _metadata(document, old.metadata), now, old.id),
                )
            return self._detail(session, _find(session, old.id), revision_limit), bool(said) or is_migrated

    def use(self, selector: str) -> ConfigInUse:
        """The document of a config that is about to be run, and the revision it stands in.

        Raises:
            HephaesError: ``config_not_found``, ``config_invalid``.
        """
        with self._db.write(NOUN) as session:
            current = self._current(session, selector)
            if current.reading.is_old:
                current = self._migrated(session, current)
            document = current.reading.document
            if document is None or current.revision_id is None:
                raise self._invalid(session, current)
            session.run("UPDATE conversion_configs SET last_opened_at = ? WHERE id = ?", (now_us(), current.id))
            return ConfigInUse(current.id, current.name, current.revision_id, current.revision_number, document)

    def state(self, selector: str, revision_number: int | None = None) -> ConfigState:
        """A config with one of its revisions, without a number the newest.

        Raises:
            HephaesError: ``config_not_found``, ``config_revision_not_found``.
        """
        with self._db.read() as session:
            newest = self._current(session, selector)
            if revision_number in (None, newest.revision_number):
                return newest
            return self._at(session, newest, revision_number)

    def _current(self, session: Session, selector: str) -> ConfigState:
        row = _find(session, selector)
        config_id, name, description, metadata, _, _, _, revision_id, number, version, sha256, data, *_ = row
        return ConfigState(
            id=config_id,
            name=name,
            description=description,
            metadata=from_json(metadata),
            revision_id=revision_id,
            revision_number=number or 0,
            sha256=sha256,
            document_version=version,
            reading=READINGS.of(sha256, data),
        )

    def _at(self, session: Session, config: ConfigState, revision_number: int) -> ConfigState:
        """The config as it was in another revision."""
        row = session.one(
            f"SELECT {_REVISION_COLUMNS} FROM {_REVISIONS} WHERE r.config_id = ? AND r.revision_number = ?",
            (config.id, revision_number),
        )
        if row is None:
            message = f"the config {config.name} has no revision {revision_number}"
            raise HephaesError(
                "config_revision_not_found", message, config_id=config.id, revision_number=revision_number
            )
        revision_id, _, _, _, _, version, sha256, _, data = row
        return evolve(
            config,
            revision_id=revision_id,
            revision_number=revision_number,
            sha256=sha256,
            document_version=version,
            reading=READINGS.of(sha256, data),
        )

    def _migrated(self, session: Session, old: ConfigState) -> ConfigState:
        """The config after its older document has become a revision in the current version."""
        now = now_us()
        summary = f"migrated from version {old.reading.version} to {VERSION}"
        sha256 = store_blob(session, stored_form(old.document), now)
        _insert_revision(session, old, sha256, VERSION, "migration", summary, now)
        session.run("UPDATE conversion_configs SET updated_at = ? WHERE id = ?", (now, old.id))
        return self._current(session, old.id)

    def _wanted(self, session: Session, old: ConfigState, change: ConfigChange) -> SpecDocument | None:
        """The document after ``change``; None for one that cannot be used and stays as it is."""
        document = old.reading.document
        if change.restore_revision is not None:
            document = self._at(session, old, change.restore_revision).document
        elif change.spec is not None:
            metadata = old.metadata if document is None else document.metadata
            document = SpecDocument(spec=change.spec, metadata=metadata)
        if change.metadata is None:
            return document
        if document is None:
            raise self._invalid(session, old)
        return evolve(document, metadata=change.metadata)

    def _invalid(self, session: Session, current: ConfigState) -> HephaesError:
        """Why a config cannot be used, and from which revision it can be restored."""
        rows = session.all(
            f"SELECT r.revision_number, r.document_sha256, b.data FROM {_REVISIONS} WHERE r.config_id = ?"
            " ORDER BY r.revision_number DESC",
            (current.id,),
        )
        good = next((number for number, *stored in rows if READINGS.of(*stored).document is not None), None)
        means = "spec" if good is None else f"spec, or restore_revision {good}"
        reason = current.reading.reason or "the document has been lost"
        return HephaesError(
            "config_invalid",
            f"the config {current.name} cannot be used: {reason}",
            hint=f"repair it by conversionConfigs/update with {means}",
            config_id=current.id,
            reason=reason,
            last_good_revision=good,
        )

    def _summary(self, row: Row) -> ConfigSummary:
        config_id, name, description, metadata, created_at, updated_at, last_opened_at, *revision = row
        _, _, version, sha256, data, revision_count, draft_count, previewed_at, notes = revision
        reading = READINGS.of(sha256, data)
        spec = reading.document.spec if reading.document else None
        rows = spec.row_strategy if spec else None
        return ConfigSummary(
            id=config_id,
            name=name,
            description=description,
            metadata=_notes(reading, metadata),
            spec_document_version=reading.version or version or VERSION,
            spec_schema_name=spec.schema.name if spec else None,
            spec_schema_version=spec.schema.version if spec else None,
            spec_row_strategy_kind=rows.kind if rows else None,
            spec_output_format=spec.output.format if spec else None,
            spec_output_compression=spec.output.compression if spec else None,
            spec_feature_count=len(spec.features) if spec else 0,
            revision_count=revision_count,
            draft_count=draft_count,
            migration_notes=list(dict.fromkeys(from_json(notes))),
            invalid_reason=reading.reason,
            latest_preview_available=previewed_at is not None,
            latest_preview_updated_at=to_time(previewed_at),
            created_at=to_time(created_at),
            updated_at=to_time(updated_at),
            last_opened_at=to_time(last_opened_at),
            status=_status(reading),
        )

    def _detail(self, session: Session, row: Row, revision_limit: int) -> ConfigDetail:
        reading = READINGS.of(row[10], row[11])
        rows = session.all(
            f"SELECT {_REVISION_COLUMNS} FROM {_REVISIONS} WHERE r.config_id = ?"
            " ORDER BY r.revision_number DESC LIMIT ?",
            (row[0], revision_limit),
        )
        drafts = session.all(
            f"SELECT {REVISION} FROM {REVISIONS} JOIN drafts d ON d.id = r.draft_id WHERE d.saved_config_id = ?"
            " ORDER BY r.draft_id, r.revision_number",
            (row[0],),
        )
        previews = sorted((each for each in drafts if each[10] is not None), key=lambda each: int(each[12]))
        drafted = sorted(revisions_of(drafts), key=lambda each: (each.created_at, each.revision_number))
        return ConfigDetail(
            **attrs.asdict(self._summary(row), recurse=False),
            spec_document_json=reading.content,
            spec_document_text=reading.text,
            resolved_spec=reading.document.spec if reading.document else None,
            resolved_spec_document=reading.document,
            latest_preview=snapshot(previews[-1][10], PreviewResult) if previews else None,
            revisions=[self._revision(each) for each in rows],
            draft_revisions=drafted[::-1],
        )

    def _revision(self, row: Row) -> ConfigRevision:
        revision_id, config_id, number, kind, summary, version, sha256, created_at, data = row
        reading = READINGS.of(sha256, data)
        return ConfigRevision(
            id=revision_id,
            config_id=config_id,
            revision_number=number,
            change_kind=kind,
            change_summary=summary,
            spec_document_version=reading.version or version,
            spec_document_json=reading.content,
            resolved_spec=reading.document.spec if reading.document else None,
            invalid_reason=reading.reason,
            created_at=to_time(created_at),
        )


def _notes(reading: Reading, kept: str) -> dict[str, Any]:
    """The metadata of a document, those that the row has kept where it cannot be used."""
    notes = reading.content.get("metadata") if reading.content and reading.document else from_json(kept)
    return notes or {}


def _status(reading: Reading) -> ConfigStatus:
    return "invalid" if reading.document is None else "needs_migration" if reading.is_old else "ready"


def _find(session: Session, selector: str) -> Row:
    row = session.one(
        f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE c.id = ?1 OR c.normalized_name = ?2 ORDER BY c.id = ?1 DESC LIMIT 1",
        (selector.strip().lower(), normalized(selector)),
    )
    if row is None:
        raise HephaesError("config_not_found", f"no config has the id or the name {selector}", config_id=selector)
    return row


def _owner(session: Session, name: str) -> str | None:
    found: str | None = session.value(
        "SELECT id FROM conversion_configs WHERE normalized_name = ?", (normalized(name),)
    )
    return found


def _require_free(session: Session, name: str, config_id: str | None) -> None:
    owner = _owner(session, name)
    if owner not in (None, config_id):
        message = f"a conversion config with the name {name} already exists"
        raise HephaesError("config_name_taken", message, config_id=owner, name=name)


def _free_name(session: Session, name: str) -> str:
    """``name``, or the first of ``name (2)``, ``name (3)``... that no config has."""
    candidate, n = name, 1
    while _owner(session, candidate) is not None:
        n += 1
        candidate = f"{name} ({n})"
    return candidate


def insert_config(
    session: Session,
    name: str,
    description: str | None,
    document: SpecDocument,
    kind: ChangeKind,
    summary: str | None,
) -> Row:
    _require_free(session, name, None)
    config_id, now = new_id(), now_us()
    session.run(
        "INSERT INTO conversion_configs (id, name, normalized_name, description, metadata, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (config_id, name, normalized(name), description, _metadata(document, {}), now, now),
    )
    sha256 = store_blob(session, stored_form(document), now)
    session.run(
        "INSERT INTO config_revisions (id, config_id, revision_number, change_kind, change_summary, document_sha256,"
        " document_version, created_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?)",
        (new_id(), config_id, kind, summary, sha256, VERSION, now),
    )
    return _find(session, config_id)


def _insert_revision(
    session: Session, old: ConfigState, sha256: str, version: int, kind: ChangeKind, summary: str, now: int
) -> None:
    """The revision after the newest one of ``old``."""
    session.run(
        "INSERT INTO config_revisions (id, config_id, revision_number, change_kind, change_summary, document_sha256,"
        " document_version, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (new_id(), old.id, old.revision_number + 1, kind, summary, sha256, version, now),
    )


def _metadata(document: SpecDocument | None, known: dict[str, Any]) -> str:
    """The metadata as the row keeps them, where they can be read whatever becomes of the document."""
    return to_json(to_dict(document)["metadata"] if document is not None else known)


def _renamed(old: ConfigState, name: str, description: str | None) -> list[str]:
    said = [f"renamed from {old.name} to {name}"] if name != old.name else []
    if description != old.description:
        said.append("description taken away" if description is None else "description changed")
    return said


def _rewritten(old: SpecDocument | None, new: SpecDocument | None, change: ConfigChange) -> list[str]:
    """What is different between two documents, in words."""
    if new is None:
        return []
    origin = f" from revision {change.restore_revision}" if change.restore_revision is not None else ""
    if old is None:
        return [f"spec and metadata repaired{origin}"]
    if stored_form(old) == stored_form(new):
        return []
    before, after = to_dict(old), to_dict(new)
    members = [name for name in after["spec"] if _text(before["spec"][name]) != _text(after["spec"][name])]
    said = [f"spec changed{origin}: {', '.join(members)}"] if members else []
    if _text(before["metadata"]) != _text(after["metadata"]):
        said.append(f"metadata changed{origin}")
    return said


def _text(value: Any) -> str:
    return to_json({"value": value})

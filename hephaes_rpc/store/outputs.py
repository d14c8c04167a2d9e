"""Published files and whether they are still there."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

import mimetypes
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import attrs
from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.conversions import OutputDetail, OutputRole, OutputSummary
from hephaes_rpc.store.blobs import store_blob
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.finished import note_finished
from hephaes_rpc.store.leases import Lease
from hephaes_rpc.store.pages import DEFAULT_LIMIT, FEW, Listing, Order, Page, Route, Way, Where, count
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import folded, from_json, new_id, now_us, to_json, to_time

MANIFEST_SUFFIX = ".manifest.json"
REPORT_SUFFIX = ".report.md"

_KINDS: tuple[tuple[str, str, OutputRole, str | None], ...] = (
    (MANIFEST_SUFFIX, "json", "manifest", "application/json"),
    (REPORT_SUFFIX, "md", "report", "text/markdown"),
    (".features.py", "py", "sidecar", "text/x-python"),
    (".parquet", "parquet", "dataset", "application/x-parquet"),
    (".tfrecord", "tfrecord", "dataset", "application/octet-stream"),
    (".jsonl", "jsonl", "sidecar", "application/x-ndjson"),
    (".json", "json", "sidecar", "application/json"),
)
_MEDIA_TYPES = mimetypes.MimeTypes(filenames=())

_COLUMNS = (
    "o.id, o.conversion_id, o.job_id,"
    " (SELECT json_group_array(x.asset_id ORDER BY x.position) FROM output_assets x WHERE x.output_id = o.id),"
    " o.relative_path, o.file_name, o.format, o.role, o.media_type, o.size_bytes, o.availability_status, b.data,"
    " o.created_at, o.updated_at, o.path"
)
_BLOBS = "LEFT JOIN blobs b ON b.sha256 = o.manifest_sha256"
_SOURCE = f"outputs o {_BLOBS}"
_OF_ASSET = (
    "(SELECT DISTINCT output_id FROM output_assets WHERE asset_id = :asset) x"
    " CROSS JOIN outputs o ON o.id = x.output_id"
)
_ORDERS = {"created_at": "outputs_by_creation", "file_name": "outputs_by_name", "size_bytes": "outputs_by_size"}

LISTING = Listing(
    name="outputs",
    columns=_COLUMNS,
    source=_SOURCE,
    id="o.id",
    sorts={"created_at": ("o.created_at",), "file_name": ("o.file_name",), "size_bytes": ("o.size_bytes",)},
    default="-created_at",
)


@frozen(kw_only=True)
class OutputFilters:
    """Which outputs; all conditions must hold.

    Args:
        search: Part of name, relative path, format, role or conversion id, whatever the case.
        format: Exactly, whatever the case; likewise ``role`` and ``availability``.
    """

    search: str | None = None
    format: str | None = None
    role: str | None = None
    availability: str | None = None
    asset_id: str | None = None
    conversion_id: str | None = None


class Outputs:
    """The outputs of one workspace."""

    def __init__(self, db: Database, places: Places) -> None:
        self._db = db
        self._places = places

    def publish(
        self,
        conversion_id: str,
        job_id: str,
        asset_ids: Sequence[str],
        files: Iterable[Mapping[str, Any]],
        manifests: Mapping[str, Any] | None = None,
        *,
        lease: Lease | None = None,
        key: str | None = None,
    ) -> list[str]:
        """Make finished files visible, in one transaction that survives a power cut; their ids in order.

        A path that is known keeps its id and its time of creation.

        Args:
            conversion_id: The conversion that wrote them.
            job_id: The job that wrote them.
            asset_ids: The assets they were made from.
            files: ``path`` (absolute), ``size_bytes`` and, where known, ``rows``, ``sha256``, ``role``, ``format``.
            manifests: Path of a manifest file -> its content; read from the file where it is not given.
            lease: Raise LeaseLostError, and publish nothing, unless it is still held.
            key: Of all that decides the bytes of the files of the one asset; remembered with them.
        """
        files = list(files)
        contents = _manifests([file["path"] for file in files], manifests or {})
        now = now_us()
        with self._db.write("outputs", durable=True) as session:
            if lease is not None:
                lease.hold(session)
            folder = session.value("SELECT output_path FROM conversions WHERE id = ?", (conversion_id,))
            if folder is None:
                message = f"no conversion has the id {conversion_id}"
                raise HephaesError("conversion_not_found", message, conversion_id=conversion_id)
            blobs = {path: store_blob(session, to_json(content).encode(), now) for path, content in contents.items()}
            ids = []
            for file in files:
                path = PurePath(file["path"])
                manifest = _manifest_of(path, blobs)
                relative = _relative(path, PurePath(self._places.absolute(folder)))
                ids.append(self._upsert(session, conversion_id, job_id, file, relative, manifest, now))
            session.run(
                "DELETE FROM output_assets WHERE output_id IN (SELECT value FROM json_each(?))", (to_json(ids),)
            )
            session.many(
                "INSERT INTO output_assets (output_id, position, asset_id) VALUES (?, ?, ?)",
                [(output_id, position, asset_id) for output_id in ids for position, asset_id in enumerate(asset_ids)],
            )
            if key is not None:
                note_finished(session, self._places, conversion_id, asset_ids[0], key, files)
        return ids

    def _upsert(
        self,
        session: Session,
        conversion_id: str,
        job_id: str,
        file: Mapping[str, Any],
        relative: str,
        manifest: str | None,
        now: int,
    ) -> str:
        name = PurePath(file["path"]).name
        file_format, role, media_type = classify(name)
        file_format, role = file.get("format") or file_format, file.get("role") or role
        fields = {
            "id": new_id(),
            "conversion_id": conversion_id,
            "job_id": job_id,
            "path": self._places.stored(file["path"]),
            "relative_path": relative,
            "file_name": name,
            "format": file_format,
            "role": role,
            "media_type": media_type,
            "size_bytes": file["size_bytes"],
            "row_count": file.get("rows") or 0,
            "sha256": file.get("sha256"),
            "availability_status": "ready",
            "manifest_sha256": manifest if role in ("dataset", "manifest", "report") else None,
            "search_text": folded(f"{name} {relative} {file_format} {role} {conversion_id}"),
            "created_at": now,
            "updated_at": now,
        }
        kept = ("id", "path", "created_at")
        output_id: str = session.value(
            f"INSERT INTO outputs ({', '.join(fields)}) VALUES ({', '.join(f':{name}' for name in fields)})"
            " ON CONFLICT (path) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in fields if name not in kept)
            + " RETURNING id",
            fields,
        )
        return output_id

    def get(self, output_id: str) -> OutputDetail:
        """One output; raises ``output_not_found``."""
        with self._db.read() as session:
            row = session.one(f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE o.id = ?", (output_id,))
        if row is None:
            raise HephaesError("output_not_found", f"no output has the id {output_id}", output_id=output_id)
        return OutputDetail(**attrs.asdict(_summary(row), recurse=False), file_path=self._places.absolute(row[-1]))

    def row_count(self, output_id: str) -> int | None:
        """Rows of a dataset as they were counted when it was published; None where they were not."""
        with self._db.read() as session:
            found: int | None = session.value("SELECT nullif(row_count, 0) FROM outputs WHERE id = ?", (output_id,))
        return found

    def refresh(self, conversion_id: str | None = None) -> list[str]:
        """Note which files (of a conversion, or all) are gone, back or of another size; the ids of the changed ones."""
        with self._db.read() as session:
            rows = session.all(
                "SELECT id, path, size_bytes, availability_status FROM outputs WHERE ?1 IS NULL OR conversion_id = ?1",
                (conversion_id,),
            )
        changes = []
        for output_id, path, size_bytes, availability in rows:
            found = _size(Path(self._places.absolute(path)))
            now_available = "missing" if found is None else "ready"
            if (found or 0, now_available) != (size_bytes, availability):
                changes.append((found or 0, now_available, output_id, size_bytes, availability))
        if not changes:
            return []
        now = now_us()
        changed = []
        with self._db.write("outputs") as session:
            for size_bytes, availability, output_id, *seen in changes:
                if session.run(
                    "UPDATE outputs SET size_bytes = ?, availability_status = ?, updated_at = ?"
                    " WHERE id = ? AND size_bytes = ? AND availability_status = ?",
                    (size_bytes, availability, now, output_id, *seen),
                ):
                    changed.append(output_id)
        return changed

    def list(
        self,
        filters: OutputFilters | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        sort: str | None = None,
    ) -> Page[OutputSummary]:
        """A page of outputs, the newest first unless sorted otherwise."""
        filters = filters or OutputFilters()
        where = Where()
        where.add("o.format = lower(?)", filters.format)
        where.add("o.role = lower(?)", filters.role)
        where.add("o.availability_status = lower(?)", filters.availability)
        traits = tuple(where.conditions)
        if filters.search:
            where.add("instr(o.search_text, ?)", folded(filters.search))
        with self._db.read() as session:

            def route(order: Order) -> Route | None:
                """A conversion or an asset leads to few outputs; dense traits are walked in the order of the list."""
                if filters.conversion_id is not None or filters.asset_id is not None:
                    return self._of(filters, where)
                if not traits:
                    return None
                found = Way(f"outputs o INDEXED BY {_leading(filters)}", traits, "")
                conditions = tuple(where.conditions)
                if count(session, found, where.bindings, FEW + 1) <= FEW:
                    page = Way(found.source, conditions, "", is_sorted=True)
                else:
                    page = Way(f"outputs o INDEXED BY {_ORDERS[order.sort]} {_BLOBS}", conditions, "")
                return Route(page, Way(found.source, conditions, ""))

            return LISTING.page(
                session,
                filters,
                where,
                lambda rows: [_summary(row) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
                route=route,
            )

    def _of(self, filters: OutputFilters, where: Where) -> Route:
        """The outputs of a conversion, of an asset, or of both."""
        where.bindings |= {"conversion": filters.conversion_id, "asset": filters.asset_id}
        conditions = list(where.conditions)
        if filters.conversion_id is None:
            source = _OF_ASSET
        else:
            source = "outputs o INDEXED BY outputs_by_conversion"
            conditions.append("o.conversion_id = :conversion")
            if filters.asset_id is not None:
                conditions.append(
                    "EXISTS (SELECT 1 FROM output_assets x WHERE x.output_id = o.id AND x.asset_id = :asset)"
                )
        way = Way(f"{source} {_BLOBS}", tuple(conditions), "")
        return Route(way, way)


def _leading(filters: OutputFilters) -> str:
    """The index that holds the traits that are asked for."""
    if filters.format is not None:
        return "outputs_by_traits" if filters.role is not None else "outputs_by_format_and_availability"
    return "outputs_by_availability" if filters.role is None else "outputs_by_role_and_availability"


def classify(file_name: str) -> tuple[str, OutputRole, str | None]:
    """Format, role and media type that a file name stands for."""
    for suffix, file_format, role, media_type in _KINDS:
        if file_name.endswith(suffix):
            return file_format, role, media_type
    extension = PurePath(file_name).suffix.removeprefix(".").lower()
    return extension or "unknown", "sidecar", _MEDIA_TYPES.guess_type(file_name)[0]


def _manifests(paths: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The content of every manifest among the files; one that cannot be read is left out."""
    contents = {}
    for path in paths:
        if not path.endswith(MANIFEST_SUFFIX):
            continue
        content = given.get(path)
        if content is None:
            try:
                content = from_json(Path(path).read_bytes())
            except (OSError, ValueError):
                continue
        if isinstance(content, dict):
            contents[path] = content
    return contents


def _manifest_of(path: PurePath, blobs: Mapping[str, str]) -> str | None:
    """The manifest that is, or stands beside, a file."""
    stems = (path.name, path.name.removesuffix(path.suffix), path.name.removesuffix(REPORT_SUFFIX))
    candidates = (path, *(path.with_name(stem + MANIFEST_SUFFIX) for stem in stems))
    return next((blobs[str(each)] for each in candidates if str(each) in blobs), None)


def _relative(path: PurePath, folder: PurePath) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _size(path: Path) -> int | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _metadata(role: OutputRole, manifest: bytes | None) -> dict[str, Any]:
    """What is known of a file's content; the payload block is lifted to where clients look for it."""
    if manifest is None:
        return {}
    content = from_json(manifest)
    if role == "report":
        return {"report": _report_summary(content)}
    conversion = content.get("conversion")
    if isinstance(conversion, dict) and "payload_representation" in conversion:
        content.setdefault("payload_representation", conversion["payload_representation"])
    return {"manifest": content}


def _report_summary(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a report says at its beginning and at its end."""
    sections = {name: manifest.get(name) or {} for name in ("dataset", "source", "temporal")}
    return {
        "episode_id": manifest.get("episode_id"),
        "dataset": sections["dataset"].get("path"),
        "rows_written": sections["dataset"].get("rows_written"),
        "source": sections["source"].get("path"),
        "duration_seconds": sections["temporal"].get("duration_seconds"),
        "message_count": sections["temporal"].get("message_count"),
        "warnings": (sections["source"].get("source_metadata") or {}).get("warnings") or [],
    }


def _summary(row: Row) -> OutputSummary:
    (output_id, conversion_id, job_id, asset_ids, relative, name, file_format, role, media_type, size, *rest) = row
    availability, manifest, created_at, updated_at, _path = rest
    return OutputSummary(
        id=output_id,
        conversion_id=conversion_id,
        job_id=job_id,
        asset_ids=from_json(asset_ids),
        relative_path=relative,
        file_name=name,
        format=file_format,
        role=role,
        media_type=media_type,
        size_bytes=size,
        availability_status=availability,
        metadata=_metadata(role, manifest),
        content_url=f"/outputs/{output_id}/content",
        created_at=to_time(created_at),
        updated_at=to_time(updated_at),
    )

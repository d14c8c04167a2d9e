"""Registered logs and what indexing found in them."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.assets import Asset, AssetDetail, AssetListItem, AssetMetadata, Episode, TopicSummary
from hephaes_rpc.model.quality import Quality
from hephaes_rpc.model.workspaces import Tag
from hephaes_rpc.store.assetmemory import AssetMemory
from hephaes_rpc.store.assetsearch import NUMBER, ROOT_MARK, AssetFilters, AssetSearch
from hephaes_rpc.store.conversions import conversions_of_asset
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.findings import basis_of, quality_of, save_quality, severity_of
from hephaes_rpc.store.jobrows import jobs_of_asset
from hephaes_rpc.store.leases import Lease
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Order, Page, Route, Where
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.tags import tags_of
from hephaes_rpc.store.values import (
    folded,
    from_json,
    new_id,
    now_us,
    ns_to_time,
    to_json,
    to_time,
)

RELATED = 10

_COLUMNS = (
    "a.id, a.file_path, a.file_name, a.file_type, a.file_size, a.registered_at, a.indexing_status, a.last_indexed_at,"
    " (SELECT b.id FROM assets b WHERE b.fingerprint = a.fingerprint AND b.registered_at < a.registered_at"
    " ORDER BY b.registered_at LIMIT 1), a.score, a.severity"
)
_FOUND = ("end_ns", "message_count", "topic_count", "sensor_types", "topics", "default_episode", "raw_metadata")
_METADATA = (
    "a.duration, a.start_ns, m.end_ns, m.message_count, m.topic_count, m.sensor_types, m.topics, m.default_episode,"
    " m.raw_metadata, m.indexing_error"
)

LISTING = Listing(
    name="assets",
    columns=_COLUMNS,
    source="assets a",
    id="a.id",
    sorts={
        "registered_time": (NUMBER,),
        "last_indexed_time": ("a.index_order",),
        "file_name": ("a.file_name",),
        "file_size": ("a.file_size",),
    },
    default="-registered_time",
    number=NUMBER,
)

Fingerprint = Callable[[Path], str | None]


class Assets:
    """The assets of one workspace; every time and path given to it is absolute.

    Attributes:
        memory: What is kept of them while they are many.
    """

    def __init__(self, db: Database, places: Places) -> None:
        self._db = db
        self._places = places
        self.memory = AssetMemory(db, places.prefix)

    def register(self, path: Path, size_bytes: int, mtime_ns: int, fingerprint: Fingerprint = lambda _: None) -> Asset:
        """A new pending asset; raises ``asset_already_registered``."""
        (asset,) = self.register_many([(path, size_bytes, mtime_ns)], fingerprint)
        if isinstance(asset, HephaesError):
            raise asset
        return asset

    def register_many(
        self, files: Iterable[tuple[Path, int, int]], fingerprint: Fingerprint = lambda _: None
    ) -> list[Asset | HephaesError]:
        """Register (path, size in bytes, mtime in ns) each, in one transaction; a refusal is returned in its place.

        An asset whose file is gone and has the size and the fingerprint of a new one is found again: it keeps its id
        and all that is known of it.  A registered file that has changed is to be indexed again.
        """
        files = list(files)
        fingerprints = self._fingerprints(files, fingerprint)
        with self._db.write("assets") as session:
            return [self._register(session, *file, known) for file, known in zip(files, fingerprints, strict=True)]

    def _fingerprints(self, files: Sequence[tuple[Path, int, int]], fingerprint: Fingerprint) -> list[str | None]:
        """The fingerprints of new files that have the size of a file that has been indexed."""
        with self._db.read() as session:
            sizes = session.all(
                "SELECT DISTINCT file_size FROM assets INDEXED BY assets_by_size"
                " WHERE file_size IN (SELECT value FROM json_each(?)) AND fingerprint IS NOT NULL",
                (to_json([size for _, size, _ in files]),),
            )
        known = {size for (size,) in sizes}
        return [fingerprint(path) if size in known else None for path, size, _ in files]

    def _register(
        self, session: Session, path: Path, size_bytes: int, mtime_ns: int, fingerprint: str | None
    ) -> Asset | HephaesError:
        try:
            stored = self._places.stored(path)
        except HephaesError as error:
            return error
        known = session.value("SELECT id FROM assets WHERE file_path = ?", (stored,))
        if known is not None:
            return _already_registered(path, known, self._note_change(session, known, size_bytes, mtime_ns))
        moved = fingerprint and self._moved(session, fingerprint)
        names = (stored, path.name, file_type_of(path), search_text_of(path, stored))
        if moved:
            session.run(
                "UPDATE assets SET file_path = ?, file_name = ?, file_type = ?, search_text = ?, mtime_ns = ?"
                " WHERE id = ?",
                (*names, mtime_ns, moved),
            )
            return self._get(session, moved)
        asset_id = new_id()
        session.run(
            "INSERT INTO assets (file_path, file_name, file_type, search_text, id, file_size, mtime_ns, fingerprint,"
            " registered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?,"
            " max(?, coalesce((SELECT max(registered_at) + 1 FROM assets), 0)))",
            (*names, asset_id, size_bytes, mtime_ns, fingerprint, now_us()),
        )
        return self._get(session, asset_id)

    def _moved(self, session: Session, fingerprint: str) -> str | None:
        """The asset with that fingerprint whose file is gone, if there is just one."""
        rows = session.all("SELECT id, file_path FROM assets WHERE fingerprint = ?", (fingerprint,))
        gone = [asset_id for asset_id, path in rows if not os.path.lexists(self._places.absolute(path))]
        return gone[0] if len(gone) == 1 else None

    def _note_change(self, session: Session, asset_id: str, size_bytes: int, mtime_ns: int) -> bool:
        """Whether a file is another than when it was indexed; it is pending then."""
        return bool(
            session.value(
                "UPDATE assets SET file_size = ?1, mtime_ns = ?2, is_stale = last_indexed_at IS NOT NULL,"
                " indexing_status = iif(indexing_status = 'indexing', 'indexing', 'pending')"
                " WHERE id = ?3 AND (file_size <> ?1 OR mtime_ns <> ?2) RETURNING is_stale",
                (size_bytes, mtime_ns, asset_id),
            )
        )

    def get(self, asset_id: str) -> Asset:
        """One asset; raises ``asset_not_found``."""
        with self._db.read() as session:
            return self._get(session, asset_id)

    def by_path(self, path: Path) -> Asset | None:
        """The asset registered under a path."""
        with self._db.read() as session:
            row = session.one(f"SELECT {_COLUMNS} FROM assets a WHERE file_path = ?", (self._places.stored(path),))
        return self._asset(row) if row else None

    def detail(self, asset_id: str) -> AssetDetail:
        """An asset with all that is known of it: seven statements."""
        with self._db.read() as session:
            return AssetDetail(
                asset=self._get(session, asset_id),
                metadata=_metadata(session, asset_id),
                quality=quality_of(session, asset_id),
                tags=tags_of(session, [asset_id])[asset_id],
                related_jobs=jobs_of_asset(session, self._places, asset_id, RELATED),
                conversions=conversions_of_asset(session, self._places, asset_id, RELATED),
            )

    def metadata(self, asset_id: str) -> AssetMetadata | None:
        """What indexing found; None until the first attempt has ended."""
        with self._db.read() as session:
            return _metadata(session, asset_id)

    def to_index(self) -> list[Asset]:
        """Pending, failed and never indexed assets, the oldest registration first."""
        with self._db.read() as session:
            rows = session.all(
                f"SELECT {_COLUMNS} FROM assets a"
                " WHERE indexing_status IN ('pending', 'failed') OR last_indexed_at IS NULL"
                " ORDER BY registered_at"
            )
        return [self._asset(row) for row in rows]

    def mark_indexing(self, asset_id: str) -> Asset:
        """Indexing has begun; raises ``asset_not_found``."""
        with self._db.write("assets") as session:
            return self._update(session, asset_id, "indexing_status = 'indexing'", ())

    def save_metadata(
        self,
        asset_id: str,
        metadata: AssetMetadata,
        file_size: int,
        mtime_ns: int,
        fingerprint: str | None = None,
        lease: Lease | None = None,
        quality: Quality | None = None,
    ) -> Asset:
        """Indexing has succeeded on a file of that size, mtime and fingerprint; raises ``asset_not_found``.

        What the messages of this very file have told of its quality stays; otherwise ``quality`` is what is known.

        With a lease it also raises LeaseLostError, and then nothing is stored.
        """
        now = now_us()
        with self._db.write("assets") as session:
            if lease is not None:
                lease.hold(session)
            same_file = (file_size, mtime_ns, fingerprint)
            before = session.one("SELECT file_size, mtime_ns, fingerprint FROM assets WHERE id = ?", (asset_id,))
            asset = self._update(
                session,
                asset_id,
                "indexing_status = 'indexed', is_stale = 0, last_indexed_at = ?, file_size = ?, mtime_ns = ?,"
                " fingerprint = ?, duration = ?, start_ns = ?",
                (now, file_size, mtime_ns, fingerprint, metadata.duration, metadata.start_ns),
            )
            session.run(
                f"INSERT INTO asset_metadata (asset_id, {', '.join(_FOUND)}, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (asset_id) DO UPDATE SET indexing_error = NULL,"
                f" updated_at = excluded.updated_at, {', '.join(f'{name} = excluded.{name}' for name in _FOUND)}",
                (
                    asset_id,
                    metadata.end_ns,
                    metadata.message_count,
                    metadata.topic_count,
                    to_json(metadata.sensor_types),
                    to_json(metadata.topics),
                    to_json(metadata.default_episode),
                    to_json(metadata.raw_metadata),
                    now,
                    now,
                ),
            )
            if quality is not None and not (before == same_file and basis_of(session, asset_id) == "messages"):
                save_quality(session, asset_id, quality)
            return asset

    def save_quality(self, asset_id: str, quality: Quality, file_size: int, mtime_ns: int, lease: Lease) -> bool:
        """Store what the messages of a file have told; whether that is still the file that was indexed.

        Raises LeaseLostError, and then nothing is stored.
        """
        with self._db.write("assets") as session:
            lease.hold(session)
            indexed = session.one(
                "SELECT 1 FROM assets WHERE id = ? AND indexing_status = 'indexed' AND file_size = ? AND mtime_ns = ?",
                (asset_id, file_size, mtime_ns),
            )
            if indexed is not None:
                save_quality(session, asset_id, quality)
            return indexed is not None

    def quality(self, asset_id: str) -> Quality | None:
        """What is known of the quality of an asset; None before it was indexed, and where it has changed since."""
        with self._db.read() as session:
            if not session.value("SELECT indexing_status = 'indexed' FROM assets WHERE id = ?", (asset_id,)):
                return None
            return quality_of(session, asset_id)

    def save_failure(self, asset_id: str, message: str) -> Asset:
        """Indexing has failed; what an earlier one found is kept; raises ``asset_not_found``."""
        now = now_us()
        with self._db.write("assets") as session:
            asset = self._update(session, asset_id, "indexing_status = 'failed'", ())
            session.run(
                "INSERT INTO asset_metadata (asset_id, indexing_error, created_at, updated_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (asset_id) DO UPDATE"
                " SET indexing_error = excluded.indexing_error, updated_at = excluded.updated_at",
                (asset_id, message, now, now),
            )
            return asset

    def restore_status(self, asset_id: str) -> Asset | None:
        """Indexing has stopped without a result: indexed again if it ever was, else pending; None if it was not on."""
        with self._db.write("assets") as session:
            restored = session.run(
                "UPDATE assets SET indexing_status = iif(last_indexed_at IS NULL OR is_stale, 'pending', 'indexed')"
                " WHERE id = ? AND indexing_status = 'indexing'",
                (asset_id,),
            )
            return self._get(session, asset_id) if restored else None

    def _get(self, session: Session, asset_id: str) -> Asset:
        row = session.one(f"SELECT {_COLUMNS} FROM assets a WHERE id = ?", (asset_id,))
        if row is None:
            raise asset_not_found(asset_id)
        return self._asset(row)

    def _update(self, session: Session, asset_id: str, assignments: str, values: tuple[Any, ...]) -> Asset:
        session.run(f"UPDATE assets SET {assignments} WHERE id = ?", (*values, asset_id))
        return self._get(session, asset_id)

    def _asset(self, row: Row) -> Asset:
        asset_id, path, name, file_type, size, registered_at, status, indexed_at, original, *_ = row
        return Asset(
            id=asset_id,
            file_path=self._places.absolute(path),
            file_name=name,
            file_type=file_type,
            file_size=size,
            registered_time=to_time(registered_at),
            indexing_status=status,
            last_indexed_time=to_time(indexed_at),
            duplicate_of=original,
        )

    def _item(self, row: Row, tags: list[Tag]) -> AssetListItem:
        *_, score, severity = row
        asset = attrs.asdict(self._asset(row), recurse=False)
        return AssetListItem(**asset, tags=tags, score=score, severity=severity_of(severity))

    def list(
        self,
        filters: AssetFilters | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        sort: str | None = None,
    ) -> Page[AssetListItem]:
        """A page of assets, the latest registration first unless sorted otherwise."""
        filters = filters or AssetFilters()
        with self._db.read() as session:

            def items(rows: list[Row]) -> list[AssetListItem]:
                tags = tags_of(session, [row[0] for row in rows])
                return [self._item(row, tags[row[0]]) for row in rows]

            def route(order: Order) -> Route | None:
                found = self.memory.find(session, filters, order) if filters != AssetFilters() else None
                return search.chosen(*found) if found else search.route(session, order.sort)

            search = AssetSearch(filters, self._places.prefix)
            where = Where()
            where.bindings = search.bindings
            return LISTING.page(
                session,
                filters,
                where,
                items,
                limit=limit,
                cursor=cursor,
                sort=sort,
                route=route,
            )


def asset_not_found(asset_id: str) -> HephaesError:
    """The error for an unknown asset."""
    return HephaesError("asset_not_found", f"no asset has the id {asset_id}", asset_id=asset_id)


def _metadata(session: Session, asset_id: str) -> AssetMetadata | None:
    row = session.one(
        f"SELECT {_METADATA} FROM asset_metadata m JOIN assets a ON a.id = m.asset_id WHERE m.asset_id = ?", (asset_id,)
    )
    if row is None:
        return None
    duration, start_ns, end_ns, messages, n_topics, sensors, topics, episode, raw, error = row
    return AssetMetadata(
        duration=duration,
        start_time=ns_to_time(start_ns),
        end_time=ns_to_time(end_ns),
        start_ns=start_ns,
        end_ns=end_ns,
        message_count=messages,
        topic_count=n_topics,
        sensor_types=from_json(sensors),
        topics=[TopicSummary(**topic) for topic in from_json(topics)],
        default_episode=None if episode is None else Episode(**from_json(episode)),
        raw_metadata=from_json(raw),
        indexing_error=error,
    )


def _already_registered(path: Path, asset_id: str, has_changed: bool) -> HephaesError:
    message = f"{path} is already registered in this workspace"
    if has_changed:
        message += "; it has changed and is to be indexed again"
    error = HephaesError("asset_already_registered", message, asset_id=asset_id, file_path=str(path))
    if has_changed:
        error.data["has_changed"] = True
    return error


def file_type_of(path: Path) -> str:
    """The type of a log: the last extension, lower case."""
    """The suffix without that of packing; a name without one is the folder of a recording."""
    suffixes = [suffix for suffix in path.name.lower().split(".")[1:] if suffix not in ("zstd", "zst")]
    return suffixes[-1] if suffixes else "rosbag2"


def search_text_of(path: Path, stored: str) -> str:
    """What a log at a path, stored as ``stored``, is found by."""
    marked = stored if Path(stored).is_absolute() else ROOT_MARK + stored
    return folded(f"{path.name} {file_type_of(path)} {marked}")


__all__ = ["LISTING", "AssetFilters", "Assets", "asset_not_found", "file_type_of", "search_text_of"]

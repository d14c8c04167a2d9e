"""Registered logs and what indexing found in them."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import attrs
from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model import (
    Asset,
    AssetDetail,
    AssetListItem,
    AssetMetadata,
    Episode,
    IndexingStatus,
    TopicSummary,
)
from hephaes_rpc.store.conversions import conversions_of_asset
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.jobs import jobs_of_asset
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Page, Where
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.tags import tags_of
from hephaes_rpc.store.values import (
    folded,
    from_json,
    new_id,
    normalized,
    now_us,
    ns_to_time,
    to_json,
    to_time,
    to_us,
)

RELATED = 10
ROOT_MARK = "\x01"
"""Stands for the root in ``search_text``, so that the text stays right when the workspace moves."""

_COLUMNS = (
    "a.id, a.file_path, a.file_name, a.file_type, a.file_size, a.registered_at, a.indexing_status, a.last_indexed_at"
)
_RETURNING = _COLUMNS.replace("a.", "")
_METADATA = (
    "duration, start_ns, end_ns, message_count, topic_count, sensor_types, topics, default_episode, raw_metadata,"
    " indexing_error"
)

LISTING = Listing(
    name="assets",
    columns=_COLUMNS,
    source="assets a",
    id="a.id",
    sorts={
        "registered_time": ("a.registered_at",),
        "last_indexed_time": ("a.index_order",),
        "file_name": ("a.file_name",),
        "file_size": ("a.file_size",),
    },
    default="-registered_time",
)


@frozen(kw_only=True)
class AssetFilters:
    """Which assets; all conditions must hold, bounds are inclusive.

    Args:
        search: Part of name, type or path, whatever the case.
        tag: Id or name of a tag; an unknown one finds nothing.
        type: File type, whatever the case.
        min_duration: Seconds; assets without a known duration are left out, likewise for the start.
    """

    search: str | None = None
    tag: str | None = None
    type: str | None = None
    status: IndexingStatus | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    start_after: datetime | None = None
    start_before: datetime | None = None
    min_size_bytes: int | None = None
    max_size_bytes: int | None = None
    registered_after: datetime | None = None
    registered_before: datetime | None = None


class Assets:
    """The assets of one workspace; every time and path given to it is absolute."""

    def __init__(self, db: Database, places: Places) -> None:
        self._db = db
        self._places = places

    def register(self, path: Path, size_bytes: int, mtime_ns: int) -> Asset:
        """A new pending asset; raises ``asset_already_registered``."""
        (asset,) = self.register_many([(path, size_bytes, mtime_ns)])
        if isinstance(asset, HephaesError):
            raise asset
        return asset

    def register_many(self, files: Iterable[tuple[Path, int, int]]) -> list[Asset | HephaesError]:
        """Register (path, size in bytes, mtime in ns) each, in one transaction; a refusal is returned in its place."""
        now = now_us()
        with self._db.write() as session:
            return [self._register(session, path, size_bytes, mtime_ns, now) for path, size_bytes, mtime_ns in files]

    def _register(self, session: Session, path: Path, size_bytes: int, mtime_ns: int, now: int) -> Asset | HephaesError:
        try:
            stored = self._places.stored(path)
        except HephaesError as error:
            return error
        file_type = path.suffix.removeprefix(".").lower()
        marked = stored if Path(stored).is_absolute() else ROOT_MARK + stored
        row = session.one(
            "INSERT INTO assets (id, file_path, file_name, file_type, file_size, mtime_ns, registered_at, search_text)"
            f" VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_path) DO NOTHING RETURNING {_RETURNING}",
            (
                new_id(),
                stored,
                path.name,
                file_type,
                size_bytes,
                mtime_ns,
                now,
                folded(f"{path.name} {file_type} {marked}"),
            ),
        )
        if row is not None:
            return self._asset(row)
        asset_id = session.value("SELECT id FROM assets WHERE file_path = ?", (stored,))
        message = f"{path} is already registered in this workspace"
        return HephaesError("asset_already_registered", message, asset_id=asset_id, file_path=str(path))

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
        """An asset with all that is known of it: five statements."""
        with self._db.read() as session:
            return AssetDetail(
                asset=self._get(session, asset_id),
                metadata=_metadata(session, asset_id),
                tags=tags_of(session, [asset_id])[asset_id],
                related_jobs=jobs_of_asset(session, self._places, asset_id, RELATED),
                conversions=conversions_of_asset(session, self._places, asset_id, RELATED),
            )

    def metadata(self, asset_id: str) -> AssetMetadata | None:
        """What indexing found; None until the first attempt has ended."""
        with self._db.read() as session:
            return _metadata(session, asset_id)

    def _where(self, filters: AssetFilters) -> Where:
        where = Where()
        if filters.search:
            where.add("instr(replace(a.search_text, char(1), :root), ?)", folded(filters.search))
            where.bindings["root"] = folded(self._places.prefix)
        if filters.tag is not None:
            where.add(
                "a.id IN (SELECT x.asset_id FROM asset_tags x JOIN tags t ON t.id = x.tag_id"
                " WHERE t.id = lower(trim(?)) UNION"
                " SELECT x.asset_id FROM asset_tags x JOIN tags t ON t.id = x.tag_id WHERE t.normalized_name = :tag)",
                filters.tag,
            )
            where.bindings["tag"] = normalized(filters.tag)
        where.add("a.file_type = lower(?)", filters.type)
        where.add("a.indexing_status = ?", filters.status)
        in_metadata = "a.id IN (SELECT asset_id FROM asset_metadata WHERE {})"
        where.add(in_metadata.format("duration >= ?"), filters.min_duration)
        where.add(in_metadata.format("duration <= ?"), filters.max_duration)
        where.add(in_metadata.format("start_ns >= ?"), _ns(filters.start_after))
        where.add(in_metadata.format("start_ns < ? + 1000"), _ns(filters.start_before))
        where.add("a.file_size >= ?", filters.min_size_bytes)
        where.add("a.file_size <= ?", filters.max_size_bytes)
        where.add("a.registered_at >= ?", _us(filters.registered_after))
        where.add("a.registered_at <= ?", _us(filters.registered_before))
        return where

    def to_index(self) -> list[Asset]:
        """Pending, failed and never indexed assets, the oldest registration first."""
        with self._db.read() as session:
            rows = session.all(
                f"SELECT {_COLUMNS} FROM assets a"
                " WHERE indexing_status IN ('pending', 'failed') OR last_indexed_at IS NULL"
                " ORDER BY registered_at, id"
            )
        return [self._asset(row) for row in rows]

    def mark_indexing(self, asset_id: str) -> Asset:
        """Indexing has begun; raises ``asset_not_found``."""
        with self._db.write() as session:
            return self._update(session, asset_id, "indexing_status = 'indexing'", ())

    def save_metadata(self, asset_id: str, metadata: AssetMetadata, file_size: int, mtime_ns: int) -> Asset:
        """Indexing has succeeded on a file of that size and mtime; raises ``asset_not_found``."""
        now = now_us()
        with self._db.write() as session:
            asset = self._update(
                session,
                asset_id,
                "indexing_status = 'indexed', last_indexed_at = ?, file_size = ?, mtime_ns = ?",
                (now, file_size, mtime_ns),
            )
            session.run(
                f"INSERT OR REPLACE INTO asset_metadata (asset_id, {_METADATA}, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL,"
                " coalesce((SELECT created_at FROM asset_metadata WHERE asset_id = ?), ?), ?)",
                (
                    asset_id,
                    metadata.duration,
                    metadata.start_ns,
                    metadata.end_ns,
                    metadata.message_count,
                    metadata.topic_count,
                    to_json(metadata.sensor_types),
                    to_json(metadata.topics),
                    to_json(metadata.default_episode),
                    to_json(metadata.raw_metadata),
                    asset_id,
                    now,
                    now,
                ),
            )
            return asset

    def save_failure(self, asset_id: str, message: str) -> Asset:
        """Indexing has failed; what an earlier one found is kept; raises ``asset_not_found``."""
        now = now_us()
        with self._db.write() as session:
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
        with self._db.write() as session:
            row = session.one(
                "UPDATE assets SET indexing_status = iif(last_indexed_at IS NULL, 'pending', 'indexed')"
                f" WHERE id = ? AND indexing_status = 'indexing' RETURNING {_RETURNING}",
                (asset_id,),
            )
        return self._asset(row) if row else None

    def _get(self, session: Session, asset_id: str) -> Asset:
        row = session.one(f"SELECT {_COLUMNS} FROM assets a WHERE id = ?", (asset_id,))
        if row is None:
            raise asset_not_found(asset_id)
        return self._asset(row)

    def _update(self, session: Session, asset_id: str, assignments: str, values: tuple[int, ...]) -> Asset:
        row = session.one(
            f"UPDATE assets SET {assignments} WHERE id = ? RETURNING {_RETURNING}",
            (*values, asset_id),
        )
        if row is None:
            raise asset_not_found(asset_id)
        return self._asset(row)

    def _asset(self, row: Row) -> Asset:
        asset_id, path, name, file_type, size, registered_at, status, indexed_at = row
        return Asset(
            id=asset_id,
            file_path=self._places.absolute(path),
            file_name=name,
            file_type=file_type,
            file_size=size,
            registered_time=to_time(registered_at),
            indexing_status=status,
            last_indexed_time=to_time(indexed_at),
        )

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
                assets = [self._asset(row) for row in rows]
                return [AssetListItem(**attrs.asdict(asset, recurse=False), tags=tags[asset.id]) for asset in assets]

            where = self._where(filters)
            return LISTING.page(session, filters, where, items, limit=limit, cursor=cursor, sort=sort)


def asset_not_found(asset_id: str) -> HephaesError:
    """The error for an unknown asset."""
    return HephaesError("asset_not_found", f"no asset has the id {asset_id}", asset_id=asset_id)


def _metadata(session: Session, asset_id: str) -> AssetMetadata | None:
    row = session.one(f"SELECT {_METADATA} FROM asset_metadata WHERE asset_id = ?", (asset_id,))
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


def _us(when: datetime | None) -> int | None:
    return None if when is None else to_us(when)


def _ns(when: datetime | None) -> int | None:
    return None if when is None else max(-(2**63), min(2**63 - 1001, to_us(when) * 1000))

"""Uploads that take several requests: what is expected, and how much has come."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from pathlib import Path

from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.db import Database, Row
from hephaes_rpc.store.values import new_id, now_us

PART = ".part"
LIFETIME_US = 24 * 3600 * 1_000_000

_COLUMNS = "id, status, file_name, file_path, size_bytes, received_bytes, sha256, asset_id"


@frozen
class Upload:
    """One upload; ``path`` is where the file will lie."""

    id: str
    status: str
    file_name: str
    path: Path
    size_bytes: int
    received_bytes: int
    sha256: str | None
    asset_id: str | None

    @property
    def part(self) -> Path:
        """Where its bytes lie until all are there."""
        return self.path.with_name(f".{self.id}{PART}")


class Uploads:
    """The uploads into one workspace."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def begin(self, file_name: str, path: Path, size_bytes: int, sha256: str | None) -> Upload:
        """A new upload that expires after a day."""
        now = now_us()
        with self._db.write() as session:
            (row,) = session.all(
                "INSERT INTO uploads (id, file_name, file_path, size_bytes, sha256, created_at, updated_at, expires_at)"
                f" VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
                (new_id(), file_name, str(path), size_bytes, sha256, now, now, now + LIFETIME_US),
            )
        return _upload(row)

    def get(self, upload_id: str) -> Upload:
        """An upload that is open or has been committed; raises ``upload_not_found``."""
        with self._db.read() as session:
            row = session.one(
                f"SELECT {_COLUMNS} FROM uploads WHERE id = ?"
                " AND (status = 'committed' OR (status = 'open' AND expires_at > ?))",
                (upload_id, now_us()),
            )
        if row is None:
            raise HephaesError("upload_not_found", f"no upload has the id {upload_id}", upload_id=upload_id)
        return _upload(row)

    def receive(self, upload_id: str, offset: int, n_bytes: int) -> bool:
        """Note ``n_bytes`` more; False when that many had not come before."""
        with self._db.write() as session:
            return bool(
                session.run(
                    "UPDATE uploads SET received_bytes = ?2 + ?3, updated_at = ?4"
                    " WHERE id = ?1 AND status = 'open' AND received_bytes = ?2",
                    (upload_id, offset, n_bytes, now_us()),
                )
            )

    def commit(self, upload_id: str, asset_id: str) -> None:
        """The upload has become an asset."""
        self._end(upload_id, "committed", asset_id)

    def abort(self, upload_id: str) -> None:
        """Nothing becomes of the upload."""
        self._end(upload_id, "aborted", None)

    def _end(self, upload_id: str, status: str, asset_id: str | None) -> None:
        with self._db.write() as session:
            session.run(
                "UPDATE uploads SET status = ?, asset_id = ?, updated_at = ? WHERE id = ? AND status = 'open'",
                (status, asset_id, now_us(), upload_id),
            )

    def expire(self) -> list[Upload]:
        """Abort what nobody has finished within its day; the uploads concerned."""
        now = now_us()
        with self._db.read() as session:
            if not session.value("SELECT count(*) FROM uploads WHERE status = 'open' AND expires_at <= ?", (now,)):
                return []
        with self._db.write() as session:
            rows = session.all(
                "UPDATE uploads SET status = 'aborted', updated_at = ?1 WHERE status = 'open' AND expires_at <= ?1"
                f" RETURNING {_COLUMNS}",
                (now,),
            )
        return [_upload(row) for row in rows]

    def open(self) -> list[Upload]:
        """What has been begun and neither committed nor aborted."""
        with self._db.read() as session:
            rows = session.all(f"SELECT {_COLUMNS} FROM uploads WHERE status = 'open'")
        return [_upload(row) for row in rows]


def _upload(row: Row) -> Upload:
    upload_id, status, file_name, path, size_bytes, received_bytes, sha256, asset_id = row
    return Upload(upload_id, status, file_name, Path(path), size_bytes, received_bytes, sha256, asset_id)

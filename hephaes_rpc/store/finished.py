"""What conversions have finished, log by log, under a key of all that decides the bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hephaes_rpc.store.db import Database, Session
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import from_json, now_us, to_json

CANDIDATES = 3
"""Earlier conversions whose files are looked at, the newest first."""


class Finished:
    """The finished parts of the conversions of one workspace."""

    def __init__(self, db: Database, places: Places) -> None:
        self._db = db
        self._places = places

    def of(self, conversion_id: str, asset_id: str) -> tuple[str, list[dict[str, Any]]] | None:
        """Key and files of a log that the conversion has finished."""
        with self._db.read() as session:
            row = session.one(
                "SELECT key, files FROM finished WHERE conversion_id = ? AND asset_id = ?", (conversion_id, asset_id)
            )
        return None if row is None else (row[0], self._files(row[1]))

    def of_others(self, conversion_id: str, asset_id: str) -> list[tuple[str, list[dict[str, Any]]]]:
        """Key and files of what other conversions have finished of the log, the newest first."""
        with self._db.read() as session:
            rows = session.all(
                "SELECT key, files FROM finished WHERE asset_id = ? AND conversion_id <> ?"
                " ORDER BY created_at DESC LIMIT ?",
                (asset_id, conversion_id, CANDIDATES),
            )
        return [(key, self._files(files)) for key, files in rows]

    def _files(self, text: str) -> list[dict[str, Any]]:
        return [{**file, "path": self._places.absolute(file["path"])} for file in from_json(text)]


def note_finished(
    session: Session,
    places: Places,
    conversion_id: str,
    asset_id: str,
    key: str,
    files: Sequence[Mapping[str, Any]],
) -> None:
    """Remember, in a transaction that is open, what the conversion has finished of a log."""
    stored = [{**file, "path": places.stored(Path(file["path"]))} for file in files]
    session.run(
        "INSERT INTO finished (conversion_id, asset_id, key, files, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (conversion_id, asset_id) DO UPDATE"
        " SET key = excluded.key, files = excluded.files, created_at = excluded.created_at",
        (conversion_id, asset_id, key, to_json(stored), now_us()),
    )

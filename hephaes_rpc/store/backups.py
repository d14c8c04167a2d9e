"""Copies of a workspace's database: before each migration, once a day, and when somebody asks.

Strategy: a copy is made through SQLite's online backup, beside its final name, synced and renamed, so that what lies in
``.hephaes/backups`` is whole.  Its name says when, of which version and why; the newest of each automatic kind are
kept, those that somebody asked for are never removed.  Nothing but a copy that has been checked takes the database's
place, and what was there is kept under another name.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from attrs import frozen

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.db import Database, copy_checked, os_error

log = logging.getLogger(__name__)

FOLDER = "backups"
KEPT = 5
"""Of each automatic kind."""
DAILY = timedelta(days=1)

Reason = Literal["asked", "daily", "migration"]
_NAME = re.compile(r"workspace-(\d{8}T\d{6})\.(\d{6})Z-v(\d+)-(asked|daily|migration)\.db")


@frozen
class Backup:
    """A copy of a workspace's database; ``version`` is that of its tables."""

    file_name: str
    created_at: datetime
    size_bytes: int
    version: int
    reason: Reason


def backups_in(folder: Path) -> list[Backup]:
    """The copies in a folder, the newest first; what is no copy of ours is left out."""
    found = []
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    for path in paths:
        if (backup := _backup(path)) is not None:
            found.append(backup)
    return sorted(found, key=lambda backup: backup.file_name, reverse=True)


def make(folder: Path, version: int, reason: Reason, copy: Callable[[Path], None]) -> Backup:
    """Have ``copy`` write one more copy, then remove the oldest ones of its kind that are too many.

    Raises:
        HephaesError: ``permission``, ``disk_full``, ``io_error``; nothing is left over.
    """
    now = datetime.now(UTC)
    name = f"workspace-{now:%Y%m%dT%H%M%S.%f}Z-v{version:04}-{reason}.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise os_error(error, f"the folder {folder} could not be made") from error
    copy(folder / name)
    backup = _backup(folder / name)
    if backup is None:
        raise HephaesError("io_error", f"{folder / name} is gone", path=str(folder / name))
    if reason != "asked":
        _prune(folder, backup)
    return backup


def is_due(folder: Path) -> bool:
    """Whether the last copy is a day old; one from the future, made by a clock that was wrong, does not count."""
    now = datetime.now(UTC)
    return not any(now - DAILY < backup.created_at <= now for backup in backups_in(folder))


def restore(
    folder: Path, database: Path, file_name: str | None, open_copy: Callable[[Path, Path], None]
) -> Path | None:
    """Put a copy (None: the newest) in the place of the database, which nobody may have open here.

    Args:
        folder: The copies.
        database: What is replaced.
        file_name: A name from ``backups_in``.
        open_copy: Writes a checked copy of its first argument to its second one, or raises.

    Returns:
        Where the database that was there lies now; None when there was none.

    Raises:
        HephaesError: ``backup_not_found``, what ``open_copy`` raises, ``permission``, ``disk_full``, ``io_error``.
    """
    known = backups_in(folder)
    chosen = next((backup for backup in known if file_name in (None, backup.file_name)), None)
    if chosen is None:
        message = f"{folder} has no backup {file_name}" if file_name else f"{folder} has no backup"
        raise HephaesError("backup_not_found", message, file_name=file_name, known=[each.file_name for each in known])
    fresh = database.with_name(f".{database.name}.restored.tmp")
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z"
    aside = database.with_name(f"{database.name}.{stamp}.replaced")
    try:
        open_copy(folder / chosen.file_name, fresh)
        had_one = database.exists()
        for suffix in ("-shm", "-wal", ""):
            old = database.with_name(database.name + suffix)
            if old.exists():
                old.rename(aside.with_name(aside.name + suffix))
        fresh.rename(database)
    except OSError as error:
        raise os_error(error, f"{database} could not be restored") from error
    finally:
        fresh.unlink(missing_ok=True)
    return aside if had_one else None


def back_up(db: Database, folder: Path, reason: Reason) -> Backup:
    """Copy an open database; raises what ``make`` raises."""
    return make(folder, db.version, reason, db.copy_to)


def checked_copy(migrations: tuple[str, ...], application_id: int) -> Callable[[Path, Path], None]:
    """For ``restore``: copies a database of ours, of a version we know, that SQLite finds nothing wrong with."""
    return lambda source, target: copy_checked(source, target, migrations, application_id)


def _backup(path: Path) -> Backup | None:
    name = _NAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        size_bytes = path.stat().st_size
        created_at = datetime.strptime(f"{name[1]}.{name[2]}+0000", "%Y%m%dT%H%M%S.%f%z")
    except (OSError, ValueError):
        return None
    reason: Reason = name[4]  # type: ignore[assignment]
    return Backup(path.name, created_at, size_bytes, int(name[3]), reason)


def _prune(folder: Path, newest: Backup) -> None:
    others = [each for each in backups_in(folder) if each.reason == newest.reason and each != newest]
    for backup in others[KEPT - 1 :]:
        try:
            (folder / backup.file_name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("the old backup %s cannot be removed: %s", backup.file_name, error.strerror)

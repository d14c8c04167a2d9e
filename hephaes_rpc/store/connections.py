"""Connections to one database file, each lent to one thread at a time.

Strategy: a transaction takes the connection that was used last, whose pages and prepared statements are at hand, and
gives it back; there are as many as transactions at once have needed, and of those that nobody uses a few are kept.  So
neither memory nor open files grow with the number of threads.  A connection never crosses a fork.
"""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

BUSY_TIMEOUT_MS = 5000
KEPT = 3
"""Connections that wait to be used again."""


class Connections:
    """The connections to a file; safe to use from any thread.

    Args:
        path: The file.
        admit: Raises when a new connection may not be used.
    """

    def __init__(self, path: Path, admit: Callable[[apsw.Connection], None]) -> None:
        self._path = path
        self._admit = admit
        self._lock = threading.Lock()
        self._waiting: list[apsw.Connection] = []
        self._lent: set[apsw.Connection] = set()
        self._closed = False

    def lend(self) -> apsw.Connection:
        """A connection for the caller alone, until ``take_back``."""
        with self._lock:
            if self._waiting:
                connection = self._waiting.pop()
                self._lent.add(connection)
                return connection
        connection = connect(self._path)
        try:
            self._admit(connection)
        except BaseException:
            connection.close()
            raise
        self.adopt(connection)
        return connection

    def adopt(self, connection: apsw.Connection) -> None:
        """Count a connection among those that are lent."""
        with self._lock:
            self._lent.add(connection)

    def take_back(self, connection: apsw.Connection) -> None:
        """Have a connection lent again, or closed when enough wait or its transaction could not be ended."""
        with contextlib.suppress(apsw.Error):
            with self._lock:
                self._lent.discard(connection)
                if len(self._waiting) < KEPT and not self._closed and not connection.in_transaction:
                    self._waiting.append(connection)
                    return
            connection.close()

    def interrupt(self) -> None:
        """Have the statements that run now fail."""
        with self._lock:
            for connection in self._lent:
                connection.interrupt()

    def close(self, *, checkpoint: bool) -> None:
        """Close all of them, those that somebody uses too; with ``checkpoint`` the log is moved into the file first."""
        with self._lock:
            self._closed = True
            connections = [*self._waiting, *self._lent]
            self._waiting.clear()
            self._lent.clear()
        for index, connection in enumerate(connections):
            with contextlib.suppress(apsw.Error):  # another process reads, or the disk is gone: SQLite recovers later
                if not checkpoint:
                    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                elif index == 0:
                    drain(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
            with contextlib.suppress(apsw.Error):
                connection.close()


def connect(path: Path) -> apsw.Connection:
    """A new connection to an existing file, set up as all of ours are."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        for option, given in (
            (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
            (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
            (apsw.SQLITE_DBCONFIG_DQS_DDL, 0),
            (apsw.SQLITE_DBCONFIG_DQS_DML, 0),
        ):
            connection.config(option, given)
        drain(connection, "PRAGMA foreign_keys = ON")
        drain(connection, "PRAGMA synchronous = NORMAL")
        drain(connection, "PRAGMA journal_size_limit = 67108864")
        drain(connection, "PRAGMA cache_size = -2048")
    except BaseException:
        connection.close()
        raise
    return connection


def drain(connection: apsw.Connection, sql: str) -> None:
    """Run every statement of ``sql``: apsw stops at a row that nobody fetches."""
    connection.execute(sql).fetchall()


def value(connection: apsw.Connection, sql: str) -> Any:
    """The first column of the first row."""
    return connection.execute(sql).fetchall()[0][0]

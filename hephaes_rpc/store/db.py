"""A SQLite database of ours: created whole, migrated in order, refused when it is not ours; apsw is used nowhere else.

Strategy: a new database is built beside its place and linked into it, so that a file under the final name is never half
made and an empty or foreign file is never taken for a new one.  An existing file is looked at before anything is
written: identification, version, structure (that of a fresh database of its version, so no foreign trigger can ride
along) and SQLite's own quick check, which runs beside the first requests where the file is large.  A transaction has a
connection to itself.  Reads see one snapshot; writes take the write lock first, so they wait their turn instead of
failing half way.  Errors of SQLite leave this module as HephaesErrors.
"""

import contextlib
import errno
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import apsw

from hephaes_rpc.engine.datasets.publish import sync
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.connections import Connections, connect, drain, value

Row: TypeAlias = tuple[Any, ...]
Bindings: TypeAlias = Sequence[Any] | Mapping[str, Any]
Save: TypeAlias = Callable[[int, Callable[[Path], None]], object]

OLDEST_SQLITE = (3, 51, 3)
"""Earlier versions can corrupt a WAL database that two connections write and checkpoint at once."""
CLOSE_WAIT_S = 1.0
NEARLY_FULL_BYTES = 1 << 16
CHECK_AT_ONCE_BYTES = 1 << 24
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_COUNT = "INSERT INTO revisions (noun, n) VALUES (?, 1) ON CONFLICT (noun) DO UPDATE SET n = n + 1"


class Session:
    """Statements of one transaction; every result is fetched whole, but that of ``each``."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, bindings: Bindings = ()) -> list[Row]:
        """Every row of a statement."""
        return self._connection.execute(sql, bindings).fetchall()

    def each(self, sql: str, bindings: Bindings = ()) -> Iterator[Row]:
        """The rows of a statement as they are found."""
        yield from self._connection.execute(sql, bindings)

    def one(self, sql: str, bindings: Bindings = ()) -> Row | None:
        """The first row of a statement, or None."""
        rows = self.all(sql, bindings)
        return rows[0] if rows else None

    def value(self, sql: str, bindings: Bindings = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, bindings)
        return row[0] if row else None

    def run(self, sql: str, bindings: Bindings = ()) -> int:
        """How many rows a statement changed."""
        self.all(sql, bindings)
        return self._connection.changes()

    def many(self, sql: str, rows: Iterable[Bindings]) -> None:
        """Run a statement once per row of bindings."""
        self._connection.executemany(sql, rows).fetchall()


class Database:
    """An open database; safe to use from any thread.

    Attributes:
        path: The file.
        damage: Why it can no longer be used: set once SQLite, or the check of a large file, has found something.

    Args:
        path: An existing file.
        migrations: Scripts in order; script n leads from version n - 1 to n.
        application_id: What marks the file as ours.
        save: Called before a migration with the version so far and what copies the database to a new file.

    Raises:
        HephaesError: ``workspace_newer``, ``workspace_corrupt`` (damaged, or not ours), and ``io_error``,
            ``permission`` or ``disk_full``; the file is as it was.
    """

    def __init__(self, path: Path, migrations: Sequence[str], application_id: int, save: Save | None = None) -> None:
        _require_sqlite()
        self.path = path
        self._save = save
        self.damage: HephaesError | None = None
        self._version = len(migrations)
        self._connections = Connections(path, self._require_version)
        self._watching: apsw.Connection | None = None
        self._idle = threading.Condition()
        self._in_use = 0
        self._closed = False
        self._committing = threading.Lock()
        self._own: Counter[str] = Counter()
        with self._translating():
            self._admit(tuple(migrations), application_id)

    @classmethod
    def create(cls, path: Path, migrations: Sequence[str], application_id: int) -> bool:
        """Make a database at ``path``, mode 0600; False when something is already there."""
        _require_sqlite()
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            connection: apsw.Connection | None = None
            with _translating(path, lambda: connection.system_errno if connection else 0):
                connection = apsw.Connection(str(temporary))
                temporary.chmod(0o600)
                with contextlib.closing(connection):
                    drain(connection, "PRAGMA journal_mode = WAL")
                    _migrate(connection, tuple(migrations), application_id)
            return _link(temporary, path)
        except OSError as error:
            raise os_error(error, f"{path} could not be made") from error
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one state of the database and writes nothing."""
        with self._transaction("BEGIN") as session:
            yield session

    @contextlib.contextmanager
    def write(self, *nouns: str, durable: bool = False) -> Iterator[Session]:
        """A transaction that is whole or absent.

        Args:
            nouns: What it may change, told to other processes (see ``others``).
            durable: It is on the disk, even if the power fails, once it is left.
        """
        with self._transaction("BEGIN IMMEDIATE", nouns, durable=durable) as session:
            yield session

    @property
    def version(self) -> int:
        """How many migrations its tables have behind them."""
        return self._version

    def copy_to(self, target: Path) -> None:
        """Write what is committed now to a new file, which is whole once it has its name; mode 0600.

        Raises:
            HephaesError: ``disk_full``, ``permission``, ``io_error``.
        """
        with self._in_transaction("BEGIN") as connection:
            drain(connection, "SELECT count(*) FROM sqlite_schema")  # the snapshot begins with the first read
            _copy(connection, target)

    def problems(self) -> list[str]:
        """What SQLite's full check finds, and rows that refer to nothing; at most a hundred of each."""
        with self.read() as session:
            found = [str(row[0]) for row in session.all("PRAGMA integrity_check(100)") if row[0] != "ok"]
            broken = session.all('SELECT "table", rowid, parent FROM pragma_foreign_key_check LIMIT 100')
        return [
            *found,
            *(f"row {row} of {table} refers to a row of {parent} that is gone" for table, row, parent in broken),
        ]

    def data_version(self) -> int:
        """A number that changes whenever something is committed; for one thread, which keeps a connection by this."""
        with self._using(), self._translating():
            if self._watching is None:
                self._watching = self._connections.lend()
            return int(value(self._watching, "PRAGMA data_version"))

    def own(self, noun: str) -> int:
        """How often this process has changed a noun; only growth means anything."""
        return self._own[noun]

    def others(self) -> dict[str, int]:
        """How often other processes have changed each noun; only growth means anything."""
        with self._committing, self.read() as session:
            return {noun: n - self._own[noun] for noun, n in session.all("SELECT noun, n FROM revisions")}

    def close(self) -> None:
        """Finish what runs, move the log into the database, close every connection."""
        with self._idle:
            self._closed = True
            if not self._idle.wait_for(lambda: self._in_use == 0, CLOSE_WAIT_S):
                self._connections.interrupt()
                self._idle.wait_for(lambda: self._in_use == 0, CLOSE_WAIT_S)
        self._connections.close(checkpoint=self.damage is None)

    @contextlib.contextmanager
    def _transaction(self, begin: str, nouns: Sequence[str] = (), *, durable: bool = False) -> Iterator[Session]:
        with self._in_transaction(begin, nouns, durable=durable) as connection:
            yield Session(connection)

    @contextlib.contextmanager
    def _in_transaction(
        self, begin: str, nouns: Sequence[str] = (), *, durable: bool = False
    ) -> Iterator[apsw.Connection]:
        connection: apsw.Connection | None = None
        with self._using(), self._translating(lambda: connection.system_errno if connection is not None else 0):
            connection = self._connections.lend()
            try:
                if durable:
                    drain(connection, "PRAGMA synchronous = FULL")
                try:
                    drain(connection, begin)
                    changed_before = connection.total_changes()
                    yield connection
                    self._commit(connection, nouns if connection.total_changes() != changed_before else ())
                finally:
                    if connection.in_transaction:
                        drain(connection, "ROLLBACK")
                    if durable:
                        drain(connection, "PRAGMA synchronous = NORMAL")
            finally:
                self._connections.take_back(connection)

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Hold off ``close`` for a while; raises when that has been, or the database is damaged."""
        with self._idle:
            if self._closed:
                raise HephaesError("io_error", f"the database {self.path} has been closed")
            if self.damage is not None:
                raise self.damage
            self._in_use += 1
        try:
            yield
        finally:
            with self._idle:
                self._in_use -= 1
                self._idle.notify_all()

    def _commit(self, connection: apsw.Connection, nouns: Sequence[str]) -> None:
        """Commit; what is counted as our own is what has been committed, and nothing else, whenever it is looked at."""
        if not nouns:
            drain(connection, "COMMIT")
            return
        with self._committing:
            for noun in nouns:
                connection.execute(_COUNT, (noun,)).fetchall()
            drain(connection, "COMMIT")
            self._own.update(nouns)

    def _require_version(self, connection: apsw.Connection) -> None:
        found = value(connection, "PRAGMA user_version")
        if found != self._version:
            raise _newer(self.path, found, self._version)

    def _admit(self, migrations: tuple[str, ...], application_id: int) -> None:
        """Open the first connection: look, then migrate; refuse without a trace."""
        try:
            size_bytes = self.path.stat().st_size
        except OSError as error:
            raise os_error(error, f"{self.path} cannot be opened") from error
        if size_bytes == 0:
            raise _corrupt(self.path, "it is empty")
        had_log = _has_content(self.path.with_name(self.path.name + "-wal"))
        connection = connect(self.path)
        try:
            # Closing the last connection would move a log that was left behind into the file.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, had_log)
            version = _inspect(connection, self.path, migrations, application_id)
            if size_bytes <= CHECK_AT_ONCE_BYTES:
                _check(Session(connection), self.path)
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            if version < len(migrations):
                if self._save is not None:
                    self._save(version, lambda target: _copy(connection, target))
                drain(connection, "PRAGMA foreign_keys = OFF")
                _migrate(connection, migrations, application_id)
                drain(connection, "PRAGMA foreign_keys = ON")
            if value(connection, "PRAGMA journal_mode") != "wal":
                drain(connection, "PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        self._connections.adopt(connection)
        self._connections.take_back(connection)
        if size_bytes > CHECK_AT_ONCE_BYTES:
            threading.Thread(target=self._check_later, name=f"check {self.path.name}", daemon=True).start()

    def _check_later(self) -> None:
        with contextlib.suppress(HephaesError), self.read() as session:  # what is wrong is in ``damage``
            _check(session, self.path)

    @contextlib.contextmanager
    def _translating(self, system_errno: Callable[[], int] = lambda: 0) -> Iterator[None]:
        try:
            with _translating(self.path, system_errno):
                yield
        except HephaesError as error:
            if error.kind == "workspace_corrupt":
                self.damage = error
            raise


def copy_checked(source: Path, target: Path, migrations: tuple[str, ...], application_id: int) -> None:
    """Copy a database file that nobody has open, once it is known to be ours and sound; it is only read.

    Raises:
        HephaesError: What ``Database`` raises for such a file.
    """
    with _translating(source):
        uri = f"file:{quote(str(source))}?immutable=1"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with contextlib.closing(apsw.Connection(uri, flags=flags)) as connection:
            _inspect(connection, source, migrations, application_id)
            problem = value(connection, "PRAGMA integrity_check(1)")
            if problem != "ok":
                raise _corrupt(source, f"it is damaged ({problem})")
            _copy(connection, target)


def _copy(source: apsw.Connection, target: Path) -> None:
    """Copy a database to a new file through SQLite's online backup: written beside, synced, renamed."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with _translating(target), contextlib.closing(apsw.Connection(str(temporary))) as copy:
            temporary.chmod(0o600)
            with copy.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step()
            drain(copy, "PRAGMA journal_mode = DELETE")
        sync(temporary)
        temporary.rename(target)
        sync(target.parent)
    except OSError as error:
        raise os_error(error, f"{target} could not be written") from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def scripts(name: str) -> tuple[str, ...]:
    """The migration scripts of a kind of database, in order: ``migrations/<name>/NNNN_*.sql``."""
    folder = resources.files(__package__).joinpath("migrations", name)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    if [file.name[:5] for file in files] != [f"{number:04}_" for number in range(1, len(files) + 1)]:
        raise RuntimeError(f"the migrations of {name} are not numbered from 0001 without a gap")
    return tuple(file.read_text(encoding="utf-8") for file in files)


def os_error(error: OSError, what: str) -> HephaesError:
    """The error of the operating system as one of ours; ``what`` is the start of the sentence."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return HephaesError("disk_full", f"{what}: {reason}", hint="free some space and try again")
    if error.errno in _REFUSED:
        return HephaesError("permission", f"{what}: {reason}")
    return HephaesError("io_error", f"{what}: {reason}")


def _require_sqlite() -> None:
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise HephaesError("unsupported", f"SQLite {apsw.sqlite_lib_version()} is too old: {oldest} or later is needed")


def _inspect(connection: apsw.Connection, path: Path, migrations: tuple[str, ...], application_id: int) -> int:
    """The version of a database that is ours."""
    found = value(connection, "PRAGMA application_id")
    version = value(connection, "PRAGMA user_version")
    if found != application_id or version < 1:
        raise _corrupt(path, "it was not written by this program")
    if version > len(migrations):
        raise _newer(path, version, len(migrations))
    if _structure(connection) != _structure_of(migrations[:version]):
        raise _corrupt(path, f"its tables are not those of version {version}")
    return int(version)


def _check(session: Session, path: Path) -> None:
    problem = session.value("PRAGMA quick_check(1)")
    if problem != "ok":
        raise _corrupt(path, f"it is damaged ({problem})")


def _migrate(connection: apsw.Connection, migrations: tuple[str, ...], application_id: int) -> None:
    """Lead a database to the last version, or leave it as it was."""
    drain(connection, "BEGIN IMMEDIATE")
    try:
        for number in range(value(connection, "PRAGMA user_version"), len(migrations)):
            drain(connection, migrations[number])
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            raise RuntimeError("a migration left references to rows that do not exist")
        drain(connection, f"PRAGMA application_id = {application_id}")
        drain(connection, f"PRAGMA user_version = {len(migrations)}")
        drain(connection, "COMMIT")
    finally:
        if connection.in_transaction:
            drain(connection, "ROLLBACK")


def _structure(connection: apsw.Connection) -> list[Row]:
    """Everything a schema declares; what SQLite and its extensions add by themselves is left out."""
    sql = (
        r"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\'"
        " AND NOT (type = 'table' AND name IN (SELECT name FROM pragma_table_list WHERE type = 'shadow'))"
    )
    return sorted(connection.execute(sql).fetchall())


@cache
def _structure_of(migrations: tuple[str, ...]) -> list[Row]:
    with contextlib.closing(apsw.Connection(":memory:")) as connection:
        for script in migrations:
            drain(connection, script)
        return _structure(connection)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _link(temporary: Path, path: Path) -> bool:
    """Give a finished file its name, unless something has that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links here
        if os.path.lexists(path):
            return False
        temporary.rename(path)
    return True


def _corrupt(path: Path, reason: str) -> HephaesError:
    message = f"{path} cannot be used: {reason}"
    return HephaesError(
        "workspace_corrupt", message, hint="workspaces/restore puts a backup in its place", path=str(path)
    )


def _newer(path: Path, found: int, known: int) -> HephaesError:
    message = f"{path} has version {found}, but this program knows versions up to {known} only"
    return HephaesError(
        "workspace_newer",
        message,
        hint="use a newer version of this program",
        path=str(path),
        found_version=found,
        known_version=known,
    )


@contextlib.contextmanager
def _translating(path: Path, system_errno: Callable[[], int] = lambda: 0) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _translated(error, path, system_errno()) from error


def _translated(error: apsw.Error, path: Path, system_errno: int) -> Exception:
    what = f"the database {path}"
    failed = isinstance(error, apsw.IOError | apsw.CantOpenError)
    if isinstance(error, apsw.FullError) or (failed and (system_errno in _FULL or _nearly_full(path))):
        return HephaesError("disk_full", f"no space is left for {what}", hint="free some space and try again")
    if isinstance(error, apsw.BusyError | apsw.LockedError | apsw.ProtocolError):
        return HephaesError("io_error", f"{what} is held by another process", hint="try again")
    if isinstance(error, apsw.NotADBError | apsw.CorruptError | apsw.FormatError):
        return _corrupt(path, str(error).partition(": ")[2] or str(error))
    if isinstance(error, apsw.ReadOnlyError) or (failed and _is_read_only(path)):
        return HephaesError("permission", f"{what} may not be written: it is read-only")
    if isinstance(error, apsw.PermissionsError | apsw.AuthError) or (failed and system_errno in _REFUSED):
        return HephaesError("permission", f"{what} may not be written: {error}")
    if isinstance(error, apsw.CantOpenError | apsw.IOError | apsw.InterruptError | apsw.ConnectionClosedError):
        return HephaesError("io_error", f"{what} failed: {error}")
    return RuntimeError(f"{what} refused a statement: {error}")


def _nearly_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < NEARLY_FULL_BYTES
    except OSError:
        return False


def _is_read_only(path: Path) -> bool:
    return path.parent.exists() and not os.access(path.parent, os.W_OK)

import multiprocessing
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store import connections
from hephaes_rpc.store import db as db_module
from hephaes_rpc.store.connections import KEPT
from hephaes_rpc.store.db import Database, scripts
from tests.store.conftest import fingerprint, listing

MARK = 0x1234
FIRST = "CREATE TABLE a (x INTEGER NOT NULL, y TEXT NOT NULL DEFAULT '') STRICT;"
SECOND = "CREATE TABLE b (z TEXT NOT NULL) STRICT; CREATE INDEX a_by_x ON a (x); INSERT INTO b VALUES ('made');"
THIRD = "ALTER TABLE a ADD COLUMN w REAL;"


def make(path: Path, *migrations: str) -> Database:
    assert Database.create(path, migrations, MARK)
    return Database(path, migrations, MARK)


def structure(path: Path) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()
    connection.close()
    return found


def raw(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql).fetchall()
    connection.close()


def test_a_migrated_database_has_the_structure_of_a_fresh_one(tmp_path: Path) -> None:
    old, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    for steps in ((FIRST,), (FIRST, SECOND)):
        if not old.exists():
            make(old, *steps).close()
        else:
            Database(old, steps, MARK).close()
    database = Database(old, (FIRST, SECOND, THIRD), MARK)
    with database.read() as session:
        assert session.value("PRAGMA user_version") == 3
        assert session.all("SELECT z FROM b") == [("made",)]
    database.close()
    make(fresh, FIRST, SECOND, THIRD).close()
    assert structure(old) == structure(fresh)


@pytest.mark.parametrize("name", ["app", "workspace"])
def test_the_shipped_migrations_are_numbered_and_make_strict_tables(name: str, tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", *scripts(name))
    with database.read() as session:
        loose = session.all(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict"
        )
        assert [table for (table,) in loose if not table.startswith("sqlite_")] == []
        unindexed = session.all(
            'SELECT m.name, f."from" FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f'
            " WHERE m.type = 'table' AND f.\"from\" NOT IN (SELECT ii.name FROM pragma_index_list(m.name) il"
            " JOIN pragma_index_info(il.name) ii WHERE ii.seqno <= 1)"
        )
        assert [row for row in unindexed if row[0] != "app_state"] == []
    database.close()


def test_a_failing_migration_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    make(path, FIRST).close()
    before = fingerprint(tmp_path)
    with pytest.raises(RuntimeError, match="no such table: nowhere"):
        Database(path, (FIRST, SECOND, "INSERT INTO nowhere VALUES (1)"), MARK)
    assert fingerprint(tmp_path) == before
    Database(path, (FIRST, SECOND), MARK).close()


def test_connections_are_set_up(tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", FIRST)
    with database.read() as session:
        found = {
            name: session.value(f"PRAGMA {name}")
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout", "trusted_schema")
        }
    assert found == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 1,
        "busy_timeout": 5000,
        "trusted_schema": 0,
    }
    with database.read() as session:
        session.run("PRAGMA writable_schema = ON")
    with pytest.raises(RuntimeError, match="may not be modified"), database.write() as session:
        session.run("UPDATE sqlite_schema SET sql = ''")
    database.close()
    assert stat.S_IMODE((tmp_path / "x.db").stat().st_mode) == 0o600
    assert listing(tmp_path) == ["x.db"]


def newer(path: Path) -> None:
    raw(path, "PRAGMA user_version = 9")


def foreign(path: Path) -> None:
    path.unlink()
    raw(path, "CREATE TABLE t (x); INSERT INTO t VALUES (1);")


def other_mark(path: Path) -> None:
    raw(path, "PRAGMA application_id = 7")


def trigger(path: Path) -> None:
    raw(path, "CREATE TRIGGER evil AFTER INSERT ON a BEGIN DELETE FROM a; END")


def view(path: Path) -> None:
    raw(path, "CREATE VIEW evil AS SELECT 1")


def garbage(path: Path) -> None:
    path.write_bytes(b"This is not a database. " * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096 + 100)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4096:-4000] = bytes(96)
    path.write_bytes(data)


def stray_log(path: Path) -> None:
    """The log of another database, as a careless copy leaves it."""
    other = path.with_name("other.db")
    connection = apsw.Connection(str(other))
    connection.execute(
        "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000))"
    ).fetchall()
    shutil.copy(f"{other}-wal", f"{path}-wal")
    connection.close()
    other.unlink()


REFUSED: dict[Callable[[Path], None], str] = {
    newer: "workspace_newer",
    foreign: "workspace_corrupt",
    other_mark: "workspace_corrupt",
    trigger: "workspace_corrupt",
    view: "workspace_corrupt",
    garbage: "workspace_corrupt",
    empty: "workspace_corrupt",
    cut: "workspace_corrupt",
    flipped: "workspace_corrupt",
    stray_log: "workspace_corrupt",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_what_is_not_ours_is_refused_untouched(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = make(path, FIRST, SECOND)
    with database.write() as session:
        session.many("INSERT INTO a VALUES (?, ?)", [(n, "text " * 50) for n in range(500)])
    database.close()
    spoil(path)
    before = fingerprint(tmp_path)
    for _ in range(2):
        with pytest.raises(HephaesError) as refusal:
            Database(path, (FIRST, SECOND), MARK)
        assert refusal.value.kind == REFUSED[spoil]
        assert str(path) in refusal.value.message
        assert fingerprint(tmp_path) == before
    if spoil is newer:
        assert (refusal.value.data["found_version"], refusal.value.data["known_version"]) == (9, 2)
    assert not Database.create(path, (FIRST, SECOND), MARK)
    assert fingerprint(tmp_path) == before


def test_a_large_database_is_checked_beside_the_first_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_module, "CHECK_AT_ONCE_BYTES", 0)
    path = tmp_path / "x.db"
    database = make(path, FIRST, SECOND)
    with database.write() as session:
        session.many("INSERT INTO a VALUES (?, ?)", [(n, "text " * 50) for n in range(500)])
    database.close()
    flipped(path)
    database = Database(path, (FIRST, SECOND), MARK)
    for thread in threading.enumerate():
        if thread.name == "check x.db":
            thread.join()
    assert database.damage is not None
    with pytest.raises(HephaesError, match="damaged"), database.read():
        pass
    database.close()


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(HephaesError, match=r"SQLite 3\.51\.2 is too old"):
        Database.create(tmp_path / "x.db", (FIRST,), MARK)
    assert listing(tmp_path) == []


def test_a_transaction_is_whole_or_absent(tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", FIRST)
    with pytest.raises(RuntimeError, match="NOT NULL"), database.write() as session:
        session.many("INSERT INTO a (x) VALUES (?)", [(1,), (None,)])
    with database.write(durable=True) as session:
        assert session.value("PRAGMA synchronous") == 2
        session.run("INSERT INTO a (x) VALUES (2)")
    with database.read() as session:
        assert session.all("SELECT x FROM a") == [(2,)]
        assert session.value("PRAGMA synchronous") == 1
    database.close()


def test_a_held_lock_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_MS", 50)
    database = make(tmp_path / "x.db", FIRST)
    other = apsw.Connection(str(tmp_path / "x.db"))
    other.execute("BEGIN IMMEDIATE").fetchall()
    with pytest.raises(HephaesError, match="held by another process") as refusal, database.write():
        pass
    assert refusal.value.kind == "io_error"
    other.execute("ROLLBACK").fetchall()
    with database.write() as session:
        session.run("INSERT INTO a (x) VALUES (1)")
    other.close()
    database.close()


def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", FIRST)
    with database.read() as session:
        pages = session.value("PRAGMA page_count")
        session.value(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(HephaesError) as refusal, database.write() as session:
        session.many("INSERT INTO a VALUES (?, ?)", [(n, "x" * 500) for n in range(100)])
    assert refusal.value.kind == "disk_full"
    with database.read() as session:
        assert session.value("SELECT count(*) FROM a") == 0
        session.value("PRAGMA max_page_count = 100000")
    with database.write() as session:
        session.run("INSERT INTO a (x) VALUES (1)")
    database.close()


def test_close_waits_for_what_runs_and_then_refuses(tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", FIRST)
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with database.write() as session:
            session.run("INSERT INTO a (x) VALUES (1)")
            inside.set()
            leave.wait(5)

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait(5)
    threading.Timer(0.1, leave.set).start()
    database.close()
    worker.join()
    with pytest.raises(HephaesError, match="has been closed"), database.read():
        pass
    assert listing(tmp_path) == ["x.db"]
    database = Database(tmp_path / "x.db", (FIRST,), MARK)
    with database.read() as session:
        assert session.value("SELECT count(*) FROM a") == 1
    database.close()


def n_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_threads_leave_no_open_file(tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", FIRST)
    n_threads = 20
    all_inside = threading.Barrier(n_threads)

    def work(at_once: bool) -> None:
        with database.read() as session:
            session.value("SELECT count(*) FROM a")
            if at_once:
                all_inside.wait(5)

    def run(at_once: bool) -> None:
        threads = [threading.Thread(target=work, args=(at_once,)) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    before = n_open()
    run(at_once=False)
    assert n_open() <= before + 3 * KEPT
    run(at_once=True)  # SQLite closes no file while it holds a lock of it, and uses it again
    most = n_open()
    run(at_once=True)
    assert n_open() <= most
    database.close()


def test_the_connection_used_last_is_used_next(tmp_path: Path) -> None:
    database = make(tmp_path / "x.db", FIRST)
    with database.write() as session:
        session.run("CREATE TEMP TABLE mine (x)")

    def look() -> None:
        with database.read() as session:
            found.append(session.value("SELECT count(*) FROM temp.sqlite_schema"))

    found: list[int] = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [1]
    database.close()


def _create_and_insert(path: str, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    Database.create(Path(path), (FIRST,), MARK)
    database = Database(Path(path), (FIRST, SECOND), MARK)
    for n in range(50):
        with database.write() as session:
            session.run("INSERT INTO a (x) VALUES (?)", (n,))
    database.close()


def test_processes_may_create_migrate_and_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_create_and_insert, args=(str(tmp_path / "x.db"), barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    database = Database(tmp_path / "x.db", (FIRST, SECOND), MARK)
    with database.read() as session:
        assert session.value("SELECT count(*) FROM a") == 150
        assert session.all("SELECT z FROM b") == [("made",)]
    database.close()

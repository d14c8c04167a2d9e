"""Storage files of rosbag2 in SQLite, alone or part of a recording.

Strategy: SQLite reads through our own file access (an apsw VFS), so it can neither write, lock nor look at anything
beside; committed pages of a write-ahead log are laid over the file's own.  Rows of ``messages`` in the order of their
ids are cut into chunks of a few megabytes; a chunk's data is their payloads, one after the other.  Indexing reads ids,
topics, times and lengths, which costs no payload page.  Where a page is damaged, the rows before and behind it are
read.

Format: https://github.com/ros2/rosbag2 (storage schemas 1 to 4), https://www.sqlite.org/fileformat2.html.
"""

import itertools
import struct
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Final, Literal, TypeVar

import apsw
import numpy as np
from attrs import frozen

from hephaes_rpc.engine.logs.base import OTHER_ENCODINGS, IndexedReader, Payload, Progress, message_type
from hephaes_rpc.engine.logs.chunks import MAX_RAW_BYTES
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.index import INT32, ChunkEntries, MessageIndex
from hephaes_rpc.engine.logs.sweep import Chunk
from hephaes_rpc.engine.logs.types import IDL_ENCODINGS, Connection, Int32s, Int64s, Walk
from hephaes_rpc.errors import HephaesError, LogError

CHUNK_BYTES: Final = 4 << 20
CHUNK_ROWS: Final = 50_000
MAX_TOPICS: Final = 65_536
MAX_WAL_BYTES: Final = 1 << 30
MAX_BREAKS: Final = 100
MAX_FILTER: Final = 1000
BATCH_ROWS: Final = 20_000
MAX_ID: Final = 2**63 - 1
_INTERRUPT_STEPS: Final = 100_000
_WAL_HEAD = struct.Struct(">8I")
_WAL_FRAME = struct.Struct(">6I")
_WAL_MAGIC: Final = 0x377F0682
_numbers = itertools.count()
_T = TypeVar("_T")
_ROWS: Final = (
    "SELECT id, iif(sound, topic_id, -1), iif(sound, timestamp, -1), iif(sound, length(data), -1) FROM"
    " (SELECT id, topic_id, timestamp, data, typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer'"
    " AND typeof(data) = 'blob' AS sound FROM messages WHERE id >= ?) ORDER BY id"
)


@frozen
class _Pages:
    """The database as SQLite is to see it: the file with pages of its write-ahead log laid over.

    Args:
        over: Page number (from 1) to page.
        size: Bytes of the database.
    """

    file: LogFile
    page_bytes: int
    over: dict[int, bytes]
    size: int

    def read(self, length: int, position: int) -> bytes:
        """Bytes that lie inside the database; the first page says that there is no write-ahead log.

        Raises apsw.IOError for what is cut off: SQLite would take zeros for it.
        """
        data = self.file.read_up_to(position, length) if position < self.file.size else b""
        if self.over:
            data = self._overlaid(data, length, position)
        elif len(data) < min(length, self.size - position):
            raise apsw.IOError("the database is cut")
        if position <= 18 and position + len(data) >= 20:
            data = data[: 18 - position] + b"\x01\x01" + data[20 - position :]
        return data

    def _overlaid(self, data: bytes, length: int, position: int) -> bytes:
        length = max(0, min(length, self.size - position))
        result = bytearray(data[:length].ljust(length, b"\0"))
        first = position // self.page_bytes
        for number in range(first, (position + length - 1) // self.page_bytes + 1):
            page = self.over.get(number + 1)
            if page is not None:
                start = number * self.page_bytes - position
                begin, end = max(start, 0), min(start + self.page_bytes, length)
                result[begin:end] = page[begin - start : end - start]
        return bytes(result)


class _View(apsw.VFSFile):
    """The one open file of a VFS."""

    def __init__(self, pages: _Pages) -> None:
        self._pages = pages

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return self._pages.read(amount, offset)

    def xFileSize(self) -> int:  # noqa: N802
        return self._pages.size

    def xLock(self, level: int) -> None:  # noqa: N802
        del level

    def xUnlock(self, level: int) -> None:  # noqa: N802
        del level

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_IMMUTABLE

    def xSectorSize(self) -> int:  # noqa: N802
        return 512

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        del op, pointer
        return False

    def xSync(self, flags: int) -> None:  # noqa: N802
        del flags

    def xClose(self) -> None:  # noqa: N802
        """The file belongs to the reader."""


class _Vfs(apsw.VFS):
    """Knows one file and nothing else."""

    def __init__(self, name: str, pages: _Pages) -> None:
        self.name, self._pages = name, pages
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        del name
        if not flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            raise apsw.CantOpenError("only the log itself is read")
        return _View(self._pages)

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        del pathname, flags
        return False

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        raise apsw.ReadOnlyError(f"{filename} is not ours (syncdir {syncdir})")


def _pages(file: LogFile, log: LogFile | None) -> _Pages:
    """The database in ``file`` with what its write-ahead log ``log`` has committed."""
    head = file.read_up_to(0, 100).ljust(100, b"\0")
    (page_bytes,) = struct.unpack_from(">H", head, 16)
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    (declared,) = struct.unpack_from(">I", head, 28)
    counted = head[24:28] == head[92:96]
    size = max(file.size, declared * page_bytes) if counted else file.size
    over, pages = _committed(log, page_bytes) if log is not None else ({}, 0)
    return _Pages(file, max(page_bytes, 1), over, pages * page_bytes if over else size)


def _committed(log: LogFile, page_bytes: int) -> tuple[dict[int, bytes], int]:
    """Pages of the transactions that a write-ahead log holds whole, and the pages of the database after them."""
    nothing: tuple[dict[int, bytes], int] = {}, 0
    head = log.read_up_to(0, _WAL_HEAD.size)
    if len(head) < _WAL_HEAD.size or log.size > MAX_WAL_BYTES:
        return nothing
    magic, _, size, _, *salts, sum0, sum1 = _WAL_HEAD.unpack(head)
    order: Literal["<", ">"] = ">" if magic & 1 else "<"
    sums = _checksum(head[:24], (0, 0), order)
    if magic & ~1 != _WAL_MAGIC or size != page_bytes or sums != (sum0, sum1):
        return nothing
    over: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    pages, position = 0, _WAL_HEAD.size
    while len(frame := log.read_up_to(position, _WAL_FRAME.size + page_bytes)) == _WAL_FRAME.size + page_bytes:
        number, after, *found, sum0, sum1 = _WAL_FRAME.unpack_from(frame)
        page = frame[_WAL_FRAME.size :]
        sums = _checksum(page, _checksum(frame[:8], sums, order), order)
        if found != salts or sums != (sum0, sum1):
            break
        pending[number] = page
        if after:
            over |= pending
            pending, pages = {}, after
        position += len(frame)
    return over, pages


def _checksum(data: bytes, sums: tuple[int, int], order: Literal["<", ">"]) -> tuple[int, int]:
    s0, s1 = sums
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for a, b in zip(words, words, strict=True):
        s0 = (s0 + a + s1) & 0xFFFF_FFFF
        s1 = (s1 + b + s0) & 0xFFFF_FFFF
    return s0, s1


@frozen(eq=False)
class _Rows:
    """The messages of the file in the order of their ids: id, connection, log time (ns), length (bytes), int64[n]."""

    id: Int64s
    connection: Int64s
    time: Int64s
    length: Int64s

    def part(self, where: Any) -> "_Rows":
        """Some of them."""
        return _Rows(self.id[where], self.connection[where], self.time[where], self.length[where])

    @property
    def begin(self) -> Int64s:
        """Where each payload begins behind that of the first."""
        return np.cumsum(self.length) - self.length


class Db3Reader(IndexedReader):
    """One SQLite storage file of rosbag2."""

    storage_format: ClassVar = "db3"

    def __init__(self, file: LogFile, progress: Progress, log: LogFile | None = None) -> None:
        """Index ``file``, which the reader owns once that succeeded; ``log`` is its write-ahead log, if it has one."""
        super().__init__(file, progress)
        self._lock = threading.Lock()
        self._done = 0
        self._pages = _pages(file, log)
        self._vfs = _Vfs(f"hephaes-{next(_numbers)}", self._pages)
        try:
            self._db = self._open()
            self._topic_ids: list[int] = []
            self._guarded(self._read_topics)
            self._index_rows()
            self._finish()
        except BaseException:
            self._disconnect()
            raise

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._disconnect()
        self._file.close()

    def rescan(self) -> None:
        """Read all rows again, and leave out those whose payload cannot be read."""
        self._found = self._nothing_found()
        self._index_rows()
        unreadable = [id_ for part in self._rows for id_ in self._unreadable(part)]
        if unreadable:
            self._found = self._nothing_found()
            self._found.warn(f"{len(unreadable)} messages on damaged pages are left out", lost=True)
            self._index_rows(np.array(unreadable, np.int64))
        self._finish()

    # Access -----------------------------------------------------------------------------------------------------------

    def _open(self) -> apsw.Connection:
        db = apsw.Connection("log", flags=apsw.SQLITE_OPEN_READONLY, vfs=self._vfs.name)
        db.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_RAW_BYTES)
        db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("PRAGMA mmap_size = 0")
        db.set_progress_handler(self._tell, _INTERRUPT_STEPS)
        return db

    def _disconnect(self) -> None:
        db: apsw.Connection | None = getattr(self, "_db", None)
        if db is not None:
            db.close()
        self._vfs.unregister()

    def _tell(self) -> bool:
        self._progress(min(self._done, self._file.size), self._file.size)
        return False

    def _guarded(self, work: Callable[[], _T]) -> _T:
        """Do it; an error of SQLite is a damaged or foreign database."""
        try:
            return work()
        except (apsw.Error, UnicodeDecodeError) as error:
            text = f"{self._file.path} is no readable rosbag2 database: {error}"
            raise LogError("bad_input", text, path=self._file.path) from error

    # Topics -----------------------------------------------------------------------------------------------------------

    def _columns(self, table: str) -> set[str]:
        """The stored columns of a real table; none where there is no such table."""
        query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ? AND rootpage > 0"
        if not self._db.execute(query, (table,)).get:
            return set()
        found = self._db.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,))
        return {name for (name,) in found}

    def _read_topics(self) -> None:
        wanted = {"topics": {"id", "name", "type", "serialization_format"}}
        wanted["messages"] = {"id", "topic_id", "timestamp", "data"}
        for table, columns in wanted.items():
            missing = columns - self._columns(table)
            if missing:
                text = f"{self._file.path} is an SQLite database but no rosbag2 storage"
                text = f"{text}: {table} lacks {sorted(missing)[0]}"
                raise LogError("bad_input", text, path=self._file.path)
        self._read_library()
        definitions = self._read_definitions()
        query = "SELECT id, CAST(name AS BLOB), CAST(type AS BLOB), CAST(serialization_format AS BLOB) FROM topics"
        topics: list[tuple[Any, ...]] = self._db.execute(
            f"{query} WHERE typeof(id) = 'integer' ORDER BY id LIMIT {MAX_TOPICS + 1}"
        ).fetchall()
        if len(topics) > MAX_TOPICS:
            raise LogError("unsupported", f"{self._file.path} has more than {MAX_TOPICS} topics, the limit")
        for k, (id_, *texts) in enumerate(topics):
            name, type_name, encoding = map(_text, texts)
            schema_encoding, schema = definitions.get(type_name, ("", b""))
            self._topic_ids.append(id_)
            self._connections[k] = Connection(
                id=k,
                topic=name,
                type_name=message_type(type_name),
                encoding=encoding,
                schema_encoding=schema_encoding,
                schema=schema,
                message_count=0,
                metadata={},
            )

    def _read_library(self) -> None:
        self.profile = "ros2"
        if {"schema_version", "ros_distro"} <= self._columns("schema"):
            found = self._db.execute("SELECT CAST(ros_distro AS BLOB) FROM schema LIMIT 1").get
            self.library = f"rosbag2 {_text(found)[:100]}".strip()

    def _read_definitions(self) -> dict[str, tuple[str, bytes]]:
        """Encoding and text by type."""
        if not {"topic_type", "encoding", "encoded_message_definition"} <= self._columns("message_definitions"):
            return {}
        columns = "CAST(topic_type AS BLOB), CAST(encoding AS BLOB), CAST(encoded_message_definition AS BLOB)"
        rows = self._db.execute(f"SELECT {columns} FROM message_definitions ORDER BY rowid LIMIT {MAX_TOPICS}")  # noqa: S608
        found: dict[str, tuple[str, bytes]] = {}
        for name, encoding, definition in rows:
            if definition and _text(encoding) in ("ros2msg", *IDL_ENCODINGS):
                found.setdefault(_text(name), (_text(encoding), definition))
        return found

    def _stream_of(self, connection: Connection) -> tuple[Literal[1, 2], str | None]:
        encoding = connection.encoding
        if encoding in OTHER_ENCODINGS:
            return 2, f"serialization format {encoding!r} cannot be decoded"
        if encoding != "cdr":
            text = f"serialization format {encoding!r} is unknown; it is read as cdr"
            self._found.warn(f"{connection.topic}: {text}", lost=False)
        return 2, None

    # Rows -------------------------------------------------------------------------------------------------------------

    def _index_rows(self, unreadable: Int64s | None = None) -> None:
        rows = self._known(self._all_rows())
        if unreadable is not None:
            rows = rows.part(~np.isin(rows.id, unreadable))
        begin = rows.begin
        starts = np.diff(begin // CHUNK_BYTES, prepend=-1) != 0
        starts |= np.diff(np.arange(len(begin)) // CHUNK_ROWS, prepend=-1) != 0
        edges = np.flatnonzero(starts)
        self._rows = [rows.part(slice(a, b)) for a, b in itertools.pairwise([*edges.tolist(), len(begin)])]
        for part in self._rows:
            size = int(part.length.sum())
            offset = (part.begin - part.begin[0] + np.arange(len(part.id))).clip(*INT32).astype(np.int32)
            entries = ChunkEntries(part.connection.astype(np.uint32), part.time, offset).in_runs()
            chunk = Chunk(int(part.id[0]), 0, size, size, "none", chunked=False)
            self._found.add_chunk(chunk, entries)
        self._index = MessageIndex.build([entries for entries in self._found.entries if entries is not None])

    def _known(self, rows: _Rows) -> _Rows:
        """Those that are messages of a topic."""
        known = np.array(self._topic_ids, np.int64)
        place = np.searchsorted(known, rows.connection)
        declared = np.zeros(len(place), np.bool_)
        inside = place < len(known)
        declared[inside] = known[place[inside]] == rows.connection[inside]
        sound = (rows.time >= 0) & (rows.length >= 0)
        for count, what in (
            (int((~sound).sum()), "rows that are no messages"),
            (int((sound & ~declared).sum()), "messages of topics that are declared nowhere"),
        ):
            if count:
                self._found.warn(f"{count} {what} are left out", lost=True)
        good = sound & declared
        return _Rows(rows.id[good], place[good], rows.time[good], rows.length[good])

    def _all_rows(self) -> _Rows:
        """All rows that can be read; the connection is still the topic's id."""
        batches: list[Int64s] = [np.empty((0, 4), np.int64)]
        start: int | None = -MAX_ID - 1
        breaks, self._done = 0, 0
        while start is not None:
            try:
                self._rows_from(start, batches)
                break
            except (apsw.Error, UnicodeDecodeError) as error:
                last = max(start - 1, int(batches[-1][-1, 0])) if len(batches) > 1 else -MAX_ID - 1
                breaks += 1
                start = self._readable_behind(max(last, 0)) if breaks <= MAX_BREAKS else None
                where = f"behind row {last}" if len(batches) > 1 else "at its first row"
                what = "all rows" if start is None else f"rows up to {start - 1}"
                self._found.warn(f"the database is damaged {where} ({error}); {what} are left out", lost=True)
        columns = np.concatenate(batches).T
        return _Rows(*(np.ascontiguousarray(column) for column in columns))

    def _rows_from(self, start: int, into: list[Int64s]) -> None:
        """Append the rows from id ``start`` on to ``into``, those before an error too."""
        rows: list[tuple[Any, ...]] = []

        def flush() -> None:
            if rows:
                into.append(np.array(rows, np.int64))
                self._done += int(into[-1][:, 3].sum())
                rows.clear()
            self._tell()

        try:
            for row in self._db.execute(_ROWS, (start,)):
                if not isinstance(row[0], int):  # of a table of another kind; such sort behind the numbers
                    self._found.warn(f"rows without a number, such as {ascii(row[0])[:40]}, are left out", lost=True)
                    break
                rows.append(row)
                if len(rows) == BATCH_ROWS:
                    flush()
        finally:
            flush()

    def _readable_behind(self, id_: int) -> int | None:
        """The least id above one at which reading can go on, or None."""
        failed, step = id_, 1
        while id_ + step < MAX_ID:
            found = self._row_from(id_ + step)
            if found == MAX_ID:
                return None
            if found is not None:
                break
            failed, step = id_ + step, 2 * step
        else:
            return None
        good = id_ + step
        while good - failed > 1:
            middle = (good + failed) // 2
            at = self._row_from(middle)
            if at is None:
                failed = middle
            else:
                good, found = middle, at
        return found

    def _row_from(self, id_: int) -> int | None:
        """The least id from ``id_`` on, MAX_ID if there is none, None where that cannot be read."""
        query = "SELECT id, topic_id, timestamp, length(data) FROM messages WHERE id >= ? ORDER BY id LIMIT 1"
        try:
            row = self._db.execute(query, (id_,)).fetchone()
        except (apsw.Error, UnicodeDecodeError):
            return None
        return MAX_ID if row is None else int(row[0])

    def _finish(self) -> None:
        if self._pages.size > self._file.size and not self._pages.over:
            reason = "the database is cut"
            text = f"{reason}: {self._file.size} of {self._pages.size} bytes are there"
            self._found.warn(text, lost=True)
            self._found.lose(self._file.size, self._pages.size, reason)
        if self._found.lossy and not len(self._index.time):
            text = f"{self._file.path} holds nothing that can be read: {self._found.warnings[0]}"
            raise LogError("bad_input", text, path=self._file.path)
        self._summarize()

    # Chunks -----------------------------------------------------------------------------------------------------------

    def _where(self, i: int) -> str:
        return f"rows {int(self._rows[i].id[0])} to {int(self._rows[i].id[-1])}"

    def _read(self, i: int, slots: Int32s) -> tuple[Payload, Walk]:
        part = self._rows[i]
        slot = np.where(part.connection < len(slots), slots[np.minimum(part.connection, len(slots) - 1)], -1)
        chosen = part.part(slot >= 0)
        with self._lock:
            rows = self._fetch(part, chosen)
        ids = set(chosen.id.tolist())
        rows = [row for row in rows if row[0] in ids]
        expected = zip(chosen.id.tolist(), chosen.connection.tolist(), chosen.time.tolist(), strict=True)
        if [row[:3] for row in rows] != [(id_, self._topic_ids[c], time) for id_, c, time in expected]:
            raise self._stale(i)
        payloads = [row[3] for row in rows]
        if [len(payload) for payload in payloads] != chosen.length.tolist():
            raise self._stale(i)
        slot = slot[slot >= 0]
        order = np.argsort(slot, kind="stable")
        bounds = np.searchsorted(slot[order], np.arange(int(slots.max(initial=-1)) + 2))
        time = chosen.time[order]
        walk = Walk(time, time, chosen.begin[order], chosen.length[order], bounds.astype(np.int64), len(part.id))
        return payloads[0] if len(payloads) == 1 else b"".join(payloads), walk

    def _fetch(self, part: _Rows, chosen: _Rows) -> list[tuple[Any, ...]]:
        """Id, topic, time and payload of the rows of a part, as far as they are of the topics of ``chosen``."""
        topics = [self._topic_ids[c] for c in np.unique(chosen.connection).tolist()]
        query = "SELECT id, topic_id, timestamp, data FROM messages WHERE id BETWEEN ? AND ?"
        if len(topics) <= MAX_FILTER:
            query += f" AND topic_id IN ({','.join(map(str, topics))})"
        bounds = (int(part.id[0]), int(part.id[-1]))
        try:
            return self._db.execute(f"{query} ORDER BY id", bounds).fetchall()
        except (apsw.Error, UnicodeDecodeError):  # of rows between those that are known
            return [row for id_ in chosen.id.tolist() if (row := self._row(id_)) is not None]

    def _row(self, id_: int) -> tuple[Any, ...] | None:
        """Id, topic, time and payload of one row; None where they cannot be read."""
        try:
            return self._db.execute(
                "SELECT id, topic_id, timestamp, data FROM messages WHERE id = ?", (id_,)
            ).fetchone()
        except (apsw.Error, UnicodeDecodeError):
            return None

    def _unreadable(self, part: _Rows) -> list[int]:
        """Ids of the rows of a part whose payload cannot be read."""
        self._tell()
        there = {row[0] for row in self._fetch(part, part)}
        return [id_ for id_ in part.id.tolist() if id_ not in there]


def _text(value: Any) -> str:
    return bytes(value or b"").decode("utf-8", "backslashreplace")


def open_db3(file: LogFile, progress: Progress) -> Db3Reader:
    """A storage file with the write-ahead log that lies beside it, if there is one."""
    beside = _beside(file.path, "-wal") if file.size == file.stored_bytes else None
    try:
        reader = Db3Reader(file, progress, beside)
    finally:
        if beside is not None:
            beside.close()
    return reader


def _beside(path: str, suffix: str) -> LogFile | None:
    try:
        found = LogFile(path + suffix)
    except HephaesError:
        return None
    return found

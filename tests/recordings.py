"""rosbag2 recordings in every shape that its versions have written, of the samples of ``tests.factories``."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import apsw
import numpy as np
import pyarrow as pa
import zstandard

from hephaes_rpc.engine.logs import LogReader
from hephaes_rpc.engine.messages.decode import StreamDecoder
from tests.factories import TOPICS, Sample, store

Schema = Literal[1, 2, 3, 4]


def write_db3(
    path: Path,
    messages: Iterable[Sample],
    *,
    schema: Schema = 4,
    packed: bool = False,
    wal: bool = False,
    types: dict[str, str] | None = None,
    page_size: int = 4096,
) -> Path:
    """A storage file; ``packed`` compresses each message, ``wal`` leaves everything in a write-ahead log."""
    names = types or TOPICS
    path.unlink(missing_ok=True)
    db = apsw.Connection(str(path))
    db.execute(f"PRAGMA page_size = {page_size}")
    if wal:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    extra = {1: "", 2: "", 3: ", offered_qos_profiles TEXT NOT NULL"}.get(
        schema, ", offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL"
    )
    db.execute(
        "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
        f" serialization_format TEXT NOT NULL{extra});"
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,"
        " data BLOB NOT NULL);"
        "CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
    )
    if schema >= 3:
        db.execute("CREATE TABLE schema (schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL)")
        db.execute("INSERT INTO schema VALUES (?, 'testing')", (schema,))
    if schema == 4:
        db.execute(
            "CREATE TABLE message_definitions (id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT"
            " NULL, encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL)"
        )
    ids: dict[str, int] = {}
    with db:
        for message in messages:
            if message.topic not in ids:
                ids[message.topic] = len(ids) + 1
                values: list[Any] = [ids[message.topic], message.topic, names[message.topic], "cdr"]
                values += ["", ""][: max(0, schema - 2)]
                db.execute(f"INSERT INTO topics VALUES ({','.join('?' * len(values))})", values)
                if schema == 4:
                    text = store(2).generate_msgdef(names[message.topic], ros_version=2)[0]
                    row = (names[message.topic], "ros2msg", text, "")
                    db.execute("INSERT INTO message_definitions VALUES (NULL, ?, ?, ?, ?)", row)
            payload = zstandard.compress(message.payload) if packed else message.payload
            row_values = (ids[message.topic], message.time, payload)
            db.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row_values)
    if wal:
        files = {suffix: path.with_name(path.name + suffix).read_bytes() for suffix in ("", "-wal")}
        db.close()
        for suffix, data in files.items():
            path.with_name(path.name + suffix).write_bytes(data)
    else:
        db.close()
    return path


def write_metadata(
    folder: Path, names: Sequence[str], *, version: int = 5, compression: Literal["", "FILE", "MESSAGE"] = ""
) -> Path:
    """A ``metadata.yaml`` that lists these files; the first versions put the folder's name before theirs."""
    prefix = f"{folder.name}/" if version < 3 else ""
    listed = "".join(f"    - {prefix}{name}\n" for name in names)
    (folder / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n"
        f"  version: {version}\n"
        "  storage_identifier: sqlite3\n"
        f"  relative_file_paths:\n{listed}"
        "  duration:\n    nanoseconds: 1\n  starting_time:\n    nanoseconds_since_epoch: 1\n"
        "  message_count: 0\n  topics_with_message_count: []\n"
        f'  compression_format: "{"zstd" if compression else ""}"\n  compression_mode: "{compression}"\n'
    )
    return folder


def pack(path: Path, *, keep: bool = False) -> Path:
    """The file compressed as rosbag2 does."""
    packed = path.with_name(f"{path.name}.zstd")
    packed.write_bytes(zstandard.compress(path.read_bytes()))
    if not keep:
        path.unlink()
    return packed


def rows(log: LogReader) -> dict[tuple[str, str], tuple[list[int], pa.Array]]:
    """Times and decoded values of every stream in time order."""
    found = {}
    for stream in log.summary.streams:
        slots = log.slots([stream])
        index = log.index(slots)
        decoder = StreamDecoder(stream.definition, stream.wire)
        for i in np.unique(index.chunk).tolist():
            data, walk = log.messages(i, slots)
            assert not decoder.feed(data, walk.offset, walk.length).any()
        order = np.argsort(index.time, kind="stable")
        found[stream.topic, stream.type_name] = (index.time[order].tolist(), decoder.take().take(pa.array(order)))
    return found

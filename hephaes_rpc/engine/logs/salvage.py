"""What can be read of a log, messages, attachments and metadata, written to a new MCAP file and read back.

Strategy: chunk after chunk in the order of the log, every message as it is stored.  Each message is summed up by 64
bits of a hash of its times, number and payload; the file that was written must come to the same sums per stream, when
it is read, before anything is said to be saved.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from attrs import Factory, define, frozen
from mcap.records import Attachment, Metadata
from mcap.writer import CompressionType, Writer

from hephaes_rpc.engine.logs.asides import Aside, LeftOut
from hephaes_rpc.engine.logs.base import LogReader
from hephaes_rpc.engine.logs.opening import open_log
from hephaes_rpc.engine.logs.types import Connection, LogSummary
from hephaes_rpc.errors import HephaesError, LogError

CHUNK_BYTES: Final = 4 << 20
_MASK: Final = (1 << 64) - 1

Told = Callable[[int, int], None]
Sums = dict[tuple[str, str, str], tuple[int, int]]
Message = tuple[int, int, int, bytes]


@frozen
class Salvaged:
    """What was written, which attachments and metadata could not be read, and the log as it was read."""

    messages: int
    attachments: int
    metadata: int
    left_out: list[str]
    summary: LogSummary


def salvage(log: LogReader, path: Path, told: Told) -> Salvaged:
    """Write all messages that can be read of ``log`` to ``path``, a file that does not exist, and read them back.

    Args:
        told: Called with chunks done and chunks in all; what it raises ends the work.

    Raises:
        HephaesError: ``io_error`` where the file does not read back as it was written.
        OSError: It cannot be written.
    """
    with path.open("xb") as file:
        try:
            sums, asides = _write(log, file, told)
        except LogError:
            log.rescan()
            file.seek(0)
            file.truncate()
            sums, asides = _write(log, file, told)
    with open_log(path) as written:
        again = _Asides()
        for aside in written.asides():
            again.add(aside)
        if written.summary.outcome != "whole" or _sums(written) != sums or again.hashes != asides.hashes:
            raise HephaesError("io_error", f"{path} does not read back as it was written", path=str(path))
    return Salvaged(
        log.summary.message_count,
        asides.attachments,
        len(asides.hashes) - asides.attachments,
        asides.left_out,
        log.summary,
    )


@define
class _Asides:
    """Attachments and metadata as far as they are to be compared; why others are left out."""

    attachments: int = 0
    hashes: list[bytes] = Factory(list)
    left_out: list[str] = Factory(list)

    def add(self, aside: Aside) -> None:
        """Count one."""
        if isinstance(aside, LeftOut):
            self.left_out.append(aside.reason)
            return
        digest = hashlib.blake2b(repr(aside).encode() if isinstance(aside, Metadata) else _head(aside), digest_size=16)
        if isinstance(aside, Attachment):
            self.attachments += 1
            digest.update(aside.data)
        self.hashes.append(digest.digest())


def _head(aside: Attachment) -> bytes:
    return repr((aside.log_time, aside.create_time, aside.name, aside.media_type)).encode()


def _write(log: LogReader, file: BinaryIO, told: Told) -> tuple[Sums, _Asides]:
    writer = Writer(file, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)
    summary = log.summary
    writer.start(summary.profile or ("ros1" if summary.ros_version == "ROS1" else ""), "hephaes-rpc salvage")
    connections = [connection for stream in summary.streams for connection in stream.connections]
    schemas: dict[tuple[str, str, bytes], int] = {}
    channels = {connection.id: _register(writer, connection, schemas) for connection in connections}
    sums: Sums = {_key(connection): (0, 0) for connection in connections}
    for connection, message in _messages(log, connections, told):
        log_time, publish_time, sequence, payload = message
        writer.add_message(channels[connection.id], log_time, payload, publish_time, sequence)
        _add(sums, connection, message)
    asides = _Asides()
    for aside in log.asides():
        asides.add(aside)
        if isinstance(aside, Attachment):
            times = aside.create_time, aside.log_time
            writer.add_attachment(*times, aside.name, aside.media_type, aside.data)
        elif isinstance(aside, Metadata):
            writer.add_metadata(aside.name, aside.metadata)
    writer.finish()  # type: ignore[no-untyped-call]
    file.flush()
    return sums, asides


def _register(writer: Writer, connection: Connection, schemas: dict[tuple[str, str, bytes], int]) -> int:
    schema_id = 0
    if connection.schema_encoding or connection.type_name:
        name = connection.type_name
        if connection.schema_encoding == "ros1msg":
            name = name.replace("/msg/", "/")
        key = (name, connection.schema_encoding, connection.schema)
        if key not in schemas:
            schemas[key] = writer.register_schema(*key)
        schema_id = schemas[key]
    return writer.register_channel(connection.topic, connection.encoding, schema_id, dict(connection.metadata))


def _sums(log: LogReader) -> Sums:
    connections = [connection for stream in log.summary.streams for connection in stream.connections]
    sums: Sums = {_key(connection): (0, 0) for connection in connections}
    for connection, message in _messages(log, connections, lambda _done, _total: None):
        _add(sums, connection, message)
    return sums


def _key(connection: Connection) -> tuple[str, str, str]:
    return connection.topic, connection.type_name, connection.encoding


def _add(sums: Sums, connection: Connection, message: Message) -> None:
    """Count a message; sums do not depend on the order."""
    *numbers, payload = message
    digest = hashlib.blake2b(repr(numbers).encode() + payload, digest_size=8).digest()
    count, so_far = sums[_key(connection)]
    sums[_key(connection)] = count + 1, (so_far + int.from_bytes(digest, "little")) & _MASK


def _messages(log: LogReader, connections: list[Connection], told: Told) -> Iterator[tuple[Connection, Message]]:
    """Messages in the order of the log: log time, publish time, sequence number, payload as it is stored."""
    slots = np.full_like(log.slots([]), -1)
    for k, connection in enumerate(connections):
        slots[connection.id] = k
    chunks = np.unique(log.index(slots).chunk).tolist()
    for done, i in enumerate(chunks):
        told(done, len(chunks))
        data, walk, sequences = log.stored(i, slots)
        view = memoryview(data)
        slot = np.repeat(np.arange(len(walk.bounds) - 1), np.diff(walk.bounds))
        order = np.argsort(walk.offset, kind="stable")
        columns = (slot, walk.offset, walk.length, walk.log_time, walk.publish_time, sequences)
        for k, start, length, log_time, publish_time, sequence in zip(
            *(c[order].tolist() for c in columns), strict=True
        ):
            yield connections[k], (log_time, publish_time, sequence, bytes(view[start : start + length]))

"""What is fuzzed.  A finding: a crash, a report of a sanitizer, an exception that is not one of our declared errors, an
answer that contradicts itself, more than MAX_SECONDS of processor time, memory beyond one chunk and a constant.
"""

import resource
import time
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from fuzz.encodings import ENCODINGS
from hephaes_rpc.engine.logs import LogReader, open_log
from hephaes_rpc.engine.logs.chunks import FREE_RAW_BYTES
from hephaes_rpc.engine.logs.describe import describe
from hephaes_rpc.engine.logs.types import Connection, Stream
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.quality.indexed import quality_by_index
from hephaes_rpc.errors import HephaesError

MAX_SECONDS = 10.0
MAX_RISE_BYTES = 3 * FREE_RAW_BYTES
MAX_DECODED = 20
SELDOM = 8
"""One container of so many is decoded and judged, too; the others are only read."""


class FindingError(AssertionError):
    """A promise that was broken."""


def container(path: Path) -> Callable[[bytes], None]:
    """Opens the bytes as a log of that path, reads and describes all of it, twice where its index lied."""

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            with open_log(path) as log:
                _use(log, rarely=zlib.crc32(data) % SELDOM == 0)
        except HephaesError as error:
            if not error.message or len(error.message) > 4000:
                raise FindingError("an error without a fit message") from error

    return run


def _use(log: LogReader, *, rarely: bool) -> None:
    try:
        _read(log, decoded=rarely)
    except HephaesError:
        log.rescan()
        _read(log, decoded=rarely)
    describe(log)
    if rarely:
        quality_by_index(log)
    summary = log.summary
    if (summary.outcome == "part") != bool(summary.gaps):
        raise FindingError("the outcome and the gaps contradict each other")
    if any(not 0 <= lost.start < lost.end for lost in summary.lost_ranges):
        raise FindingError("a lost range is none")


def _read(log: LogReader, *, decoded: bool) -> None:
    streams = log.summary.streams
    slots = log.slots(streams)
    index = log.index(slots)
    decoders = [_decoder(stream) for stream in streams[:8]] if decoded else []
    count = 0
    for i in np.unique(index.chunk).tolist():
        data, walk = log.messages(i, slots)
        end = walk.offset + walk.length
        if len(end) and not (walk.offset.min() >= 0 and walk.length.min() >= 0 and end.max() <= len(data)):
            raise FindingError("a message lies outside its chunk")
        count += len(walk.offset)
        for k, decoder in enumerate(decoders):
            if decoder is not None:
                _, offset, length = walk.slot(k)
                decoder.feed(data, offset[:MAX_DECODED], length[:MAX_DECODED])
                decoder.take().validate(full=True)
    if count != log.summary.message_count:
        raise FindingError(f"{log.summary.message_count} messages are told, {count} were read")


def _decoder(stream: Stream) -> StreamDecoder | None:
    if stream.undecodable is not None:
        return None
    try:
        return StreamDecoder(stream.definition, stream.wire)
    except HephaesError:
        return None


@lru_cache(512)
def _decoder_of(kind: int, name: str, schema: bytes, sample: bytes) -> StreamDecoder | None:
    encoding, schema_encoding, ros = ENCODINGS[kind % len(ENCODINGS)]
    connection = Connection(1, "/a", name, encoding, schema_encoding, schema, 1, {})
    return _decoder(Stream("/a", name, (connection,), 1 if ros == 1 else 2, sample=lambda: [sample]))


def decode(data: bytes) -> None:
    """Decodes a payload by a definition: kind, length and name of the type, length and text of the schema, payload."""
    if len(data) < 4:
        return
    name = data[2 : 2 + data[1]].decode("utf-8", "backslashreplace")
    rest = data[2 + data[1] :]
    schema_bytes = int.from_bytes(rest[:2], "little")
    schema, payload = rest[2 : 2 + schema_bytes], rest[2 + schema_bytes :]
    looks = ENCODINGS[data[0] % len(ENCODINGS)][1] in ("", "jsonschema")
    decoder = _decoder_of(data[0] % len(ENCODINGS), name, schema, payload if looks else b"")
    if decoder is None:
        return
    for part in (payload, payload[: len(payload) // 2], payload + payload):
        exact = np.frombuffer(part, np.uint8).copy()  # without the byte that ``bytes`` has behind it
        try:
            status = decoder.feed(exact.data, np.zeros(1, np.int64), np.array([len(part)], np.int64))
            found = decoder.take()
        except HephaesError:
            return
        found.validate(full=True)
        if len(found) != int((status == 0).sum()):
            raise FindingError("rows and statuses contradict each other")


def targets(folder: Path) -> dict[str, Callable[[bytes], None]]:
    """By name; ``folder`` is where logs are written."""
    return {**{name: container(folder / f"a.{name}") for name in ("bag", "mcap", "db3")}, "decode": decode}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def watched(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, held to its time and memory."""
    peak = 0

    def run(data: bytes) -> None:
        nonlocal peak
        before = peak or _peak_bytes()
        began = time.process_time()
        target(data)
        took_s = time.process_time() - began
        peak = _peak_bytes()
        if took_s > MAX_SECONDS:
            raise FindingError(f"it took {took_s:.1f} s")
        if peak - before > len(data) + MAX_RISE_BYTES:
            raise FindingError(f"memory rose by {peak - before} bytes")

    return run

"""What was read of a log, as one number that tells whether another log would give the same.

The fingerprint of a stream is BLAKE3 over the BLAKE3 of its name (JSON: topic, type, wire format, definition), of
its heads (per message log time and length, int64, little-endian) and of its payloads, one after the other; messages in
the order of their log times, equal ones as in the file.  That of a log is BLAKE3 over those of its streams in the
order of their names.  Only messages that a row takes are in it; chunks, compression and container are not.

Strategy: payloads are hashed as they arrive.  A message that arrives before an earlier one, which only happens where
chunks overlap in time or a log is out of order, is kept until its turn; assembly keeps what it decoded for the same
span of time.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import attrs
import numpy as np
import orjson
from blake3 import blake3
from numpy.typing import NDArray

from hephaes_native import records
from hephaes_rpc.engine.logs import Stream
from hephaes_rpc.engine.logs.types import Part
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.plan import Int64s

ALGORITHM = "blake3"
LONG_BYTES = 16 << 10
"""Payloads of at least so many bytes on average are hashed where they lie."""
MAX_HELD_BYTES = 4 << 20
"""Chunks that wait to be hashed; a larger one is hashed before the next one is read."""


class Digest(Protocol):
    """What takes the used messages of a chunk."""

    def feed(self, data: bytes | memoryview, chunk: int, part: Part) -> None:
        """As ``StreamDigest.feed``."""


class StreamDigest:
    """The fingerprint of one stream in the making."""

    def __init__(self, stream: Stream, time: Int64s, chunks: ChunkRuns, used: NDArray[np.bool_]) -> None:
        """Of all messages in file order: log time (ns), chunks, whether it will be fed."""
        self._stream = stream
        self._heads, self._payloads = blake3(), blake3()
        self._next = 0
        self._kept: dict[int, tuple[int, bytes]] = {}
        counts = chunks.counts(used)
        self._chunks, self._first = chunks.number, np.cumsum(counts) - counts
        self._place = 0
        taken = time if used.all() else time[used]
        self._turn: Int64s | None = None
        if np.any(taken[1:] < taken[:-1]):
            self._turn = np.empty(len(taken), np.int64)
            self._turn[np.argsort(taken, kind="stable")] = np.arange(len(taken))

    def feed(self, data: bytes | memoryview, chunk: int, part: Part) -> None:
        """Take the used messages of a chunk with this content, in file order, once."""
        first, n = self._first_of(chunk), part.last - part.first
        if not self._kept and self._is_next(first, n):
            self._take(data, part)
            return
        turn = np.arange(first, first + n) if self._turn is None else self._turn[first : first + n]
        view = memoryview(data)
        for k, moment, start, size in zip(*(each.tolist() for each in (turn, *part.views())), strict=True):
            self._kept[k] = moment, bytes(view[start : start + size])
        ready: list[tuple[int, bytes]] = []
        while (found := self._kept.pop(self._next + len(ready), None)) is not None:
            ready.append(found)
        if ready:
            length = np.array([len(payload) for _, payload in ready], np.int64)
            times = np.array([moment for moment, _ in ready], np.int64)
            joined = b"".join(payload for _, payload in ready)
            self._take(joined, Part(times, np.cumsum(length) - length, length, 0, len(ready)))

    def _first_of(self, chunk: int) -> int:
        """The place of the first used message of a chunk; chunks mostly come in their order."""
        if self._place == len(self._chunks) or self._chunks[self._place] != chunk:
            self._place = int(self._chunks.searchsorted(np.int32(chunk)))
        self._place += 1
        return int(self._first[self._place - 1])

    def _is_next(self, first: int, n: int) -> bool:
        """Whether it is the turn of the used messages ``first`` to ``first + n`` (in file order), in this order."""
        if self._turn is None:
            return first == self._next
        return np.array_equal(self._turn[first : first + n], np.arange(self._next, self._next + n))

    def _take(self, data: bytes | memoryview, part: Part) -> None:
        heads, payloads = records.heads_and_payloads(data, *part, LONG_BYTES)
        self._heads.update(heads)
        if payloads is None:
            view = memoryview(data)
            _, offset, length = part.views()
            for start, size in zip(offset.tolist(), length.tolist(), strict=True):
                self._payloads.update(view[start : start + size])
        else:
            self._payloads.update(payloads)
        self._next += part.last - part.first

    def name(self) -> bytes:
        """What the stream is called and made of."""
        definition = self._stream.definition
        types = [
            [name, [[member.name, *attrs.astuple(member.type)] for member in definition.types[name].fields]]
            for name in sorted(definition.types)
        ]
        return orjson.dumps([self._stream.topic, self._stream.type_name, self._stream.wire, definition.root, types])

    def finish(self) -> bytes:
        """The fingerprint; all used messages must have been fed."""
        digest = blake3()
        for part in (blake3(self.name()), self._heads, self._payloads):
            digest.update(part.digest())
        return digest.digest()


class DigestLane:
    """Feeds digests in a thread of its own, a chunk or two behind those who read."""

    def __init__(self) -> None:
        from hephaes_rpc.engine.lane import Lane  # its thread pools take a while to import, and a look needs none

        self._lane = Lane("digests", MAX_HELD_BYTES)
        self._due: list[_Fed] = []

    def behind(self, digest: StreamDigest) -> Digest:
        """What stands for ``digest`` to those who read."""
        return _Behind(digest, self._due)

    def go_on(self) -> None:
        """Have all that was fed since the last time, which is of one chunk, hashed; raises what failed before."""
        if self._due:
            due = self._due.copy()
            self._due.clear()
            self._lane.call(_feed, due, nbytes=len(due[0].data))

    def drain(self) -> None:
        """Wait until all is hashed."""
        self.go_on()
        self._lane.drain()

    def __enter__(self) -> Self:
        self._lane.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lane.__exit__(kind, error, tb)


class _Fed(NamedTuple):
    digest: StreamDigest
    data: bytes | memoryview
    chunk: int
    part: Part


class _Behind:
    def __init__(self, digest: StreamDigest, due: list[_Fed]) -> None:
        self._digest, self._due = digest, due

    def feed(self, data: bytes | memoryview, chunk: int, part: Part) -> None:
        self._due.append(_Fed(self._digest, data, chunk, part))


def _feed(due: Iterable[_Fed]) -> None:
    for digest, data, chunk, part in due:
        digest.feed(data, chunk, part)


def combined(streams: Iterable[StreamDigest]) -> str:
    """The fingerprint of what was read of a log, hex."""
    digest = blake3()
    for _, found in sorted((stream.name(), stream.finish()) for stream in streams):
        digest.update(found)
    return digest.hexdigest()

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

import attrs
import numpy as np
import orjson
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray

from hephaes_rpc.engine.logs import Stream
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.plan import Int64s

ALGORITHM = "blake3"


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
        taken = time if used.all() else time[used]
        self._turn: Int64s | None = None
        if np.any(taken[1:] < taken[:-1]):
            self._turn = np.empty(len(taken), np.int64)
            self._turn[np.argsort(taken, kind="stable")] = np.arange(len(taken))

    def feed(self, data: bytes | memoryview, chunk: int, time: Int64s, offset: Int64s, length: Int64s) -> None:
        """Take the used messages of a chunk (log time, place in ``data`` and size, int64, file order), once."""
        first = int(self._first[np.searchsorted(self._chunks, chunk)])
        turn = np.arange(first, first + len(time)) if self._turn is None else self._turn[first : first + len(time)]
        payloads = _gathered(data, offset, length)
        if not self._kept and turn[0] == self._next and np.all(turn[1:] - turn[:-1] == 1):
            self._take(time, length, payloads)
            return
        end = np.cumsum(length)
        for k, moment, start, stop in zip(*(each.tolist() for each in (turn, time, end - length, end)), strict=True):
            self._kept[k] = moment, bytes(payloads[start:stop])
        ready: list[tuple[int, bytes]] = []
        while (found := self._kept.pop(self._next + len(ready), None)) is not None:
            ready.append(found)
        if ready:
            lengths = np.array([len(payload) for _, payload in ready], np.int64)
            times = np.array([moment for moment, _ in ready], np.int64)
            self._take(times, lengths, b"".join(payload for _, payload in ready))

    def _take(self, time: Int64s, length: Int64s, payloads: bytes | memoryview) -> None:
        self._heads.update(np.stack((time, length), axis=1).astype("<i8").tobytes())
        self._payloads.update(payloads)
        self._next += len(time)

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


def _gathered(data: bytes | memoryview, offset: Int64s, length: Int64s) -> memoryview:
    """The slices of ``data`` one after the other; ``offset`` ascending, slices do not overlap.

    They and what lies between them are taken for an array of byte strings, of which every other one is taken.
    """
    ends = np.empty(2 * len(offset) + 1, np.int64)
    ends[:-1:2], ends[1::2], ends[-1] = offset, offset + length, offset[-1] + length[-1]
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
    pieces = pa.Array.from_buffers(pa.large_binary(), 2 * len(offset), buffers)
    found = pieces.take(pa.array(np.arange(0, 2 * len(offset), 2)))
    return memoryview(found.buffers()[2] or b"")[: int(length.sum())]


def combined(streams: Iterable[StreamDigest]) -> str:
    """The fingerprint of what was read of a log, hex."""
    digest = blake3()
    for _, found in sorted((stream.name(), stream.finish()) for stream in streams):
        digest.update(found)
    return digest.hexdigest()

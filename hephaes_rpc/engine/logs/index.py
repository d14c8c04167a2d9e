"""The message index of a log: which messages lie in which chunk, by connection.

Strategy: messages are kept as runs, a run being the messages of one connection in one chunk in file order; that is how
both containers store their index.  Times and offsets of all runs lie in two flat arrays (12 bytes a message), and every
question is a gather of whole runs: by slot for a plan, by chunk for a check.  Only where several connections share a
slot are the runs of one chunk merged, by their offsets.
"""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from attrs import frozen

from hephaes_native.records import Entries
from hephaes_rpc.engine.logs.types import Int32s, Int64s, TimeIndex

NO_TIMES = (np.iinfo(np.int64).max, np.iinfo(np.int64).min)


@frozen(eq=False)
class ChunkEntries:
    """The messages of one chunk: connection, log time (ns), offset of the record in the chunk's data; each int64[n]."""

    connection: Int64s
    time: Int64s
    offset: Int64s

    @classmethod
    def of(cls, entries: Entries) -> Self:
        """Native entries, without copying."""
        return cls(*(np.frombuffer(a, np.int64) for a in (entries.connection, entries.log_time, entries.offset)))

    @classmethod
    def join(cls, pieces: Sequence[Self]) -> Self:
        """The messages of all pieces, one piece after the other."""
        if len(pieces) == 1:
            return pieces[0]
        empty = [cls.empty()]
        return cls(
            *(np.concatenate([getattr(p, n) for p in pieces or empty]) for n in ("connection", "time", "offset"))
        )

    @classmethod
    def empty(cls) -> Self:
        """No messages."""
        return cls(*(np.empty(0, np.int64) for _ in range(3)))

    def in_runs(self) -> Self:
        """The same messages, grouped by connection, in file order inside a connection."""
        order = np.lexsort((self.offset, self.connection))
        return type(self)(self.connection[order], self.time[order], self.offset[order])

    def of_connections(self, ids: Iterable[int]) -> Self:
        """The messages of these connections only."""
        keep = np.isin(self.connection, list(ids))
        return type(self)(self.connection[keep], self.time[keep], self.offset[keep])

    def starts(self) -> Int64s:
        """First message of each run; int64[runs]."""
        return np.flatnonzero(np.concatenate(([len(self) > 0], self.connection[1:] != self.connection[:-1])))

    def ascends(self) -> bool:
        """Whether each connection is one run and offsets strictly ascend inside it."""
        starts = self.starts()
        falls = self.offset[1:] <= self.offset[:-1]
        falls[starts[1:] - 1] = False
        heads = self.connection[starts].tolist()
        return len(set(heads)) == len(heads) and not falls.any()

    def counts(self) -> dict[int, int]:
        """Messages of each connection, if in runs."""
        starts = self.starts()
        return dict(zip(self.connection[starts].tolist(), np.diff(starts, append=len(self)).tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.time)


@frozen(eq=False)
class MessageIndex:
    """All messages of a log in runs.

    Args:
        time: int64[n], log time, ns.
        offset: int32[n], of the record in its chunk's data, bytes.
        run_start: int64[r + 1], first message of each run.
        run_connection, run_chunk: int64[r] and int32[r]; chunks ascend.
        chunk_run: int64[chunks + 1], first run of each chunk.
    """

    time: Int64s
    offset: Int32s
    run_start: Int64s
    run_connection: Int64s
    run_chunk: Int32s
    chunk_run: Int64s

    @classmethod
    def build(cls, chunks: Sequence[ChunkEntries]) -> Self:
        """Index of chunks in file order; each must be ``in_runs``."""
        lengths = np.array([len(c) for c in chunks], np.int64)
        if not lengths.sum():
            chunks = [ChunkEntries.empty()]
        connection = np.concatenate([c.connection for c in chunks])
        time = np.concatenate([c.time for c in chunks])
        offset = np.concatenate([c.offset for c in chunks]).astype(np.int32)
        chunk_start = np.concatenate(([0], np.cumsum(lengths)))
        begins = np.ones(len(time) + 1, np.bool_)
        begins[1:-1] = connection[1:] != connection[:-1]
        begins[chunk_start] = True
        run_start = np.flatnonzero(begins)
        chunk_run = np.searchsorted(run_start, chunk_start)
        run_chunk = np.repeat(np.arange(len(lengths), dtype=np.int32), np.diff(chunk_run))
        return cls(time, offset, run_start, connection[run_start[:-1]], run_chunk, chunk_run)

    def counts(self) -> dict[int, int]:
        """Messages of each connection that has any."""
        ids, inverse = np.unique(self.run_connection, return_inverse=True)
        counts = np.zeros(len(ids), np.int64)
        np.add.at(counts, inverse, np.diff(self.run_start))
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))

    def chunk_times(self) -> tuple[Int64s, Int64s]:
        """Least and greatest log time of each chunk; NO_TIMES where a chunk is empty."""
        edges = self.run_start[self.chunk_run]
        filled = edges[1:] > edges[:-1]
        least, greatest = (np.full(len(filled), time, np.int64) for time in NO_TIMES)
        if filled.any():
            least[filled] = np.minimum.reduceat(self.time, edges[:-1][filled])
            greatest[filled] = np.maximum.reduceat(self.time, edges[:-1][filled])
        return least, greatest

    def select(self, slots: Int32s) -> TimeIndex:
        """The messages whose connection has a slot."""
        return self._gather(slice(0, len(self.run_chunk)), slots)

    def select_chunk(self, i: int, slots: Int32s) -> TimeIndex:
        """The messages of chunk ``i`` whose connection has a slot."""
        return self._gather(slice(int(self.chunk_run[i]), int(self.chunk_run[i + 1])), slots)

    def _gather(self, runs: slice, slots: Int32s) -> TimeIndex:
        connection = self.run_connection[runs]
        slot = np.where(connection < len(slots), slots[np.minimum(connection, len(slots) - 1)], -1)
        chosen = np.flatnonzero(slot >= 0)
        order = chosen[np.argsort(slot[chosen], kind="stable")]
        slot = slot[order]
        start = self.run_start[runs.start : runs.stop + 1]
        length = np.diff(start)[order]
        end = np.cumsum(length)
        source = np.arange(end[-1] if len(end) else 0) + np.repeat(start[order] - end + length, length)
        chunk = self.run_chunk[runs][order]
        if np.any((slot[1:] == slot[:-1]) & (chunk[1:] == chunk[:-1])):
            source = source[np.lexsort((self.offset[source], np.repeat(chunk, length), np.repeat(slot, length)))]
        counts = np.zeros(slots.max(initial=-1) + 2, np.int64)
        np.add.at(counts, slot + 1, length)
        return TimeIndex(self.time[source], np.repeat(chunk, length), np.cumsum(counts))


def from_index(found: ChunkEntries, raw_bytes: int, times: tuple[int, int] | None) -> ChunkEntries | None:
    """Index entries of one chunk, in runs; None when they cannot be true.

    Args:
        raw_bytes: Size of the chunk's data.
        times: Least and greatest log time as the chunk's own header gives them, if it does.
    """
    if not len(found):
        return found
    if not found.ascends():
        found = found.in_runs()
        if not found.ascends():
            return None
    least, greatest = int(found.time.min()), int(found.time.max())
    if least < 0 or (times is not None and times != (least, greatest)):
        return None
    starts = found.starts()
    if int(found.offset[starts].min()) < 0 or int(found.offset.max()) >= raw_bytes:
        return None
    return found

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
from numpy.typing import NDArray

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

    def chunk_size(self, i: int) -> int:
        """Messages in chunk ``i``."""
        return int(self.run_start[self.chunk_run[i + 1]] - self.run_start[self.chunk_run[i]])

    def chunk_counts(self, i: int) -> dict[int, int]:
        """Messages of each connection that has any in chunk ``i``."""
        first, last = int(self.chunk_run[i]), int(self.chunk_run[i + 1])
        counts = np.diff(self.run_start[first : last + 1])
        return dict(zip(self.run_connection[first:last].tolist(), counts.tolist(), strict=True))

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
        return self._gather(slice(0, len(self.run_chunk)), slots)[0]

    def select_offsets(self, slots: Int32s) -> Int32s:
        """The offsets of the messages that ``select`` gives, int32[n]."""
        return self.offset[self._gather(slice(0, len(self.run_chunk)), slots)[1]]

    def select_chunk(self, i: int, slots: Int32s) -> TimeIndex:
        """The messages of chunk ``i`` whose connection has a slot."""
        return self._gather(slice(int(self.chunk_run[i]), int(self.chunk_run[i + 1])), slots)[0]

    def _gather(self, runs: slice, slots: Int32s) -> tuple[TimeIndex, Int64s]:
        """The selected messages of these runs, and which messages of the index they are."""
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
        return TimeIndex(self.time[source], np.repeat(chunk, length), np.cumsum(counts)), source


def impossible(
    chunks: Sequence[ChunkEntries], raw_bytes: Int64s, times: Sequence[tuple[int, int] | None]
) -> NDArray[np.bool_]:
    """Which chunks' index entries cannot be true, bool[chunks].

    Entries must be in runs, one a connection, with offsets that strictly ascend and lie inside ``raw_bytes``, and times
    that are not negative and reach from the first to the second of ``times``, where the chunk's own header gives them.
    """
    wrong = np.zeros(len(chunks), np.bool_)
    filled = np.array([i for i, entries in enumerate(chunks) if len(entries)], np.int64)
    if not len(filled):
        return wrong
    edges = np.cumsum([0, *(len(chunks[i]) for i in filled)])
    connection, time, offset = (
        np.concatenate([getattr(chunks[i], name) for i in filled]) for name in ("connection", "time", "offset")
    )
    begins = np.concatenate(([True], connection[1:] != connection[:-1]))
    begins[edges[:-1]] = True
    starts = np.flatnonzero(begins)
    chunk_of_run = np.searchsorted(edges, starts, side="right") - 1
    runs = np.stack((chunk_of_run, connection[starts]))
    order = np.lexsort(runs[::-1])
    repeated = order[1:][(runs[:, order[1:]] == runs[:, order[:-1]]).all(axis=0)]
    falls = np.flatnonzero((offset[1:] <= offset[:-1]) & ~begins[1:]) + 1
    bad = np.zeros(len(filled), np.bool_)
    bad[chunk_of_run[repeated]] = True
    bad[np.searchsorted(edges, falls, side="right") - 1] = True
    least, greatest = (f.reduceat(time, edges[:-1]) for f in (np.minimum, np.maximum))
    claimed = [times[i] or (lo, hi) for i, lo, hi in zip(filled, least.tolist(), greatest.tolist(), strict=True)]
    bad |= (least < 0) | np.any(
        np.stack((least, greatest), axis=1).astype(np.uint64) != np.array(claimed, np.uint64), 1
    )
    bad |= np.minimum.reduceat(offset, edges[:-1]) < 0
    bad |= np.maximum.reduceat(offset, edges[:-1]) >= raw_bytes[filled]
    wrong[filled] = bad
    return wrong

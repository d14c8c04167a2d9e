"""The message index of a log: which messages lie in which chunk, by connection.

Strategy: messages are kept as runs, a run being the messages of one connection in one chunk in file order; that is how
both containers store their index.  Times and offsets of all runs lie in two flat arrays (12 bytes a message), those of
one connection together, so that the times of a topic that one connection wrote are a view of them.  Every other
question is a gather of whole runs: by slot for a plan, by chunk for a check.  Only where several connections share a
slot are the runs of one chunk merged, by their offsets.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hephaes_native import records
from hephaes_rpc.engine.logs.types import Int32s, Int64s, TimeIndex
from hephaes_rpc.engine.memory import give_back

PIECE_MESSAGES = 1 << 18
GIVEN_BACK_MESSAGES = 1 << 20
"""Of so many messages the memory that they had piece by piece goes back to the system."""
INT32 = (np.int64(np.iinfo(np.int32).min), np.int64(np.iinfo(np.int32).max))
NO_TIMES = (np.iinfo(np.int64).max, np.iinfo(np.int64).min)


@frozen(eq=False)
class ChunkEntries:
    """The messages of one chunk.

    Args:
        connection: uint32[n].
        time: int64[n], log time, ns.
        offset: int32[n], of the record in the chunk's data, bytes; one that no chunk can have is the nearest int32.
    """

    connection: NDArray[np.uint32]
    time: Int64s
    offset: Int32s

    @classmethod
    def of(cls, entries: records.Entries) -> Self:
        """Native entries (views)."""
        return cls(
            np.frombuffer(entries.connection, np.uint32),
            np.frombuffer(entries.log_time, np.int64),
            np.frombuffer(entries.offset, np.int32),
        )

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
        return cls(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int32))

    def in_runs(self) -> Self:
        """The same messages, grouped by connection, in file order inside a connection."""
        order = np.lexsort((self.offset, self.connection))
        return type(self)(self.connection[order], self.time[order], self.offset[order])

    @cached_property
    def runs(self) -> records.Runs:
        """The messages as runs, as they lie."""
        return records.runs_of(self.connection, self.time, self.offset)

    def of_connections(self, ids: Iterable[int]) -> Self:
        """The messages of these connections only."""
        keep = np.isin(self.connection, list(ids))
        return type(self)(self.connection[keep], self.time[keep], self.offset[keep])

    def __len__(self) -> int:
        return len(self.time)


@frozen(eq=False)
class MessageIndex:
    """All messages of a log in runs, by connection and in file order inside one.

    Args:
        time: int64[n], log time, ns.
        offset: int32[n], of the record in its chunk's data, bytes.
        run_start: int64[r + 1], first message of each run.
        run_connection, run_chunk: uint32[r] and int32[r].
        by_chunk: int64[r], the runs by chunk.
        chunk_run: int64[chunks + 1], where the runs of each chunk begin in ``by_chunk``.
    """

    time: Int64s
    offset: Int32s
    run_start: Int64s
    run_connection: NDArray[np.uint32]
    run_chunk: Int32s
    by_chunk: Int64s
    chunk_run: Int64s

    @classmethod
    def build(cls, chunks: list[ChunkEntries]) -> Self:
        """Index of chunks in file order, each ``in_runs``; takes them out of the list, so that none is held twice."""
        runs = [entries.runs for entries in chunks]
        n_runs = [len(each.connection) for each in runs]
        chunk = np.repeat(np.arange(len(chunks), dtype=np.int32), n_runs)
        connection = np.concatenate([np.empty(0, np.uint32), *(each.connection for each in runs)])
        length = np.concatenate([np.empty(0, np.int64), *(each.length for each in runs)])
        chunk_run = np.concatenate(([0], np.cumsum(n_runs, dtype=np.int64)))
        order = np.argsort(connection, kind="stable")
        by_chunk = np.empty(len(order), np.int64)
        by_chunk[order] = np.arange(len(order))
        run_start = np.concatenate(([0], np.cumsum(length[order])))
        place = run_start[by_chunk]
        taken = ChunkEntries.empty()
        time, offset = np.empty(run_start[-1], np.int64), np.empty(run_start[-1], np.int32)
        freed = 0
        for i, (first, last) in enumerate(pairwise(chunk_run.tolist())):
            records.spread(chunks[i].time, chunks[i].offset, length[first:last], place[first:last], time, offset)
            freed += len(chunks[i])
            chunks[i] = taken
            if freed >= GIVEN_BACK_MESSAGES:
                give_back()
                freed = 0
        chunks.clear()
        return cls(time, offset, run_start, connection[order], chunk[order], by_chunk, chunk_run)

    def entries(self) -> Iterator[ChunkEntries]:
        """The messages of each chunk, as ``build`` took them."""
        for i in range(len(self.chunk_run) - 1):
            runs = self._runs_of(i)
            source = self._spread(runs)
            connection = np.repeat(self.run_connection[runs], self._lengths(runs))
            yield ChunkEntries(connection, self.time[source], self.offset[source])

    def counts(self) -> dict[int, int]:
        """Messages of each connection that has any."""
        ids, inverse = np.unique(self.run_connection, return_inverse=True)
        counts = np.zeros(len(ids), np.int64)
        np.add.at(counts, inverse, np.diff(self.run_start))
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))

    def chunk_size(self, i: int) -> int:
        """Messages in chunk ``i``."""
        return int(self._lengths(self._runs_of(i)).sum())

    def chunk_counts(self, i: int) -> dict[int, int]:
        """Messages of each connection that has any in chunk ``i``."""
        runs = self._runs_of(i)
        return dict(zip(self.run_connection[runs].tolist(), self._lengths(runs).tolist(), strict=True))

    def chunk_times(self) -> tuple[Int64s, Int64s]:
        """Least and greatest log time of each chunk; NO_TIMES where a chunk is empty."""
        least, greatest = (np.full(len(self.chunk_run) - 1, time, np.int64) for time in NO_TIMES)
        if len(self.run_chunk):
            np.minimum.at(least, self.run_chunk, np.minimum.reduceat(self.time, self.run_start[:-1]))
            np.maximum.at(greatest, self.run_chunk, np.maximum.reduceat(self.time, self.run_start[:-1]))
        return least, greatest

    def select(self, slots: Int32s) -> TimeIndex:
        """The messages whose connection has a slot; the times are a view where they lie together."""
        runs, bounds = self._runs(self._runs_with(slots), slots)
        chunk = np.repeat(self.run_chunk[runs], self._lengths(runs))
        if len(runs) and np.all(np.diff(runs) == 1) and not self._shares_chunks(runs, slots):
            return TimeIndex(self.time[self.run_start[runs[0]] : self.run_start[runs[-1] + 1]], chunk, bounds)
        time = np.empty(bounds[-1], np.int64)
        for at, source in self._pieces(runs, slots):
            time[at : at + len(source)] = self.time[source]
        return TimeIndex(time, chunk, bounds)

    def times(self, slots: Int32s) -> list[Int64s]:
        """The times that ``select`` gives, by slot; those of a connection that has a slot for itself are a view."""
        ids = np.flatnonzero(slots >= 0)
        begin, end = (
            self.run_start[np.searchsorted(self.run_connection, ids.astype(np.uint32), side)].tolist()
            for side in ("left", "right")
        )
        shared = np.bincount(slots[ids], minlength=int(slots.max(initial=-1)) + 1) > 1
        found = [self.time[:0]] * len(shared)
        for k, first, last in zip(slots[ids].tolist(), begin, end, strict=True):
            found[k] = self.time[first:last]
        if shared.any():
            index = self.select(np.where((slots >= 0) & shared[slots], slots, np.int32(-1)))
            for k in np.flatnonzero(shared).tolist():
                found[k] = index.slot(k)[0]
        return found

    def select_offsets(self, slots: Int32s) -> Int32s:
        """The offsets of the messages that ``select`` gives, int32[n]."""
        runs, bounds = self._runs(self._runs_with(slots), slots)
        offset = np.empty(bounds[-1], np.int32)
        for at, source in self._pieces(runs, slots):
            offset[at : at + len(source)] = self.offset[source]
        return offset

    def lists(self, i: int, slots: Int32s, bounds: Int64s, time: Int64s) -> bool:
        """Whether the messages of chunk ``i`` that have a slot are those: log times, and where slots begin."""
        runs = self._runs_of(i)
        if records.lists(runs, self.run_start, self.run_connection, self.time, slots, bounds, time):
            return True
        runs, expected = self._runs(runs, slots)
        return np.array_equal(bounds, expected) and np.array_equal(time, self.time[self._messages(runs, slots)])

    def _runs_of(self, i: int) -> Int64s:
        """The runs of chunk ``i``."""
        return self.by_chunk[self.chunk_run[i] : self.chunk_run[i + 1]]

    def _runs_with(self, slots: Int32s) -> Int64s:
        """The runs of the connections that have a slot."""
        ids = np.flatnonzero(slots >= 0).astype(np.uint32)
        first, last = (np.searchsorted(self.run_connection, ids, side) for side in ("left", "right"))
        return _ranges(first, last - first)

    def _runs(self, runs: Int64s, slots: Int32s) -> tuple[Int64s, Int64s]:
        """Of these runs those that have a slot, by slot and in file order inside one; where each slot begins."""
        slot = self._slots(self.run_connection[runs], slots)
        chosen = np.flatnonzero(slot >= 0)
        order = chosen[np.lexsort((self.run_chunk[runs[chosen]], slot[chosen]))]
        counts = np.zeros(slots.max(initial=-1) + 2, np.int64)
        np.add.at(counts, slot[order] + 1, self._lengths(runs[order]))
        return runs[order], np.cumsum(counts)

    def _pieces(self, runs: Int64s, slots: Int32s) -> Iterator[tuple[int, Int64s]]:
        """Runs by ``_runs`` cut into pieces of bounded size: how many messages precede, which they are.

        Runs of one slot in one chunk stay together, because they are merged.
        """
        end = np.cumsum(self._lengths(runs))
        slot, chunk = self._slots(self.run_connection[runs], slots), self.run_chunk[runs]
        first = done = 0
        while first < len(runs):
            last = max(first + 1, int(np.searchsorted(end, done + PIECE_MESSAGES)))
            while last < len(runs) and slot[last] == slot[last - 1] and chunk[last] == chunk[last - 1]:
                last += 1
            yield done, self._messages(runs[first:last], slots)
            first, done = last, int(end[last - 1])

    def _messages(self, runs: Int64s, slots: Int32s) -> Int64s:
        """The messages of runs by ``_runs``, merged by offset where a slot has several runs in one chunk."""
        source = self._spread(runs)
        if self._shares_chunks(runs, slots):
            slot, chunk, length = (
                self._slots(self.run_connection[runs], slots),
                self.run_chunk[runs],
                self._lengths(runs),
            )
            source = source[np.lexsort((self.offset[source], np.repeat(chunk, length), np.repeat(slot, length)))]
        return source

    def _shares_chunks(self, runs: Int64s, slots: Int32s) -> bool:
        """Whether a slot has several of the runs, which are by ``_runs``, in one chunk."""
        slot, chunk = self._slots(self.run_connection[runs], slots), self.run_chunk[runs]
        return bool(np.any((slot[1:] == slot[:-1]) & (chunk[1:] == chunk[:-1])))

    def _spread(self, runs: Int64s) -> Int64s:
        """The messages of runs, run by run."""
        return _ranges(self.run_start[runs], self._lengths(runs))

    def _lengths(self, runs: Int64s) -> Int64s:
        return self.run_start[runs + 1] - self.run_start[runs]

    @staticmethod
    def _slots(connection: NDArray[np.uint32], slots: Int32s) -> Int64s:
        """The slot of each connection, -1 for none."""
        if not len(slots):
            return np.full(len(connection), -1)
        return np.where(connection < len(slots), slots[np.minimum(connection, len(slots) - 1)], -1)


def _ranges(first: Int64s, length: Int64s) -> Int64s:
    """The numbers from each of ``first`` on, ``length`` of them, one range after the other."""
    end = np.cumsum(length)
    return np.arange(end[-1] if len(end) else 0) + np.repeat(first - end + length, length)


def impossible(
    chunks: Sequence[ChunkEntries], raw_bytes: Sequence[int], times: Sequence[tuple[int, int] | None]
) -> NDArray[np.bool_]:
    """Which chunks' index entries cannot be true, bool[chunks].

    Entries must be in runs, one a connection, with offsets that strictly ascend and lie inside ``raw_bytes``, and times
    that are not negative and reach from the first to the second of ``times``, where the chunk's own header gives them.
    """
    runs = [entries.runs for entries in chunks]
    wrong = np.array([not _may_be(*each) for each in zip(runs, raw_bytes, times, strict=True)], np.bool_)
    chunk = np.repeat(np.arange(len(chunks), dtype=np.uint64), [len(each.connection) for each in runs])
    connection = np.concatenate([np.empty(0, np.uint32), *(each.connection for each in runs)])
    one = np.sort(chunk << np.uint64(32) | connection)
    wrong[one[1:][one[1:] == one[:-1]] >> np.uint64(32)] = True
    return wrong


def _may_be(runs: records.Runs, raw_bytes: int, times: tuple[int, int] | None) -> bool:
    return not runs.length or (
        runs.ascending
        and runs.least_offset >= 0
        and runs.greatest_offset < raw_bytes
        and runs.least_time >= 0
        and times in (None, (runs.least_time, runs.greatest_time))
    )

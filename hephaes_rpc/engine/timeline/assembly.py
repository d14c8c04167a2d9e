"""Record batches from a log: chunks are read once, only messages that a row takes are decoded, complete rows leave.

Strategy: the index is exact, so everything is known before the first payload: which messages each stream gives
(``used``), in which order chunks are read (by the time of the first row that needs one of their messages, which is
file order for a log in order), in which order messages arrive, and up to which row each table is complete after each
chunk.  Decoders collect until FLUSH_BYTES are held; then their columns become pieces, complete rows become batches,
and pieces that no later row takes are dropped.  Memory follows the distance in time between a row and its messages,
not the log. Invariant: a piece has one value per message fed, null where the message could not be decoded, so arrivals
count messages.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_native import decode as native
from hephaes_rpc.engine.logs import LogReader, Stream, Walk
from hephaes_rpc.engine.logs.base import Payload
from hephaes_rpc.engine.logs.types import Part
from hephaes_rpc.engine.memory import give_back
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.timeline.ahead import ReadAhead
from hephaes_rpc.engine.timeline.blend import blend, blended_part
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.digests import Digest
from hephaes_rpc.engine.timeline.plan import Int64s, Numbers, Picks, Table, narrow
from hephaes_rpc.engine.timeline.spread import from_numpy, gather, row_bytes, spread

FLUSH_BYTES = 8 << 20
BATCH_BYTES = 8 << 20
TRIM_BYTES = 96 << 20
READ_PER_DECODED = 8
"""Freed memory is given back once TRIM_BYTES are decoded or so many times as much is read: finding it takes a while."""
SAMPLE_ROWS = 1 << 15
MAX_FAILURES_DESCRIBED = 5
NEVER = np.iinfo(np.int64).max


@frozen
class Failure:
    """A message that could not be decoded."""

    log_time_ns: int
    status: str


@define
class StreamCounts:
    """What was met in one stream."""

    messages: int = 0
    decoded: int = 0
    collisions: int = 0
    out_of_order: int = 0
    decode_failures: int = 0
    replaced_strings: int = 0
    failures: list[Failure] = field(factory=list)


class Source:
    """One stream: its times on its clock, its decoder, the decoded messages that rows still wait for.

    ``times`` are sorted and number the selected messages; ``used`` (bool per message in file order) is set by the
    plan; ``digest``, where it is set, is fed with them.  Arrivals are counted over the used messages.  Where a log is
    in order they follow ``_used_places`` (None: all are used); otherwise ``_arrival`` gives them by message and
    ``_least`` the least arrival from each message on.
    """

    def __init__(
        self,
        stream: Stream,
        decoder: StreamDecoder,
        time: Int64s,
        chunks: ChunkRuns,
        selected: NDArray[np.bool_] | None = None,
    ) -> None:
        """Of all messages in file order: their ``time`` on any clock, their ``chunks``, whether they are ``selected``.

        None selects all; for a message that is not selected ``time`` means nothing.
        """
        self.stream = stream
        self.decoder = decoder
        self.chunks = chunks
        self.row_bytes = row_bytes(decoder.arrow_type)
        places = None if selected is None or selected.all() else np.flatnonzero(selected)
        times = time if places is None else time[places]
        disorder = 0
        if np.any(times[1:] < times[:-1]):
            disorder = int(np.count_nonzero(times < np.maximum.accumulate(times)))
            order = np.argsort(times, kind="stable")
            times, places = times[order], order if places is None else places[order]
        self._order, self.times = places, times
        equal = int(np.count_nonzero(times[1:] == times[:-1]))
        self.counts = StreamCounts(messages=len(times), out_of_order=disorder, collisions=equal)
        self.used = np.zeros(len(time), np.bool_)
        self._all_used = False
        self.digest: Digest | None = None
        self._used_places: Numbers | None = None
        self._arrival: Int64s | None = None
        self._least: Int64s | None = None
        self._pieces: deque[tuple[int, pa.StructArray]] = deque()
        self._arrived = 0
        self._fed = 0
        self._failed: list[Int64s] = []

    def positions(self, messages: Int64s) -> Int64s:
        """Places in file order of messages counted in time order."""
        return messages if self._order is None else self._order[messages]

    def in_order(self, values: Int64s) -> Int64s:
        """Those of values per message in file order that are of selected messages, in time order."""
        return values if self._order is None else values[self._order]

    def expect(self, rank: Int64s) -> None:
        """Fix the order of arrival: chunks by ``rank`` (int64 per chunk), file order inside a chunk."""
        self._all_used = bool(self.used.all())
        by_rank = rank[self.chunks.number[self.chunks.counts(self.used) > 0]]
        if np.all(by_rank[1:] >= by_rank[:-1]) and self._order is None:
            self._used_places = None if self._all_used else narrow(np.flatnonzero(self.used), len(self.used))
            return
        places = np.flatnonzero(self.used)
        by_rank = rank[self.chunks.holding(places)]
        arrival = np.full(len(self.used), NEVER, np.int64)
        arrival[places[np.argsort(by_rank, kind="stable")]] = np.arange(len(places))
        self._arrival = arrival if self._order is None else arrival[self._order]
        self._least = np.minimum.accumulate(self._arrival[::-1])[::-1]

    @property
    def plain(self) -> native.Decoder | None:
        """What decodes all messages of a chunk; None where they have to go through ``feed``."""
        return self.decoder.plain if self._all_used else None

    def feed(self, data: Payload, chunk: int, part: Part) -> int:
        """Decode the used messages of a chunk; returns the growth in bytes held."""
        if not self._all_used:
            time, offset, length = part.views()
            first = self.chunks.first(chunk)
            wanted = self.used[first : first + len(time)]
            if not wanted.any():
                return 0
            if not wanted.all():
                part = Part(time[wanted], offset[wanted], length[wanted], 0, int(np.count_nonzero(wanted)))
        before = self.decoder.nbytes
        _, offset, length = part.views()
        self.fed(data, chunk, part, self.decoder.feed(data, offset, length))
        return self.decoder.nbytes - before

    def fed(self, data: Payload, chunk: int, part: Part, status: NDArray[np.uint8] | None) -> None:
        """Note that the decoder was given messages of a chunk; ``status`` (uint8 each) None: all are sound."""
        if self.digest is not None:
            self.digest.feed(data, chunk, part)
        if status is not None and (bad := np.flatnonzero(status)).size:
            self._failed.append(self._fed + bad)
            self._note(bad, status, part)
        self._fed += part.last - part.first

    def collect(self) -> None:
        """Turn what the decoder holds into a piece."""
        if not self._fed:
            return
        n, self._fed = self._fed, 0
        values = self.decoder.take()
        values.validate(full=True)
        if self._failed:
            sound = np.delete(np.arange(n), np.concatenate(self._failed))
            self._failed.clear()
            values = spread(values, sound, n)
        self._pieces.append((self._arrived, values))
        self._arrived += n
        self.counts.decoded = self._arrived - self.counts.decode_failures

    def fetch(self, messages: Int64s, *, upper: bool = False) -> pa.StructArray:
        """The values of messages counted in time order; all must have arrived and not been dropped.

        Args:
            upper: Only what blending reads of the later message.
        """
        arrivals = self._arrivals(messages)
        start, stop = int(arrivals.min()), int(arrivals.max()) + 1
        parts = [
            piece[max(0, start - at) : stop - at] for at, piece in self._pieces if at < stop and at + len(piece) > start
        ]
        if upper:
            parts = [blended_part(part) for part in parts]
        values = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        if stop - start == len(arrivals) and bool(np.all(arrivals[1:] > arrivals[:-1])):
            return values
        return gather(values, arrivals - start)

    def _arrivals(self, messages: Int64s) -> Int64s:
        """When used messages, counted in time order, arrive."""
        if self._used_places is not None:
            return np.searchsorted(self._used_places, messages.astype(self._used_places.dtype))
        return messages if self._arrival is None else self._arrival[messages]

    def drop_before(self, message: int) -> None:
        """Forget what arrived before every message from ``message`` on (in time order)."""
        least = message
        if self._used_places is not None:
            most = int(self._used_places[-1]) + 1 if len(self._used_places) else 0
            least = int(np.searchsorted(self._used_places, np.array(min(message, most), self._used_places.dtype)))
        elif self._least is not None:
            least = int(self._least[message]) if message < len(self._least) else NEVER
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) <= least:
            self._pieces.popleft()

    def bytes_per_message(self) -> float:
        """Largest mean size of a message over the pieces held."""
        return max((piece.nbytes / len(piece) for _, piece in self._pieces), default=0.0)

    def finish(self) -> StreamCounts:
        """The final counts."""
        self.counts.replaced_strings = self.decoder.replaced_strings
        return self.counts

    def _note(self, bad: Int64s, status: NDArray[np.uint8], part: Part) -> None:
        self.counts.decode_failures += len(bad)
        for j in bad[: MAX_FAILURES_DESCRIBED - len(self.counts.failures)]:
            self.counts.failures.append(Failure(int(part.time[part.first + j]), STATUS_NAMES[status[j]]))


@frozen(eq=False)
class TableTask:
    """One table to assemble.

    Args:
        rows: Its rows and their picks, by position of the source.
        schema: Row time, then a column per entry of ``columns``.
        columns: Position of the source of each column.
        drop_failed: Leave out rows whose message could not be decoded (tables of one column) instead of nulls.
    """

    rows: Table
    schema: pa.Schema
    columns: tuple[int, ...]
    drop_failed: bool = False


class _Progress:
    """How far a table is: ``row`` rows have left, ``ready(rank)`` are complete."""

    def __init__(self, task: TableTask, needs: Sequence[tuple[Int64s, Int64s]], rank: Int64s) -> None:
        """``needs``: by stream, chunks (int64) and the first row that needs each (int64); ``rank``: int64 per chunk."""
        self.task = task
        self.row = 0
        nothing = np.empty(0, np.int64)
        ranks = np.concatenate([nothing, *(rank[chunks] for chunks, _ in needs)])
        rows = np.concatenate([nothing, *(rows for _, rows in needs)])
        order = np.argsort(ranks, kind="stable")
        self._ranks = ranks[order]
        self._complete = np.append(np.minimum.accumulate(rows[order][::-1])[::-1], task.rows.n_rows)

    def ready(self, rank: int) -> int:
        """Rows that are complete once the chunks up to ``rank`` are read."""
        return int(self._complete[np.searchsorted(self._ranks, rank, side="right")])


class Assembly:
    """The batches of a set of tables: one pass over the chunks of a log."""

    def __init__(self, log: LogReader, sources: Sequence[Source], tasks: Sequence[TableTask]) -> None:
        """Plan the pass; every task has at least one column."""
        self._log = log
        self._sources = sources
        self._slots = log.slots([source.stream for source in sources])
        self._consumers: list[list[tuple[_Progress, Picks]]] = [[] for _ in sources]
        needs = [[self._need(k, picks) for k, picks in task.rows.picks.items()] for task in tasks]
        rank = self._rank([(task.rows, need) for task, found in zip(tasks, needs, strict=True) for need in found])
        for source in sources:
            source.expect(rank)
        self._plain = [source.plain for source in sources]
        self._progress = [_Progress(task, found, rank) for task, found in zip(tasks, needs, strict=True)]
        for progress in self._progress:
            for k, picks in progress.task.rows.picks.items():
                self._consumers[k].append((progress, picks))

    def _need(self, k: int, picks: Picks) -> tuple[Int64s, Int64s]:
        """Mark the messages of a source that a table uses; chunks that hold them and the first row that needs each."""
        source = self._sources[k]
        least = np.full(len(self._log.chunks), NEVER, np.int64)
        for messages, first_row in picks.uses():
            places = source.positions(messages)
            source.used[places] = True
            np.minimum.at(least, source.chunks.holding(places), first_row)
        chunks = np.flatnonzero(least < NEVER)
        return chunks, least[chunks]

    def _rank(self, needs: Sequence[tuple[Table, tuple[Int64s, Int64s]]]) -> Int64s:
        """When each chunk is read (int64, NEVER if not at all); fixes the order of reading."""
        first_time = np.full(len(self._log.chunks), NEVER, np.int64)
        for rows, (chunks, first_row) in needs:
            np.minimum.at(first_time, chunks, rows.times.at(first_row))
        needed = np.flatnonzero(first_time < NEVER)
        self._order = needed[np.argsort(first_time[needed], kind="stable")]
        rank = np.full(len(first_time), NEVER, np.int64)
        rank[self._order] = np.arange(len(needed))
        return rank

    @property
    def stored_bytes(self) -> int:
        """Stored bytes of the chunks that are read."""
        return int(self._log.chunks.stored_bytes[self._order].sum())

    def batches(
        self, told: Callable[[int, int], None], *, at_once: bool = False
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Table number and batch, rows of a table in order; ``told(done, total)`` in stored bytes after each chunk.

        Args:
            at_once: Rows leave with the chunk that completes them, however few.

        Raises:
            LogError: A chunk is damaged or (StaleIndexError) does not hold what the index says.
        """
        give_back()
        sizes = self._log.chunks.stored_bytes[self._order]
        total, done, held, freed = int(sizes.sum()), 0, 0, 0
        order = self._order.tolist()
        with ReadAhead(self._log, [] if at_once else order, self._slots) as ahead:
            for rank, chunk in enumerate(order):
                held += self._read(chunk, ahead.take())
                done += int(sizes[rank])
                told(done, total)
                if at_once or held >= FLUSH_BYTES or rank == len(order) - 1:
                    held, freed = 0, freed + held
                    for source in self._sources:
                        source.collect()
                    yield from self._emit(rank)
                freed += int(self._log.chunks.raw_bytes[chunk]) // READ_PER_DECODED
                if freed >= TRIM_BYTES:
                    freed = 0
                    give_back()
        if not len(self._order):
            yield from self._emit(-1)

    def _read(self, chunk: int, messages: tuple[Payload, Walk] | None) -> int:
        """Decode what is used of a chunk, from its messages if they are there; returns the growth in bytes held."""
        data, walk = messages or self._log.messages(chunk, self._slots)
        statuses, left, gained = native.feed_streams(self._plain, data, walk.offset, walk.length, walk.bounds)
        status = np.frombuffer(statuses, np.uint8)
        some_failed = bool(status.any())
        for slot, (first, last) in enumerate(pairwise(walk.bounds.tolist())):
            if first == last:
                continue
            part = Part(walk.log_time, walk.offset, walk.length, first, last)
            if self._plain[slot] is None or slot in left:
                gained += self._sources[slot].feed(data, chunk, part)
            else:
                self._sources[slot].fed(data, chunk, part, status[first:last] if some_failed else None)
        return gained

    def _emit(self, rank: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All complete rows."""
        for number, progress in enumerate(self._progress):
            ready = progress.ready(rank)
            while progress.row < ready:
                step = self._rows_per_batch(progress.task, progress.row, ready)
                first, progress.row = progress.row, min(ready, progress.row + step)
                batch = self._batch(progress.task, first, progress.row)
                self._drop(progress.task)
                if batch.num_rows:
                    yield number, batch

    def _drop(self, task: TableTask) -> None:
        """Forget messages that no row to come takes."""
        for k in task.rows.picks:
            self._sources[k].drop_before(min(picks.keep_from(p.row) for p, picks in self._consumers[k]))

    def _rows_per_batch(self, task: TableTask, first: int, ready: int) -> int:
        """How many rows from ``first`` on make a batch, by how many of the next ones have a message."""
        n = min(ready - first, SAMPLE_ROWS)
        width = 8.0
        for k in task.columns:
            source = self._sources[k]
            filled = len(task.rows.picks[k].window(first, first + n).rows)
            width += max(source.row_bytes, source.bytes_per_message() * filled / n)
        return min(n if n == SAMPLE_ROWS else ready - first, max(1, int(BATCH_BYTES / width)))

    def _batch(self, task: TableTask, first: int, last: int) -> pa.RecordBatch:
        """Rows [first, last) of a table."""
        columns = {k: self._column(k, picks, first, last) for k, picks in task.rows.picks.items()}
        time = from_numpy(task.rows.times.times(first, last))
        batch = pa.RecordBatch.from_arrays([time, *(columns[k] for k in task.columns)], schema=task.schema)
        failed = columns[task.columns[0]].null_count if task.drop_failed else 0
        return batch.filter(batch.column(1).is_valid()) if failed else batch

    def _column(self, k: int, picks: Picks, first: int, last: int) -> pa.StructArray:
        """Rows [first, last) of one source."""
        source = self._sources[k]
        window = picks.window(first, last)
        if not len(window.rows):
            return pa.nulls(last - first, source.decoder.arrow_type)
        values = source.fetch(window.lo)
        if window.hi is not None and window.weight is not None and window.weight.any():
            values = blend(values, source.fetch(window.hi, upper=True), window.weight, source.stream.definition)
        return values if len(values) == last - first else spread(values, window.rows, last - first)

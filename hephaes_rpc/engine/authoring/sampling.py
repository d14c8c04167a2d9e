"""A few messages of every stream of a log, spread over it, from as few chunks as give them.

Strategy: the index says which chunks hold messages of a stream.  The streams that lie in the fewest chunks choose
first, spread over what they have; the others use what is chosen already and add what they still lack.  Each chosen
chunk is read once.  The cost follows what is asked for and the number of streams, never the length of the log.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from attrs import define, field
from numpy.typing import NDArray

from hephaes_rpc.engine.logs import LogReader, Stream, TimeIndex, Walk
from hephaes_rpc.engine.logs.base import Payload
from hephaes_rpc.engine.logs.types import Int32s, Int64s
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder

Flags = NDArray[np.bool_]
SPREAD_CHUNKS = 4
MAX_RAW_BYTES = 48 << 20
MEASURED = 64
MEASURED_BYTES = 4 << 20


@define(eq=False)
class Samples:
    """Messages of one stream.

    Args:
        index: int64 per message of the stream, log time, in file order.
        messages: Whole messages, those that cannot be decoded left out; ``log_time`` has the times of the rest.
        failures: Why messages could not be decoded, by how many.
    """

    stream: Stream
    index: Int64s
    messages: pa.StructArray
    log_time: Int64s
    failures: dict[str, int] = field(factory=dict)

    @property
    def failed(self) -> int:
        """How many could not be decoded."""
        return sum(self.failures.values())


def take_samples(log: LogReader, streams: Sequence[Stream], least: int, check: Callable[[], None]) -> list[Samples]:
    """Messages of each decodable stream: ``least`` of them, or as many as are cheap to have.

    Raises:
        LogError: A chunk is damaged or (StaleIndexError) does not hold what the index says.
    """
    slots = log.slots(streams)
    index = log.index(slots)
    chunks = _choose(log, index, [least] * len(streams))
    taken = [_Taken(stream, *index.slot(k), chunks, least) for k, stream in enumerate(streams)]
    for i in np.flatnonzero(chunks).tolist():
        check()
        data, walk = log.messages(i, slots)
        for k, one in enumerate(taken):
            one.feed(data, walk, k, i)
    return [one.samples() for one in taken]


class _Taken:
    """What is taken of one stream."""

    def __init__(self, stream: Stream, times: Int64s, chunk: Int32s, chunks: Flags, least: int) -> None:
        self.stream, self.least = stream, least
        self._times, self._chunk = times, chunk
        self._there = np.flatnonzero(chunks[chunk])
        self._wanted: Int64s | None = None
        self._decoder = StreamDecoder(stream.definition, stream.wire)
        self._statuses: list[NDArray[np.uint8]] = []

    def feed(self, data: Payload, walk: Walk, slot: int, i: int) -> None:
        """Decode what is wanted of a chunk."""
        _, offset, length = walk.slot(slot)
        if not len(offset):
            return
        if self._wanted is None:
            self._wanted = self._spread(float(length.mean()))
        first = int(np.searchsorted(self._chunk, np.int32(i)))
        wanted = self._wanted
        inside = wanted[(wanted >= first) & (wanted < first + len(offset))] - first
        if len(inside):
            self._statuses.append(self._decoder.feed(data, offset[inside], length[inside]))

    def _spread(self, mean_bytes: float) -> Int64s:
        """Which messages (counted in file order), spread over those in the chosen chunks."""
        cheap = min(MEASURED, int(MEASURED_BYTES / max(mean_bytes, 1)))
        n = min(len(self._there), max(self.least, cheap))
        return self._there[np.unique(np.linspace(0, len(self._there) - 1, n).astype(np.int64))]

    def samples(self) -> Samples:
        """What was decoded."""
        nothing = np.empty(0, np.int64)
        status = np.concatenate([np.empty(0, np.uint8), *self._statuses])
        codes, counts = np.unique(status[status != 0], return_counts=True)
        failures = {STATUS_NAMES[code]: n for code, n in zip(codes.tolist(), counts.tolist(), strict=True)}
        messages = self._decoder.take()
        messages.validate(full=True)
        times = self._times[nothing if self._wanted is None else self._wanted]
        return Samples(self.stream, self._times, messages, times[status == 0], failures)


def _choose(log: LogReader, index: TimeIndex, wanted: Sequence[int]) -> Flags:
    """Which chunks are read, bool per chunk."""
    chosen = np.zeros(len(log.chunks), np.bool_)
    raw = log.chunks.raw_bytes
    holds = [_runs(index.slot(k)[1]) for k in range(len(wanted))]
    spent = 0
    for k in sorted(range(len(wanted)), key=lambda k: len(holds[k][0])):
        chunks, counts = holds[k]
        has = int(counts[chosen[chunks]].sum())
        spread = int(np.count_nonzero(chosen[chunks]))
        for place in _spread_order(len(chunks)):
            enough = has >= wanted[k] and spread >= min(SPREAD_CHUNKS, len(chunks))
            if enough or (has and spent >= MAX_RAW_BYTES):
                break
            chunk = int(chunks[place])
            if not chosen[chunk]:
                chosen[chunk] = True
                spent += int(raw[chunk])
                has += int(counts[place])
                spread += 1
    return chosen


def _runs(chunk: Int32s) -> tuple[Int32s, Int64s]:
    """The distinct values of what ascends, and how many of each there are."""
    ends = np.flatnonzero(np.append(chunk[1:] != chunk[:-1], True)[: len(chunk)])
    return chunk[ends], np.diff(ends, prepend=-1)


def _spread_order(n: int) -> Iterator[int]:
    """Numbers below ``n`` in an order whose every beginning is spread: the ends, then halves, quarters and so on."""
    told: set[int] = set()
    parts = 1
    while n and len(told) < min(n, 4096):
        for place in ((n - 1) * k // parts for k in range(parts + 1)):
            if place not in told:
                told.add(place)
                yield place
        parts *= 2

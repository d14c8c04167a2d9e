"""The clocks of a stream: when its messages happened, by the log, by their publisher, or by what they say themselves.

Strategy: ``log_time`` is the index.  Any other clock costs one pass over the chunks that hold a selected message, for
all streams together: publish times are taken from the walk, stamps by decoding the one field that holds them.  A
message whose payload is malformed has no time on a clock of its payload, and a publish time beyond 63 bits is none.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.logs import LogReader, Stream, Walk
from hephaes_rpc.engine.logs.types import StorageFormat
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.spec import FIELD_CLOCK, parse_path
from hephaes_rpc.engine.timeline.assembly import MAX_FAILURES_DESCRIBED, Failure
from hephaes_rpc.engine.timeline.plan import Int64s
from hephaes_rpc.errors import SpecError
from hephaes_rpc.serde import Issue, Path, closest, shown

HEADER = "std_msgs/msg/Header"
STAMP = ("header", "stamp")
NO_TIME = np.iinfo(np.int64).max
NANOSECONDS = 10**9

Bools: TypeAlias = NDArray[np.bool_]


@frozen(eq=False)
class Wanted:
    """One clock of one stream.

    Args:
        clock: ``log_time``, ``publish_time``, ``header_stamp`` or ``field:<path>``; ``check_clock`` has passed it.
        selected: bool per message in file order: of which messages the time is wanted.
    """

    stream: Stream
    clock: str
    selected: Bools


@define(eq=False)
class Stamps:
    """The times of a stream's messages on a clock.

    Args:
        time: int64[n], ns, in file order; meaningless where not ``known``.
        known: bool[n]: selected and with a time.
        without: Selected messages without a time: malformed payloads, publish times out of range.
        failures: The first ones of them.
    """

    time: Int64s
    known: Bools
    without: int = 0
    failures: list[Failure] = field(factory=list)

    def lose(self, places: Int64s, log_time: Int64s, reasons: Sequence[str]) -> None:
        """These messages (places in file order) have no time."""
        self.known[places] = False
        self.without += len(places)
        room = MAX_FAILURES_DESCRIBED - len(self.failures)
        for time, reason in zip(log_time[:room].tolist(), reasons[:room], strict=True):
            self.failures.append(Failure(time, reason))


def check_clock(clock: str, stream: Stream, storage_format: StorageFormat, place: Path = ()) -> None:
    """Raise SpecError for a clock that the stream does not have, LogError for a stream that cannot be decoded.

    Args:
        place: Where the spec names the clock.
    """
    if clock == "log_time":
        return
    if clock == "publish_time":
        if storage_format != "mcap":
            message = f"a {storage_format} has no publish times; take clock 'log_time' or 'header_stamp'"
            raise _refused(clock, stream, place, f"topic {stream.topic!r}: {message}", "log_time or header_stamp")
        return
    if (wrong := _wrong_field(clock, stream)) is not None:
        message, near = wrong
        at = f"topic {stream.topic!r}: clock {clock!r}"
        expected = "a field that is a time, or an int64 of nanoseconds"
        raise _refused(clock, stream, place, f"{at}{message}", expected, near)


def _refused(
    clock: str, stream: Stream, place: Path, message: str, expected: str, near: str | None = None
) -> SpecError:
    return spec_error([Issue(place, message, expected, shown(clock), near)], topic=stream.topic)


def _field_of(clock: str) -> list[str]:
    """The names on the way to a clock's field; those of items are left out."""
    if clock == "header_stamp":
        return list(STAMP)
    return [step for step in parse_path(clock.removeprefix(FIELD_CLOCK)) if isinstance(step, str)]


def _wrong_field(clock: str, stream: Stream) -> tuple[str, str | None] | None:
    """Why a clock is no time or int64 of every message, as a sentence's end, and the clock that may be meant."""
    path = _field_of(clock)
    if clock != "header_stamp" and len(path) < len(parse_path(clock.removeprefix(FIELD_CLOCK))):
        return " may only name fields, no items", None
    types = stream.definition.types
    name = stream.definition.root
    for k, step in enumerate(path):
        members = {member.name: member.type for member in types[name].fields} if name in types else {}
        if step not in members:
            near = closest(step, list(members))
            if near is None:
                return f": {name} has no field {step!r}", None
            meant = FIELD_CLOCK + ".".join([*path[:k], near, *path[k + 1 :]])
            return f": {name} has no field {step!r}; did you mean {near!r}?", meant
        kind = members[step]
        if clock == "header_stamp" and k == 0 and kind.base != HEADER:
            return f": the field 'header' of {name} is no {HEADER}", None
        if kind.array:
            return f": the field {step!r} of {name} is an array", None
        name = kind.base
    if name not in ("time", "int64"):
        return f" is a {name}; it must be a time, or an int64 of nanoseconds", None
    return None


def read_stamps(log: LogReader, wanted: Sequence[Wanted], told: Callable[[int, int], None]) -> list[Stamps]:
    """The times of streams on their clocks, in the order of ``wanted``; a stream may occur with several clocks.

    Args:
        told: Called with bytes done and bytes in all (stored ones) before the first chunk and after each that is
            read; what it raises ends the work.

    Raises:
        LogError: A chunk is damaged or (StaleIndexError) does not hold what the index says.
    """
    streams = list({id(one.stream): one.stream for one in wanted}.values())
    slot_of = {id(stream): k for k, stream in enumerate(streams)}
    slots = log.slots(streams)
    index = log.index(slots)
    found: list[Stamps] = []
    readers: list[list[_Reader]] = [[] for _ in streams]
    needed = np.zeros(len(log.chunks), np.bool_)
    for one in wanted:
        slot = slot_of[id(one.stream)]
        time, chunk = index.slot(slot)
        if one.clock == "log_time":
            found.append(Stamps(time, one.selected))
            continue
        stamps = Stamps(np.full(len(time), NO_TIME, np.int64), one.selected.copy())
        found.append(stamps)
        readers[slot].append(_Reader(one, stamps, chunk))
        needed[chunk[one.selected]] = True
    chunks = np.flatnonzero(needed)
    sizes = log.chunks.stored_bytes[chunks]
    done, total = 0, int(sizes.sum())
    if total:
        told(done, total)
    for i, size in zip(chunks.tolist(), sizes.tolist(), strict=True):
        data, walk = log.messages(i, slots)
        for slot in np.flatnonzero(np.diff(walk.bounds)).tolist():
            for reader in readers[slot]:
                reader.read(data, walk, slot, i)
        done += size
        told(done, total)
    return found


class _Reader:
    """Reads one clock of one stream from chunks."""

    def __init__(self, wanted: Wanted, stamps: Stamps, chunk: NDArray[np.int32]) -> None:
        self.wanted, self.stamps, self.chunk = wanted, stamps, chunk
        self.path: list[str] = []
        if wanted.clock != "publish_time":
            self.path = _field_of(wanted.clock)
            self.decoder = StreamDecoder(wanted.stream.definition, wanted.stream.wire, [".".join(self.path)])

    def read(self, data: bytes | memoryview, walk: Walk, slot: int, chunk: int) -> None:
        """Take the times of the selected messages of a chunk."""
        log_time, offset, length = walk.slot(slot)
        first = int(np.searchsorted(self.chunk, np.int32(chunk)))
        inside = np.flatnonzero(self.wanted.selected[first : first + len(log_time)])
        places = first + inside
        if not self.path:
            time = walk.publish_time[walk.bounds[slot] : walk.bounds[slot + 1]][inside]
            self.stamps.time[places] = time
            lost = np.flatnonzero(time == NO_TIME)
            reasons = ["its publish time is out of range"] * len(lost)
        else:
            status = self.decoder.feed(data, offset[inside], length[inside])
            self.stamps.time[places[status == 0]] = _nanoseconds(self.decoder.take(), self.path)
            lost = np.flatnonzero(status)
            reasons = [STATUS_NAMES[code] for code in status[lost]]
        if len(lost):
            self.stamps.lose(places[lost], log_time[inside][lost], reasons)


def _nanoseconds(values: pa.StructArray, path: Sequence[str]) -> Int64s:
    """The time at ``path`` of each message, int64, ns."""
    member = values
    for name in path:
        member = member.field(name)
    if not pa.types.is_struct(member.type):
        return np.asarray(member.to_numpy(), np.int64)
    sec, nanosec = (np.asarray(member.field(name).to_numpy(), np.int64) for name in ("sec", "nanosec"))
    return sec * NANOSECONDS + nanosec

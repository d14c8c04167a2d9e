"""What header stamps and sequence numbers say against log times: offsets, jumps, losses.

Strategy: the offset of a message is its stamp less its log time, which is minus the latency where both clocks agree.
A clock is off by the median of its offsets, and jumps where the median before and the median after differ at once and
for good: a burst that comes late makes offsets fall and rise again, which is no jump.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import define, field

from hephaes_rpc.engine.logs import Stream
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.engine.quality import thresholds as at
from hephaes_rpc.engine.quality.indexed import finding
from hephaes_rpc.engine.quality.wording import counted, duration
from hephaes_rpc.model.quality import Finding, Severity


@define(eq=False)
class Jump:
    """A clock that leaps by ``size_ns`` between the messages of two log times."""

    before_ns: int
    at_ns: int
    size_ns: int


@define(eq=False)
class Numbering:
    """Where numbers are left out: log times of the message behind and of the one before, how many; int64."""

    time: Int64s
    since: Int64s
    missing: Int64s


@define(eq=False)
class Clock:
    """The stamps of one stream in the order of log times.

    Args:
        time: int64[n], log times of the messages with a header; ``seq`` their numbers.
        unset: Messages whose stamp is zero.
        offset_ns: Median of stamp less log time; None without stamps.
    """

    time: Int64s
    seq: Int64s | None
    unset: int
    stamped: Int64s
    offset_ns: int | None
    jumps: list[Jump] = field(factory=list)

    @property
    def is_own(self) -> bool:
        """Whether stamps count from a time of their own, such as the start of a simulation, in a log that does not."""
        return len(self.stamped) > 0 and self.stamped[0] + (self.offset_ns or 0) < at.OWN_CLOCK_NS <= self.stamped[0]

    @classmethod
    def of(cls, time: Int64s, stamp: Int64s, seq: Int64s | None, tick_ns: int = 1) -> "Clock":
        """From log times, stamps and numbers of all messages; ``tick_ns`` is the resolution of the log's clock."""
        is_set = stamp != 0
        moments, offsets = time[is_set], stamp[is_set] - time[is_set]
        found = cls(
            time, seq, int(np.count_nonzero(~is_set)), moments, int(np.median(offsets)) if len(offsets) else None
        )
        if len(offsets) >= at.MIN_STAMPS:
            found.jumps = list(_jumps(moments, offsets, tick_ns))
        return found


def _jumps(time: Int64s, offset: Int64s, tick_ns: int) -> Iterator[Jump]:
    steps = np.diff(offset)
    least = at.JUMP_NS + 2.0 * tick_ns * (tick_ns >= at.NS_PER_MS) + at.JUMP_DRIFTS * float(np.median(np.abs(steps)))
    begin = 0
    for k in (np.flatnonzero(np.abs(steps) >= at.JUMP_NS) + 1).tolist():
        low = max(begin, min(k - at.LEVEL_MESSAGES, int(np.searchsorted(time, time[k] - at.LEVEL_NS))))
        high = max(k + at.LEVEL_MESSAGES, int(np.searchsorted(time, time[k] + at.LEVEL_NS)))
        before, after = offset[low:k], offset[k:high]
        if len(before) < 3 or len(after) < 3:
            continue
        size = float(np.median(after)) - float(np.median(before))
        if abs(size) >= least and size * steps[k - 1] > 0 and abs(steps[k - 1]) >= 0.5 * abs(size):
            yield Jump(int(time[k - 1]), int(time[k]), round(size))
            begin = k


def sequence_of(clock: Clock) -> Numbering | None:
    """The numbers left out by ``header.seq``; None where it does not count messages."""
    seq = clock.seq
    if seq is None or len(seq) < at.MIN_STAMPS:
        return None
    steps = np.diff(seq)
    if np.count_nonzero(steps == 1) <= at.SEQUENCE_STEPS * len(steps):
        return None
    if np.count_nonzero(steps <= 0) > at.SEQUENCE_RESETS * len(steps):
        return None
    where = np.flatnonzero((steps > 1) & (steps <= at.MAX_SEQUENCE_STEP))
    return Numbering(clock.time[where + 1], clock.time[where], steps[where] - 1)


def clock_findings(clocks: Sequence[tuple[Stream, Clock]]) -> Iterator[Finding]:
    """Stamps that are not set, clocks that are off, clocks that jump; what all share is told of the log."""
    for stream, clock in clocks:
        if clock.unset and clock.unset >= max(1, 0.01 * len(clock.time)) and len(clock.time) >= at.MIN_STAMPS:
            message = f"{counted(clock.unset, 'message')} of {stream.topic} have no stamp: it is zero"
            span = (int(clock.time[0]), int(clock.time[-1]))
            numbers = {"messages": clock.unset, "share": clock.unset / len(clock.time)}
            yield finding("unset_stamps", "info", stream.topic, message, span, numbers, "header.stamp")
    usable = [(s, c) for s, c in clocks if c.offset_ns is not None and len(c.stamped) >= at.MIN_STAMPS]
    yield from _offsets(usable)
    yield from _jump_findings(usable)


def _offsets(clocks: Sequence[tuple[Stream, Clock]]) -> Iterator[Finding]:
    off = [(s, c, c.offset_ns or 0) for s, c in clocks if abs(c.offset_ns or 0) >= at.OFFSET_NS]
    offsets = [offset for *_, offset in off]
    if len(off) >= 2 and len(off) == len(clocks) and _are_common(offsets):
        middle = round(float(np.median(offsets)))
        span = (min(int(c.stamped[0]) for _, c, _ in off), max(int(c.stamped[-1]) for _, c, _ in off))
        own = all(c.is_own for _, c, _ in off)
        message = f"the header stamps of all {len(off)} stamped topics {_off(middle, own)}"
        numbers = {"offset_ns": middle, "topics": len(off)}
        yield finding("clock_offset", "info" if own else "warning", None, message, span, numbers)
        return
    for stream, clock, offset in off:
        message = f"the header stamps of {stream.topic} {_off(offset, clock.is_own)}"
        span = (int(clock.stamped[0]), int(clock.stamped[-1]))
        severity: Severity = "info" if clock.is_own else "warning"
        yield finding("clock_offset", severity, stream.topic, message, span, {"offset_ns": offset}, "header.stamp")


def _are_common(offsets: Sequence[int]) -> bool:
    """Whether offsets are those of one clock; drift and latency may differ by a share of a large one."""
    return max(offsets) - min(offsets) <= max(at.COMMON_OFFSET_NS, 0.01 * abs(float(np.median(offsets))))


def _off(offset: int, is_own: bool) -> str:
    if is_own:
        return "are those of a clock of their own, such as simulated time or time since a start"
    return f"are {duration(abs(offset))} {'ahead of' if offset > 0 else 'behind'} the log's clock"


def _jump_findings(clocks: Sequence[tuple[Stream, Clock]]) -> Iterator[Finding]:
    jumps = sorted(
        ((jump, stream, clock) for stream, clock in clocks for jump in clock.jumps), key=lambda j: j[0].at_ns
    )
    taken: set[int] = set()
    for jump, _, _ in jumps:
        if id(jump) in taken:
            continue
        same = [
            (other, clock)
            for other, _, clock in jumps
            if other.before_ns <= jump.at_ns + at.NS_PER_S
            and other.at_ns >= jump.before_ns - at.NS_PER_S
            and abs(other.size_ns - jump.size_ns) <= 0.2 * abs(jump.size_ns)
        ]
        there = [c for _, c in clocks if int(c.stamped[0]) <= jump.before_ns and int(c.stamped[-1]) >= jump.at_ns]
        if len({id(clock) for _, clock in same}) < 2 or len({id(clock) for _, clock in same}) < len(there):
            continue
        taken |= {id(other) for other, _ in same}
        size = round(float(np.median([other.size_ns for other, _ in same])))
        message = f"the header stamps of all {len(same)} stamped topics jump {_by(size)} against the log's clock"
        span = (min(other.before_ns for other, _ in same), max(other.at_ns for other, _ in same))
        yield finding("clock_jump", "warning", None, message, span, {"jump_ns": size, "topics": len(same)})
    for stream, clock in clocks:
        own = [jump for jump in clock.jumps if id(jump) not in taken]
        longest = sorted(own, key=lambda jump: -abs(jump.size_ns))[: at.MAX_PLACES]
        for jump in sorted(longest, key=lambda jump: jump.at_ns):
            message = f"the header stamps of {stream.topic} jump {_by(jump.size_ns)} against the log's clock"
            numbers = {"jump_ns": jump.size_ns, "jumps": len(own)}
            span = (jump.before_ns, jump.at_ns)
            yield finding("clock_jump", "warning", stream.topic, message, span, numbers, "header.stamp")


def _by(size: int) -> str:
    return f"{duration(abs(size))} {'ahead' if size > 0 else 'back'}"

"""The whole of a log's quality, from one pass over all its messages.

Strategy: the log is examined by its index, then each chunk is read once and given to its streams and to their
fingerprints.  What the messages know better than their times goes before: a topic whose publisher numbers its messages
is told of by its numbers, and a silence that the stamps do not have is a jump of the log's clock.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from attrs import define, evolve

from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.engine.quality import thresholds as at
from hephaes_rpc.engine.quality.cadence import Silence
from hephaes_rpc.engine.quality.clocks import Clock, clock_findings, sequence_of
from hephaes_rpc.engine.quality.content import FieldRecord, FrameRecord, Run, StreamContent
from hephaes_rpc.engine.quality.indexed import Examined, examine, finding, index_findings, topics_of
from hephaes_rpc.engine.quality.score import in_order, score_of
from hephaes_rpc.engine.quality.wording import counted, duration, share
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.digests import StreamDigest, combined
from hephaes_rpc.engine.timeline.window import WHOLE, Window
from hephaes_rpc.errors import LogError
from hephaes_rpc.model.quality import Finding, Quality, Severity, TopicQuality

Told = Callable[[int, int], None]


@define(eq=False)
class Read:
    """A log whose messages were read: per stream of the summary what they say, None where nothing is known of it."""

    examined: Examined
    contents: list[StreamContent | None]
    clocks: list[Clock | None]
    content_fingerprint: str | None = None


def quality_by_messages(log: LogReader, told: Told) -> Quality:
    """What index and messages tell.

    Args:
        told: Called with bytes done and bytes in all (stored ones) before the first chunk and after each; what it
            raises ends the work.

    Raises:
        LogError: The log cannot be read, not even after its index has been rebuilt.
    """
    return quality_of(read(log, told))


def quality_of(found: Read) -> Quality:
    """What has been read of a whole log, judged."""
    findings = in_order(findings_of(found))
    topics = [
        _with_content(topic, content, clock)
        for topic, content, clock in zip(topics_of(found.examined), found.contents, found.clocks, strict=True)
    ]
    return Quality("messages", score_of(findings), findings, topics, found.content_fingerprint)


def read(log: LogReader, told: Told, chosen: Sequence[Stream] | None = None, window: Window = WHOLE) -> Read:
    """Read the messages of the chosen streams, of all if None; a chunk that is damaged rebuilds the index, once."""
    try:
        return _read(log, told, chosen, window)
    except LogError as error:
        if error.kind == "unsupported":
            raise
        log.rescan()
        return _read(log, told, chosen, window)


def _read(log: LogReader, told: Told, chosen: Sequence[Stream] | None, window: Window) -> Read:
    examined = examine(log, window)
    wanted = None if chosen is None else {(stream.topic, stream.type_name) for stream in chosen}
    contents = [
        StreamContent(stream)
        if stream.undecodable is None and (wanted is None or (stream.topic, stream.type_name) in wanted)
        else None
        for stream in log.summary.streams
    ]
    pairs = [(s, c) for s, c in zip(log.summary.streams, contents, strict=True) if c is not None]
    slots = log.slots([stream for stream, _ in pairs])
    index = log.index(slots)
    digests = []
    for k, (stream, _) in enumerate(pairs if chosen is None else ()):
        time, chunk = index.slot(k)
        digests.append(StreamDigest(stream, time, ChunkRuns.of(chunk), np.ones(len(time), np.bool_)))
    chunks = np.unique(index.chunk)
    sizes = log.chunks.stored_bytes[chunks]
    done, total = 0, int(sizes.sum())
    told(done, total)
    for i, size in zip(chunks.tolist(), sizes.tolist(), strict=True):
        data, walk = log.messages(i, slots)
        for k in np.flatnonzero(np.diff(walk.bounds)).tolist():
            part = walk.part(k)
            times, offset, length = part.views()
            if window == WHOLE:
                pairs[k][1].feed(data, times, offset, length)
            elif (inside := window.holds(times)).any():
                pairs[k][1].feed(data, times[inside], offset[inside], length[inside])
            if digests:
                digests[k].feed(data, i, part)
        done += size
        told(done, total)
    for _, content in pairs:
        content.flush()
    log.require_unchanged(may_grow=True)
    clocks = [_clock(content, examined.tick_ns) for content in contents]
    return Read(examined, contents, clocks, combined(digests) if digests else None)


def _clock(content: StreamContent | None, tick_ns: int) -> Clock | None:
    if content is None or content.stamped is None:
        return None
    return Clock.of(*content.stamped.joined(), tick_ns)


# -- findings ----------------------------------------------------------------------------------------------------------


def findings_of(found: Read) -> Iterator[Finding]:
    """All findings of index and messages, in no order."""
    examined = found.examined
    streams = examined.summary.streams
    by_index = index_findings(examined)
    counting: set[str] = set()
    for stream, cadence, content, clock in zip(streams, examined.cadences, found.contents, found.clocks, strict=True):
        if content is None:
            continue
        yield from _of_failures(stream, content)
        if content.frames is not None:
            yield from _of_frames(stream, content.frames)
        for record in content.fields:
            yield from _of_field(stream, content, record)
        if clock is not None and len(stream.connections) == 1:
            told = list(_of_sequence(stream, clock, cadence.gaps, content.failed_times()))
            counting |= {stream.topic for _ in told}
            yield from told
    jumps = list(clock_findings([(s, c) for s, c in zip(streams, found.clocks, strict=True) if c is not None]))
    yield from jumps
    for each in by_index:
        if each.kind == "missing_messages" and each.topic in counting:
            continue
        if each.kind == "gap" and any(_explains(jump, each) for jump in jumps):
            continue
        yield each


def _explains(jump: Finding, gap: Finding) -> bool:
    """Whether a gap is nothing but a jump of the log's clock: stamps go on where log times leap ahead."""
    if jump.kind != "clock_jump" or jump.topic not in (None, gap.topic) or jump.end_ns is None or gap.end_ns is None:
        return False
    leap = -jump.numbers["jump_ns"]
    lasts = gap.numbers["duration_ns"]
    if gap.start_ns is None or jump.start_ns is None or jump.start_ns > gap.end_ns or jump.end_ns < gap.start_ns:
        return False
    return abs(lasts - leap) <= at.LEAP * lasts


def _of_failures(stream: Stream, content: StreamContent) -> Iterator[Finding]:
    if content.failure is not None:
        reason, first_ns, last_ns = content.failure
        message = (
            f"{counted(content.failures, 'message')} of {stream.topic} cannot be decoded "
            f"({share(content.failures / content.messages)}), the first because {reason}"
        )
        numbers = {"messages": content.failures, "share": content.failures / content.messages}
        yield finding("decode_failures", "error", stream.topic, message, (first_ns, last_ns), numbers)


def _of_frames(stream: Stream, frames: FrameRecord) -> Iterator[Finding]:
    frozen: list[Run] = []
    repeated: list[Run] = []
    for run in frames.runs:
        lasts = run.end_ns - run.start_ns
        is_frozen = run.frames >= at.FROZEN_FRAMES or (lasts >= at.FROZEN_NS and run.frames >= at.FROZEN_LEAST)
        (frozen if is_frozen else repeated).append(run)
    longest = sorted(frozen, key=lambda run: -run.frames)[: at.MAX_PLACES]
    for run in sorted(longest, key=lambda run: run.start_ns):
        lasts = run.end_ns - run.start_ns
        message = f"{stream.topic} is frozen for {duration(lasts)}: {run.frames:,} frames are the same"
        numbers = {"frames": run.frames, "duration_ns": lasts, "places": len(frozen)}
        yield finding("frozen_frames", "warning", stream.topic, message, (run.start_ns, run.end_ns), numbers)
    if repeated and frames.may_repeat and frames.seen >= at.MIN_MESSAGES:
        n = sum(run.frames - 1 for run in repeated)
        message = f"{counted(n, 'frame')} of {stream.topic} repeat{'s' * (n == 1)} the one before"
        span = (repeated[0].start_ns, repeated[-1].end_ns)
        numbers = {"frames": n, "places": len(repeated)}
        yield finding("repeated_frames", "warning", stream.topic, message, span, numbers)


def _of_field(stream: Stream, content: StreamContent, record: FieldRecord) -> Iterator[Finding]:
    path = record.leaf.path
    good = content.messages - content.failures
    if record.bad:
        always = record.bad == good
        severity: Severity = "info" if always else "warning"
        what = " and ".join(name for name, n in (("NaN", record.nans), ("infinity", record.infs)) if n)
        where = "every message" if always else f"{counted(record.bad, 'message')} ({share(record.bad / good)})"
        message = f"{path} of {stream.topic} is {what} in {where}"
        numbers = {"messages": record.bad, "nan": record.nans, "infinite": record.infs, "share": record.bad / good}
        span = (record.first_ns, record.last_ns)
        yield finding("nonfinite_values", severity, stream.topic, message, span, numbers, path)
    if path in content.measured and (stuck := _stuck(record)):
        frames, start_ns, end_ns = record.run
        message = (
            f"{path} of {stream.topic} is {record.run_value:.6g} in {stuck} of "
            f"{counted(frames, 'message')}, for {duration(end_ns - start_ns)}"
        )
        numbers = {"messages": frames, "duration_ns": end_ns - start_ns}
        yield finding("constant_field", "warning", stream.topic, message, (start_ns, end_ns), numbers, path)


def _stuck(record: FieldRecord) -> str | None:
    """In what a measured field has one value: all messages, or a stretch while it changes otherwise; None if not."""
    n, start_ns, end_ns = record.run
    if n < at.STUCK_MESSAGES or end_ns - start_ns < at.STUCK_NS or not np.isfinite(record.run_value):
        return None
    if record.is_constant:
        return None if record.is_zero else "all"
    outside = record.seen - n
    return "a run" if record.changes >= at.LIVELY * outside else None


def _of_sequence(stream: Stream, clock: Clock, gaps: Sequence[Silence], failed: Int64s) -> Iterator[Finding]:
    """Numbers left out by ``header.seq``, but for those in gaps and those of malformed messages, told already."""
    numbers_ = sequence_of(clock)
    if numbers_ is None:
        return
    missing = numbers_.missing - (np.searchsorted(failed, numbers_.time) - np.searchsorted(failed, numbers_.since))
    for gap in gaps:
        missing[(numbers_.time > gap.start_ns) & (numbers_.time <= gap.end_ns)] = 0
    lost = missing > 0
    missing, time, since = missing[lost], numbers_.time[lost], numbers_.since[lost]
    if not len(missing):
        return
    n = int(missing.sum())
    part = n / (n + len(clock.time))
    message = (
        f"{counted(n, 'message')} of {stream.topic} are lost ({share(part)}): its sequence numbers leave them out "
        f"in {counted(len(missing), 'place')}"
    )
    numbers = {"missing": n, "places": len(missing), "share": part, "largest": int(missing.max())}
    yield finding("sequence_drops", "warning", stream.topic, message, (int(since[0]), int(time[-1])), numbers)


# -- topics ------------------------------------------------------------------------------------------------------------


def _with_content(topic: TopicQuality, content: StreamContent | None, clock: Clock | None) -> TopicQuality:
    if content is None:
        return topic
    sequence = None if clock is None else sequence_of(clock)
    return evolve(
        topic,
        decode_failures=content.failures,
        sequence_missing=None if sequence is None else int(sequence.missing.sum()),
        stamp_offset_ns=None if clock is None else clock.offset_ns,
        nonfinite_fields={record.leaf.path: record.bad for record in content.fields if record.bad},
        constant_fields=[
            record.leaf.path
            for record in content.fields
            if record.seen > 1 and record.is_constant and not record.leaf.is_listed
        ],
    )

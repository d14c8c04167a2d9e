"""What the index of a log tells about its quality; no payload is read."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from attrs import define

from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.logs.types import Int64s, LogSummary
from hephaes_rpc.engine.quality import thresholds as at
from hephaes_rpc.engine.quality.cadence import Cadence, Silence
from hephaes_rpc.engine.quality.score import in_order, score_of
from hephaes_rpc.engine.quality.wording import counted, duration, rate, share
from hephaes_rpc.engine.timeline.window import WHOLE, Window
from hephaes_rpc.model.quality import Finding, FindingKind, Quality, Severity, TopicQuality

_TICK_SAMPLE = 100_000
_FEW_TICKS = 100


@define(eq=False)
class Examined:
    """A log by its index: the cadence of each stream of the summary, in its order; the resolution of its clock."""

    summary: LogSummary
    cadences: list[Cadence]
    tick_ns: int

    @property
    def steady(self) -> Iterator[tuple[Stream, Cadence]]:
        """The streams that come at a steady rate."""
        return ((s, c) for s, c in zip(self.summary.streams, self.cadences, strict=True) if c.is_steady)


def examine(log: LogReader, window: Window = WHOLE) -> Examined:
    """Look at the log times of an open log that lie in the window."""
    streams = log.summary.streams
    times = [window.of(each) for each in log.times(log.slots(streams))]
    tick = tick_of(times)
    return Examined(
        log.summary,
        [
            Cadence.of(each, tick, may_be_steady=not at.comes_as_it_happens(stream.topic, stream.type_name))
            for stream, each in zip(streams, times, strict=True)
        ],
        tick,
    )


def quality_by_index(log: LogReader) -> Quality:
    """What the index tells of an open log."""
    examined = examine(log)
    findings = in_order(index_findings(examined))
    return Quality("index", score_of(findings), findings, topics_of(examined))


def index_findings(found: Examined) -> list[Finding]:
    """All findings of the index, in no order."""
    together = _common_gaps(list(found.steady))
    findings = [*_of_damage(found.summary), *_common_gap_findings(together)]
    common = {(id(cadence), k) for each in together for cadence, k in each}
    is_coarse = _is_coarse(list(found.steady), found.tick_ns)
    for stream, cadence in zip(found.summary.streams, found.cadences, strict=True):
        if stream.undecodable is not None and len(cadence.times):
            text = f"messages of {stream.topic} cannot be decoded: {stream.undecodable}"
            findings.append(
                finding("undecodable_topic", "warning", stream.topic, text, None, {"messages": len(cadence.times)})
            )
        races = at.comes_as_it_happens(stream.topic, stream.type_name) or len(stream.connections) > 1
        if cadence.out_of_order and not (races and cadence.fallback_ns < at.RACE_NS):
            findings.append(_out_of_order(stream, cadence))
        if cadence.is_steady:
            gaps = [gap for k, gap in enumerate(cadence.gaps) if (id(cadence), k) not in common]
            findings += _gaps(stream, cadence, gaps)
            findings += _losses(stream, cadence)
            findings += _jitter(stream, cadence)
            findings += _stretches(stream, cadence)
            if len(stream.connections) == 1 and cadence.duplicates and not is_coarse:
                findings.append(_duplicates(stream, cadence, found.tick_ns))
    return [*findings, *_edges(found)]


def topics_of(examined: Examined) -> list[TopicQuality]:
    """What the index tells of each stream of the summary, in its order."""
    return [
        TopicQuality(
            topic=stream.topic,
            message_type=stream.type_name,
            message_count=len(cadence.times),
            rate_hz=cadence.rate_hz,
            period_ns=cadence.period_ns,
            jitter_ns=cadence.jitter_ns,
            is_regular=cadence.is_steady,
            max_gap_ns=cadence.max_gap_ns,
            missing=cadence.missing,
            out_of_order=cadence.out_of_order,
            duplicates=cadence.duplicates,
        )
        for stream, cadence in zip(examined.summary.streams, examined.cadences, strict=True)
    ]


def finding(
    kind: FindingKind,
    severity: Severity,
    topic: str | None,
    message: str,
    span: tuple[int, int] | None = None,
    numbers: Mapping[str, float] | None = None,
    field: str | None = None,
) -> Finding:
    """A finding; ``span`` is its first and last log time."""
    start_ns, end_ns = span if span is not None else (None, None)
    return Finding(kind, severity, topic, field, start_ns, end_ns, dict(numbers or {}), message)


def _of_damage(summary: LogSummary) -> Iterator[Finding]:
    if summary.gaps:
        lost = sum(each.end - each.start for each in summary.lost_ranges)
        more = f" (and {len(summary.gaps) - 1} more)" if len(summary.gaps) > 1 else ""
        message = f"part of the log is lost: {summary.gaps[0]}{more}"
        numbers = {"places": len(summary.gaps), "lost_bytes": lost}
        yield finding("damaged_log", "error", None, message, None, numbers)


def _out_of_order(stream: Stream, cadence: Cadence) -> Finding:
    message = (
        f"{counted(cadence.out_of_order, 'message')} of {stream.topic} lie in the file behind later ones, "
        f"by up to {duration(cadence.fallback_ns)}"
    )
    severity: Severity = "warning" if cadence.fallback_ns * 2 >= (cadence.period_ns or 0) else "info"
    numbers = {"messages": cadence.out_of_order, "fallback_ns": cadence.fallback_ns}
    return finding("out_of_order", severity, stream.topic, message, cadence.disordered, numbers)


def _gaps(stream: Stream, cadence: Cadence, gaps: Sequence[Silence]) -> Iterator[Finding]:
    longest = sorted(gaps, key=lambda gap: gap.start_ns - gap.end_ns)[: at.MAX_PLACES]
    for gap in sorted(longest, key=lambda gap: gap.start_ns):
        lasts = gap.end_ns - gap.start_ns
        message = (
            f"{stream.topic} is silent for {duration(lasts)}; a message comes every {duration(cadence.period_ns or 0)}"
        )
        numbers = {"duration_ns": lasts, "missing": gap.missing, "period_ns": cadence.period_ns or 0, "gaps": len(gaps)}
        yield finding("gap", "warning", stream.topic, message, (gap.start_ns, gap.end_ns), numbers)


def _losses(stream: Stream, cadence: Cadence) -> Iterator[Finding]:
    if not cadence.losses:
        return
    missing = cadence.missing
    part = missing / (missing + len(cadence.times))
    longest = max(loss.end_ns - loss.start_ns for loss in cadence.losses)
    message = (
        f"{counted(missing, 'message')} of {stream.topic} are missing ({share(part)}): "
        f"{counted(len(cadence.losses), 'step')} between messages skip one or more of its "
        f"{duration(cadence.period_ns or 0)}"
    )
    severity: Severity = "warning" if part >= at.MISSING_WARNING and missing > 1 else "info"
    span = (cadence.losses[0].start_ns, cadence.losses[-1].end_ns)
    numbers: dict[str, float] = {
        "missing": missing,
        "places": len(cadence.losses),
        "share": part,
        "longest_ns": longest,
    }
    yield finding("missing_messages", severity, stream.topic, message, span, numbers)


def _jitter(stream: Stream, cadence: Cadence) -> Iterator[Finding]:
    jitter, period = cadence.jitter_ns or 0, cadence.period_ns or 0
    part = jitter / period
    if part < at.JITTER_INFO:
        return
    severity: Severity = "warning" if part >= at.JITTER_WARNING else "info"
    message = (
        f"{stream.topic} comes unevenly: half of its steps are more than {duration(jitter)} "
        f"off its period of {duration(period)}"
    )
    span = (int(cadence.times[0]), int(cadence.times[-1]))
    yield finding(
        "jitter",
        severity,
        stream.topic,
        message,
        span,
        {"jitter_ns": jitter, "period_ns": period, "share": round(part, 4)},
    )


def _stretches(stream: Stream, cadence: Cadence) -> Iterator[Finding]:
    longest = sorted(cadence.stretches, key=lambda each: each.start_ns - each.end_ns)[: at.MAX_PLACES]
    for each in sorted(longest, key=lambda each: each.start_ns):
        usual, here = at.NS_PER_S / (cadence.period_ns or 1), at.NS_PER_S / max(each.period_ns, 1)
        lasts = each.end_ns - each.start_ns
        message = f"{stream.topic} comes at {rate(here)} instead of {rate(usual)} for {duration(lasts)}"
        numbers = {"rate_hz": here, "usual_hz": usual, "duration_ns": lasts}
        yield finding("rate_change", "warning", stream.topic, message, (each.start_ns, each.end_ns), numbers)


def _duplicates(stream: Stream, cadence: Cadence, tick: int) -> Finding:
    times = cadence.times[1:][np.diff(cadence.times) == 0]
    severity: Severity = "info" if tick >= at.NS_PER_MS and len(times) > 1 else "warning"
    message = f"{counted(len(times), 'message')} of {stream.topic} have the log time of the one before"
    span = (int(times[0]), int(times[-1]))
    return finding("duplicate_times", severity, stream.topic, message, span, {"messages": len(times)})


def _edges(found: Examined) -> Iterator[Finding]:
    """Late starts and early ends, against the first and the last of the steady streams."""
    steady = list(found.steady)
    if len(steady) < 2:
        return
    begin, end = min(int(c.times[0]) for _, c in steady), max(int(c.times[-1]) for _, c in steady)
    for stream, cadence in steady:
        least = max(at.EDGE_PERIODS * (cadence.period_ns or 0), at.MIN_EDGE_NS)
        first, last = int(cadence.times[0]), int(cadence.times[-1])
        if first - begin > least:
            message = f"{stream.topic} starts {duration(first - begin)} after the recording"
            yield _edge("late_start", stream, message, (begin, first), end - begin)
        if end - last > least:
            message = f"{stream.topic} ends {duration(end - last)} before the recording"
            yield _edge("early_end", stream, message, (last, end), end - begin)


def _edge(kind: FindingKind, stream: Stream, message: str, span: tuple[int, int], whole: int) -> Finding:
    lacking = span[1] - span[0]
    part = lacking / whole
    severity: Severity = "warning" if part >= at.EDGE_WARNING else "info"
    return finding(kind, severity, stream.topic, message, span, {"duration_ns": lacking, "share": round(part, 4)})


# -- the whole log -----------------------------------------------------------------------------------------------------


def _common_gaps(steady: Sequence[tuple[Stream, Cadence]]) -> list[list[tuple[Cadence, int]]]:
    """Gaps of all steady streams that ran then, each as (cadence, place in its gaps); of two streams at least."""
    every = sorted(
        ((gap.start_ns, gap.end_ns, cadence, k) for _, cadence in steady for k, gap in enumerate(cadence.gaps)),
        key=lambda each: each[:2],
    )
    found: list[list[tuple[Cadence, int]]] = []
    taken = 0
    while taken < len(every):
        start, end, *_ = every[taken]
        group = [
            each
            for each in every[taken:]
            if each[0] < end and min(end, each[1]) - max(start, each[0]) > 0.5 * (end - start)
        ]
        silent = {id(each[2]) for each in group}
        running = [c for _, c in steady if int(c.times[0]) <= start and int(c.times[-1]) >= end]
        slow = [c for c in running if id(c) not in silent and (c.period_ns or 0) * 2 < end - start]
        if len(silent) >= 2 and not slow:
            found.append([(each[2], each[3]) for each in group])
            taken += len(group)
        else:
            taken += 1
    return found


def _common_gap_findings(groups: Sequence[Sequence[tuple[Cadence, int]]]) -> Iterator[Finding]:
    for group in groups:
        gaps = [cadence.gaps[k] for cadence, k in group]
        start, end = max(gap.start_ns for gap in gaps), min(gap.end_ns for gap in gaps)
        message = f"nothing was recorded for {duration(end - start)}: all {len(gaps)} steady topics are silent"
        numbers = {"duration_ns": end - start, "missing": sum(gap.missing for gap in gaps), "topics": len(gaps)}
        yield finding("gap", "warning", None, message, (start, end), numbers)


def tick_of(times: Sequence[Int64s]) -> int:
    """The greatest time of which all log times (their first ones) are a multiple, from the first on, ns; at least 1."""
    tick = 0
    begin = min((int(each[0]) for each in times if len(each)), default=0)
    for first, last in ((0, _FEW_TICKS), (_FEW_TICKS, _TICK_SAMPLE)):
        for each in times:
            if len(each) > first:
                tick = int(np.gcd(tick, np.gcd.reduce(each[first:last] - begin)))
        if tick == 1:
            break
    return max(tick, 1)


def _is_coarse(steady: Sequence[tuple[Stream, Cadence]], tick: int) -> bool:
    """Whether messages share times because the clock ticks so slowly: then most streams have such."""
    fast = [c for _, c in steady if tick >= at.COARSE * (c.period_ns or 0)]
    return len(fast) >= 2 and 2 * sum(bool(c.duplicates) for c in fast) > len(fast)

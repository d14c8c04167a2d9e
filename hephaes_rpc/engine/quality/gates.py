"""Whether a log passes the quality gates of a spec.

Strategy: topics are found and measured from the index; only where a gate asks for what is in the messages are those of
its topics read, once for all gates.  What lies outside the spec's window of time is not measured.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from attrs import frozen

from hephaes_rpc.engine.logs import LogReader, Stream
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.engine.quality import thresholds as at
from hephaes_rpc.engine.quality.analysis import Read, findings_of, read
from hephaes_rpc.engine.quality.cadence import Cadence
from hephaes_rpc.engine.quality.clocks import Clock, sequence_of
from hephaes_rpc.engine.quality.content import StreamContent
from hephaes_rpc.engine.quality.indexed import examine
from hephaes_rpc.engine.quality.score import score_of
from hephaes_rpc.engine.quality.wording import duration, rate, share
from hephaes_rpc.engine.specs.gates import COMPARE, LOG, MEASURES, Condition, Gate, parse_gate
from hephaes_rpc.engine.specs.issues import pointer, spec_error
from hephaes_rpc.engine.timeline.plan import selectors
from hephaes_rpc.engine.timeline.window import Window
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import Issue, Path, closest, shown

Told = Callable[[int, int], None]


@frozen
class Measured:
    """A value of a topic, and the log times where it was found; None where there is no such value."""

    value: float | None
    span: tuple[int, int] | None = None


@frozen(kw_only=True)
class Verdict:
    """One condition of a gate, judged.

    Args:
        place: JSON pointer of the gate in the spec.
        topic: Name of the topic; ``*`` for the log.
        measured: In Hz, ns, messages, shares (0 to 1) or points; None where there is nothing to measure.
        start_ns, end_ns: Log times where it was measured, None where it is about no place.
        message: One sentence with topic, measured and demanded value.
    """

    place: str
    gate: str
    topic: str
    measure: str
    measured: float | None
    demanded: str
    passed: bool
    start_ns: int | None
    end_ns: int | None
    message: str


def require_quality(texts: Sequence[str], log: LogReader, window: Window, told: Told) -> None:
    """Raise ``quality_gate`` for a log that fails a gate, and what ``judge`` raises."""
    failed = [verdict for verdict in judge(texts, log, window, told) if not verdict.passed]
    if failed:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise HephaesError(
            "quality_gate",
            first.message + more,
            pointer=first.place,
            gate=first.gate,
            topic=first.topic,
            measure=first.measure,
            measured=first.measured,
            demanded=first.demanded,
            start_ns=first.start_ns,
            end_ns=first.end_ns,
            failures=[verdict.message for verdict in failed],
        )


def judge(texts: Sequence[str], log: LogReader, window: Window, told: Told, found: Read | None = None) -> list[Verdict]:
    """All conditions of the gates, judged, in their order.

    Args:
        told: As for ``read``; only called where messages must be read.
        found: What has been read of all streams in that window already.

    Raises:
        SpecError: A gate names a topic that the log does not have, or the end of several.
    """
    gates = [parse_gate(text) for text in texts]
    streams = [_stream_of(gate, ("quality", k), log) for k, gate in enumerate(gates)]
    asked = [
        stream
        for gate, stream in zip(gates, streams, strict=True)
        if any(MEASURES[condition.measure].needs_messages for condition in gate.conditions)
    ]
    if asked and found is None:
        found = read(log, told, None if None in asked else [s for s in asked if s is not None], window)
    measures = _Measures(log, found, window)
    return [
        _verdict(f"/quality/{k}", text, stream, condition, measures.of(stream, condition))
        for k, (text, gate, stream) in enumerate(zip(texts, gates, streams, strict=True))
        for condition in gate.conditions
    ]


def _stream_of(gate: Gate, place: Path, log: LogReader) -> Stream | None:
    """The stream that a gate means; None for the whole log."""
    if gate.topic == LOG:
        return None
    named = selectors(log.summary.streams)
    if gate.topic in named:
        return named[gate.topic]
    tail = "/" + gate.topic.lstrip("/")
    ends = [name for name in named if name.endswith(tail)]
    if len(ends) == 1:
        return named[ends[0]]
    if ends:
        message = f"{pointer(place)}: {gate.topic!r} is the end of several topics: {', '.join(ends[:5])}"
        issue = Issue(place, message, f"one of {', '.join(ends)}", shown(gate.topic), ends[0])
        raise spec_error([issue], topic=gate.topic)
    tails = {name: name for name in named} | {name.rpartition("/")[2]: name for name in named}
    near = closest(gate.topic, list(tails))
    hint = f"; did you mean {tails[near]!r}?" if near else ""
    message = f"{pointer(place)}: the log has no topic {gate.topic!r}{hint}"
    issue = Issue(
        place, message, f"one of {', '.join(named)}", shown(gate.topic), None if near is None else tails[near]
    )
    raise spec_error([issue], topic=gate.topic)


def _verdict(place: str, gate: str, stream: Stream | None, condition: Condition, found: Measured) -> Verdict:
    passed = found.value is not None and COMPARE[condition.comparison](found.value, condition.value)
    whose = "the log" if stream is None else stream.topic
    noun = MEASURES[condition.measure].noun
    if found.value is None:
        said = f"{whose} has no {condition.measure} to be measured"
    elif MEASURES[condition.measure].quantity == "count" and not condition.is_share:
        said = f"{whose} has {found.value:,.0f} {noun}"
    elif condition.is_share:
        said = f"{whose} has {share(found.value)} {noun}"
    else:
        said = f"{whose} has {noun} of {_shown(condition.measure, found.value)}"
    where = f", at log time {found.span[0]} ns" if found.span is not None and not passed else ""
    return Verdict(
        place=place,
        gate=gate,
        topic=LOG if stream is None else stream.topic,
        measure=condition.measure,
        measured=found.value,
        demanded=condition.demanded,
        passed=passed,
        start_ns=None if found.span is None else found.span[0],
        end_ns=None if found.span is None else found.span[1],
        message=f"{said}{where}; {place} demands {condition.demanded}",
    )


def _shown(measure: str, value: float) -> str:
    match MEASURES[measure].quantity:
        case "rate":
            return rate(value)
        case "time":
            return duration(value)
    return f"{value:g}"


class _Measures:
    """What can be measured of a log's streams."""

    def __init__(self, log: LogReader, found: Read | None, window: Window) -> None:
        self._found = found
        self._examined = examine(log, window) if found is None else found.examined
        self._places = {(s.topic, s.type_name): k for k, s in enumerate(self._examined.summary.streams)}

    def of(self, stream: Stream | None, condition: Condition) -> Measured:
        """What a condition asks for."""
        if stream is None:
            return self._of_log(condition.measure)
        k = self._places[stream.topic, stream.type_name]
        cadence = self._examined.cadences[k]
        if not MEASURES[condition.measure].needs_messages:
            measured = self._of_times(cadence, condition.measure)
        else:
            content = None if self._found is None else self._found.contents[k]
            if content is None:
                return Measured(None)
            clock = None if self._found is None else self._found.clocks[k]
            measured = _of_messages(content, clock, condition.measure)
        if condition.is_share and measured.value is not None:
            n = len(cadence.times) + (measured.value if condition.measure in ("missing", "sequence_drops") else 0)
            return Measured(measured.value / n if n else 0.0, measured.span)
        return measured

    def _of_log(self, measure: str) -> Measured:
        if measure == "score":
            return Measured(None if self._found is None else float(score_of(findings_of(self._found)).value))
        edges = [(int(c.times[0]), int(c.times[-1])) for c in self._examined.cadences if len(c.times)]
        return Measured(float(max(e for _, e in edges) - min(b for b, _ in edges)) if edges else 0.0)

    def _of_times(self, cadence: Cadence, measure: str) -> Measured:
        times = cadence.times
        match measure:
            case "rate":
                return Measured(cadence.rate_hz or 0.0)
            case "gap":
                return _longest_step(times)
            case "jitter":
                return Measured(None if cadence.jitter_ns is None else float(cadence.jitter_ns))
            case "missing":
                silences = [*cadence.losses, *cadence.gaps]
                first = min(silences, key=lambda each: each.start_ns, default=None)
                span = None if first is None else (first.start_ns, first.end_ns)
                return Measured(float(sum(each.missing for each in silences)), span)
            case "out_of_order":
                return Measured(float(cadence.out_of_order), cadence.disordered)
            case "duplicates":
                return Measured(float(cadence.duplicates))
            case "late_start" | "early_end":
                return self._edge(times, measure)
        return Measured(float(len(times)))

    def _edge(self, times: Int64s, measure: str) -> Measured:
        others = [c.times for c in self._examined.cadences if len(c.times)]
        if not len(times):
            return Measured(None)
        if measure == "late_start":
            first = min(int(each[0]) for each in others)
            return Measured(float(int(times[0]) - first), (first, int(times[0])))
        last = max(int(each[-1]) for each in others)
        return Measured(float(last - int(times[-1])), (int(times[-1]), last))


def _longest_step(times: Int64s) -> Measured:
    if len(times) < 2:
        return Measured(None)
    steps = np.diff(times)
    k = int(steps.argmax())
    return Measured(float(steps[k]), (int(times[k]), int(times[k + 1])))


def _of_messages(content: StreamContent, clock: Clock | None, measure: str) -> Measured:
    simple: Mapping[str, Callable[[], Measured]] = {
        "decode_failures": lambda: Measured(float(content.failures), content.failure and content.failure[1:]),
        "nonfinite": lambda: _nonfinite(content),
        "frozen": lambda: _frozen(content),
        "repeated": lambda: _repeated(content),
    }
    if measure in simple:
        return simple[measure]()
    if clock is None:
        return Measured(None)
    if measure == "clock_offset":
        return Measured(None if clock.offset_ns is None else float(abs(clock.offset_ns)))
    if measure == "clock_jump":
        if clock.offset_ns is None:
            return Measured(None)
        largest = max(clock.jumps, key=lambda jump: abs(jump.size_ns), default=None)
        return Measured(0.0) if largest is None else Measured(abs(largest.size_ns), (largest.before_ns, largest.at_ns))
    numbers = sequence_of(clock)
    if numbers is None:
        return Measured(None)
    span = (int(numbers.since[0]), int(numbers.time[0])) if len(numbers.time) else None
    return Measured(float(numbers.missing.sum()), span)


def _nonfinite(content: StreamContent) -> Measured:
    bad = [record for record in content.fields if record.bad]
    worst = max(bad, key=lambda record: record.bad, default=None)
    return Measured(0.0) if worst is None else Measured(float(worst.bad), (worst.first_ns, worst.last_ns))


def _frozen(content: StreamContent) -> Measured:
    if content.frames is None:
        return Measured(None)
    longest = max(content.frames.runs, key=lambda run: run.end_ns - run.start_ns, default=None)
    if longest is None or longest.frames < at.FROZEN_LEAST:
        return Measured(0.0)
    return Measured(float(longest.end_ns - longest.start_ns), (longest.start_ns, longest.end_ns))


def _repeated(content: StreamContent) -> Measured:
    if content.frames is None:
        return Measured(None)
    runs = content.frames.runs
    span = (runs[0].start_ns, runs[0].end_ns) if runs else None
    return Measured(float(sum(run.frames - 1 for run in runs)), span)

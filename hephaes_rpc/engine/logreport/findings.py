"""What a report finds wrong with a log by looking at it: damage, pauses, what cannot be decoded or is out of order."""

from collections.abc import Iterator

import numpy as np

from hephaes_rpc.engine.logreport.facts import TopicFacts
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.logs.types import LogSummary
from hephaes_rpc.model import Finding, FindingKind, Severity

MAX_PAUSES = 5
MIN_RUN = 10
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


def findings_of(summary: LogSummary, topics: tuple[TopicFacts, ...]) -> tuple[Finding, ...]:
    """All findings, the worst first, then by topic and time."""
    found = [
        Finding("damaged_log", "error", None, None, None, None, {}, f"part of the log is lost: {gap}")
        for gap in summary.gaps
    ]
    for topic in topics:
        found += _of_topic(topic)
    return tuple(sorted(found, key=lambda f: (_ORDER.index(f.severity), f.topic or "", f.start_ns or 0)))


def _of_topic(topic: TopicFacts) -> Iterator[Finding]:
    name = topic.info.topic

    def finding(kind: FindingKind, severity: Severity, message: str, **numbers: float) -> Finding:
        return Finding(kind, severity, name, None, None, None, numbers, message)

    if topic.info.undecodable is not None:
        why = topic.info.undecodable
        yield finding("undecodable_topic", "warning", f"messages of {name} cannot be decoded: {why}")
    if topic.failed:
        message = f"{topic.failed:,} of {topic.read:,} messages of {name} are malformed"
        yield finding("decode_failures", "error", message, messages=topic.failed, read=topic.read)
    if topic.info.out_of_order:
        n = topic.info.out_of_order
        message = f"{n:,} messages of {name} lie in the log behind later ones"
        yield finding("out_of_order", "info", message, messages=n)
    yield from _pauses(topic)


def _pauses(topic: TopicFacts) -> Iterator[Finding]:
    """The longest pauses of a stream that otherwise comes steadily: in runs of MIN_RUN messages on average."""
    timing = topic.timing
    if timing is None or not timing.is_steady or topic.info.message_count < MIN_RUN * len(timing.starts):
        return
    lengths = timing.starts[1:] - timing.ends[:-1]
    longest = np.sort(np.argsort(-lengths, kind="stable")[:MAX_PAUSES])
    for k in longest.tolist():
        start_ns, length_s = int(timing.ends[k]), int(lengths[k]) / NS_PER_S
        message = (
            f"{topic.info.topic} pauses for {length_s:.3g} s; usually a message comes every {timing.usual_s:.3g} s"
        )
        numbers = {"duration_s": length_s, "usual_s": timing.usual_s}
        yield Finding("gap", "warning", topic.info.topic, None, start_ns, int(timing.starts[k + 1]), numbers, message)

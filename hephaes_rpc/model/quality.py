"""What is wrong with a log, and how good it is."""

from typing import Literal

from attrs import frozen

Severity = Literal["info", "warning", "error"]
Basis = Literal["index", "messages"]
FindingKind = Literal[
    "damaged_log",
    "undecodable_topic",
    "gap",
    "missing_messages",
    "jitter",
    "rate_change",
    "out_of_order",
    "duplicate_times",
    "late_start",
    "early_end",
    "decode_failures",
    "sequence_drops",
    "clock_offset",
    "clock_jump",
    "unset_stamps",
    "frozen_frames",
    "repeated_frames",
    "nonfinite_values",
    "constant_field",
]


@frozen
class Finding:
    """Something that is wrong with a log, or worth knowing before it is used; docs/quality.md tells of every kind.

    Args:
        topic: None where the whole log is meant.
        field: Dotted path in the messages of the topic; None where it is about no field.
        start_ns, end_ns: Log times between which it was found; None where it has no place in time.
        numbers: What was measured, by names that belong to the kind.
        message: One sentence that names the topic, the numbers and the place.
    """

    kind: FindingKind
    severity: Severity
    topic: str | None
    field: str | None
    start_ns: int | None
    end_ns: int | None
    numbers: dict[str, float]
    message: str


@frozen
class ScoreReason:
    """Why a score is not 100: the points that all findings of a kind on a topic take away."""

    points: float
    kind: FindingKind
    topic: str | None
    message: str


@frozen
class Score:
    """How good a log is, 0 to 100; the reasons are sorted by their points, the greatest first."""

    value: int
    reasons: list[ScoreReason]


@frozen
class TopicQuality:
    """What was measured of one stream.

    Args:
        rate_hz: (messages - 1) / span; None below two messages.
        period_ns: Median time between two messages; None below two messages.
        jitter_ns: Median distance of the periods from their median.
        is_regular: It comes at a steady rate; only then are gaps, missing messages, late starts and early ends told.
        max_gap_ns: Longest time between two messages that follow each other.
        missing: Messages that should have come, by the period; 0 unless regular.
        out_of_order: Messages that lie in the file behind one with a later log time.
        duplicates: Messages with the log time of another one.
        decode_failures: Malformed messages; this and what follows is None until the messages were read.
        sequence_missing: Numbers left out by ``header.seq``; None where it does not count messages.
        stamp_offset_ns: Median of header stamp minus log time; None without stamps.
        nonfinite_fields: Fields with a NaN or infinity -> messages that have one.
        constant_fields: Numeric fields that have one value in all messages.
    """

    topic: str
    message_type: str
    message_count: int
    rate_hz: float | None
    period_ns: int | None
    jitter_ns: int | None
    is_regular: bool
    max_gap_ns: int | None
    missing: int
    out_of_order: int
    duplicates: int
    decode_failures: int | None = None
    sequence_missing: int | None = None
    stamp_offset_ns: int | None = None
    nonfinite_fields: dict[str, int] | None = None
    constant_fields: list[str] | None = None


@frozen
class Quality:
    """What is known of the quality of a log.

    Args:
        basis: ``index`` until an ``analyze`` job has read the messages.
        findings: The worst first, then by topic and time.
        content_fingerprint: Of all readable messages, the same whatever the container; None until they were read.
    """

    basis: Basis
    score: Score
    findings: list[Finding]
    topics: list[TopicQuality]
    content_fingerprint: str | None = None

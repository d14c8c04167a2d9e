"""A log's score: 100 less what its findings take away.

Strategy: all findings of one kind on one topic count once, by the worst of them.  Of each kind the worst topic counts
in full and every further one half of the one before, so that what one cause does to many topics (a recorder that
stalls, a clock that is off) costs twice as much as on one topic, not twenty times.
"""

from collections.abc import Iterable

from hephaes_rpc.model.quality import Finding, Score, ScoreReason, Severity

POINTS: dict[Severity, float] = {"error": 25.0, "warning": 8.0, "info": 1.0}
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by topic, kind and time."""
    return sorted(
        findings,
        key=lambda f: (SEVERITIES.index(f.severity), f.topic or "", f.kind, f.field or "", f.start_ns or 0),
    )


def score_of(findings: Iterable[Finding]) -> Score:
    """The score with its reasons."""
    worst: dict[tuple[str, str | None], Finding] = {}
    for finding in in_order(findings):
        worst.setdefault((finding.kind, finding.topic), finding)
    seen: dict[str, int] = {}
    reasons = []
    for finding in worst.values():
        times = seen.get(finding.kind, 0)
        seen[finding.kind] = times + 1
        points = round(POINTS[finding.severity] / 2**times, 2)
        if points:
            reasons.append(ScoreReason(points, finding.kind, finding.topic, finding.message))
    reasons.sort(key=lambda reason: -reason.points)
    return Score(max(0, round(100 - sum(reason.points for reason in reasons))), reasons)

"""What is known of the quality of logs: findings, scores, figures of topics."""

from typing import get_args

from hephaes_rpc.model.quality import Finding, FindingKind, Quality, Score, ScoreReason, Severity, TopicQuality
from hephaes_rpc.store.db import Session
from hephaes_rpc.store.values import from_json, now_us, to_json

KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
"""Their places are the bits of ``finding_kinds``: new kinds come last."""
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


def severity_rank(severity: Severity) -> int:
    """The number by which ``assets.severity`` knows it."""
    return SEVERITIES.index(severity) + 1


def severity_of(rank: int) -> Severity | None:
    """The severity of a number; None for 0."""
    return SEVERITIES[rank - 1] if rank else None


def kind_bit(kind: FindingKind) -> int:
    """The bit of a kind in ``assets.finding_kinds``."""
    return 1 << KINDS.index(kind)


def save_quality(session: Session, asset_id: str, quality: Quality) -> None:
    """Put what is known now in the place of what was known of an asset."""
    worst = max((severity_rank(finding.severity) for finding in quality.findings), default=0)
    kinds = 0
    for finding in quality.findings:
        kinds |= kind_bit(finding.kind)
    session.run(
        "UPDATE assets SET score = ?, severity = ?, finding_kinds = ? WHERE id = ?",
        (quality.score.value, worst, kinds, asset_id),
    )
    session.run(
        "INSERT OR REPLACE INTO asset_quality (asset_id, basis, content_fingerprint, reasons, topics, judged_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            asset_id,
            quality.basis,
            quality.content_fingerprint,
            to_json(quality.score.reasons),
            to_json(quality.topics),
            now_us(),
        ),
    )
    session.run("DELETE FROM findings WHERE asset_id = ?", (asset_id,))
    for number, each in enumerate(quality.findings):
        session.run(
            "INSERT INTO findings (asset_id, number, kind, severity, topic, field, start_ns, end_ns, numbers, message)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(asset_id, number, each.kind, each.severity, each.topic, each.field, each.start_ns, each.end_ns),
                *(to_json(each.numbers), each.message),
            ),
        )


def quality_of(session: Session, asset_id: str) -> Quality | None:
    """What is known of the quality of an asset; None before it was indexed."""
    row = session.one(
        "SELECT q.basis, a.score, q.reasons, q.topics, q.content_fingerprint FROM asset_quality q"
        " JOIN assets a ON a.id = q.asset_id WHERE q.asset_id = ?",
        (asset_id,),
    )
    if row is None:
        return None
    basis, score, reasons, topics, content = row
    rows = session.all(
        "SELECT kind, severity, topic, field, start_ns, end_ns, numbers, message FROM findings WHERE asset_id = ?"
        " ORDER BY number",
        (asset_id,),
    )
    return Quality(
        basis=basis,
        score=Score(score, [ScoreReason(**each) for each in from_json(reasons)]),
        findings=[
            Finding(kind, severity, topic, field, start_ns, end_ns, from_json(numbers), message)
            for kind, severity, topic, field, start_ns, end_ns, numbers, message in rows
        ],
        topics=[TopicQuality(**each) for each in from_json(topics)],
        content_fingerprint=content,
    )


def basis_of(session: Session, asset_id: str) -> str | None:
    """``index`` or ``messages``; None before it was indexed."""
    basis: str | None = session.value("SELECT basis FROM asset_quality WHERE asset_id = ?", (asset_id,))
    return basis

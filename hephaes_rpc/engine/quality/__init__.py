"""What is wrong with a log: findings with their numbers, a score, and the gates that a spec may demand."""

from collections.abc import Mapping
from typing import Any

from hephaes_rpc.model.quality import Finding, FindingKind, Quality, Score, ScoreReason, Severity, TopicQuality

__all__ = ["Finding", "FindingKind", "Quality", "Score", "ScoreReason", "Severity", "TopicQuality", "quality_from"]


def quality_from(found: Mapping[str, Any]) -> Quality:
    """The quality that another process told as JSON (``attrs.asdict``)."""
    return Quality(
        basis=found["basis"],
        score=Score(found["score"]["value"], [ScoreReason(**each) for each in found["score"]["reasons"]]),
        findings=[Finding(**each) for each in found["findings"]],
        topics=[TopicQuality(**each) for each in found["topics"]],
        content_fingerprint=found["content_fingerprint"],
    )

"""What is wrong with a log: findings with their numbers, a score, and the gates that a spec may demand."""

from hephaes_rpc.model import Finding, FindingKind, Quality, Score, ScoreReason, Severity, TopicQuality

__all__ = ["Finding", "FindingKind", "Quality", "Score", "ScoreReason", "Severity", "TopicQuality"]

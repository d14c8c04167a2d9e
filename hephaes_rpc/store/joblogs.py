"""What happened to a job and what its workers said, line by line, bounded."""

from collections.abc import Sequence

from attrs import frozen

from hephaes_rpc.model.jobs import JobLogLine
from hephaes_rpc.store.db import Database
from hephaes_rpc.store.values import to_time

KEPT_LINES = 2000
"""Per job; the oldest go first."""


@frozen
class NewLine:
    """A line that is not stored yet; ``at`` in microseconds since the Unix epoch."""

    attempt: int
    at: int
    level: str
    source: str
    text: str


@frozen
class LogPage:
    """Lines from the oldest on; ``next_cursor`` is None after the newest."""

    items: list[JobLogLine]
    total: int
    next_cursor: str | None


class JobLogs:
    """The logs of the jobs of one workspace."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, job_id: str, lines: Sequence[NewLine]) -> None:
        """Append lines and forget the oldest beyond what is kept; nothing where the job is gone."""
        with self._db.write() as session:
            if session.value("SELECT 1 FROM jobs WHERE id = ?", (job_id,)) is None:
                return
            last: int = session.value("SELECT coalesce(max(number), 0) FROM job_logs WHERE job_id = ?", (job_id,))
            session.many(
                "INSERT INTO job_logs (job_id, number, attempt, at, level, source, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (job_id, number, line.attempt, line.at, line.level, line.source, line.text)
                    for number, line in enumerate(lines, last + 1)
                ],
            )
            session.run(
                "DELETE FROM job_logs WHERE job_id = ? AND number <= ?", (job_id, last + len(lines) - KEPT_LINES)
            )

    def page(self, job_id: str, limit: int, after: int = 0, attempt: int | None = None) -> LogPage:
        """Lines whose number is greater than ``after``, of all attempts or one."""
        with self._db.read() as session:
            total: int = session.value(
                "SELECT count(*) FROM job_logs WHERE job_id = ?1 AND (?2 IS NULL OR attempt = ?2)", (job_id, attempt)
            )
            rows = session.all(
                "SELECT number, attempt, at, level, source, text FROM job_logs"
                " WHERE job_id = ?1 AND number > ?2 AND (?3 IS NULL OR attempt = ?3) ORDER BY number LIMIT ?4",
                (job_id, after, attempt, limit + 1),
            )
        items = [
            JobLogLine(number=number, attempt=attempt, time=to_time(at), level=level, source=source, text=text)
            for number, attempt, at, level, source, text in rows[:limit]
        ]
        return LogPage(items, total, str(items[-1].number) if len(rows) > limit else None)

"""What the server tells its client unasked.

Strategy: every call may come from any thread and never blocks; frames go straight to the writer's queue.  Changes of the
same noun, workspace and reason within 50 ms become one notification; progress of a job is sent at most ten times a second,
the latest state wins and the last one is never lost.  Nothing is sent before the client's ``initialized``.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from hephaes_rpc.serde import unstructure

Noun = Literal["assets", "outputs", "conversionConfigs", "tags", "workspaces", "drafts"]
Reason = Literal["created", "updated", "deleted", "refreshed"]
Send = Callable[[str, Any, str | None], None]

COALESCE_S = 0.05
PROGRESS_INTERVAL_S = 0.1


class Notifier:
    """Sends notifications; see the module's strategy."""

    def notify(self, method: str, params: Any) -> None:
        """Send ``params`` (an attrs object or JSON values) at once."""

    def changed(self, noun: Noun, workspace_id: str | None, ids: Iterable[str] | None, reason: Reason) -> None:
        """``<noun>/didChange`` after a commit, coalesced; ``ids=None`` means reload all."""

    def job_changed(self, job: Any) -> None:
        """``jobs/didChange`` with the job object, at once, after the progress of that job that is still held back."""

    def job_progress(self, progress: Any) -> None:
        """``jobs/progress``; ``progress`` has ``job_id`` and ``percentage`` (100 is always sent, at once)."""


class WorkDone:
    """``$/progress`` begin, report and end for one request; silent when ``token`` is None."""

    def report(self, message: str | None = None, percentage: float | None = None) -> None:
        """Say how far the work is; at most ten a second are sent.  Callable from any thread."""

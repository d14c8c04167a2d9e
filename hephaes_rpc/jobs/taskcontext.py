"""One task of a worker process: what it was asked, and how it tells of itself."""

import os
import time
from collections.abc import Callable
from typing import Any

from hephaes_rpc.errors import HephaesError

PROGRESS_INTERVAL_S = 0.1

Emit = Callable[[dict[str, Any]], None]


class Context:
    """One task as the engine sees it; also a ``pipeline.Context``.

    Args:
        task: As the parent sent it.
        emit: Sends an event.
        check: Raises CancelledByClient when the work should stop.

    Attributes:
        asset: Number of the asset at work.
        kept: Assets whose files were finished already.
    """

    def __init__(self, task: dict[str, Any], emit: Emit, check: Callable[[], None]) -> None:
        self.task = task
        self.emit = emit
        self.check = check
        self.asset = 0
        self.kept = 0
        self._phase: tuple[int, str] | None = None
        self._told_at = 0.0

    @property
    def temp_tag(self) -> str:
        """Marks the temporary files of this attempt."""
        return temp_tag(self.task["job_id"], self.task["attempt"])

    def progress(self, phase: str, done: int, total: int, unit: str, message: str = "") -> None:
        """Tell how far the asset at work is: at once in a new phase, else at most ten times a second."""
        now = time.monotonic()
        if (self.asset, phase) == self._phase and now - self._told_at < PROGRESS_INTERVAL_S:
            return
        self._phase, self._told_at = (self.asset, phase), now
        self.tell(phase, done, total, unit, message)

    def tell(self, phase: str, done: int, total: int, unit: str, message: str) -> None:
        """Tell how far the asset at work is, now."""
        self.emit(
            {
                "event": "progress",
                "asset": self.asset,
                "phase": phase,
                "done": done,
                "total": total,
                "unit": unit,
                "message": message or None,
            }
        )


def temp_tag(job_id: str, attempt: int) -> str:
    """What marks the temporary files of one attempt at a job."""
    return f"{job_id}-{attempt}"


def registered_file(path: str) -> os.stat_result:
    """What the file is now; one that is gone is an asset's trouble, not a wrong param."""
    try:
        return os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        raise HephaesError("asset_unavailable", f"the registered file {path} is gone", path=path) from None
    except OSError as error:
        kind = "permission" if isinstance(error, PermissionError) else "io_error"
        raise HephaesError(kind, f"{path}: {error.strerror}", path=path) from None

"""How far a job is, from what its worker tells of the asset and the phase at work.

Strategy: every phase owns a fixed part of an asset, every asset an equal part of the job, so that one percentage runs
through all of them and never back, even where the work starts again (a damaged log is indexed twice).  100 is kept for
``finish``: it is told once everything is in the store.  No clock: the caller gives the time.
"""

from collections.abc import Mapping
from typing import Any

from hephaes_rpc.model.jobs import JobStatus, Phase, Progress, Unit

PARTS: dict[str, dict[str, tuple[float, float]]] = {
    "index": {"index": (0.0, 1.0)},
    "convert": {
        "index": (0.0, 0.08),
        "plan": (0.08, 0.1),
        "decode": (0.1, 0.9),
        "write": (0.9, 0.95),
        "publish": (0.95, 1.0),
    },
    "analyze": {"index": (0.0, 0.2), "analyze": (0.2, 1.0)},
}
SETTLED_S = 0.2
"""Rates over less than this are noise."""


class Meter:
    """The progress of one attempt.

    Args:
        job_id: The job.
        job_type: ``index``, ``convert`` or ``analyze``.
        n_assets: Assets it works on, one after the other.
    """

    def __init__(self, job_id: str, job_type: str, n_assets: int) -> None:
        self._job_id = job_id
        self._parts = PARTS[job_type]
        self._n_assets = max(1, n_assets)
        self._percentage = 0
        self._stretch: tuple[int, str] | None = None
        self._began = (0.0, 0, 0.0)
        self._last: Progress | None = None

    def update(self, event: Mapping[str, Any], status: JobStatus, now: float) -> Progress:
        """Take a ``progress`` event that came at ``now`` (s, monotonic)."""
        asset, phase, done, total = event["asset"], event["phase"], event["done"], event["total"]
        begin, end = self._parts[phase]
        share = min(1.0, done / total) if total > 0 else 0.0
        whole = (asset + begin + (end - begin) * share) / self._n_assets
        if self._stretch != (asset, phase) or done < self._began[1]:
            self._stretch = (asset, phase)
            self._began = (now, done, whole)
        elapsed, worked, gained = now - self._began[0], done - self._began[1], whole - self._began[2]
        rate = eta_s = None
        if elapsed >= SETTLED_S and worked > 0:
            rate = worked / elapsed
            eta_s = max(0.0, 1.0 - whole) * elapsed / gained if gained > 0 else None
        self._percentage = max(self._percentage, min(99, int(100 * whole)))
        self._last = self._progress(status, phase, done, total, event["unit"], rate, eta_s, event["message"])
        return self._last

    def finish(self) -> Progress:
        """The one at 100."""
        self._percentage = 100
        last = self._last
        if last is None:
            return self._progress("succeeded", "index", 0, 0, "bytes", None, 0.0, None)
        return self._progress("succeeded", last.phase, last.total, last.total, last.unit, last.rate, 0.0, last.message)

    def _progress(
        self,
        status: JobStatus,
        phase: Phase,
        done: int,
        total: int,
        unit: Unit,
        rate: float | None,
        eta_s: float | None,
        message: str | None,
    ) -> Progress:
        return Progress(
            job_id=self._job_id,
            status=status,
            phase=phase,
            done=done,
            total=total,
            unit=unit,
            percentage=self._percentage,
            rate=rate,
            eta_s=eta_s,
            message=message,
        )

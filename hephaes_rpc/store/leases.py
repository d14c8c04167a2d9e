"""The right to write down what a job's worker has found: that of the sidecar which has the job in this attempt."""

from attrs import frozen

from hephaes_rpc.store.db import Session


class LeaseLostError(Exception):
    """Another sidecar has the job, or nobody: what was found here is no longer wanted."""


@frozen
class Lease:
    """An attempt at a job and whose it is."""

    job_id: str
    owner: str
    attempt: int

    def hold(self, session: Session) -> None:
        """Raise LeaseLostError unless the job is still at work in this attempt and for this owner."""
        held = session.value(
            "SELECT 1 FROM jobs WHERE id = ? AND owner = ? AND attempt = ? AND status IN ('running', 'cancelling')",
            (self.job_id, self.owner, self.attempt),
        )
        if held is None:
            raise LeaseLostError(f"job {self.job_id}, attempt {self.attempt}")

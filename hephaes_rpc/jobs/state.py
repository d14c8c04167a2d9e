"""The life of a job: a closed table of what may happen in which status, and what has to be done then.

Strategy: (status, event) -> (status, actions), no clock, no database, no process.  The queue asks the table what an
event means, writes the new status with a guarded UPDATE, asks again when the row has changed meanwhile, and carries out
the actions.  What the table does not name cannot happen: it is either refused to the client or a bug.
"""

from enum import Enum
from typing import NamedTuple

from hephaes_rpc.model.jobs import JobStatus


class Event(Enum):
    """What happens to a job."""

    CLAIM = "claim"
    """A sidecar takes it; the store counts the attempt."""
    CANCEL = "cancel"
    """The client asks for it to stop."""
    SUCCEED = "succeed"
    """Its worker has done everything and all of it is in the store."""
    FAIL = "fail"
    """Its worker gave up, or died; or a job that it needs did not succeed."""
    RETRY = "retry"
    """It failed for a reason that may pass, and attempts are left."""
    STOP = "stop"
    """Its worker was stopped because the sidecar leaves."""
    ORPHAN = "orphan"
    """Its sidecar is gone."""
    REQUEUE = "requeue"
    """The next owner takes it up again: attempts are left."""
    GIVE_UP = "give up"
    """The next owner finds no attempt left."""


class Action(Enum):
    """What the queue does because of a change."""

    ASK = "ask"
    """Ask its worker to stop, and kill it after the grace time."""
    CLEAN = "clean"
    """Remove what the attempt left behind: temporary files, the mark of an asset being indexed."""
    PROGRESS_100 = "progress 100"
    """Tell that all is done, before the change of status is told."""


class Step(NamedTuple):
    """The new status and what to do; ``actions`` in this order."""

    status: JobStatus
    actions: tuple[Action, ...] = ()


TABLE: dict[tuple[JobStatus, Event], Step] = {
    ("queued", Event.CLAIM): Step("running"),
    ("queued", Event.CANCEL): Step("cancelled"),
    ("queued", Event.FAIL): Step("failed"),
    ("running", Event.CANCEL): Step("cancelling", (Action.ASK,)),
    ("running", Event.SUCCEED): Step("succeeded", (Action.PROGRESS_100,)),
    ("running", Event.FAIL): Step("failed", (Action.CLEAN,)),
    ("running", Event.RETRY): Step("interrupted", (Action.CLEAN,)),
    ("running", Event.STOP): Step("interrupted", (Action.CLEAN,)),
    ("running", Event.ORPHAN): Step("interrupted", (Action.CLEAN,)),
    ("cancelling", Event.CANCEL): Step("cancelling", (Action.ASK,)),
    # The work was done before the worker heard of it.
    ("cancelling", Event.SUCCEED): Step("succeeded", (Action.PROGRESS_100,)),
    ("cancelling", Event.FAIL): Step("cancelled", (Action.CLEAN,)),
    ("cancelling", Event.RETRY): Step("cancelled", (Action.CLEAN,)),
    ("cancelling", Event.STOP): Step("cancelled", (Action.CLEAN,)),
    ("cancelling", Event.ORPHAN): Step("cancelled", (Action.CLEAN,)),
    ("interrupted", Event.CANCEL): Step("cancelled"),
    ("interrupted", Event.REQUEUE): Step("queued"),
    ("interrupted", Event.GIVE_UP): Step("failed"),
}


def step(status: JobStatus, event: Event) -> Step | None:
    """What ``event`` means for a job in ``status``; None when it cannot happen there."""
    return TABLE.get((status, event))


def resume(attempt: int, max_attempts: int) -> Event:
    """What the next owner does with an interrupted job."""
    return Event.REQUEUE if attempt < max_attempts else Event.GIVE_UP


def pause_s(attempt: int) -> float:
    """How long a job is left alone after that attempt, as far as no chance is added: 1, 4, 16 s."""
    return float(4 ** min(attempt - 1, 2))

"""The table of a job's life, every cell of it."""

from itertools import product
from typing import get_args

import pytest

from hephaes_rpc.jobs.state import TABLE, Action, Event, pause_s, resume, step
from hephaes_rpc.model.jobs import ACTIVE, FINAL, JobStatus

STATUSES: tuple[JobStatus, ...] = get_args(JobStatus)

# Rows: status; columns: event; "-" where nothing may happen.
EXPECTED = """
              claim    cancel      succeed    fail       retry        stop         orphan       requeue  give_up
queued        running  cancelled   -          failed     -            -            -            -        -
running       -        cancelling  succeeded  failed     interrupted  interrupted  interrupted  -        -
cancelling    -        cancelling  succeeded  cancelled  cancelled    cancelled    cancelled    -        -
succeeded     -        -           -          -          -            -            -            -        -
failed        -        -           -          -          -            -            -            -        -
cancelled     -        -           -          -          -            -            -            -        -
interrupted   -        cancelled   -          -          -            -            -            queued   failed
"""


def expected() -> dict[tuple[str, Event], str | None]:
    header, *rows = [line.split() for line in EXPECTED.strip().splitlines()]
    events = [Event[name.upper()] for name in header]
    return {
        (status, event): None if cell == "-" else cell
        for status, *cells in rows
        for event, cell in zip(events, cells, strict=True)
    }


@pytest.mark.parametrize(("status", "event"), list(product(STATUSES, Event)))
def test_every_cell(status: JobStatus, event: Event) -> None:
    found = step(status, event)
    assert (found and found.status) == expected()[status, event]


def test_final_is_final() -> None:
    assert not {status for status, _ in TABLE} & FINAL


def test_every_status_is_reached_and_every_active_one_can_be_left() -> None:
    reached, frontier = {"queued"}, ["queued"]
    while frontier:
        status = frontier.pop()
        for (source, _), (target, _) in TABLE.items():
            if source == status and target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == set(STATUSES)
    assert {status for status, _ in TABLE} == ACTIVE | {"interrupted"}


def test_an_attempt_that_made_nothing_is_cleaned_up_after() -> None:
    for (status, _), (target, actions) in TABLE.items():
        if status in ("running", "cancelling") and target in ("failed", "cancelled", "interrupted"):
            assert Action.CLEAN in actions
        assert (Action.PROGRESS_100 in actions) == (target == "succeeded")
        assert (Action.ASK in actions) == (target == "cancelling")


def test_interrupted_jobs_are_taken_up_while_attempts_are_left() -> None:
    assert [resume(attempt, 3) for attempt in (1, 2, 3, 4)] == [Event.REQUEUE, Event.REQUEUE] + [Event.GIVE_UP] * 2


def test_pauses_grow_to_a_bound() -> None:
    assert [pause_s(attempt) for attempt in (1, 2, 3, 4, 50)] == [1, 4, 16, 16, 16]

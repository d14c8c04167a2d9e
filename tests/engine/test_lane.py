"""Calls in a thread of their own: their order, what they may hold, what they raise."""

import threading

import pytest

from hephaes_rpc.engine.lane import MAX_HELD_BYTES, Lane


def test_calls_are_made_in_turn_and_hold_no_more_than_they_may() -> None:
    done: list[int] = []
    go_on = threading.Event()

    def work(number: int) -> None:
        assert go_on.wait(10)
        done.append(number)

    with Lane("test", most_bytes=10) as lane:
        for number in range(2):
            lane.call(work, number, nbytes=5)
        assert done == [], "both may wait"
        threading.Timer(0.05, go_on.set).start()
        lane.call(work, 2, nbytes=5)
        assert 0 in done, "for the third there is room when the first is done"
        lane.call(work, 3, nbytes=11)
        assert done == [0, 1, 2, 3], "what is larger than all that may be held is waited for"
        lane.drain()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hephaes-test")]


def test_what_a_call_raises_is_raised_to_who_waits_for_it() -> None:
    go_on = threading.Event()

    def fail() -> None:
        assert go_on.wait(10)
        raise ValueError("no")

    with Lane("test") as lane:
        lane.call(fail, nbytes=0)
        go_on.set()
        with pytest.raises(ValueError, match="no"):
            lane.drain()
        with pytest.raises(ValueError, match="no"):
            lane.call(fail, nbytes=MAX_HELD_BYTES + 1)

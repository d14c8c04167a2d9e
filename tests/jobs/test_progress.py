"""Progress of a job over phases and assets."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.jobs.progress import PARTS, Meter
from tests.thorough import examples

PHASES = list(PARTS["convert"])


def event(phase: str, done: int, total: int, asset: int = 0, unit: str = "bytes") -> dict[str, Any]:
    return {"asset": asset, "phase": phase, "done": done, "total": total, "unit": unit, "message": None}


def test_the_phases_of_a_type_share_the_whole_without_a_gap() -> None:
    for parts in PARTS.values():
        ends = [0.0]
        for begin, end in parts.values():
            assert begin == ends[-1]
            assert end > begin
            ends.append(end)
        assert ends[-1] == 1.0


def test_rate_and_time_left_follow_from_what_is_done() -> None:
    meter = Meter("j", "index", 1)
    first = meter.update(event("index", 0, 1000), "running", 10.0)
    assert (first.percentage, first.rate, first.eta_s) == (0, None, None)
    half = meter.update(event("index", 500, 1000), "running", 12.0)
    assert (half.percentage, half.rate, half.eta_s) == (50, 250.0, 2.0)
    assert meter.update(event("index", 1000, 1000), "cancelling", 14.0).percentage == 99
    last = meter.finish()
    assert (last.percentage, last.status, last.done, last.rate, last.eta_s) == (100, "succeeded", 1000, 250.0, 0.0)


def test_every_asset_is_an_equal_part() -> None:
    meter = Meter("j", "convert", 4)
    at = [meter.update(event("decode", 1, 2, asset), "running", 0.0).percentage for asset in range(4)]
    assert at == [12, 37, 62, 87]


def test_a_job_without_progress_ends_at_100_too() -> None:
    assert Meter("j", "convert", 1).finish().percentage == 100


@settings(max_examples=examples(200))
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(PHASES), st.integers(0, 50), st.integers(0, 40), st.floats(0, 5)),
        max_size=30,
    )
)
def test_whatever_is_told_the_percentage_never_falls_and_keeps_100_for_the_end(
    told: list[tuple[int, str, int, int, float]],
) -> None:
    meter = Meter("j", "convert", 3)
    now, last = 0.0, 0
    for asset, phase, done, total, wait in told:
        now += wait
        progress = meter.update(event(phase, done, total, asset), "running", now)
        assert last <= progress.percentage <= 99
        assert progress.rate is None or progress.rate > 0
        assert progress.eta_s is None or progress.eta_s >= 0
        last = progress.percentage
    assert meter.finish().percentage == 100

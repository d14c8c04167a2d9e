"""Thinned series keep every extreme; rates and pauses are those of the times."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hephaes_rpc.engine.logreport.thinning import Columns, Thinner
from hephaes_rpc.engine.logreport.timing import timing_of

POINT = st.tuples(st.integers(0, 999), st.integers(-5, 5).map(float) | st.sampled_from([np.nan, np.inf]))


@given(st.lists(st.lists(POINT, max_size=30), max_size=6), st.integers(1, 20), st.sampled_from([0, 10, 1000]))
def test_a_thinned_series_has_the_extremes_of_each_column_and_nothing_that_did_not_come(parts, n, keep_all) -> None:
    columns = Columns.over(0, 999, n)
    thinner = Thinner(columns, keep_all)
    for part in parts:
        thinner.add(np.array([t for t, _ in part], np.int64), np.array([v for _, v in part], np.float64))
    points = thinner.points()
    came = [(t, v) for part in parts for t, v in part if np.isfinite(v)]
    kept = list(zip(points.times.tolist(), points.values.tolist(), strict=True))
    assert points.count == len(came)
    assert points.nonfinite == sum(len(part) for part in parts) - len(came)
    assert set(kept) <= set(came)
    assert [t for t, _ in kept] == sorted(t for t, _ in kept)
    if len(came) <= keep_all:
        assert sorted(kept) == sorted(came)
    for column in range(n):
        all_, some = ([v for t, v in which if t // columns.width_ns == column] for which in (came, kept))
        assert (max(all_, default=0), min(all_, default=0)) == (max(some, default=0), min(some, default=0))
        assert len(some) <= 2 or len(came) <= keep_all
    if came:
        values = [v for _, v in came]
        assert (points.low, points.high) == (min(values), max(values))
        assert np.isclose(points.mean, np.mean(values))


def test_pauses_end_runs_and_the_rate_is_that_of_the_times() -> None:
    step = 10_000_000
    times = np.concatenate([np.arange(100), np.arange(150, 250)]) * step
    timing = timing_of(times, 0, int(times[-1]), 100, 200)
    assert timing.starts.tolist() == [0, 150 * step]
    assert timing.ends.tolist() == [99 * step, 249 * step]
    assert timing.counts.tolist() == [100, 100]
    assert timing.is_steady
    assert sum(timing.activity) == 200
    assert np.isclose(np.median(timing.rate_hz), 100)
    assert timing.rate_hz.min() < 20
    assert timing.between.high == 0.51


def test_one_message_has_no_rate() -> None:
    timing = timing_of(np.array([5], np.int64), 5, 5, 100, 200)
    assert (timing.starts.tolist(), timing.counts.tolist(), timing.rate_hz.tolist()) == ([5], [1], [])

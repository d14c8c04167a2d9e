"""Row strategies against their brute-force twin: random streams with ties, gaps, duplicates, jumps and disorder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.specs.spec import Join, PerMessageRows, ResampleRows, TriggerRows
from hephaes_rpc.engine.timeline import plan
from hephaes_rpc.engine.timeline.rows import RowPlan, plan_rows
from hephaes_rpc.errors import SpecError
from tests.engine.picks import all_uses, in_small_pieces
from tests.reference import strategies as oracle
from tests.reference.rows import Message, blend, in_time_order
from tests.thorough import examples

LEAST, GREATEST = -(2**63), 2**63 - 1
TOPICS = ("/a", "/b", "/c")

DENSE = st.integers(0, 40)
NEAR = DENSE.map(lambda t: t + 10**18) | st.integers(10**18, 10**18 + 10**9)
EXTREME = st.sampled_from([LEAST, LEAST + 1, -1, 0, 1, GREATEST - 1, GREATEST]) | st.integers(LEAST, GREATEST)
JUMPS = DENSE | st.integers(10**6, 10**6 + 20)
STAMPS = st.sampled_from([DENSE, NEAR, JUMPS, EXTREME]).flatmap(lambda times: st.lists(times, max_size=25))
SMALL = st.lists(DENSE | st.integers(100, 130) | st.integers(400, 410), max_size=15)
LIMITS = st.none() | st.integers(0, 12) | st.sampled_from([10**9, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**70])


small_pieces = pytest.fixture(autouse=True, scope="module")(in_small_pieces)


def messages(times: list[int]) -> list[Message]:
    """A message's value is its place in the file."""
    return [(time, float(i)) for i, time in enumerate(times)]


def ordered(streams: Mapping[str, list[int]]) -> dict[str, np.ndarray]:
    return {topic: np.sort(np.array(times, np.int64), kind="stable") for topic, times in streams.items()}


def twins(streams: Mapping[str, list[int]]) -> dict[str, list[Message]]:
    return {topic: messages(times) for topic, times in streams.items()}


def values(rows: plan.Table, streams: Mapping[str, list[int]], cut: int) -> list[tuple[int, dict[str, Any]]]:
    """The rows a table describes, taken in windows of ``cut`` rows."""
    found: list[tuple[int, dict[str, Any]]] = []
    in_order = [[value for _, value in in_time_order(messages(times))] for times in streams.values()]
    for first in range(0, rows.n_rows, cut):
        last = min(rows.n_rows, first + cut)
        times = rows.times.times(first, last)
        assert times.tolist() == rows.times.at(np.arange(first, last)).tolist()
        part: list[tuple[int, dict[str, Any]]] = [(int(t), dict.fromkeys(streams)) for t in times]
        for k, topic in enumerate(streams):
            window = rows.picks[k].window(first, last)
            for j, row in enumerate(window.rows):
                value = in_order[k][window.lo[j]]
                if window.hi is not None and window.weight is not None:
                    value = blend(value, in_order[k][window.hi[j]], float(window.weight[j]))
                part[row][1][topic] = value
        found += part
    return found


def check_picks(rows: plan.Table) -> None:
    """``uses`` and ``keep_from`` agree with the windows."""
    for picks in rows.picks.values():
        first_row: dict[int, int] = {}
        for row in range(rows.n_rows):
            window = picks.window(row, row + 1)
            taken = {int(m) for part in (window.lo, window.hi) if part is not None for m in part}
            for message in taken:
                first_row.setdefault(message, row)
            assert all(message >= picks.keep_from(row) for message in taken)
        used, first = all_uses(picks)
        assert dict(zip(used.tolist(), first.tolist(), strict=True)) == first_row
        assert used.tolist() == sorted(first_row)
        assert picks.keep_from(rows.n_rows) >= max(first_row, default=0)


def joins(topic: str) -> st.SearchStrategy[Join]:
    def possible(join: Join) -> bool:
        last = join.sync_policy == "last-known-before"
        return not (last and (join.no_future or join.tolerance_ns is not None)) and (
            join.missing == "default" or join.default_value is None
        )

    return st.builds(
        Join,
        topic=st.just(topic),
        sync_policy=st.sampled_from(["nearest", "last-known-before", "exact-within-tolerance"]),
        tolerance_ns=LIMITS,
        staleness_ns=LIMITS,
        required=st.booleans(),
        missing=st.sampled_from(["default", "zeros", "forward_fill", "drop", "error"]),
        default_value=st.none() | st.just(0) | st.just({"x": 1}),
        no_future=st.booleans(),
    ).filter(possible)


@settings(deadline=None, max_examples=examples(400))
@given(st.fixed_dictionaries(dict.fromkeys(TOPICS, STAMPS)), joins("/b"), joins("/c"), st.integers(1, 9))
@example({"/a": [5], "/b": [4, 6, 6], "/c": [6]}, Join(topic="/b", sync_policy="nearest"), Join(topic="/c"), 1)
def test_trigger_equals_its_twin(streams: dict[str, list[int]], one: Join, two: Join, cut: int) -> None:
    strategy = TriggerRows(trigger_topic="/a", joins=[one, two])
    try:
        wanted, dropped = oracle.trigger(twins(streams), "/a", [one, two])
    except oracle.MissingError:
        with pytest.raises(SpecError, match=r"has no message for the row at -?\d+ ns"):
            plan_rows(strategy, ordered(streams))
        return
    found = plan_rows(strategy, ordered(streams))
    assert values(found.table, streams, cut) == [(t, {k: g.value for k, g in row.items()}) for t, row in wanted]
    check_joins(found, wanted, streams, cut)
    assert {topic: join.dropped for topic, join in found.joins.items()} == dropped
    assert found.dropped == sum(dropped.values())
    assert found.candidates == len(streams["/a"])
    check_picks(found.table)


def check_joins(found: RowPlan, wanted: list[oracle.Row], streams: Mapping[str, list[int]], cut: int) -> None:
    """Presence, ages, fills and counts of the joins of a plan."""
    for topic, join in found.joins.items():
        given = [row[topic] for _, row in wanted]
        n = len(given)
        windows = [(first, min(n, first + cut)) for first in range(0, n, cut)]
        position = list(streams).index(topic)
        present = [bool(p) for w in windows for p in join.present(*w)]
        assert present == [g.value is not None for g in given]
        assert present == [bool(p) for w in windows for p in found.present(position, *w)]
        assert [bool(f) for w in windows for f in join.filled(*w)] == [g.filled for g in given]
        parts = [join.ages(*w) for w in windows]
        ages = [int(a) if v else None for part in parts for a, v in zip(*part, strict=True)]
        assert ages == [g.age if g.age is not None and LEAST <= g.age <= GREATEST else None for g in given]
        assert join.absent == present.count(False)
        assert join.forward_filled == sum(g.filled for g in given)
        stands_in = join.join.missing == "zeros" or join.join.default_value is not None
        assert join.substituted == (join.absent if stands_in else 0)
        if join.join.no_future or join.join.sync_policy == "last-known-before":
            assert all(g.age is None or g.age >= 0 for g in given)


@settings(deadline=None)
@given(STAMPS, joins("/b"), st.integers(1, 9))
def test_a_topic_that_the_log_lacks_is_a_topic_without_messages(times: list[int], join: Join, cut: int) -> None:
    assume(join.missing != "error")
    wanted, _ = oracle.trigger({"/a": messages(times)}, "/a", [join])
    found = plan_rows(TriggerRows(trigger_topic="/a", joins=[join]), ordered({"/a": times}))
    assert [t for t, _ in values(found.table, {"/a": times}, cut)] == [t for t, _ in wanted]
    assert found.joins["/b"].absent == len(wanted)
    assert list(found.table.picks) == [0]
    assert plan_rows(PerMessageRows(topic="/a"), {}).table.n_rows == 0
    assert plan_rows(TriggerRows(trigger_topic="/z", joins=[join]), ordered({"/b": times})).table.n_rows == 0


def test_joins_are_worked_out_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {"/a": list(range(0, 100, 3)), "/b": list(range(50, 70, 7)), "/c": []}
    strategy = TriggerRows(
        trigger_topic="/a",
        joins=[
            Join(topic="/b", sync_policy="nearest", tolerance_ns=4, missing="forward_fill"),
            Join(topic="/c", missing="zeros"),
        ],
    )
    wanted, dropped = oracle.trigger(twins(streams), "/a", strategy.joins)
    for size in (1, 5, 1 << 16):
        monkeypatch.setattr("hephaes_rpc.engine.timeline.rows.JOIN_ROWS", size)
        found = plan_rows(strategy, ordered(streams))
        assert [t for t, _ in values(found.table, streams, 100)] == [t for t, _ in wanted]
        check_joins(found, wanted, streams, 100)
        assert found.joins["/b"].dropped == dropped["/b"] > 0
        assert found.joins["/b"].forward_filled > 0


def test_an_error_names_topic_and_row_time() -> None:
    join = Join(topic="/b", missing="error", required=False, staleness_ns=5)
    with pytest.raises(SpecError, match=r"topic '/b' has no message for the row at 20 ns.*2 of 4 rows") as caught:
        plan_rows(TriggerRows(trigger_topic="/a", joins=[join]), ordered({"/a": [9, 12, 20, 30], "/b": [9]}))
    assert (caught.value.data["topic"], caught.value.data["row_time_ns"]) == ("/b", 20)
    assert [error["pointer"] for error in caught.value.data["errors"]] == ["/row_strategy/joins/0/missing"]


@settings(deadline=None)
@given(STAMPS, st.integers(1, 9))
def test_per_message_equals_its_twin(times: list[int], cut: int) -> None:
    found = plan_rows(PerMessageRows(topic="/b"), ordered({"/b": times}))
    wanted = [(t, {"/b": row[""].value}) for t, row in oracle.per_message(messages(times))]
    assert values(found.table, {"/b": times}, cut) == wanted
    check_picks(found.table)


RESAMPLES = st.tuples(
    st.sampled_from(["downsample", "interpolate"]), st.sampled_from([None, *TOPICS]), st.booleans(), st.integers(1, 60)
)


def resample_rows(method: str, anchor: str | None, skip_empty: bool, step: int) -> ResampleRows:
    strategy = ResampleRows(freq_hz=1e9 / step, method=method, anchor_topic=anchor, skip_empty=skip_empty)
    assert strategy.step_ns == step
    return strategy


@settings(deadline=None, max_examples=examples(300))
@given(st.fixed_dictionaries(dict.fromkeys(TOPICS, SMALL)), RESAMPLES, st.sampled_from([0, 10**18]), st.integers(1, 9))
@example({"/a": [0], "/b": [100, 103], "/c": [50, 55]}, ("interpolate", None, True, 1), 0, 4)
def test_resample_equals_its_twin(
    streams: dict[str, list[int]], how: tuple[str, str | None, bool, int], base: int, cut: int
) -> None:
    streams = {topic: [base + t for t in times] for topic, times in streams.items()}
    method, anchor, skip_empty, step = how
    found = plan_rows(resample_rows(*how), ordered(streams))
    wanted = oracle.resample(twins(streams), step, method, anchor, skip_empty=skip_empty)
    assert values(found.table, streams, cut) == [(t, {k: g.value for k, g in row.items()}) for t, row in wanted]
    full = oracle.resample(twins(streams), step, method, anchor, skip_empty=False)
    assert (found.candidates, found.dropped) == (len(full), len(full) - len(wanted))
    for k, topic in enumerate(streams):
        assert found.present(k, 0, len(wanted)).tolist() == [row[topic].value is not None for _, row in wanted]
    assert bool(found.warnings) == (anchor is not None and not streams[anchor])
    check_picks(found.table)


@settings(deadline=None, max_examples=examples(200))
@given(
    st.fixed_dictionaries({t: st.lists(EXTREME, max_size=6) for t in TOPICS}),
    st.sampled_from(["downsample", "interpolate"]),
    st.sampled_from([None, *TOPICS]),
    st.booleans(),
    st.integers(2**55, 2**62),
    st.integers(1, 9),
)
def test_grids_are_exact_over_all_of_time(
    streams: dict[str, list[int]], method: str, anchor: str | None, skip_empty: bool, step: int, cut: int
) -> None:
    strategy = ResampleRows(freq_hz=1e9 / step, method=method, anchor_topic=anchor, skip_empty=skip_empty)
    found = plan_rows(strategy, ordered(streams))
    wanted = oracle.resample(twins(streams), strategy.step_ns, method, anchor, skip_empty=skip_empty)
    got = values(found.table, streams, cut)
    assert [t for t, _ in got] == [t for t, _ in wanted]
    for (_, one), (_, other) in zip(got, wanted, strict=True):
        assert {k: v is None for k, v in one.items()} == {k: g.value is None for k, g in other.items()}
        assert [v or 0 for v in one.values()] == pytest.approx([g.value or 0 for g in other.values()], rel=1e-12)
    check_picks(found.table)


def test_absurd_grids_are_refused_unless_their_empty_rows_are_skipped() -> None:
    times = ordered({"/a": [LEAST, GREATEST], "/b": [0, 1]})
    for method in ("downsample", "interpolate"):
        with pytest.raises(SpecError, match="rows; the limit is 100000000"):
            plan_rows(resample_rows(method, None, False, 1), times)
    found = plan_rows(resample_rows("downsample", None, True, 1), times)
    assert found.table.times.times(0, 4).tolist() == [LEAST, 0, 1, GREATEST]
    assert found.dropped == 2**64 - 4
    with pytest.raises(SpecError, match="rows; the limit is 100000000"):
        plan_rows(resample_rows("interpolate", None, True, 1), times)
    far = ordered({"/a": [0, 10], "/b": [10**18, 10**18 + 10]})
    found = plan_rows(resample_rows("interpolate", None, True, 5), far)
    assert found.table.times.times(0, 6).tolist() == [0, 5, 10, 10**18, 10**18 + 5, 10**18 + 10]


@pytest.mark.parametrize("policy", ["nearest", "last-known-before", "exact-within-tolerance"])
def test_a_million_rows_and_messages(policy: Any) -> None:
    rng = np.random.default_rng(7)
    times = {topic: np.sort(rng.integers(0, 10**9, 10**6)) for topic in ("/a", "/b")}
    tolerance = None if policy == "last-known-before" else 400
    join = Join(topic="/b", sync_policy=policy, tolerance_ns=tolerance, required=False)
    found = plan_rows(TriggerRows(trigger_topic="/a", joins=[join]), times).joins["/b"]
    for row in rng.integers(0, 10**6, 50).tolist():
        wanted = oracle.candidate(
            [(t, t) for t in times["/b"][abs(times["/b"] - times["/a"][row]) <= 10**4].tolist()],
            int(times["/a"][row]),
            join,
        )
        age, known = found.ages(row, row + 1)
        assert (int(age[0]) if known[0] else None) == (None if wanted is None else times["/a"][row] - wanted[0])

"""Row plans against their brute-force twin, and the resolution of names."""

import numpy as np
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.specs.rules import check_spec
from hephaes_rpc.engine.specs.spec import ConversionSpec, ParquetOutput, Resample, TFRecordOutput
from hephaes_rpc.engine.timeline import plan
from hephaes_rpc.errors import SpecError
from tests.engine.picks import all_uses, in_small_pieces
from tests.reference import rows as oracle

TIMES = st.lists(st.integers(0, 60) | st.integers(10**18, 10**18 + 60), max_size=30)
NEAR = st.lists(st.lists(st.integers(10**18, 10**18 + 120), max_size=25), min_size=1, max_size=4)


small_pieces = pytest.fixture(autouse=True, scope="module")(in_small_pieces)


@frozen
class Stream:
    topic: str
    type_name: str = "std_msgs/msg/String"


def sorted_times(times: list[int]) -> np.ndarray:
    return np.sort(np.array(times, np.int64), kind="stable")


def render(table: plan.Table, streams: list[list[int]], cut: int) -> list[oracle.Row]:
    """The rows a table describes, taken in windows of ``cut`` rows; a message's value is its position in the file."""
    ordered = [[v for _, v in oracle.in_time_order([(t, float(i)) for i, t in enumerate(s)])] for s in streams]
    rows: list[oracle.Row] = []
    for first in range(0, table.n_rows, cut):
        last = min(table.n_rows, first + cut)
        part = [(int(t), [None] * len(streams)) for t in table.times.times(first, last)]
        for k, picks in table.picks.items():
            window = picks.window(first, last)
            for j, row in enumerate(window.rows):
                value = ordered[k][window.lo[j]]
                if window.hi is not None:
                    value = oracle.blend(value, ordered[k][window.hi[j]], float(window.weight[j]))
                part[row][1][k] = value
        rows += part
    return rows


def messages(streams: list[list[int]]) -> list[list[oracle.Message]]:
    return [[(t, float(i)) for i, t in enumerate(s)] for s in streams]


@settings(deadline=None)
@given(st.lists(TIMES, min_size=1, max_size=4), st.integers(1, 40))
def test_union_equals_its_twin(streams: list[list[int]], cut: int) -> None:
    table = plan.wide_table([sorted_times(s) for s in streams], None)
    assert render(table, streams, cut) == oracle.union(messages(streams))


@settings(deadline=None)
@given(NEAR, st.integers(1, 50), st.integers(1, 40))
def test_downsample_equals_its_twin(streams: list[list[int]], step: int, cut: int) -> None:
    table = plan.wide_table([sorted_times(s) for s in streams], Resample(freq_hz=1e9 / step, method="downsample"))
    assert render(table, streams, cut) == oracle.downsample(messages(streams), step)


@settings(deadline=None)
@given(NEAR, st.integers(1, 50), st.integers(1, 40))
def test_interpolate_equals_its_twin(streams: list[list[int]], step: int, cut: int) -> None:
    table = plan.wide_table([sorted_times(s) for s in streams], Resample(freq_hz=1e9 / step, method="interpolate"))
    assert render(table, streams, cut) == oracle.interpolate(messages(streams), step)


@settings(deadline=None)
@given(TIMES, st.integers(1, 40))
def test_topics_keep_every_message(times: list[int], cut: int) -> None:
    table = plan.topic_table(0, sorted_times(times))
    assert render(table, [times], cut) == oracle.topics(messages([times])[0])


@settings(deadline=None)
@given(NEAR, st.sampled_from([None, "downsample", "interpolate"]), st.integers(1, 50))
def test_uses_and_keep_from_agree_with_the_windows(streams: list[list[int]], method: str | None, step: int) -> None:
    resample = Resample(freq_hz=1e9 / step, method=method) if method else None
    table = plan.wide_table([sorted_times(s) for s in streams], resample)
    for picks in table.picks.values():
        first_row: dict[int, int] = {}
        for row in range(table.n_rows):
            window = picks.window(row, row + 1)
            taken = {int(m) for part in (window.lo, window.hi) if part is not None for m in part}
            for message in taken:
                first_row.setdefault(message, row)
            assert all(message >= picks.keep_from(row) for message in taken)
        used, first = all_uses(picks)
        assert dict(zip(used.tolist(), first.tolist(), strict=True)) == first_row
        assert list(used) == sorted(set(used.tolist()))
        assert picks.keep_from(table.n_rows) >= max(first_row, default=0)


def test_an_absurd_grid_is_refused() -> None:
    with pytest.raises(SpecError, match="rows; the limit is 100000000"):
        plan.wide_table([np.array([0, 2**62])], Resample(freq_hz=10, method="downsample"))


def test_no_messages_no_rows() -> None:
    for resample in (None, Resample(freq_hz=1, method="downsample"), Resample(freq_hz=1, method="interpolate")):
        table = plan.wide_table([np.empty(0, np.int64)] * 2, resample)
        assert table.n_rows == 0
        assert all(len(all_uses(picks)[0]) == 0 and len(picks.window(0, 0).rows) == 0 for picks in table.picks.values())


def test_auto_mapping_slugs_sorted_topics_and_numbers_clashes() -> None:
    streams = [Stream("/a/B-c"), Stream("/a_b/c"), Stream("/"), Stream("/x", "p/msg/B"), Stream("/x", "p/msg/A")]
    streams += [Stream("timestamp_ns"), Stream("/x", "p/msg/A")]
    assert plan.auto_mapping(streams) == {
        "topic": ["/"],
        "a_b_c": ["/a/B-c"],
        "a_b_c_2": ["/a_b/c"],
        "x": ["/x@p/msg/A"],
        "x_2": ["/x@p/msg/A@2"],
        "x_3": ["/x@p/msg/B"],
        "timestamp_ns_2": ["timestamp_ns"],
    }


def test_resolve_takes_the_first_topic_present_and_allows_fan_out() -> None:
    one, two = Stream("/one"), Stream("/two")
    found = plan.resolve({"a": ["/none", "/two", "/one"], "b": ["/two"]}, [one, two])
    assert found == {"a": ("/two", two), "b": ("/two", two)}


def test_resolve_refuses_an_absent_topic_with_the_nearest_name() -> None:
    with pytest.raises(
        SpecError, match=r"field 'a': the log has no topic '/imu/dta' or '/x'; did you mean '/imu/data'"
    ):
        plan.resolve({"a": ["/imu/dta", "/x"]}, [Stream("/imu/data"), Stream("/odom")])


def test_resolve_asks_which_type() -> None:
    streams = [Stream("/x", "p/msg/A"), Stream("/x", "p/msg/B")]
    with pytest.raises(SpecError, match="name one of '/x@p/msg/A', '/x@p/msg/B'"):
        plan.resolve({"a": ["/x"]}, streams)
    assert plan.resolve({"a": ["/x@p/msg/B"]}, streams) == {"a": ("/x@p/msg/B", streams[1])}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ConversionSpec(mapping={}), "no field"),
        (ConversionSpec(mapping={" ": ["/a"]}), "without a name"),
        (ConversionSpec(mapping={"timestamp_ns": ["/a"]}), "row time"),
        (ConversionSpec(mapping={"a": []}), "at least one topic"),
        (ConversionSpec(mapping={"a": [""]}), "at least one topic"),
        (
            ConversionSpec(resample=Resample(freq_hz=1, method="downsample"), output=ParquetOutput(layout="topics")),
            "cannot be resampled",
        ),
        (ConversionSpec(output=TFRecordOutput(layout="topics", absent_keys="omit")), "no effect"),
    ],
)
def test_contradictions_are_refused(spec: ConversionSpec, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        check_spec(spec)


@pytest.mark.parametrize("freq_hz", [0.0, -1.0, float("nan"), float("inf"), 3e9, 1e-10])
def test_a_frequency_without_a_usable_step_is_refused(freq_hz: float) -> None:
    with pytest.raises(ValueError, match="must"):
        Resample(freq_hz=freq_hz, method="downsample")

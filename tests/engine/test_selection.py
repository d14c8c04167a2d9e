"""What a spec's input takes of a log, against the obvious loop over its messages."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.specs.rules import excluded_by
from hephaes_rpc.engine.specs.spec import Input
from hephaes_rpc.engine.timeline.selection import included, select, unmatched
from tests.factories import START_NS, TOPICS, Sample, samples, write_bag, write_mcap
from tests.reference import strategies as oracle
from tests.thorough import examples

TIMES = st.none() | st.integers(0, 120).map(lambda k: START_NS + k * 2_500_000) | st.sampled_from([0, 2**63, 2**70])
PATTERNS = st.lists(st.sampled_from(["/imu", "/j*", "/[bc]*", "*", "/IMU", "/nothing"]), max_size=2)
INPUTS = st.builds(
    Input,
    include_topics=PATTERNS,
    exclude_topics=PATTERNS,
    start_ns=TIMES,
    end_ns=TIMES,
    max_messages=st.none() | st.integers(1, 60),
    sample_rate_hz=st.none() | st.sampled_from([40.0, 200.0, 1e9]),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=examples(100),
)
@given(
    INPUTS, st.integers(0, 50), st.integers(0, 10**6), st.booleans(), st.booleans(), st.sampled_from([1, 700, 10_000])
)
def test_selection_equals_its_twin(
    tmp_path: Path, wanted: Input, n: int, seed: int, shuffled: bool, bag: bool, chunk_size: int
) -> None:
    messages = samples(n, ros=1 if bag else 2, seed=seed, shuffled=shuffled, connections=2)
    write: Callable[..., Path] = write_bag if bag else write_mcap
    with open_log(write(tmp_path / "log", messages, chunk_size=chunk_size)) as log:
        streams = included(wanted, log.summary.streams)
        topics = {stream.topic for stream in streams}
        assert topics == {s.topic for s in log.summary.streams if excluded_by(wanted, s.topic) is None}
        taken = oracle.select([(m.topic, m.time) for m in messages], wanted, topics)
        found = select(wanted, log, streams)
        assert [keep.tolist() for keep in found] == [
            [t for m, t in zip(messages, taken, strict=True) if m.topic == stream.topic] for stream in streams
        ]
        for stream in streams:
            (alone,) = select(wanted, log, [stream])
            assert np.array_equal(alone, found[streams.index(stream)])


def test_the_window_is_half_open_and_may_be_empty(tmp_path: Path) -> None:
    messages = [m._replace(time=START_NS + i) for i, m in enumerate(samples(9, topics=["/imu"]))]
    with open_log(write_mcap(tmp_path / "log", messages)) as log:
        for start, end, kept in [(2, 5, [2, 3, 4]), (4, 4, []), (8, 100, [8]), (0, 1, [0])]:
            (found,) = select(Input(start_ns=START_NS + start, end_ns=START_NS + end), log, log.summary.streams)
            assert np.flatnonzero(found).tolist() == kept


def test_file_order_breaks_ties_across_streams(tmp_path: Path) -> None:
    payload = {m.topic: m.payload for m in samples(60)}
    topics = ["/imu", "/blob", "/imu", "/joints", "/blob", "/imu", "/blob"]
    messages = [Sample(topic, START_NS, payload[topic]) for topic in topics]
    with open_log(write_mcap(tmp_path / "log", messages)) as log:
        for n in range(1, 9):
            found = select(Input(max_messages=n), log, log.summary.streams)
            for stream, keep in zip(log.summary.streams, found, strict=True):
                assert int(keep.sum()) == topics[:n].count(stream.topic)


def test_patterns_are_case_sensitive_and_exclusion_wins(tmp_path: Path) -> None:
    with open_log(write_mcap(tmp_path / "log", samples(60))) as log:
        streams = log.summary.streams

        def topics(wanted: Input) -> list[str]:
            return [stream.topic for stream in included(wanted, streams)]

        assert topics(Input()) == sorted(TOPICS)
        assert topics(Input(include_topics=["/I*"])) == []
        assert topics(Input(include_topics=["/[ij]*"])) == ["/imu", "/joints"]
        assert topics(Input(include_topics=["/[ij]*"], exclude_topics=["*u"])) == ["/joints"]
        assert unmatched(Input(include_topics=["/imu", "/I*"], exclude_topics=["/x"]), streams) == [
            "input.include_topics: no topic of the log matches '/I*'",
            "input.exclude_topics: no topic of the log matches '/x'",
        ]

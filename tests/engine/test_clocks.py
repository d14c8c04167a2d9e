"""Clocks of real streams, against messages decoded one by one by another library."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.logs import LogReader, Stream, open_log
from hephaes_rpc.engine.messages.msgdef import parse_definition
from hephaes_rpc.engine.timeline.clocks import Wanted, check_clock, read_stamps
from hephaes_rpc.errors import CancelledByClient, SpecError
from tests.factories import (
    START_NS,
    TOPICS,
    Sample,
    mcap_message,
    mcap_record,
    mcap_text,
    samples,
    store,
    write_bag,
    write_mcap,
)
from tests.reference.strategies import Message
from tests.thorough import examples

ODD = """int64 at
time stamp
duration took
int64[2] pair
pkg/Inner inner
pkg/Inner[] many
uint64 count
pkg/Header header
===
MSG: pkg/Inner
int64 at
===
MSG: pkg/Header
int64 stamp
"""


def of_topic(log: LogReader, topic: str) -> Stream:
    return next(stream for stream in log.summary.streams if stream.topic == topic)


def all_of(stream: Stream, clock: str) -> Wanted:
    return Wanted(stream, clock, np.ones(stream.message_count, np.bool_))


def stamps_of(messages: list[Sample], topic: str, ros: int) -> list[Message]:
    """Log time and stamp of each message of a topic; None where it is malformed."""
    types = store(1 if ros == 1 else 2)
    deserialize = types.deserialize_ros1 if ros == 1 else types.deserialize_cdr
    found: list[Message] = []
    for m in messages:
        if m.topic == topic:
            stamp: Any = None
            if len(m.payload) > 9:
                stamp = deserialize(m.payload, TOPICS[topic]).header.stamp
            found.append((m.time, None if stamp is None else stamp.sec * 10**9 + stamp.nanosec))
    return found


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=examples(40),
)
@given(
    st.integers(0, 40),
    st.integers(0, 10**6),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 700, 10_000]),
    st.randoms(use_true_random=False),
)
def test_header_stamps_equal_those_of_another_decoder(
    tmp_path: Path, n: int, seed: int, shuffled: bool, bag: bool, chunk_size: int, random_: Any
) -> None:
    ros = 1 if bag else 2
    messages = [
        m._replace(payload=m.payload[:9]) if random_.random() < 0.15 else m
        for m in samples(n, ros=1 if bag else 2, seed=seed, shuffled=shuffled, connections=2)
    ]
    write: Callable[..., Path] = write_bag if bag else write_mcap
    with open_log(write(tmp_path / "log", messages, chunk_size=chunk_size)) as log:
        wanted = []
        for stream in log.summary.streams:
            if stream.topic in ("/imu", "/joints"):
                for clock in ("header_stamp", "field:header.stamp", "log_time"):
                    check_clock(clock, stream, log.summary.storage_format)
                    keep = np.array([random_.random() < 0.8 for _ in range(stream.message_count)], np.bool_)
                    wanted.append(Wanted(stream, clock, keep))
        told: list[tuple[int, int]] = []
        for one, found in zip(wanted, read_stamps(log, wanted, lambda *step: told.append(step)), strict=True):
            twin = stamps_of(messages, one.stream.topic, ros)
            times = [time if one.clock == "log_time" else stamp for time, stamp in twin]
            known = [keep and time is not None for keep, time in zip(one.selected.tolist(), times, strict=True)]
            assert found.known.tolist() == known
            assert found.time[found.known].tolist() == [t for t, k in zip(times, known, strict=True) if k]
            lost = [m[0] for m, k, t in zip(twin, one.selected.tolist(), times, strict=True) if k and t is None]
            assert found.without == len(lost)
            assert [f.log_time_ns for f in found.failures] == lost[:5]
            assert all(f.status for f in found.failures)
        assert told == sorted(told)
        assert not told or told[-1][0] == told[-1][1]


def test_publish_times_come_from_the_messages(tmp_path: Path) -> None:
    messages = samples(80, shuffled=True)
    with open_log(write_mcap(tmp_path / "log", messages)) as log:
        streams = log.summary.streams
        for stream, found in zip(
            streams, read_stamps(log, [all_of(s, "publish_time") for s in streams], lambda *_: None), strict=True
        ):
            assert found.time.tolist() == [m.time - 7 for m in messages if m.topic == stream.topic]
            assert found.known.all()
            assert found.without == 0


def test_only_chunks_with_a_selected_message_are_read(tmp_path: Path) -> None:
    with open_log(write_mcap(tmp_path / "log", samples(300), chunk_size=1000)) as log:
        imu = of_topic(log, "/imu")
        keep = np.zeros(imu.message_count, np.bool_)
        keep[3] = True
        told: list[tuple[int, int]] = []
        (found,) = read_stamps(log, [Wanted(imu, "header_stamp", keep)], lambda *step: told.append(step))
        assert len(told) == 2
        assert np.flatnonzero(found.known).tolist() == [3]
        told.clear()
        read_stamps(log, [all_of(imu, "log_time")], lambda *step: told.append(step))
        assert not told


def test_reading_ends_when_it_is_told_to(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise CancelledByClient

    with open_log(write_mcap(tmp_path / "log", samples(100))) as log, pytest.raises(CancelledByClient):
        read_stamps(log, [all_of(of_topic(log, "/imu"), "header_stamp")], stop)


def odd_log(path: Path, bodies: list[bytes], publish_times: list[int]) -> Path:
    """An MCAP with messages of the type ODD (ROS1 encoding) and the given payloads."""
    schema = mcap_record(3, struct.pack("<H", 1) + mcap_text("pkg/Odd") + mcap_text("ros1msg") + mcap_text(ODD))
    channel = mcap_record(4, struct.pack("<HH", 1, 1) + mcap_text("/odd") + mcap_text("ros1") + struct.pack("<I", 0))
    messages = [
        mcap_message(1, START_NS + i, body, publish)
        for i, (body, publish) in enumerate(zip(bodies, publish_times, strict=True))
    ]
    header = mcap_record(1, mcap_text("ros1") + mcap_text("test"))
    end = mcap_record(15, bytes(4)) + mcap_record(2, bytes(20))
    magic = b"\x89MCAP0\r\n"
    path.write_bytes(magic + header + schema + channel + b"".join(messages) + end + magic)
    return path


def odd(at: int, sec: int, nanosec: int, inner: int) -> bytes:
    """A payload of ODD."""
    head = struct.pack("<qIIii", at, sec, nanosec, 1, 2)
    return head + struct.pack("<qqqIQq", 0, 0, inner, 0, 7, 8)


def test_fields_that_are_times_or_nanoseconds(tmp_path: Path) -> None:
    bodies = [odd(-5, 2**32 - 1, 2**32 - 1, 1), odd(2**63 - 1, 0, 0, -(2**63)), odd(0, 1, 2, 3), b"short"]
    with open_log(odd_log(tmp_path / "log", bodies, [1, 2**63 - 2, 2**64 - 1, 4])) as log:
        (stream,) = log.summary.streams
        clocks = ["field:at", "field:stamp", "field:inner.at", "publish_time"]
        for clock in clocks:
            check_clock(clock, stream, "mcap")
        at, stamp, inner, publish = read_stamps(log, [all_of(stream, clock) for clock in clocks], lambda *_: None)
        assert at.time[:3].tolist() == [-5, 2**63 - 1, 0]
        assert stamp.time[:3].tolist() == [(2**32 - 1) * 10**9 + 2**32 - 1, 0, 10**9 + 2]
        assert inner.time[:3].tolist() == [1, -(2**63), 3]
        for found in (at, stamp, inner):
            assert found.known.tolist() == [True, True, True, False]
            assert (found.without, [f.log_time_ns for f in found.failures]) == (1, [START_NS + 3])
        assert publish.known.tolist() == [True, True, False, True]
        assert publish.time[publish.known].tolist() == [1, 2**63 - 2, 4]
        assert publish.failures[0].status == "its publish time is out of range"


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        ("header_stamp", r"the field 'header' of pkg/msg/Odd is no std_msgs/msg/Header"),
        ("field:att", r"pkg/msg/Odd has no field 'att'; did you mean 'at'\?"),
        ("field:inner.att", r"pkg/msg/Inner has no field 'att'; did you mean 'at'\?"),
        ("field:at.x", r"int64 has no field 'x'"),
        ("field:pair", r"'pair' of pkg/msg/Odd is an array"),
        ("field:pair[0]", r"may only name fields"),
        ("field:many.at", r"'many' of pkg/msg/Odd is an array"),
        ("field:took", r"is a duration; it must be a time, or an int64"),
        ("field:count", r"is a uint64; it must be"),
        ("field:inner", r"is a pkg/msg/Inner; it must be"),
    ],
)
def test_clocks_that_a_type_does_not_have_are_refused(clock: str, words: str) -> None:
    class Odd:
        topic = "/odd"
        definition = parse_definition("pkg/Odd", ODD, 1)

    with pytest.raises(SpecError, match=words):
        check_clock(clock, Odd(), "mcap")  # type: ignore[arg-type]


def test_a_stream_without_header_and_a_bag_without_publish_times(tmp_path: Path) -> None:
    with open_log(write_bag(tmp_path / "log", samples(40, ros=1))) as log:
        with pytest.raises(SpecError, match=r"topic '/imu': a bag has no publish times"):
            check_clock("publish_time", of_topic(log, "/imu"), log.summary.storage_format)
        with pytest.raises(SpecError, match=r"topic '/chatter': clock 'header_stamp'.* has no field 'header'"):
            check_clock("header_stamp", of_topic(log, "/chatter"), log.summary.storage_format)
        check_clock("log_time", of_topic(log, "/chatter"), log.summary.storage_format)

"""Bags and MCAP files read whole: against other readers, over every shape a writer can give them."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hephaes_rpc.engine.logs import LogReader, LogSummary, open_log
from hephaes_rpc.errors import HephaesError, LogError
from tests.factories import (
    BAG_COMPRESSIONS,
    MCAP_COMPRESSIONS,
    START_NS,
    TOPICS,
    Sample,
    samples,
    write_bag,
    write_mcap,
)

Message = tuple[str, int, bytes]
DATA = sorted(p for p in (Path(__file__).parents[1] / "data").iterdir() if p.suffix in (".bag", ".mcap"))


def read(log: LogReader) -> Iterator[Message]:
    """Every message, chunk by chunk, stream by stream; the index must agree with what comes."""
    streams = log.summary.streams
    slots = log.slots(streams)
    index = log.index(slots)
    times: list[list[int]] = [[] for _ in streams]
    for i in np.unique(index.chunk).tolist():
        data, walk = log.messages(i, slots)
        for k, stream in enumerate(streams):
            for time, offset, length in zip(*(a.tolist() for a in walk.slot(k)), strict=True):
                times[k].append(time)
                yield stream.topic, time, bytes(data[offset : offset + length])
    for k, stream in enumerate(streams):
        assert index.slot(k)[0].tolist() == times[k]
        assert stream.message_count == len(times[k])


def ours(path: Path) -> tuple[list[Message], LogSummary]:
    with open_log(path) as log:
        return list(read(log)), log.summary


def theirs(path: Path) -> list[Message]:
    """The same by rosbags or by the mcap library's streaming reader (CRCs checked)."""
    if path.suffix == ".bag":
        from rosbags.rosbag1 import Reader

        with Reader(path) as bag:
            return [(c.topic, time, bytes(raw)) for c, time, raw in bag.messages()]
    from mcap.records import Channel
    from mcap.records import Message as McapMessage
    from mcap.stream_reader import StreamReader

    topics: dict[int, str] = {}
    found = []
    with path.open("rb") as file:
        for record in StreamReader(file, validate_crcs=True).records:
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, McapMessage):
                found.append((topics[record.channel_id], record.log_time, record.data))
    return found


def check(path: Path) -> LogSummary:
    found, summary = ours(path)
    expected = theirs(path)
    assert sorted(found) == sorted(expected)
    assert summary.outcome == "whole"
    assert summary.message_count == len(expected)
    counts = Counter(topic for topic, _, _ in expected)
    assert {s.topic: s.message_count for s in summary.streams if s.message_count} == _merged(summary, counts)
    times = [time for _, time, _ in expected]
    assert (summary.start_ns, summary.end_ns) == ((min(times), max(times)) if times else (None, None))
    return summary


def _merged(summary: LogSummary, counts: Counter[str]) -> dict[str, int]:
    """Expected counts; a topic with several streams is compared as a sum by the caller's set of messages only."""
    several = [topic for topic, n in Counter(s.topic for s in summary.streams).items() if n > 1]
    return {t: n for t, n in counts.items() if t not in several} | {
        s.topic: s.message_count for s in summary.streams if s.topic in several and s.message_count
    }


@pytest.mark.parametrize("path", DATA, ids=lambda p: p.name)
def test_small_real_logs_read_as_other_readers_read_them(path):
    assert check(path).warnings == []


REFUSED = {"empty-file.bag": "is empty", "r2b_galileo.mcap": "Git LFS pointer", "dummy.bag": "nothing that can be read"}


def test_the_corpus_reads_as_other_readers_read_it(shared):
    paths = [p for p in sorted((shared / "corpus").rglob("*")) if p.suffix in (".bag", ".mcap") and p.is_file()]
    assert len(paths) > 200
    for path in paths:
        if path.name in REFUSED:
            with pytest.raises(LogError, match=REFUSED[path.name]):
                open_log(path)
        else:
            check(path)


def test_the_conformance_files_read_as_their_expectations_say(shared):
    folder = shared / "corpus" / "foxglove__mcap" / "tests" / "conformance" / "data"
    paths = sorted(folder.rglob("*.mcap"))
    assert paths
    for path in paths:
        records = json.loads(path.with_suffix(".json").read_text())["records"]
        fields = [dict(record["fields"]) for record in records if record["type"] == "Message"]
        expected = [("example", int(f["log_time"]), bytes(map(int, f["data"]))) for f in fields]
        found, summary = ours(path)
        assert (found, summary.warnings) == (expected, []), path.name
        assert all(s.undecodable for s in summary.streams)


def written(messages: list[Sample]) -> list[Message]:
    return sorted((m.topic, m.time, m.payload) for m in messages)


MCAP_SHAPES = [
    {"compression": c, "chunked": ch, "message_index": mi, "summary": s, "chunk_size": size}
    for c, ch, mi, s, size in product(MCAP_COMPRESSIONS, (True, False), (True, False), (True, False), (1, 3000))
    if ch or (c == "none" and size == 1)
]


@pytest.mark.parametrize("shape", MCAP_SHAPES, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("messages", [samples(120), samples(120, shuffled=True, connections=3), []], ids=len)
def test_every_shape_of_mcap_gives_the_same_messages(tmp_path, shape, messages):
    found, summary = ours(write_mcap(tmp_path / "a.mcap", messages, **shape))
    assert sorted(found) == written(messages)
    assert (summary.outcome, summary.warnings) == ("whole", [])
    assert {s.topic: s.message_count for s in summary.streams} == Counter(m.topic for m in messages)
    chunks = sum(use.chunks for use in summary.compression.values())
    assert set(summary.compression) == ({shape["compression"]} if messages else set())
    assert (chunks > 0) == (shape["chunked"] and bool(messages))


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "unclosed"])
@pytest.mark.parametrize(("compression", "chunk_size"), list(product(BAG_COMPRESSIONS, (1, 3000))))
@pytest.mark.parametrize("shuffled", [False, True], ids=["ordered", "shuffled"])
def test_every_shape_of_bag_gives_the_same_messages(tmp_path, compression, chunk_size, closed, shuffled):
    messages = samples(120, ros=1, shuffled=shuffled, connections=3)
    shape = {"compression": compression, "chunk_size": chunk_size, "closed": closed}
    found, summary = ours(write_bag(tmp_path / "a.bag", messages, **shape))
    assert sorted(found) == written(messages)
    assert summary.outcome == ("whole" if closed else "part")
    assert len(summary.streams) == len({m.topic for m in messages})
    assert summary.storage_format == "bag"
    assert summary.ros_version == "ROS1"


def test_messages_of_one_stream_keep_their_file_order(tmp_path):
    """Several connections in one slot interleave as they lie in the file, in walk and index alike."""
    messages = samples(200, topics=["/chatter"], shuffled=True, connections=4)
    for path in (
        write_mcap(tmp_path / "a.mcap", messages),
        write_mcap(tmp_path / "b.mcap", messages, message_index=False),
        write_mcap(tmp_path / "c.mcap", messages, chunked=False),
    ):
        assert [(m.topic, m.time, m.payload) for m in messages] == ours(path)[0]


def test_one_stream_alone_is_selected(tmp_path):
    messages = samples(200)
    with open_log(write_mcap(tmp_path / "a.mcap", messages)) as log:
        stream = next(s for s in log.summary.streams if s.topic == "/imu")
        slots = log.slots([stream])
        index = log.index(slots)
        expected = [m for m in messages if m.topic == "/imu"]
        assert index.time.tolist() == [m.time for m in expected]
        found = []
        for i in np.unique(index.chunk):
            data, walk = log.messages(int(i), slots)
            assert walk.messages >= len(walk.log_time)
            assert walk.publish_time.tolist() == [t - 7 for t in walk.log_time.tolist()]
            found += [bytes(data[o : o + n]) for _, o, n in zip(*walk.slot(0), strict=True)]
        assert found == [m.payload for m in expected]


def test_nothing_selected(tmp_path):
    with open_log(write_mcap(tmp_path / "a.mcap", samples(20))) as log:
        slots = log.slots([])
        assert log.index(slots).bounds.tolist() == [0]
        assert len(log.messages(0, slots)[1].log_time) == 0


def test_rescan_changes_nothing_in_a_sound_log(tmp_path):
    for path in (
        write_mcap(tmp_path / "a.mcap", samples(100), compression="zstd"),
        write_bag(tmp_path / "a.bag", samples(100, ros=1), compression="bz2"),
    ):
        with open_log(path) as log:
            before, messages = log.summary, list(read(log))
            log.rescan()
            assert log.summary == before
            assert list(read(log)) == messages


def test_a_topic_with_two_types_is_two_streams(tmp_path):
    first = samples(20, topics=["/chatter"])
    path = write_mcap(tmp_path / "a.mcap", first)
    data = path.read_bytes()
    assert data.count(b"/chatter")
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        for type_name, text in (("std_msgs/msg/Int8", b"int8 data"), ("std_msgs/Int16", b"int16 data")):
            schema = writer.register_schema(type_name, "ros2msg", text)
            channel = writer.register_channel("/number", "cdr", schema)
            writer.add_message(channel, START_NS, b"\0\1\0\0\1\0", START_NS)
        writer.finish()
    with open_log(path) as log:
        assert [s.type_name for s in log.summary.streams] == ["std_msgs/msg/Int16", "std_msgs/msg/Int8"]
        assert [s.undecodable for s in log.summary.streams] == [None, None]
        assert len(list(read(log))) == 2
        assert log.summary.warnings == ["topic '/number' has messages of 2 types; they are kept apart"]
        assert log.summary.outcome == "whole"


def test_definitions_that_differ_in_comments_only_are_one_stream(tmp_path):
    from mcap.writer import Writer

    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        for text in (
            b"# one\nint8 data\n",
            b"int8 data # two",
            b'string A="#1"\nint8 data',
            b'string A="#2"\nint8 data',
        ):
            channel = writer.register_channel("/n", "cdr", writer.register_schema("a/msg/B", "ros2msg", text))
            writer.add_message(channel, START_NS, b"\0\1\0\0\1", START_NS)
        writer.finish()
    with open_log(path) as log:
        assert [len(s.connections) for s in log.summary.streams] == [2, 1, 1]
        assert log.summary.warnings == ["topic '/n' has messages of 3 definitions of a/msg/B; they are kept apart"]


@pytest.mark.parametrize(
    ("encoding", "profile", "reason"),
    [
        ("json", "", "message encoding 'json' with schema encoding 'ros2msg' cannot be decoded"),
        ("protobuf", "ros2", "message encoding 'protobuf' with schema encoding 'ros2msg' cannot be decoded"),
        ("cdr", "", None),
        ("rare", "ros2", None),
        ("rare", "", "message encoding 'rare' with schema encoding 'ros2msg' cannot be decoded"),
    ],
)
def test_a_stream_that_cannot_be_decoded_keeps_its_counts(tmp_path, encoding, profile, reason):
    path = write_mcap(tmp_path / "a.mcap", samples(30, topics=["/imu"]), encoding=encoding, profile=profile)
    with open_log(path) as log:
        (stream,) = log.summary.streams
        assert (stream.undecodable, stream.message_count) == (reason, 30)
        assert bool(log.summary.warnings) == (encoding == "rare" and reason is None)
        if reason:
            with pytest.raises(LogError, match="/imu: message encoding"):
                _ = stream.definition


def test_ros1_messages_in_mcap(tmp_path):
    with open_log(write_mcap(tmp_path / "a.mcap", samples(30, ros=1), ros=1)) as log:
        assert {(s.ros, s.wire, s.undecodable) for s in log.summary.streams} == {(1, "ros1", None)}
        assert log.summary.ros_version == "ROS1"


def test_real_encodings_that_are_not_ros(data):
    with open_log(data / "json-lz4.mcap") as log:
        (stream,) = log.summary.streams
        assert (stream.topic, stream.message_count) == ("video", 124)
        assert (stream.wire, stream.undecodable) == ("json", None)
        assert list(log.summary.compression) == ["lz4"]


def test_connection_facts_of_a_bag(data):
    with open_log(data / "two-connections.bag") as log:
        (stream,) = log.summary.streams
        assert (stream.type_name, len(stream.connections)) == ("std_msgs/msg/String", 2)
        assert all(c.metadata["md5sum"] == "992ce8a1687cec8c8bd883ec73ca41d1" for c in stream.connections)
        assert stream.connections[0].definition.strip() == "string data"


def test_an_empty_log_is_a_log(data):
    with open_log(data / "no-messages.bag") as log:
        summary = log.summary
        assert (summary.start_ns, summary.end_ns, summary.message_count) == (None, None, 0)
        assert (summary.outcome, summary.streams, len(log.chunks)) == ("whole", (), 0)


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (b"", "bad_input", "is empty"),
        (b"hello, world, this is no log", "bad_input", "begins with b'hello, w'"),
        (b"#ROSBAG V1.2\n" + bytes(50), "bad_input", "other than 2.0"),
        (b"\x89MCAP1\r\n" + bytes(50), "unsupported", "another major version"),
        (b"SQLite format 3\0" + bytes(50), "bad_input", "is no readable rosbag2 database"),
        (b"\x28\xb5\x2f\xfd" + bytes(50), "bad_input", "cannot be unpacked"),
        (b"\x04\x22\x4d\x18" + bytes(50), "unsupported", "an lz4-compressed file"),
        (b"\x89MCAP0\r\n", "bad_input", "no header record"),
        (b"#ROSBAG V2.0\n", "bad_input", "no readable bag header"),
    ],
)
def test_what_is_not_a_log_is_refused_with_its_true_name(tmp_path, content, kind, text):
    path = tmp_path / "a.bag"
    path.write_bytes(content)
    with pytest.raises(LogError, match=text) as error:
        open_log(path)
    assert error.value.kind == kind


def test_paths_that_are_no_files(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.bag")
    for path in (tmp_path, tmp_path / "missing.bag", tmp_path / "pipe.bag", tmp_path / "missing" / "a.bag", "a\0b"):
        with pytest.raises(HephaesError) as error:
            open_log(path)
        assert error.value.kind == "invalid_path"


def test_the_content_counts_not_the_suffix(tmp_path):
    assert ours(write_mcap(tmp_path / "a.bag", samples(5)))[1].storage_format == "mcap"


def test_a_log_that_shrinks_is_source_changed(tmp_path):
    path = write_mcap(tmp_path / "a.mcap", samples(200))
    with open_log(path) as log:
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(HephaesError, match="became shorter") as error:
            list(read(log))
        assert error.value.kind == "source_changed"


def test_closing_twice(tmp_path):
    log = open_log(write_mcap(tmp_path / "a.mcap", samples(5)))
    log.close()
    log.close()
    with pytest.raises(HephaesError):
        log.read_chunk(0)


def test_indexing_imports_no_codec_and_no_arrow():
    import subprocess
    import sys

    code = (
        "import sys, hephaes_rpc.engine.logs, hephaes_rpc.engine.logs.describe\n"
        "print([m for m in ('pyarrow', 'rosbags', 'zstandard', 'lz4', 'asyncio') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


@pytest.mark.parametrize("name", sorted(TOPICS))
def test_factory_messages_have_definitions_that_parse(tmp_path, name):
    for path in (
        write_mcap(tmp_path / "a.mcap", samples(5, topics=[name])),
        write_bag(tmp_path / "a.bag", samples(5, ros=1, topics=[name])),
    ):
        with open_log(path) as log:
            assert [s.undecodable for s in log.summary.streams] == [None]


def test_progress_is_told_and_may_end_the_work(tmp_path):
    path = write_mcap(tmp_path / "a.mcap", samples(200), message_index=False)
    told: list[tuple[int, int]] = []
    with open_log(path, lambda done, total: told.append((done, total))):
        pass
    assert {total for _, total in told} == {path.stat().st_size}
    assert all(0 <= done <= total for done, total in told)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_log(path, stop)

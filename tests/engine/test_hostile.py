"""Logs made to do harm: each is answered within a few seconds and little memory, with a reason that says what it is."""

import bz2
import os
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import lz4.frame
import numpy as np
import pytest
import zstandard

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.logs.base import MAX_TOPICS
from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.messages.idl import parse_idl
from hephaes_rpc.errors import LogError
from tests.engine.test_logs import read, written
from tests.engine.test_logs_damage import HEADER, MCAP_MAGIC, SCHEMA, channel, chunk, mcap_file
from tests.engine.test_recordings import write_splits
from tests.factories import bag_record, mcap_message, mcap_record, mcap_text, samples, write_bag, write_mcap
from tests.recordings import write_db3

MESSAGES = samples(300)
RAW_BYTES = 60 << 20
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "bz2": bz2.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """No test here takes long or much, whatever it asserts."""
    tracemalloc.start()
    began = time.process_time()
    yield
    took_s, (_, peak_bytes) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took_s < 20, "tracing slows Python down by a half at least"
    assert peak_bytes < 400 << 20


class TestFolders:
    def test_pipes_are_not_waited_for(self, tmp_path):
        write_splits(tmp_path / "run", "mcap")
        os.mkfifo(tmp_path / "run" / "metadata.yaml")
        os.mkfifo(tmp_path / "run" / "run_3.mcap")
        with open_log(tmp_path / "run") as log:
            assert sorted(read(log)) == written(MESSAGES)
            assert log.summary.warnings == []

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a: [ " + "{a: b}, " * 400_000, "entries, the limit"),
            ("a: [ " + "a, " * 500_000, "entries, the limit"),
            ("#" * (5 << 20), "bytes, the limit"),
            ("rosbag2_bagfile_information: {version: 5, relative_file_paths: [!!int '']}", "lists other files"),
            ("rosbag2_bagfile_information: {version: true, relative_file_paths: [run_0.mcap]}", "has version 'true'"),
            ("a: !!int ''", "has no rosbag2_bagfile_information"),
            ("a: !!timestamp x\n<<: 1", "has no rosbag2_bagfile_information"),
            ("!!python/object/apply:os.system [touch canary]", "has no rosbag2_bagfile_information"),
            ("rosbag2_bagfile_information: {? [1] : 2}", "is no YAML"),
        ],
        ids=lambda text: text[:20],
    )
    def test_metadata_that_costs_or_means_something_else(self, tmp_path, text, reason):
        write_splits(tmp_path / "run", "mcap")
        (tmp_path / "run" / "metadata.yaml").write_text(text)
        with open_log(tmp_path / "run") as log:
            assert sorted(read(log)) == written(MESSAGES)
            assert reason in log.summary.warnings[0]


class TestBombs:
    """Each chunk alone may be as large as it says; together they are what the file cannot justify."""

    @pytest.mark.parametrize("name", ["zstd", "lz4"])
    def test_many_chunks_that_unpack_to_much(self, tmp_path, name):
        raw = SCHEMA + channel(1) + mcap_message(1, 5, bytes(RAW_BYTES))
        one = chunk(raw, (5, 5), name=name, stored=PACKERS[name](raw))
        path = mcap_file(tmp_path / "a.mcap", *[one] * (40 if name == "zstd" else 3))
        with open_log(path) as log:
            whole = name == "lz4"  # which packs 1 to 255 at most, so that the file justifies it
            assert log.summary.message_count == (3 if whole else 17)
            assert log.summary.outcome == ("whole" if whole else "part")
            assert whole or "than a file of" in log.summary.gaps[0]

    def test_many_chunks_of_a_bag_that_unpack_to_much(self, tmp_path):
        head = {"op": b"\x05", "compression": b"bz2", "size": struct.pack("<I", RAW_BYTES)}
        path = write_bag(tmp_path / "a.bag", samples(150, ros=1), closed=False)
        path.write_bytes(path.read_bytes() + bag_record(head, bz2.compress(bytes(RAW_BYTES))) * 50)
        with open_log(path) as log:
            assert log.summary.message_count == 150
            assert any("than a file of" in gap for gap in log.summary.gaps)

    def test_a_zstd_window_beyond_all_measure(self, tmp_path):
        stored = b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(50)
        path = mcap_file(tmp_path / "a.mcap", SCHEMA, chunk(b"x", (5, 5), name="zstd", stored=stored, size=1000))
        with pytest.raises(LogError, match="is not readable zstd data"):
            open_log(path)

    def test_a_file_that_unpacks_to_much(self, tmp_path):
        path = tmp_path / "a.mcap.zst"
        path.write_bytes(zstandard.compress(MCAP_MAGIC + HEADER + bytes(80 << 20)))
        with pytest.raises(LogError, match="unpacks to more than"):
            open_log(path)


def test_more_topics_than_anybody_looks_at(tmp_path):
    many = [channel(k, f"/t{k}") for k in range(1, MAX_TOPICS + 2)]
    with pytest.raises(LogError, match=f"has {MAX_TOPICS + 1} topics; the limit is {MAX_TOPICS}"):
        open_log(mcap_file(tmp_path / "a.mcap", SCHEMA, *many, mcap_message(1, 5)))
    with open_log(mcap_file(tmp_path / "b.mcap", SCHEMA, *many[:-1], mcap_message(1, 5))) as log:
        assert len(log.summary.streams) == MAX_TOPICS


def decoded(path: Path) -> tuple[list[object], list[str]]:
    """Values of the only stream and what is wrong with the others of its messages."""
    with open_log(path) as log:
        (stream,) = log.summary.streams
        decoder = StreamDecoder(stream.definition, stream.wire)
        slots = log.slots([stream])
        wrong = []
        for i in np.unique(log.index(slots).chunk).tolist():
            data, walk = log.messages(i, slots)
            wrong += [STATUS_NAMES[code] for code in decoder.feed(data, walk.offset, walk.length).tolist() if code]
        return decoder.take().to_pylist(), wrong


class TestJson:
    def file(self, folder: Path, *payloads: bytes, schema: bytes = b"") -> Path:
        records = []
        if schema:
            body = struct.pack("<H", 1) + mcap_text("B") + mcap_text("jsonschema") + mcap_text(schema)
            records.append(mcap_record(3, body))
        body = struct.pack("<HH", 1, 1 if schema else 0) + mcap_text("/a") + mcap_text("json") + bytes(4)
        records.append(mcap_record(4, body))
        return mcap_file(folder / "a.mcap", *records, *(mcap_message(1, k, p) for k, p in enumerate(payloads)))

    def test_a_message_nested_deeper_than_can_be_written(self, tmp_path):
        deep = b'{"a":' * 500 + b"1" + b"}" * 500
        values, wrong = decoded(self.file(tmp_path, deep, b"[" * 100_000))
        assert (values, len(wrong)) == ([], 2)

    def test_base64_that_is_not_ascii(self, tmp_path):
        schema = b'{"type":"object","properties":{"a":{"type":"string","contentEncoding":"base64"}}}'
        payloads = ['{"a":"äöü"}', '{"a":"YQ"}', '{"a":"YQ=="}']
        values, wrong = decoded(self.file(tmp_path, *(p.encode() for p in payloads), schema=schema))
        assert values == [{"a": b"a"}]
        assert wrong == ["a value does not have its declared type"] * 2


class TestDb3:
    @pytest.mark.parametrize("kind", ["TEXT", "REAL"])
    def test_rows_whose_ids_are_no_numbers(self, tmp_path, kind):
        path = write_db3(tmp_path / "a.db3", MESSAGES)
        db = apsw.Connection(str(path))
        db.execute(
            "ALTER TABLE messages RENAME TO before;"
            f"CREATE TABLE messages (id {kind}, topic_id INTEGER, timestamp INTEGER, data BLOB);"
            "INSERT INTO messages SELECT id + 0.5, topic_id, timestamp, data FROM before; DROP TABLE before"
        )
        db.close()
        with pytest.raises(LogError, match="rows without a number"):
            open_log(path)


def test_a_file_of_very_many_empty_frames(tmp_path):
    path = tmp_path / "a.mcap.zst"
    path.write_bytes(zstandard.compress(b"") * 100_000)
    with pytest.raises(LogError, match="is empty"):
        open_log(path)
    path.write_bytes(zstandard.compress(b"") * 1000 + zstandard.compress(write_mcap(path, MESSAGES).read_bytes()))
    with open_log(path) as log:
        assert sorted(read(log)) == written(MESSAGES)


@pytest.mark.parametrize(
    "members",
    [
        "@final struct C { string s; }; @mutable struct B { a::C x[100000000]; long y; };",
        "@mutable struct B { string x[2000000000]; long y; };",
        "@final struct D { long x[9]; }; @final struct C { a::D d[999]; }; @mutable struct B { a::C x[999]; long y; };",
    ],
    ids=["structs", "strings", "nested"],
)
def test_an_xcdr2_payload_that_leaves_out_very_much(members):
    definition = parse_idl("a::B", f"module a {{ {members} }};")
    payload = b"\0\x0b\0\0" + struct.pack("<III", 8, 0x2000_0001, 5)
    decoder = StreamDecoder(definition, "cdr")
    (status,) = decoder.feed(payload, np.zeros(1, np.int64), np.array([len(payload)]))
    assert STATUS_NAMES[status] == "the payload ends in the middle of a value"

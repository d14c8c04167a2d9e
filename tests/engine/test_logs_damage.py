"""Damaged and lying logs: never a crash, a hang, a message twice or one lost in silence."""

import bz2
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from hephaes_rpc.engine.logs import LogReader, LogSummary, StaleIndexError, open_log
from hephaes_rpc.errors import HephaesError, LogError
from tests.engine.test_logs import Message, read, written
from tests.factories import (
    START_NS,
    bag_message,
    bag_record,
    mcap_message,
    mcap_record,
    mcap_text,
    samples,
    write_bag,
    write_mcap,
)

MCAP_MAGIC = b"\x89MCAP0\r\n"
HEADER = mcap_record(1, mcap_text("ros2") + mcap_text("hand"))
SCHEMA = mcap_record(3, struct.pack("<H", 1) + mcap_text("a/msg/B") + mcap_text("ros2msg") + mcap_text("int8 data"))
DATA_END = mcap_record(15, bytes(4))


def channel(id_: int = 1, topic: str = "/a", schema: int = 1) -> bytes:
    return mcap_record(4, struct.pack("<HH", id_, schema) + mcap_text(topic) + mcap_text("cdr") + bytes(4))


def footer(summary_start: int = 0, crc: int = 0) -> bytes:
    return mcap_record(2, struct.pack("<QQI", summary_start, 0, crc)) + MCAP_MAGIC


def chunk(
    records: bytes, times: tuple[int, int], *, name: str = "", stored: bytes | None = None, size: int | None = None
) -> bytes:
    data = records if stored is None else stored
    size = len(records) if size is None else size
    head = struct.pack("<QQQI", *times, size, zlib.crc32(records)) + mcap_text(name)
    return mcap_record(6, head + struct.pack("<Q", len(data)) + data)


def mcap_file(path: Path, *records: bytes) -> Path:
    path.write_bytes(b"".join((MCAP_MAGIC, HEADER, *records, DATA_END, footer())))
    return path


def recover(path: Path) -> tuple[list[Message], LogSummary]:
    """All messages that can be had: a stale index or a damaged chunk is answered by a rescan."""
    with open_log(path) as log:
        try:
            return list(read(log)), log.summary
        except LogError:
            log.rescan()
            return list(read(log)), log.summary


def edit(path: Path, change: Callable[[bytearray], object]) -> Path:
    data = bytearray(path.read_bytes())
    result = change(data)
    path.write_bytes(result if isinstance(result, bytes) else data)
    return path


def mcap_summary_edit(path: Path, change: Callable[[int, bytes], bytes | None]) -> Path:
    """Rewrite the records of the summary (without CRC); ``change(opcode, record)`` gives bytes or None to keep."""
    data = path.read_bytes()
    start = struct.unpack_from("<Q", data, len(data) - 28)[0]
    at, out = start, b""
    while data[at] != 2:
        end = at + 9 + struct.unpack_from("<Q", data, at + 1)[0]
        replaced = change(data[at], data[at:end])
        out += data[at:end] if replaced is None else replaced
        at = end
    path.write_bytes(data[:start] + out + footer(start))
    return path


MESSAGES = samples(150)
MESSAGES_1 = samples(150, ros=1)
SHAPES: dict[str, Callable[[Path], Path]] = {
    "mcap-none": lambda p: write_mcap(p, MESSAGES),
    "mcap-zstd": lambda p: write_mcap(p, MESSAGES, compression="zstd"),
    "mcap-lz4-bare": lambda p: write_mcap(p, MESSAGES, compression="lz4", message_index=False, summary=False),
    "mcap-loose": lambda p: write_mcap(p, MESSAGES, chunked=False),
    "bag-none": lambda p: write_bag(p, MESSAGES_1),
    "bag-bz2": lambda p: write_bag(p, MESSAGES_1, compression="bz2"),
    "bag-lz4": lambda p: write_bag(p, MESSAGES_1, compression="lz4"),
}
CHECKED = {"mcap-none", "mcap-zstd", "mcap-lz4-bare", "bag-bz2"}  # those with checksums over their messages
SPECIAL = [0, 1, 0x7F, 0x80, 0xFF]


@pytest.fixture(params=sorted(SHAPES))
def shape(request, tmp_path) -> tuple[str, bytes, list[Message], Path]:
    path = SHAPES[request.param](tmp_path / "a.log")
    messages = MESSAGES_1 if request.param.startswith("bag") else MESSAGES
    return request.param, path.read_bytes(), written(messages), path


def test_a_cut_anywhere_leaves_only_whole_messages(shape):
    _, data, expected, path = shape
    random_ = random.Random(1)
    refused = 0
    for cut in [len(data) * k // 20 for k in range(20)] + [random_.randrange(len(data)) for _ in range(40)]:
        path.write_bytes(data[:cut])
        try:
            found, summary = recover(path)
        except LogError:
            refused += 1
            continue
        assert set(found) <= set(expected)
        assert len(found) <= len(expected)
        assert summary.warnings
        assert len(found) == len(expected) or summary.outcome == "part"
    assert refused < 20


def test_flipped_bytes_never_crash_nor_invent(shape):
    name, data, expected, path = shape
    random_ = random.Random(2)
    known = set(expected)
    for _ in range(70):
        mutated = bytearray(data)
        for _ in range(random_.choice((1, 1, 1, 2, 8))):
            mutated[random_.randrange(len(data))] = random_.choice([*SPECIAL, random_.randrange(256)])
        path.write_bytes(mutated)
        begin = time.process_time()
        try:
            found, summary = recover(path)
        except HephaesError:
            continue
        assert time.process_time() - begin < 10
        if name in CHECKED:
            assert set(found) <= known
            assert len(found) <= len(expected)
            assert len(found) == len(expected) or summary.outcome == "part"


def test_lengths_that_lie_never_crash_nor_allocate(shape):
    name, data, expected, path = shape
    random_ = random.Random(3)
    for _ in range(60):
        at = random_.randrange(len(data) - 8)
        mutated = bytearray(data)
        width, value = random_.choice(
            [(4, 1 << 31), (4, (1 << 32) - 1), (8, 1 << 63), (8, (1 << 64) - 1), (8, 1 << 40)]
        )
        mutated[at : at + width] = value.to_bytes(width, "little")
        path.write_bytes(mutated)
        try:
            found, _ = recover(path)
        except HephaesError:
            continue
        if name in CHECKED:
            assert set(found) <= set(expected)


@pytest.mark.parametrize("size", [1, 100, 30 << 20])
def test_a_tail_of_zeros_is_told_and_costs_nothing(shape, size):
    _, data, expected, path = shape
    path.write_bytes(data + bytes(size))
    begin = time.process_time()
    found, summary = recover(path)
    assert time.process_time() - begin < 1
    assert sorted(found) == expected
    assert summary.outcome == "part"


def test_a_hole_of_zeros_loses_what_it_covers_and_says_so(shape):
    name, data, expected, path = shape
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(3000) + data[middle + 3000 :])
    found, summary = recover(path)
    if name in CHECKED:
        assert set(found) <= set(expected)
    assert 0 < len(found) < len(expected)
    assert summary.outcome == "part"
    if name in ("mcap-none", "mcap-zstd", "bag-bz2", "bag-lz4"):
        assert max(t for _, t, _ in found) == max(t for _, t, _ in expected), "the rest is found again by the index"


def test_two_files_glued_together(shape):
    _, data, expected, path = shape
    path.write_bytes(data + data)
    found, summary = recover(path)
    assert sorted(found) == expected
    assert summary.outcome == "part"
    assert "not read" in summary.warnings[0] or "left out" in summary.warnings[0]


class TestMcap:
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        return write_mcap(tmp_path / "a.mcap", MESSAGES)

    def whole(self, path: Path) -> LogSummary:
        found, summary = recover(path)
        assert sorted(found) == written(MESSAGES)
        return summary

    def test_a_wrong_chunk_crc_is_refused_by_name_and_left_out_by_a_rescan(self, path):
        with open_log(path) as log:
            at, first = int(log.chunks.position[1]), log.messages(1, log.slots(log.summary.streams))[1].messages
        edit(path, lambda data: data.__setitem__(at + 200, data[at + 200] ^ 1))
        with open_log(path) as log:
            slots = log.slots(log.summary.streams)
            with pytest.raises(LogError, match=f"chunk 1 at byte {at} is damaged: its CRC does not match"):
                log.messages(1, slots)
            log.rescan()
            assert log.summary.outcome == "part"
            assert any("its messages are left out" in w for w in log.summary.warnings)
            assert log.summary.message_count == len(MESSAGES) - first
            assert len(list(read_intact(log, {1}))) == len(MESSAGES) - first

    def test_a_wrong_summary_crc_makes_the_summary_unused(self, path):
        edit(path, lambda data: data.__setitem__(slice(len(data) - 12, len(data) - 8), b"abcd"))
        summary = self.whole(path)
        assert summary.outcome == "whole"
        assert any("summary's CRC" in w for w in summary.warnings)

    def test_chunk_indexes_that_are_missing(self, path):
        summary = self.whole(mcap_summary_edit(path, lambda op, record: b"" if op == 8 else None))
        assert summary.warnings == []

    @pytest.mark.parametrize("change", ["drop", "double", "move"])
    def test_chunk_indexes_that_lie(self, path, change):
        seen = []

        def lie(opcode: int, record: bytes) -> bytes | None:
            if opcode != 8 or seen.append(record) or len(seen) != 2:
                return None
            moved = record[:25] + struct.pack("<Q", struct.unpack_from("<Q", record, 25)[0] + 5) + record[33:]
            return {"drop": b"", "double": record + record, "move": moved}[change]

        summary = self.whole(mcap_summary_edit(path, lie))
        assert (summary.outcome, len(summary.warnings)) == ("whole", 1)
        assert "the summary lists" in summary.warnings[0]

    @pytest.mark.parametrize("by", [-7, 7])
    def test_statistics_that_lie(self, path, by):
        def lie(opcode: int, record: bytes) -> bytes | None:
            if opcode != 11:
                return None
            count, per_channel = struct.unpack_from("<Q", record, 9)[0], struct.unpack_from("<Q", record, 57)[0]
            changed = bytearray(record)
            struct.pack_into("<Q", changed, 9, count + by)
            struct.pack_into("<Q", changed, 57, per_channel + by)
            return bytes(changed)

        summary = self.whole(mcap_summary_edit(path, lie))
        assert summary.message_count == len(MESSAGES)
        assert summary.warnings == [f"the summary claims {len(MESSAGES) + by} messages, {len(MESSAGES)} were found"]

    def test_a_summary_without_channels_finds_them_in_the_chunks(self, path):
        assert self.whole(mcap_summary_edit(path, lambda op, record: b"" if op in (3, 4, 11) else None)).warnings == []

    def test_a_file_without_end(self, path):
        edit(path, lambda data: bytes(data[: data.index(mcap_record(15, b"")[:1] + b"\x04\0\0\0\0\0\0\0")]))
        assert self.whole(path).outcome == "part"

    @pytest.mark.parametrize("lie", ["time", "channel", "drop", "offset", "double"])
    def test_a_message_index_that_lies_is_overruled_by_the_chunk(self, tmp_path, lie):
        times = [START_NS + i for i in (0, 4, 5, 9)]
        definitions = SCHEMA + channel(1) + channel(2, "/b")
        records, offsets = b"", []
        for i, t in enumerate(times):
            offsets.append(len(records))
            records += mcap_message(1 + i % 2, t, b"\0\1\0\0" + bytes([i]))
        entries = {
            1: [(times[0], offsets[0]), (times[2], offsets[2])],
            2: [(times[1], offsets[1]), (times[3], offsets[3])],
        }
        if lie == "time":
            entries[2][0] = (times[1] + 1, offsets[1])
        elif lie == "channel":
            entries = {1: entries[1][:1] + entries[2][:1], 2: entries[1][1:] + entries[2][1:]}
        elif lie == "drop":
            del entries[2][0]
        elif lie == "offset":
            entries[2][0] = (times[1], 1 << 40)
        else:
            entries[1].append(entries[1][1])
        index = b"".join(
            mcap_record(7, struct.pack("<HI", id_, 16 * len(e)) + b"".join(struct.pack("<QQ", *x) for x in e))
            for id_, e in entries.items()
        )
        path = mcap_file(tmp_path / "a.mcap", definitions, chunk(records, (times[0], times[3])), index)
        if lie in ("time", "channel", "drop"):
            with open_log(path) as log, pytest.raises(StaleIndexError):
                list(read(log))
        found, summary = recover(path)
        assert [t for _, t, _ in sorted(found, key=lambda m: m[2])] == times
        assert (summary.message_count, summary.outcome) == (4, "whole")

    def test_a_channel_declared_twice_differently(self, tmp_path):
        path = mcap_file(tmp_path / "a.mcap", SCHEMA, channel(1, "/a"), mcap_message(1, 5), channel(1, "/b"))
        with pytest.raises(LogError, match=r"channel 1 is declared twice with different content \('/a', then '/b'\)"):
            open_log(path)

    def test_a_channel_declared_otherwise_in_a_chunk_that_the_index_hides(self, tmp_path):
        records = channel(1, "/other") + mcap_message(1, 5)
        index = mcap_record(7, struct.pack("<HIQQ", 1, 16, 5, len(channel(1, "/other"))))
        path = mcap_file(tmp_path / "a.mcap", SCHEMA, channel(1, "/a"), chunk(records, (5, 5)), index)
        with open_log(path) as log, pytest.raises(LogError, match="channel 1 is declared twice"):
            list(read(log))

    def test_messages_of_a_channel_that_is_never_declared(self, tmp_path):
        records = SCHEMA + channel(1) + mcap_message(1, 5) + mcap_message(9, 6)
        found, summary = recover(mcap_file(tmp_path / "a.mcap", chunk(records, (5, 6))))
        assert len(found) == 1
        assert summary.outcome == "part"
        assert summary.warnings == ["1 messages of connection 9, which is declared nowhere, are left out"]

    def test_a_channel_without_its_schema(self, tmp_path):
        _, summary = recover(mcap_file(tmp_path / "a.mcap", chunk(channel(1) + mcap_message(1, 5), (5, 5))))
        assert summary.streams[0].undecodable == "its schema 1 is not in the file"

    @pytest.mark.parametrize("chunked", [True, False])
    def test_a_log_time_beyond_int64_is_refused_by_name(self, tmp_path, chunked):
        records = SCHEMA + channel(1) + mcap_message(1, 1 << 63)
        path = mcap_file(tmp_path / "a.mcap", chunk(records, (1 << 63, 1 << 63)) if chunked else records)
        with pytest.raises(LogError, match=r"a log time is beyond 2\^63-1 ns") as error:
            open_log(path)
        assert error.value.kind == "unsupported"

    def test_a_record_that_runs_over_its_chunk_ends_it(self, tmp_path):
        records = SCHEMA + channel(1) + mcap_message(1, 5) + mcap_record(5, b"x" * 30, 400)
        path = mcap_file(tmp_path / "a.mcap", chunk(records, (5, 5)), chunk(mcap_message(1, 7), (7, 7)))
        found, summary = recover(path)
        assert [t for _, t, _ in found] == [5, 7]
        assert summary.outcome == "part"
        assert "longer than the bytes left" in summary.warnings[0]

    def test_a_short_message_outside_chunks(self, tmp_path):
        found, summary = recover(
            mcap_file(tmp_path / "a.mcap", SCHEMA, channel(1), mcap_record(5, b"short"), mcap_message(1, 7))
        )
        assert [t for _, t, _ in found] == [7]
        assert summary.outcome == "part"

    def test_an_index_that_ends_before_the_chunk_does(self, tmp_path):
        records = SCHEMA + channel(1) + mcap_message(1, 5) + mcap_message(1, 6)
        one = mcap_record(7, struct.pack("<HIQQ", 1, 16, 5, len(SCHEMA + channel(1))))
        found, summary = recover(mcap_file(tmp_path / "a.mcap", chunk(records, (5, 6)), one))
        assert [t for _, t, _ in found] == [5, 6]
        assert summary.message_count == 2

    def test_messages_larger_than_a_block(self, tmp_path):
        big = mcap_message(1, 5, bytes(5 << 20))
        found, summary = recover(mcap_file(tmp_path / "a.mcap", SCHEMA, channel(1), big, mcap_message(1, 6), big))
        assert [len(p) for _, _, p in found] == [5 << 20, 7, 5 << 20]
        assert (summary.outcome, summary.warnings) == ("whole", [])

    def test_chunks_and_loose_messages_mixed(self, tmp_path):
        parts = (SCHEMA, channel(1), mcap_message(1, 1), chunk(mcap_message(1, 2), (2, 2)), mcap_message(1, 3))
        attachment = mcap_record(9, bytes(16) + mcap_text("a") + mcap_text("b") + bytes(12))
        found, summary = recover(mcap_file(tmp_path / "a.mcap", *parts, attachment, mcap_message(1, 4)))
        assert [t for _, t, _ in found] == [1, 2, 3, 4]
        assert summary.compression["none"].chunks == 1


def read_intact(log: LogReader, damaged: set[int]) -> list[int]:
    slots = log.slots(log.summary.streams)
    return [t for i in range(len(log.chunks)) if i not in damaged for t in log.messages(i, slots)[1].log_time.tolist()]


class TestBombs:
    """A few KB that claim, or are, gigabytes; also the other ways a chunk's sizes can lie."""

    @pytest.mark.parametrize("size", [1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
    @pytest.mark.parametrize("name", ["lz4", "zstd", ""])
    def test_declared_sizes_are_not_believed(self, tmp_path, size, name):
        stored = chunk(b"x" * 100, (5, 5), name=name, stored=b"y" * 100, size=size)
        with pytest.raises(LogError, match=r"nothing that can be read: .*(declares|contradicts)"):
            open_log(mcap_file(tmp_path / "a.mcap", SCHEMA, channel(1), stored))

    @pytest.mark.parametrize("declared", [1000, 1 << 20, 300 << 20])
    @pytest.mark.parametrize("name", ["lz4", "zstd"])
    def test_data_that_does_not_fit_its_declared_size(self, tmp_path, name, declared):
        packer = {"lz4": lz4.frame.compress, "zstd": zstandard.ZstdCompressor().compress}[name]
        stored = packer(bytes(8 << 20))
        path = mcap_file(tmp_path / "a.mcap", SCHEMA, chunk(b"", (5, 5), name=name, stored=stored, size=declared))
        with pytest.raises(LogError, match="declares"):
            open_log(path)

    def test_a_zstd_frame_that_does_not_tell_its_size(self, tmp_path):
        packer = zstandard.ZstdCompressor(write_content_size=False)
        records = SCHEMA + channel(1) + mcap_message(1, 5, bytes(1000))
        for size, fits in ((len(records), True), (len(records) - 1, False), (len(records) + 1, False)):
            stored = packer.compress(records)
            path = mcap_file(tmp_path / "a.mcap", chunk(records, (5, 5), name="zstd", stored=stored, size=size))
            if fits:
                assert recover(path)[1].message_count == 1
            else:
                with pytest.raises(LogError, match=r"zstd data|declares"):
                    open_log(path)

    @pytest.mark.parametrize("name", ["lz4", "zstd"])
    def test_compressed_data_that_is_cut(self, tmp_path, name):
        records = SCHEMA + channel(1) + mcap_message(1, 5, random.Random(1).randbytes(5000))
        packer = {"lz4": lz4.frame.compress, "zstd": zstandard.ZstdCompressor().compress}[name]
        stored = packer(records)[:-10]
        path = mcap_file(tmp_path / "a.mcap", chunk(records, (5, 5), name=name, stored=stored))
        with pytest.raises(LogError, match=r"chunk 0 at byte 33 (is not readable|ends in the middle)"):
            open_log(path)

    @pytest.mark.parametrize(("pack", "name"), [(bz2.compress, b"bz2"), (lz4.frame.compress, b"lz4")])
    def test_a_bomb_in_a_bag(self, tmp_path, pack, name):
        head = {"op": b"\x05", "compression": name, "size": struct.pack("<I", 1000)}
        path = write_bag(tmp_path / "a.bag", MESSAGES_1, closed=False)
        edit(path, lambda data: bytes(data) + bag_record(head, pack(bytes(64 << 20))))
        begin = time.process_time()
        found, summary = recover(path)
        assert time.process_time() - begin < 2
        assert sorted(found) == written(MESSAGES_1)
        assert "decompresses to more than the 1000 bytes it declares" in summary.warnings[-1]

    def test_an_unknown_compression_is_refused_by_name(self, tmp_path):
        path = mcap_file(tmp_path / "a.mcap", chunk(b"x", (5, 5), name="snappy"))
        with pytest.raises(LogError, match="compression 'snappy'; known are none, lz4, zstd, bz2"):
            open_log(path)


class TestBag:
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        return write_bag(tmp_path / "a.bag", MESSAGES_1)

    def whole(self, path: Path) -> LogSummary:
        found, summary = recover(path)
        assert sorted(found) == written(MESSAGES_1)
        return summary

    @staticmethod
    def field(data: bytearray, name: bytes, value: bytes, *, nth: int = 0) -> None:
        at = -1
        for _ in range(nth + 1):
            at = data.index(name + b"=", at + 1)
        at += len(name) + 1
        data[at : at + len(value)] = value

    def test_a_header_that_knows_only_some_chunks(self, path):
        summary = self.whole(edit(path, lambda data: self.field(data, b"chunk_count", struct.pack("<I", 2))))
        assert summary.outcome == "whole"
        assert "the bag header counts 2 chunks" in summary.warnings[0]

    def test_chunk_positions_that_lie(self, path):
        edit(path, lambda data: self.field(data, b"chunk_pos", struct.pack("<Q", 99), nth=1))
        assert "other chunks than the file holds" in self.whole(path).warnings[0]

    def test_chunk_infos_listed_twice(self, path):
        record = bag_record(
            {"op": b"\x06", "ver": struct.pack("<I", 1), "chunk_pos": struct.pack("<Q", 13 + 4096), "count": bytes(4)}
            | {"start_time": bytes(8), "end_time": bytes(8)}
        )
        edit(path, lambda data: bytes(data) + record)
        summary = self.whole(path)
        assert "the index section lists chunks more than once" in summary.warnings

    def test_an_index_section_behind_the_end(self, path):
        edit(path, lambda data: self.field(data, b"index_pos", struct.pack("<Q", 1 << 50)))
        summary = self.whole(path)
        assert summary.outcome == "part"
        assert "the bag is cut" in summary.warnings[0]

    @pytest.mark.parametrize("lie", ["time", "offset", "count"])
    def test_index_records_that_lie_are_overruled_by_the_chunk(self, path, lie):
        def change(data: bytearray) -> None:
            at = data.index(b"op=\x04")
            if lie == "count":
                self.field(data, b"count", struct.pack("<I", 1), nth=data[:at].count(b"count="))
                return
            at = data.index(b"ver=", at) - 4
            header = data.rindex(b"op=\x04", 0, at + 100)
            header_start = next(i for i in range(header - 60, header) if self._header_at(data, i, header))
            entries = header_start + 8 + struct.unpack_from("<I", data, header_start)[0]
            struct.pack_into("<I", data, entries + (4 if lie == "time" else 8), 12345)

        summary = self.whole(edit(path, change))
        assert summary.outcome == "whole"

    @staticmethod
    def _header_at(data: bytearray, start: int, inside: int) -> bool:
        (length,) = struct.unpack_from("<I", data, start)
        return (
            length < 200
            and start + 4 <= inside < start + 4 + length
            and data[start + 8 :].startswith((b"op=", b"ver=", b"conn=", b"count="))
        )

    def test_a_connection_declared_twice_differently(self, tmp_path):
        one, other = (
            bag_record(
                {"op": b"\x07", "conn": bytes(4), "topic": topic},
                b"".join(
                    struct.pack("<I", len(f)) + f for f in (b"type=std_msgs/Int8", b"message_definition=int8 data")
                ),
            )
            for topic in (b"/a", b"/b")
        )
        with pytest.raises(
            LogError, match=r"connection 0 is declared twice with different content \('/a', then '/b'\)"
        ):
            open_log(self.bag(tmp_path, one + bag_message(0, 5), other + bag_message(0, 6)))

    def test_a_connection_id_beyond_the_limit(self, tmp_path):
        connection = bag_record({"op": b"\x07", "conn": struct.pack("<I", 1 << 31), "topic": b"/a"})
        with pytest.raises(LogError, match="connection id 2147483648 is beyond the limit") as error:
            open_log(self.bag(tmp_path, connection + bag_message(1 << 31, 5)))
        assert error.value.kind == "unsupported"

    def test_a_topic_that_is_not_utf8_is_shown_escaped(self, tmp_path):
        connection = bag_record(
            {"op": b"\x07", "conn": bytes(4), "topic": b"/a\xff"}, struct.pack("<I", 8) + b"type=a/B"
        )
        found, _ = recover(self.bag(tmp_path, connection + bag_message(0, 5)))
        assert found == [("/a\\xff", 5, b"payload")]

    @staticmethod
    def bag(folder: Path, *chunks: bytes) -> Path:
        """A bag without an index."""
        fields = {"op": b"\x03", "index_pos": bytes(8), "conn_count": bytes(4), "chunk_count": bytes(4)}
        head = {"op": b"\x05", "compression": b"none"}
        records = (bag_record(head | {"size": struct.pack("<I", len(c))}, c) for c in chunks)
        (folder / "a.bag").write_bytes(b"#ROSBAG V2.0\n" + bag_record(fields, b" " * 4000) + b"".join(records))
        return folder / "a.bag"


def test_five_thousand_topics(tmp_path):
    parts = [SCHEMA, *(channel(i, f"/topic{i}") for i in range(1, 5001))]
    messages = b"".join(mcap_message(i, START_NS + i) for i in range(1, 5001))
    begin = time.process_time()
    with open_log(mcap_file(tmp_path / "a.mcap", *parts, chunk(messages, (START_NS + 1, START_NS + 5000)))) as log:
        assert len(log.summary.streams) == 5000
        assert len(list(read(log))) == 5000
    assert time.process_time() - begin < 5


def test_twenty_thousand_tiny_chunks(tmp_path):
    record = mcap_message(1, START_NS)
    index = mcap_record(7, struct.pack("<HIQQ", 1, 16, START_NS, 0))
    one = chunk(record, (START_NS, START_NS))
    begin = time.process_time()
    with open_log(mcap_file(tmp_path / "a.mcap", SCHEMA, channel(1), (one + index) * 10_000, one * 10_000)) as log:
        assert log.summary.message_count == 20_000
        assert len(log.chunks) == 20_000
    assert time.process_time() - begin < 5


def test_hostile_names_are_kept_as_they_are(tmp_path):
    names = ["/рус", "'; DROP TABLE assets; --", "../../etc/passwd", "\x1b[31mred\x1b[0m", "a\nb", " ", ""]
    parts = [SCHEMA, *(channel(i, name) for i, name in enumerate(names)), mcap_message(1, 5)]
    with open_log(mcap_file(tmp_path / "a.mcap", *parts)) as log:
        assert sorted(s.topic for s in log.summary.streams) == sorted(names)

"""The native walks against records written by hand, whole, cut and lying."""

import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_native import records
from tests.factories import bag_message, bag_record, mcap_message, mcap_record
from tests.thorough import examples

OK, TRUNCATED, INVALID_OPCODE, SHORT_RECORD, TIME_RANGE, FOREIGN = range(6)
NO_SLOTS = np.empty(0, np.int32)


def slots(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def payloads(data: bytes, walk: records.Walk) -> list[bytes]:
    return [data[o : o + n] for o, n in zip(walk.offset, walk.length, strict=True)]


def index_record(channel: int, entries: list[tuple[int, int]], length: int | None = None) -> bytes:
    body = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return mcap_record(7, struct.pack("<HI", channel, len(body) if length is None else length) + body)


def bag_index_record(connection: int, entries: list[tuple[int, int, int]], count: int | None = None) -> bytes:
    data = b"".join(struct.pack("<III", *entry) for entry in entries)
    number = len(entries) if count is None else count
    fields = {"op": b"\x04", "ver": struct.pack("<I", 1), "conn": struct.pack("<I", connection)}
    return bag_record(fields | {"count": struct.pack("<I", number)}, data)


def test_status_names_cover_every_status() -> None:
    assert len(records.STATUS_NAMES) == 6


@pytest.mark.parametrize(
    ("walk", "message"), [(records.walk_mcap, mcap_message), (records.walk_bag, bag_message)], ids=["mcap", "bag"]
)
class TestWalk:
    def test_groups_by_slot_in_file_order(self, walk, message):
        data = b"".join(message(c, 100 - i, bytes([i])) for i, c in enumerate([2, 1, 2, 0, 1, 2]))
        found = walk(data, slots(-1, 1, 0))
        assert list(found.bounds) == [0, 3, 5]
        assert list(found.log_time) == [100, 98, 95, 99, 96]
        assert payloads(data, found) == [b"\0", b"\2", b"\5", b"\1", b"\4"]
        assert (found.messages, found.status, found.stop) == (6, OK, len(data))

    def test_connections_may_share_a_slot(self, walk, message):
        data = b"".join(message(c, i) for i, c in enumerate([3, 1, 3]))
        assert list(walk(data, slots(-1, 0, -1, 0)).log_time) == [0, 1, 2]

    def test_unselected_messages_are_counted(self, walk, message):
        data = message(7, 1) + message(60000, 2)
        found = walk(data, NO_SLOTS)
        assert (found.messages, list(found.bounds), len(found.log_time)) == (2, [0], 0)

    def test_nothing_to_walk(self, walk, message):
        found = walk(b"", slots(0))
        assert (found.messages, list(found.bounds), found.status, found.stop) == (0, [0, 0], OK, 0)

    def test_an_empty_payload_is_a_message(self, walk, message):
        found = walk(message(0, 5, b""), slots(0))
        assert (list(found.length), found.status) == ([0], OK)

    def test_a_cut_anywhere_keeps_the_messages_before_it(self, walk, message):
        first, second = message(0, 1), message(0, 2)
        for cut in range(len(first) + len(second)):
            found = walk((first + second)[:cut], slots(0))
            whole = cut >= len(first)
            assert found.messages == len(found.log_time) == whole
            assert found.stop == (len(first) if whole else 0)
            assert found.status == (OK if cut in (0, len(first)) else TRUNCATED)

    def test_zeros_stop_at_once(self, walk, message):
        first = message(0, 1)
        found = walk(first + bytes(1 << 20), slots(0))
        assert (found.messages, found.status, found.stop) == (1, INVALID_OPCODE, len(first))

    def test_random_bytes_never_read_beyond(self, walk, message):
        random_ = random.Random(3)
        for _ in range(2000):
            data = bytearray(message(0, 1) + message(1, 2, b"x" * 20))
            for _ in range(random_.randrange(1, 4)):
                data[random_.randrange(len(data))] = random_.randrange(256)
            found = walk(bytes(data), slots(0, 1))
            assert all(o >= 0 and o + n <= len(data) for o, n in zip(found.offset, found.length, strict=True))
            assert 0 <= found.stop <= len(data)


class TestMcap:
    @pytest.mark.parametrize("length", [1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 9, (1 << 64) - 1])
    def test_lying_lengths(self, length):
        data = mcap_message(0, 1) + mcap_record(5, b"x" * 40, length)
        found = records.walk_mcap(data, slots(0))
        assert (found.messages, found.status) == (1, TRUNCATED)

    def test_a_record_may_not_run_over_its_chunk(self):
        data = mcap_record(5, mcap_message(0, 1)[9:], 30)
        assert records.walk_mcap(data, slots(0)).status == TRUNCATED

    def test_a_message_shorter_than_its_fixed_fields(self):
        assert records.walk_mcap(mcap_record(5, bytes(21)), slots(0)).status == SHORT_RECORD

    def test_unknown_opcodes_are_skipped(self):
        data = b"".join((mcap_record(0x7F, b"abc"), mcap_message(0, 1), mcap_record(0xFF, b""), mcap_message(0, 2)))
        assert list(records.walk_mcap(data, slots(0)).log_time) == [1, 2]

    @pytest.mark.parametrize("opcode", [0x01, 0x02, 0x06, 0x0F])
    def test_records_that_have_no_place_in_a_chunk(self, opcode):
        found = records.walk_mcap(mcap_message(0, 1) + mcap_record(opcode, b""), slots(0))
        assert (found.messages, found.status) == (1, FOREIGN)

    def test_a_log_time_beyond_int64_is_a_status(self):
        data = mcap_message(0, (1 << 63) - 1) + mcap_message(0, 1 << 63)
        found = records.walk_mcap(data, slots(0))
        assert (list(found.log_time), found.status) == ([(1 << 63) - 1], TIME_RANGE)

    def test_a_publish_time_beyond_int64_is_the_greatest(self):
        found = records.walk_mcap(mcap_message(0, 1, publish_time=(1 << 64) - 1), slots(0))
        assert list(found.publish_time) == [(1 << 63) - 1]

    def test_definitions_are_pointed_at(self):
        data = mcap_record(3, b"schema") + mcap_record(4, b"channel") + mcap_message(0, 1)
        assert list(records.walk_mcap(data, slots(0)).definitions) == [0, 15]
        assert list(records.scan_mcap(data).definitions) == [0, 15]

    def test_index_entries(self):
        data = index_record(3, [(10, 0), (11, 50)]) + mcap_record(4, b"channel") + index_record(1, [(12, 25)])
        found = records.index_mcap(data + mcap_record(6, b"a chunk"))
        assert list(found.connection) == [3, 3, 1]
        assert list(found.log_time) == [10, 11, 12]
        assert list(found.offset) == [0, 50, 25]
        assert (len(found.definitions), found.malformed, found.status, found.stop) == (1, 0, FOREIGN, len(data))

    @pytest.mark.parametrize("length", [15, 17, 16 * 3, 1 << 31, (1 << 32) - 1])
    def test_index_records_that_lie_count_as_malformed(self, length):
        found = records.index_mcap(index_record(3, [(10, 0), (11, 50)], length) + index_record(1, [(12, 25)]))
        assert (found.malformed, list(found.connection)) == (1, [1])


class TestBag:
    @pytest.mark.parametrize("length", [8, 1 << 31, (1 << 32) - 1])
    def test_lying_data_lengths(self, length):
        fields = {"op": b"\x02", "conn": bytes(4), "time": bytes(8)}
        found = records.walk_bag(bag_message(0, 1) + bag_record(fields, b"payload", length), slots(0))
        assert (found.messages, found.status) == (1, TRUNCATED)

    def test_lying_header_lengths(self):
        for length in (1, 5, 1 << 31, (1 << 32) - 8, (1 << 32) - 1):
            data = struct.pack("<I", length) + bag_message(0, 1)[4:]
            assert records.walk_bag(data, slots(0)).status in (TRUNCATED, INVALID_OPCODE)

    def test_a_message_without_connection_or_time(self):
        for fields in ({"op": b"\x02", "conn": bytes(4)}, {"op": b"\x02", "time": bytes(8)}):
            assert records.walk_bag(bag_record(fields, b"x"), slots(0)).status == SHORT_RECORD

    def test_fields_come_in_any_order_and_unknown_ones_are_ignored(self):
        fields = {"time": struct.pack("<II", 3, 4), "zeta": b"=", "conn": bytes(4), "op": b"\x02"}
        assert list(records.walk_bag(bag_record(fields, b"x"), slots(0)).log_time) == [3_000_000_004]

    def test_the_greatest_time(self):
        fields = {"op": b"\x02", "conn": bytes(4), "time": b"\xff" * 8}
        assert list(records.walk_bag(bag_record(fields), slots(0)).log_time) == [(2**32 - 1) * (10**9 + 1)]

    def test_connection_ids_beyond_the_slots(self):
        assert records.walk_bag(bag_message(2**32 - 1, 1), slots(0)).messages == 1

    def test_a_chunk_inside_a_chunk(self):
        data = bag_message(0, 1) + bag_record({"op": b"\x05", "compression": b"none", "size": bytes(4)})
        assert records.walk_bag(data, slots(0)).status == FOREIGN

    def test_index_entries(self):
        data = bag_index_record(3, [(1, 5, 0), (2, 0, 60)]) + bag_index_record(1, [(1, 0, 30)])
        found = records.index_bag(data)
        assert list(found.connection) == [3, 3, 1]
        assert list(found.log_time) == [1_000_000_005, 2_000_000_000, 1_000_000_000]
        assert list(found.offset) == [0, 60, 30]

    @pytest.mark.parametrize("count", [3, 1 << 31, (1 << 32) - 1])
    def test_index_records_that_lie_count_as_malformed(self, count):
        found = records.index_bag(bag_index_record(3, [(1, 5, 0), (2, 0, 60)], count))
        assert (found.malformed, len(found.connection)) == (1, 0)


@pytest.mark.parametrize(
    ("walk", "scan", "message"),
    [(records.walk_mcap, records.scan_mcap, mcap_message), (records.walk_bag, records.scan_bag, bag_message)],
    ids=["mcap", "bag"],
)
def test_a_scan_lists_what_a_walk_finds(walk, scan, message):
    random_ = random.Random(5)
    ids = [random_.randrange(5) for _ in range(300)]
    data = b"".join(message(c, i, random_.randbytes(random_.randrange(30))) for i, c in enumerate(ids))
    entries, walked = scan(data), walk(data, slots(0, 1, 2, 3, 4))
    assert list(entries.connection) == ids
    assert list(entries.log_time) == list(range(300))
    for k in range(5):
        part = slice(walked.bounds[k], walked.bounds[k + 1])
        assert list(walked.log_time[part]) == [i for i, c in enumerate(ids) if c == k]


def places(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_offsets_that_no_chunk_can_have_are_the_nearest() -> None:
    found = records.index_mcap(index_record(1, [(5, 2**40), (6, 2**64 - 2**40), (7, 9)]))
    assert list(found.offset) == [2**31 - 1, -(2**31), 9]
    assert list(found.log_time) == [5, 6, 7]
    assert list(records.index_bag(bag_index_record(1, [(0, 5, 2**32 - 1)])).offset) == [2**31 - 1]


def test_runs_and_what_lies_in_them() -> None:
    entries = np.array([3, 3, 1, 3], np.uint32), places(5, -2, 9, 7), slots(10, 20, 5, 6)
    found = records.runs_of(*entries)
    assert (list(found.connection), list(found.length)) == ([3, 1, 3], [2, 1, 1])
    assert (found.least_time, found.greatest_time, found.least_offset, found.greatest_offset) == (-2, 9, 5, 20)
    assert found.ascending
    assert not records.runs_of(entries[0], entries[1], slots(10, 10, 5, 6)).ascending
    none = records.runs_of(np.empty(0, np.uint32), places(), slots())
    assert (list(none.connection), list(none.length), none.ascending) == ([], [], True)
    with pytest.raises(ValueError, match="differ in number"):
        records.runs_of(entries[0], places(1), entries[2])


def test_runs_are_copied_to_their_places() -> None:
    times, offsets = places(0, 0, 0, 0), slots(0, 0, 0, 0)
    records.spread(places(1, 2, 3), slots(7, 8, 9), places(2, 0, 1), places(2, 4, 0), times, offsets)
    assert (times.tolist(), offsets.tolist()) == ([3, 0, 1, 2], [9, 0, 7, 8])


@pytest.mark.parametrize(
    ("length", "place"), [((3, 1), (0, 0)), ((1, -1), (0, 0)), ((1, 2), (0, 3)), ((1, 1), (0, -1)), ((1,), (0, 0))]
)
def test_runs_outside_the_room_are_not_copied(length: tuple[int, ...], place: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"run 1 lies outside|1 runs but 2 places"):
        records.spread(
            places(1, 2, 3), slots(7, 8, 9), places(*length), places(*place), places(0, 0, 0, 0), slots(0, 0, 0, 0)
        )


def listed(runs: np.ndarray, bounds: np.ndarray, time: np.ndarray, slots_: np.ndarray) -> bool:
    """Against an index of connection 3 (times 1, 2, 5, in runs 0 and 1) and connection 4 (time 7, in run 2)."""
    connection = np.array([3, 3, 4], np.uint32)
    return records.lists(runs, places(0, 2, 3, 4), connection, places(1, 2, 5, 7), slots_, bounds, time)


def test_a_walk_is_compared_with_the_runs_of_its_chunk() -> None:
    both = slots(-1, -1, -1, 0, 1)
    assert listed(places(0, 2), places(0, 2, 3), places(1, 2, 7), both)
    assert listed(places(2, 0), places(0, 2, 3), places(1, 2, 7), both)
    assert listed(places(0, 2), places(0, 0, 1), places(7), slots(-1, -1, -1, -1, 1))
    assert listed(places(0, 2), places(0, 2, 2), places(1, 2), slots(-1, -1, -1, 0)), "4 is beyond the slots"
    assert listed(places(), places(0, 0, 0), places(), both)
    assert not listed(places(0, 2), places(0, 2, 3), places(1, 3, 7), both), "another time"
    assert not listed(places(0, 2), places(0, 1, 3), places(1, 2, 7), both), "another slot"
    assert not listed(places(0), places(0, 2, 3), places(1, 2, 7), both), "one more"
    assert not listed(places(0, 2), places(0, 2, 2), places(1, 2), both), "one less"
    assert not listed(places(0, 0), places(0, 2, 4), places(1, 2, 1, 2), both), "one run for two slots"
    assert not listed(places(0, 1), places(0, 3, 3), places(1, 2, 5), both), "two runs of a slot are not compared"
    assert not listed(places(0), places(0, 2), places(1, 2), slots(-1, -1, -1, 5)), "no such slot"
    assert not listed(places(2), places(0, 9, 9), places(7), both), "bounds that are none"
    assert not listed(places(2), places(), places(7), both)


@pytest.mark.parametrize(("runs", "starts"), [((3,), (0, 2, 3, 4)), ((-1,), (0, 2, 3, 4)), ((2,), (0, 2, 3, 9))])
def test_runs_that_are_not_there_are_not_compared(runs: tuple[int, ...], starts: tuple[int, ...]) -> None:
    connection = np.array([0, 0, 0], np.uint32)
    with pytest.raises(ValueError, match=r"no run|lies outside"):
        records.lists(
            places(*runs), places(*starts), connection, places(1, 2, 5, 7), slots(0), places(0, 6), places(*range(6))
        )


def test_payloads_are_joined_in_their_order_behind_their_heads() -> None:
    data = bytes(range(20))
    payloads = places(50, 51, 52, 53), places(7, 0, 20, 3), places(3, 2, 0, 1)
    heads, joined = records.heads_and_payloads(data, *payloads, 0, 4, 100)
    assert heads == places(50, 3, 51, 2, 52, 0, 53, 1).tobytes()
    assert joined == bytes([7, 8, 9, 0, 1, 3])
    assert records.heads_and_payloads(data, *payloads, 1, 2, 100) == (places(51, 2).tobytes(), bytes([0, 1]))
    assert records.heads_and_payloads(data, *payloads, 0, 2, 2) == (places(50, 3, 51, 2).tobytes(), None)
    assert records.heads_and_payloads(b"", places(), places(), places(), 0, 0, 0) == (b"", b"")


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 21), (21, 0), (20, 1), (0, -1), (1, 2**63 - 1)])
def test_payloads_outside_the_data_are_not_read(offset: int, length: int) -> None:
    data, times = bytes(20), places(5, 6)
    with pytest.raises(ValueError, match="payload 1 lies outside"):
        records.heads_and_payloads(data, times, places(0, offset), places(1, length), 0, 2, 100)
    assert not records.any_begins(data, places(offset), places(length), b"\0", b"\xff")


@pytest.mark.parametrize(("first", "last"), [(-1, 1), (0, 2), (1, 0), (2, 2)])
def test_payloads_that_are_not_there_are_not_read(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="there are no payloads"):
        records.heads_and_payloads(bytes(9), places(5, 6), places(0, 0), places(1), first, last, 100)


def test_beginnings_are_compared_byte_by_byte() -> None:
    data = b"\0\7ab\0\5\0\7"
    every = places(0, 4, 6), places(4, 2, 2)
    assert records.any_begins(data, *every, b"\0\7", b"\0\7")
    assert records.any_begins(data, *every, b"\0\7a", b"\0\7c")
    assert not records.any_begins(data, *every, b"\0\7c", b"\0\7d")
    assert not records.any_begins(data, *every, b"\0\6", b"\0\6")
    assert not records.any_begins(data, places(6), places(2), b"\0\7\0", b"\0\7\xff"), "it is too short"


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(0, 40),
    st.one_of(st.integers(0, 300), st.integers(0, 100_000)),
    st.integers(0, 400),
    st.integers(0, 2**32 - 1),
    st.randoms(use_true_random=False),
)
def test_checksums_of_any_length_place_and_cut(skip: int, n: int, cut: int, before: int, random: Any) -> None:
    data = memoryview(random.randbytes(skip + n))[skip:]
    assert records.crc32(data, before) == zlib.crc32(data, before)
    assert records.crc32(data[cut:], records.crc32(data[:cut])) == zlib.crc32(data) == records.crc32(bytes(data))
    assert isinstance(records.CRC_IN_HARDWARE, bool)

"""Cut, flipped and overwritten logs: what is recovered is what the slow scanner of the test tree finds.

``HEPHAES_SALVAGE_ROUNDS`` says how many random cuts and flips each shape gets; with ``HEPHAES_SLOW`` 200.
"""

import hashlib
import os
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hephaes_rpc.engine.logs import LogSummary, open_log
from hephaes_rpc.errors import HephaesError
from tests.engine.test_logs import Message, read, written
from tests.engine.test_logs_damage import recover
from tests.factories import samples, write_bag, write_mcap
from tests.recordings import write_db3
from tests.slow_scan import scan_bag, scan_bag_cut, scan_mcap
from tests.thorough import THOROUGH

ROUNDS = int(os.environ.get("HEPHAES_SALVAGE_ROUNDS", "200" if THOROUGH else "60"))
MESSAGES = samples(250)
MESSAGES_1 = samples(250, ros=1)
MCAP: dict[str, Callable[[Path], Path]] = {
    "none": lambda p: write_mcap(p, MESSAGES, chunk_size=4000),
    "zstd": lambda p: write_mcap(p, MESSAGES, chunk_size=8000, compression="zstd"),
    "lz4": lambda p: write_mcap(p, MESSAGES, chunk_size=8000, compression="lz4"),
    "loose": lambda p: write_mcap(p, MESSAGES, chunked=False),
    "one-chunk": lambda p: write_mcap(p, MESSAGES, chunk_size=1 << 20, compression="zstd"),
    "bare": lambda p: write_mcap(p, MESSAGES, chunk_size=4000, summary=False, message_index=False, compression="lz4"),
}
BAG: dict[str, Callable[[Path], Path]] = {
    "none": lambda p: write_bag(p, MESSAGES_1, chunk_size=4000),
    "bz2": lambda p: write_bag(p, MESSAGES_1, chunk_size=8000, compression="bz2"),
    "lz4": lambda p: write_bag(p, MESSAGES_1, chunk_size=8000, compression="lz4"),
    "unclosed": lambda p: write_bag(p, MESSAGES_1, chunk_size=8000, closed=False),
}


def attempt(path: Path, data: bytes) -> tuple[list[Message], LogSummary | None]:
    """What can be had of these bytes; the file stays as it is and no attempt takes long."""
    path.write_bytes(data)
    begin = time.process_time()
    try:
        found, summary = recover(path)
    except HephaesError as error:
        assert "nothing that can be read" in error.message or "header record" in error.message, error  # noqa: PT017
        return [], None
    finally:
        assert time.process_time() - begin < 10
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest()
    return found, summary


def check_told(summary: LogSummary | None, found: list[Message], expected: list[Message], size: int) -> None:
    """A loss is told, with its place."""
    if summary is None or len(found) == len(expected):
        return
    assert summary.outcome == "part"
    assert summary.recovered == bool(found)
    assert summary.reason == summary.gaps[0]
    told = " ".join(summary.gaps)
    assert summary.lost_ranges or any(word in told for word in ("connection", "claims", " 0 bytes", "not closed"))
    for lost in summary.lost_ranges:
        assert 0 <= lost.start < lost.end
        assert lost.reason


def cuts(size: int, seed: int = 1) -> list[int]:
    random_ = random.Random(seed)
    return [size * k // 20 for k in range(1, 20)] + [random_.randrange(40, size) for _ in range(ROUNDS)]


@pytest.mark.parametrize("shape", sorted(MCAP))
def test_a_cut_mcap_gives_every_whole_message_up_to_the_cut(tmp_path, shape):
    path = MCAP[shape](tmp_path / "a.mcap")
    data = path.read_bytes()
    expected = written(MESSAGES)
    for cut in cuts(len(data)):
        found, summary = attempt(path, data[:cut])
        assert sorted(found) == sorted(scan_mcap(data[:cut])), cut
        assert set(found) <= set(expected)
        check_told(summary, found, expected, cut)


def test_the_readable_part_of_a_cut_chunk_counts(tmp_path):
    big = samples(4000, topics=["/imu", "/chatter"])
    for compression, least in (("none", 0.45), ("lz4", 0.2), ("zstd", 0.2)):
        path = write_mcap(tmp_path / "a.mcap", big, chunk_size=1 << 30, compression=compression)
        data = path.read_bytes()
        found, summary = attempt(path, data[: len(data) // 2])
        assert set(found) < set(written(big))
        assert len(found) > least * len(big), compression
        assert summary is not None
        assert summary.lost_ranges[0].start == len(data) // 2
    for compression, least in (("none", 0.45), ("lz4", 0.2)):
        bag = write_bag(tmp_path / "a.bag", samples(4000, ros=1, topics=["/imu"]), chunk_size=1 << 30)
        data = bag.read_bytes()
        found, _ = attempt(bag, data[: len(data) // 2])
        assert len(found) > least * 4000, compression


@pytest.mark.parametrize("shape", sorted(BAG))
def test_a_cut_bag_gives_every_whole_message_up_to_the_cut(tmp_path, shape):
    path = BAG[shape](tmp_path / "a.bag")
    data = path.read_bytes()
    expected = written(MESSAGES_1)
    for cut in [c for c in cuts(len(data)) if c > 4200]:
        found, summary = attempt(path, data[:cut])
        assert sorted(found) == sorted(scan_bag_cut(data[:cut])), cut
        check_told(summary, found, expected, cut)


@pytest.mark.parametrize("shape", sorted(MCAP))
def test_flipped_bits_in_an_mcap_cost_what_they_hit(tmp_path, shape):
    path = MCAP[shape](tmp_path / "a.mcap")
    data = path.read_bytes()
    expected = written(MESSAGES)
    random_ = random.Random(3)
    for _ in range(ROUNDS):
        at, bit = random_.randrange(40, len(data)), random_.randrange(8)
        mutated = bytearray(data)
        mutated[at] ^= 1 << bit
        found, summary = attempt(path, bytes(mutated))
        assert sorted(found) == sorted(scan_mcap(bytes(mutated))), (at, bit)
        if shape != "loose":
            assert set(found) <= set(expected)
            check_told(summary, found, expected, len(data))


@pytest.mark.parametrize("shape", sorted(BAG))
def test_flipped_bits_in_a_bag_cost_what_they_hit(tmp_path, shape):
    path = BAG[shape](tmp_path / "a.bag")
    data = path.read_bytes()
    expected = written(MESSAGES_1)
    random_ = random.Random(4)
    lost = []
    for _ in range(ROUNDS):
        at, bit = random_.randrange(4200, len(data)), random_.randrange(8)
        mutated = bytearray(data)
        mutated[at] ^= 1 << bit
        found, summary = attempt(path, bytes(mutated))
        assert sorted(found) == sorted(scan_bag(bytes(mutated))), (at, bit)
        check_told(summary, found, expected, len(data))
        lost.append(len(expected) - len(set(found) & set(expected)))
    assert sorted(lost)[len(lost) // 2] <= (1 if shape in ("none", "unclosed") else 100)


def test_of_two_declarations_of_a_connection_the_sound_one_holds(tmp_path):
    path = write_bag(tmp_path / "a.bag", MESSAGES_1, chunk_size=4000)
    data = path.read_bytes()
    for text, places in ((b"topic=/imu", 4), (b"float64 w", 2), (b"geometry_msgs/Quaternion", 2)):
        for nth in range(places):
            at = -1
            for _ in range(nth + 1):
                at = data.index(text, at + 1)
            mutated = bytearray(data)
            mutated[at + len(text) - 1] ^= 2
            found, summary = attempt(path, bytes(mutated))
            assert sorted(found) == written(MESSAGES_1), (text, nth)
            assert summary is not None
            assert [stream.undecodable for stream in summary.streams] == [None] * 4


@pytest.mark.parametrize("kind", ["cut", "flip"])
def test_a_damaged_database_gives_rows_of_it_or_says_why_not(tmp_path, kind):
    path = write_db3(tmp_path / "a.db3", MESSAGES, page_size=1024)
    data = path.read_bytes()
    expected = written(MESSAGES)
    random_ = random.Random(6)
    places = cuts(len(data)) if kind == "cut" else [random_.randrange(100, len(data)) for _ in range(ROUNDS)]
    found_some = 0
    for at in places:
        mutated = bytearray(data)
        if kind == "flip":
            mutated[at] ^= 1 << random_.randrange(8)
        path.write_bytes(mutated if kind == "flip" else mutated[:at])
        before = path.read_bytes()
        begin = time.process_time()
        try:
            found, summary = recover(path)
        except HephaesError as error:
            reasons = ("no readable rosbag2 database", "holds nothing that can be read", "no rosbag2 storage")
            assert any(reason in error.message for reason in reasons), error  # noqa: PT017
            continue
        finally:
            assert time.process_time() - begin < 10
            assert path.read_bytes() == before
        found_some += 1
        assert len(found) <= len(expected)
        assert len(found) == len(expected) or summary.outcome == "part", at
        if kind == "cut":
            assert set(found) <= set(expected)
        else:
            assert len(set(expected) - set(found)) <= 12 or summary.outcome == "part"
    assert found_some > len(places) // 3


@pytest.mark.parametrize(
    "shape", [*(f"mcap-{name}" for name in sorted(MCAP)), *(f"bag-{name}" for name in sorted(BAG))]
)
def test_memory_is_bounded_by_the_file_and_a_chunk(tmp_path, shape):
    container, _, name = shape.partition("-")
    path = {"mcap": MCAP, "bag": BAG}[container][name](tmp_path / "a.log")
    data = path.read_bytes()
    random_ = random.Random(8)
    recover(path)
    tracemalloc.start()
    for k in range(10):
        mutated = bytearray(data)
        mutated[random_.randrange(4200, len(data))] ^= 1 << random_.randrange(8)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        attempt(path, bytes(mutated if k % 2 else mutated[: random_.randrange(5000, len(data))]))
        assert tracemalloc.get_traced_memory()[1] - before < 4 * len(data) + (4 << 20)
    tracemalloc.stop()


@pytest.mark.parametrize("fill", ["zeros", "noise", "text"])
@pytest.mark.parametrize("shape", sorted(MCAP))
def test_garbage_in_the_middle_of_an_mcap(tmp_path, shape, fill):
    path = MCAP[shape](tmp_path / "a.mcap")
    data = path.read_bytes()
    expected = written(MESSAGES)
    random_ = random.Random(5)
    for _ in range(25):
        n = random_.choice((1, 30, 400, 3000))
        at = random_.randrange(40, len(data) - n)
        garbage = {"zeros": bytes(n), "noise": random_.randbytes(n), "text": (b"garbage! " * n)[:n]}[fill]
        mutated = data[:at] + garbage + data[at + n :]
        found, summary = attempt(path, mutated)
        assert sorted(found) == sorted(scan_mcap(mutated)), (at, n)
        if shape != "loose":
            assert set(found) <= set(expected)
        check_told(summary, found, expected, len(data))


@pytest.mark.parametrize("kind", ["mcap", "bag"])
def test_what_lies_beyond_the_break_is_found_without_any_index(tmp_path, kind):
    if kind == "mcap":
        path = write_mcap(tmp_path / "a", MESSAGES, chunk_size=3000, summary=False, message_index=False)
        expected = written(MESSAGES)
    else:
        path = write_bag(tmp_path / "a", MESSAGES_1, chunk_size=3000, closed=False)
        expected = written(MESSAGES_1)
    data = path.read_bytes()
    middle = len(data) // 2
    found, summary = attempt(path, data[:middle] + bytes(500) + b"garbage" * 100 + data[middle + 1200 :])
    assert set(found) <= set(expected)
    assert len(found) > 0.8 * len(expected)
    assert max(t for _, t, _ in found) == max(t for _, t, _ in expected)
    assert summary is not None
    assert any(lost.start <= middle + 1200 and lost.end >= middle for lost in summary.lost_ranges)


def test_a_chunk_whose_length_is_wrong_is_found_by_the_size_of_its_data(tmp_path):
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, chunk_size=3000, compression="zstd")
    data = bytearray(path.read_bytes())
    at = data.index(b"zstd") - 40
    assert data[at - 1] == 6
    for lie in (7, 1 << 20, 1 << 60):
        mutated = bytearray(data)
        struct.pack_into("<Q", mutated, at, lie)
        found, summary = attempt(path, bytes(mutated))
        assert sorted(found) == written(MESSAGES)
        assert summary is not None
        assert any("length is wrong" in warning for warning in summary.warnings)


def test_a_bag_message_with_a_wrong_length_costs_little(tmp_path):
    path = write_bag(tmp_path / "a.bag", MESSAGES_1, chunk_size=1 << 20)
    data = bytearray(path.read_bytes())
    payload = MESSAGES_1[100].payload
    at = data.index(payload) - 4
    struct.pack_into("<I", data, at, 1 << 30)
    found, summary = attempt(path, bytes(data))
    missing = set(written(MESSAGES_1)) - set(found)
    assert 1 <= len(missing) <= 2
    assert summary is not None
    assert len(summary.lost_ranges) == 1


def test_salvage_of_a_large_file_is_fast_and_small(tmp_path):
    messages = samples(3000)
    path = write_mcap(tmp_path / "a.mcap", messages, compression="zstd", chunk_size=50_000)
    data = path.read_bytes()
    noise = random.Random(6).randbytes(8 << 20)
    path.write_bytes(data[: len(data) // 2] + noise + data[len(data) // 2 :])
    tracemalloc.start()
    begin = time.process_time()
    with open_log(path) as log:
        found = list(read(log))
    assert time.process_time() - begin < 10
    assert tracemalloc.get_traced_memory()[1] < path.stat().st_size + (4 << 20)
    tracemalloc.stop()
    assert set(found) < set(written(messages))
    assert len(found) > 0.8 * len(messages)


def test_a_search_can_be_ended(tmp_path):
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, summary=False)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + random.Random(7).randbytes(5 << 20))
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        if done > len(data) + (2 << 20):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_log(path, stop)
    assert len(told) > 2

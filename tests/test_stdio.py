"""Frames at every split, lengths of every kind, JSON as strict as it gets, a writer nobody can stop."""

import itertools
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_rpc.stdio import BODY_LIMIT, Fault, FrameParser, FrameReader, FrameWriter, Message, NotJSONError, decode
from tests.thorough import examples


def frame(value: Any) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def parse(*pieces: bytes) -> list[Message | Fault]:
    parser = FrameParser()
    return [item for piece in pieces for item in parser.feed(piece)]


def values(found: list[Message | Fault]) -> list[Any]:
    return [item.value if isinstance(item, Message) else item.kind for item in found]


STREAM = (
    frame({"a": 1})
    + b"content-length:7\n\n[1,2,3]"
    + b"Content-Type: x\r\n"
    + frame({"ü": "\U0001f916"})
    + frame(b"{nonsense}")
    + b"\r\n"
    + b"noise\r\n"
    + frame([])
    + b"Content-Length: 99999999999\r\n\r\nshort"
    + frame(7)
)
STREAM_VALUES = [{"a": 1}, [1, 2, 3], {"ü": "\U0001f916"}, "parse_error", [], "invalid_request", 7]


def test_a_stream_in_one_piece() -> None:
    assert values(parse(STREAM)) == STREAM_VALUES


def test_a_stream_split_at_every_byte() -> None:
    for cut in range(len(STREAM)):
        assert values(parse(STREAM[:cut], STREAM[cut:])) == STREAM_VALUES, cut
    assert values(parse(*(STREAM[i : i + 1] for i in range(len(STREAM))))) == STREAM_VALUES


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_split_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert values(parse(*pieces)) == STREAM_VALUES


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("off_by", [-20, -8, -1, 1, 5, 16, 17, 24, 60, 100, 5000])
def test_a_wrong_length_costs_no_other_message(off_by: int, piece: int) -> None:
    body = json.dumps({"a": "some text that is long enough"}).encode()
    stream = b"Content-Length: %d\r\n\r\n%b" % (len(body) + off_by, body) + frame({"b": 2}) + frame({"c": 3})
    found = parse(*(stream[i : i + piece] for i in range(0, len(stream), piece)))
    assert values(found) == ["parse_error", {"b": 2}, {"c": 3}]


@pytest.mark.parametrize("piece", [1, 64, 10**6])
@pytest.mark.parametrize(
    "digits", [b"67108865", b"1" + b"0" * 18, b"9" * 5000, b"0" * 300 + b"99999999999999999999999"]
)
def test_an_absurd_length_is_passed_over(digits: bytes, piece: int) -> None:
    stream = b"Content-Length: " + digits + b"\r\n\r\n" + b"x" * 200 + frame({"b": 2})
    found = parse(*(stream[i : i + piece] for i in range(0, len(stream), piece)))
    assert values(found) == ["invalid_request", {"b": 2}]


def test_a_body_over_the_limit_is_discarded_in_pieces_and_never_held() -> None:
    parser = FrameParser()
    found = parser.feed(b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1))
    left = BODY_LIMIT + 1
    while left:
        size = min(left, 1 << 20)
        found += parser.feed(b"Content-Length " * (size // 15) + b"x" * (size % 15))
        left -= size
        assert len(parser._buffer) <= 128
    assert values(found + parser.feed(frame(1))) == ["invalid_request", 1]


@pytest.mark.parametrize(
    "block", [b"\r\nx: y\r\n\r\n", b"Content-Length: -1\r\n\r\n", b"Content-Length: 1x\r\n\r\n", b"y" * 8192]
)
def test_lost_framing_is_one_fatal_fault(block: bytes) -> None:
    found = parse(frame(1) + block + frame(2), frame(3))
    assert values(found) == [1, "parse_error"]
    assert isinstance(found[-1], Fault)
    assert found[-1].fatal


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(
        st.sampled_from([b"Content-Length: ", b"content-length:", b"3", b"\r\n", b"\n", b"{}x", b"[1]", b"y" * 5000])
    )
)
def test_any_bytes_are_parsed_without_end_or_harm(parts: list[bytes]) -> None:
    whole, pieces = FrameParser(), FrameParser()
    data = b"".join(parts)
    expected = whole.feed(data)
    found = [item for index in range(0, len(data), 97) for item in pieces.feed(data[index : index + 97])]
    assert pieces.lost == whole.lost
    assert len([f for f in found if isinstance(f, Fault) and f.fatal]) == whole.lost
    assert len(values(expected)) <= len(data)


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (b"", 0),
        (b"{", 1),
        (b'{"a": NaN}', 6),
        (b'{"NaN": -Infinity}', 8),
        (b'["1e999", 1e999]', 10),
        (b"[" + b"1" * 5000 + b"]", 1),
        (b'["\\ud800"]', 2),
        (b'["\xff"]', 2),
        (b"[" * 100_000 + b"]" * 100_000, 200),
        (b"[" * 201 + b"]" * 201, 200),
        (b"\xef\xbb\xbf[]", 0),
        ('{"ü": x}'.encode(), 7),
        (b"[1] 2", 4),
        (b'["a\nb"]', 3),
    ],
)
def test_what_is_no_json_says_where(body: bytes, offset: int) -> None:
    with pytest.raises(NotJSONError) as caught:
        decode(body)
    assert caught.value.offset == offset


@pytest.mark.parametrize("value", [[2**63, -(2**70), 10**400], "\U0001f916", {"a": {"a": [[]]}}, [1e308, -0.0], "\x00"])
def test_json_comes_exactly(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value


def framed(*bodies: bytes) -> bytes:
    return b"".join(b"Content-Length: %d\r\n\r\n%b\n" % (len(each) + 1, each) for each in bodies)


def read_all(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(fd, size)
    return found


def test_the_writer_keeps_order_replaces_by_key_and_gives_up_on_a_full_backlog() -> None:
    read_fd, write_fd = os.pipe()
    gone = threading.Event()
    writer = FrameWriter(write_fd, gone.set)
    long = b"0" * select.PIPE_BUF
    writer.send(long)
    for number in range(5):
        writer.send(b"[%d]" % number, "key")
    writer.send(b"2")
    writer.start()
    assert writer.flush(5)
    assert read_all(read_fd, len(framed(long, b"[4]", b"2"))) == framed(long, b"[4]", b"2")
    started = time.monotonic()
    while not gone.is_set():
        writer.send(b"x" * 10_000_000)
    assert time.monotonic() - started < 5
    writer.send(b"too late")
    assert writer.flush(1)
    os.close(read_fd)
    writer.join(5)
    assert not writer.is_alive()
    os.close(write_fd)


def socket_ends() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


@pytest.mark.parametrize("ends", [os.pipe, socket_ends])
def test_a_short_frame_needs_no_thread_while_there_is_room(ends: Callable[[], tuple[int, int]]) -> None:
    read_fd, write_fd = ends()
    writer = FrameWriter(write_fd, lambda: pytest.fail("only a backlog means gone"))
    sent = [b"%d" % number for number in range(20_000)]
    for body in sent[:10_000]:
        writer.send(body)
    there = os.read(read_fd, 1 << 20)
    assert len(there) > 1000
    assert framed(*sent).startswith(there)
    writer.start()
    for body in sent[10_000:]:
        writer.send(body)
    assert there + read_all(read_fd, len(framed(*sent)) - len(there)) == framed(*sent)
    os.close(read_fd)
    writer.send(b"too late")
    writer.join(5)
    os.close(write_fd)


def test_what_is_held_is_written_together() -> None:
    read_fd, write_fd = os.pipe()
    writer = FrameWriter(write_fd, lambda: pytest.fail("only a backlog means gone"))
    writer.start()
    writer.hold()
    for body in (b"1", b"2", b"3"):
        writer.send(body)
    assert select.select([read_fd], [], [], 0.1)[0] == []
    writer.let_go()
    assert os.read(read_fd, 1 << 16) == framed(b"1", b"2", b"3")
    writer.hold()
    writer.send(b"4")
    assert writer.flush(5)
    assert os.read(read_fd, 1 << 16) == framed(b"4")
    os.close(read_fd)
    writer.send(b"too late")
    writer.join(5)
    os.close(write_fd)


def test_the_writer_survives_a_closed_pipe() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    writer = FrameWriter(write_fd, lambda: pytest.fail("only a backlog means gone"))
    writer.start()
    writer.send(b"1")
    writer.join(5)
    writer.send(b"2")
    assert writer.flush(1)
    os.close(write_fd)


def test_the_reader_tells_of_the_end_once() -> None:
    read_fd, write_fd = os.pipe()
    found: list[Message | Fault] = []
    ends: list[bool] = []
    reader = FrameReader(read_fd, found.extend, ends.append)
    reader.start()
    os.write(write_fd, frame(1) + b"Content-")
    os.close(write_fd)
    reader.join(5)
    os.close(read_fd)
    assert (values(found), ends) == ([1], [False])


CLAIM = """
import os, subprocess, sys
from hephaes_rpc import stdio
wire = stdio.claim()
print("python"); os.write(1, b"raw\\n"); subprocess.run(["echo", "child"], check=True)
assert os.read(0, 10) == b"" and not os.get_inheritable(wire.read_fd) and not os.get_inheritable(wire.write_fd)
os.write(wire.write_fd, os.read(wire.read_fd, 100).upper())
"""


@pytest.mark.parametrize("closed", ["", "2>&-"])
def test_claimed_pipes_are_out_of_everybodys_reach(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, CLAIM],
        input=b"hello",
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"HELLO"
    assert [word in done.stderr for word in (b"python", b"raw", b"child")] == [not closed] * 3


def test_the_module_needs_nothing_but_the_standard_library() -> None:
    code = "import sys, hephaes_rpc.stdio; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "hephaes_rpc.stdio" in loaded
    assert not {"attr", "attrs", "cattrs", "pygls", "orjson", "apsw", "asyncio"} & set(loaded)

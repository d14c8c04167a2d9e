"""The native Example encoder and CRC-32C against twins written out by hand."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaes_native.flatten import (
    CRC_IN_HARDWARE,
    Bits,
    Column,
    ExampleEncoder,
    Group,
    RecordCounter,
    crc32c,
    crc32c_portable,
    encode_examples,
    masked_crc32c,
)
from tests.reference import tfrecord as twin
from tests.thorough import examples

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_checksums(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc32c_portable(data) == twin.crc32c(data) == crc
    assert masked_crc32c(data) == twin.masked(data)
    assert isinstance(CRC_IN_HARDWARE, bool)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 40), st.integers(0, 5000), st.integers(0, 5000), st.randoms(use_true_random=False))
def test_checksums_of_any_length_place_and_cut(skip: int, n: int, cut: int, random: Any) -> None:
    data = memoryview(random.randbytes(skip + n))[skip:]
    whole = crc32c(data)
    assert whole == crc32c_portable(data)
    assert whole == crc32c(data[cut:], crc32c(data[:cut])) == crc32c_portable(data[cut:], crc32c_portable(data[:cut]))
    if n < 300:
        assert whole == twin.crc32c(bytes(data))


def bitmap(flags: list[bool], offset: int) -> Bits:
    padded = np.array([True] * offset + flags, np.bool_)
    return Bits(np.packbits(padded, bitorder="little").tobytes() or b"\0", offset)


@st.composite
def columns(draw: st.DrawFn, n: int, key: str) -> tuple[Column, list[tuple[str, list[Any]] | None]]:
    """A column of ``n`` rows, and what each row should hold of it."""
    source = draw(st.sampled_from([*INTEGERS, "bool", "float32", "float64", "length", "slices", "raw32", "raw64"]))
    ragged = draw(st.booleans())
    counts = [draw(st.integers(0, 3)) for _ in range(n)] if ragged else [draw(st.integers(1, 3))] * n
    first = draw(st.integers(0, 2)) if ragged else 0
    total = first + sum(counts)
    wide = draw(st.sampled_from([np.int32, np.int64]))
    rows = np.cumsum([first, *counts]).astype(wide) if ragged else None
    values, more, kind, items = draw(_values(source, total, wide))
    valid = [draw(st.booleans()) for _ in range(n)] if draw(st.booleans()) else None
    present = [draw(st.booleans()) for _ in range(n)] if draw(st.booleans()) else None
    column = Column(
        key.encode(),
        source,
        values,
        per_row=0 if ragged else (counts[0] if counts else 1),
        rows=rows,
        valid=None if valid is None else bitmap(valid, draw(st.integers(0, 9))),
        present=None if present is None else bitmap(present, draw(st.integers(0, 9))),
        **more,
    )
    wanted: list[tuple[str, list[Any]] | None] = []
    at = first
    for i, count in enumerate(counts):
        mine = items[at : at + count]
        at += count
        if valid is not None and not valid[i]:
            mine = [] if ragged else [{"bytes": b"", "float": 0.0}.get(kind, 0)] * count
            if source.startswith("raw"):
                mine = [] if ragged else [bytes(int(source[3:]) // 8)] * count
        joined = [b"".join(mine)] if source.startswith("raw") else mine
        wanted.append(None if present is not None and not present[i] else (kind, joined))
    return column, wanted


@st.composite
def _values(draw: st.DrawFn, source: str, n: int, wide: Any) -> tuple[Any, dict[str, Any], str, list[Any]]:
    """Buffer, further arguments, kind, and the single values."""
    if source == "bool":
        flags = draw(st.lists(st.booleans(), min_size=n, max_size=n))
        bits = bitmap(flags, draw(st.integers(0, 9)))
        return bits.buffer, {"bit_offset": bits.offset}, "int64", [int(flag) for flag in flags]
    if source == "length":
        steps = draw(st.lists(st.integers(0, 1000), min_size=n, max_size=n))
        return np.cumsum([5, *steps]).astype(wide), {}, "int64", steps
    if source == "slices":
        texts = draw(st.lists(st.binary(max_size=5) | st.just(b"x" * 200), min_size=n, max_size=n))
        return b"??" + b"".join(texts), {"slices": np.cumsum([2, *map(len, texts)]).astype(wide)}, "bytes", texts
    if source.startswith("raw"):
        width = int(source[3:]) // 8
        items = [draw(st.binary(min_size=width, max_size=width)) for _ in range(n)]
        return b"".join(items), {}, "bytes", items
    if source.startswith("float"):
        numbers = np.array(draw(st.lists(st.floats(), min_size=n, max_size=n)), np.float64)
        with np.errstate(over="ignore"):
            narrow = numbers.astype(np.float32)
        return (narrow if source == "float32" else numbers), {}, "float", narrow.tolist()
    info = np.iinfo(source)
    whole = np.array(draw(st.lists(st.integers(info.min, info.max), min_size=n, max_size=n)), source)
    return whole, {}, "int64", whole.astype(np.int64).tolist()


@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_records_hold_the_columns(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 5))
    made = [data.draw(columns(n, f"k{i}")) for i in range(data.draw(st.integers(0, 4)))]
    encoder = ExampleEncoder(n, [column for column, _ in made])
    whole, stop = encoder.encode()
    assert stop == n
    assert len(whole) == encoder.nbytes
    records = list(twin.records(bytes(whole)))
    wanted = [{column.key.decode(): rows[i] for column, rows in made if rows[i] is not None} for i in range(n)]
    assert repr(records) == repr(wanted)
    pieces, row = b"", 0
    while row < n:
        piece, after = encoder.encode(row, data.draw(st.integers(1, 200)))
        assert after > row
        pieces, row = pieces + piece, after
    assert pieces == whole


def test_long_values_are_checksummed_right() -> None:
    blob = np.random.default_rng(1).bytes(1_000_003)
    offsets = np.array([0, 65_536, 65_537, 1_000_003], np.int32)
    records = list(twin.records(bytes(encode_examples(3, [Column(b"k", "slices", blob, slices=offsets)]))))
    assert [r["k"][1][0] for r in records] == [blob[:65_536], blob[65_536:65_537], blob[65_537:]]


def test_what_does_not_fit_is_counted() -> None:
    floats = np.array([0.1, 0.5, np.nan, np.inf, 1e300, -0.0])
    whole = np.array([2**63 - 1, 2**63, 2**64 - 1, 0, 1, 2], np.uint64)
    encoder = ExampleEncoder(6, [Column(b"f", "float64", floats), Column(b"u", "uint64", whole)])
    assert encoder.altered == [0, 0]
    records = list(twin.records(bytes(encoder.encode()[0])))
    assert encoder.altered == [2, 2]
    assert [r["u"][1][0] for r in records] == [2**63 - 1, -(2**63), -1, 0, 1, 2]
    assert [struct.pack("<f", r["f"][1][0]) for r in records] == [
        struct.pack("<f", np.float32(x)) for x in (0.1, 0.5, np.nan, np.inf, np.inf, -0.0)
    ]


GOOD = np.arange(4, dtype=np.int64)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column(b"k", "int64", GOOD, per_row=2), "outside their buffers"),
        (Column(b"k", "int64", GOOD, per_row=-1), "outside their buffers"),
        (Column(b"k", "int64", GOOD, rows=np.array([0, 1, 2], np.int32)), "3 row offsets for 3 rows"),
        (Column(b"k", "int64", GOOD, rows=np.array([0, 1, 2, 5], np.int32)), "outside their buffers"),
        (Column(b"k", "int64", GOOD, rows=np.array([0, 2, 1, 4], np.int32)), "outside their buffers"),
        (Column(b"k", "int64", GOOD, rows=np.array([-1, 1, 2, 4], np.int64)), "outside their buffers"),
        (Column(b"k", "slices", b"abc", slices=np.array([0, 1, 2], np.int32)), "outside their buffers"),
        (Column(b"k", "slices", b"abc", slices=np.array([0, 1, 2, 4], np.int32)), "outside their buffers"),
        (Column(b"k", "bool", b"\xff", bit_offset=6), "outside their buffers"),
        (Column(b"k", "bool", b"\xff", bit_offset=-1), "outside their buffers"),
        (Column(b"k", "int64", GOOD, valid=Bits(b"\xff", 6)), "bitmap is too short"),
        (Column(b"k", "int64", GOOD, present=Bits(b"", 0)), "bitmap is too short"),
        (Column(b"k", "int64", GOOD, rows=np.array([0, 1, 2, 3], np.int16)), "items of 2 bytes"),
        (Column(b"k", "int128", GOOD), "unknown source 'int128'"),
    ],
)
def test_columns_that_lie_are_refused(column: Column, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExampleEncoder(3, [column])


def test_a_record_beyond_two_gigabytes_is_refused() -> None:
    untouched = np.zeros(2**29, np.float32)
    rows = np.array([0, 1, 2**29], np.int64)
    with pytest.raises(OverflowError, match="row 1 takes 2,147,483,"):
        ExampleEncoder(2, [Column(b"k", "float32", untouched, rows=rows)])


def test_rows_are_in_range() -> None:
    encoder = ExampleEncoder(2, [Column(b"k", "int64", GOOD)])
    for row in (-1, 3):
        with pytest.raises(ValueError, match="of 2"):
            encoder.encode(row)
    assert encoder.encode(2) == (b"", 2)
    with pytest.raises(ValueError, match="n_rows is -1"):
        ExampleEncoder(-1, [])


class TestGroups:
    def columns(self, flags: list[bool]) -> tuple[list[Column], Bits]:
        valid = bitmap(flags, 3)
        n = len(flags)
        ones = b"\xff" * (n // 8 + 1)
        return [
            Column(b"a", "int64", np.arange(n)),
            Column(b"f__present", "bool", valid.buffer, bit_offset=valid.offset),
            Column(b"f__x", "float64", np.arange(2.0 * n), per_row=2, valid=valid),
            Column(b"f__n", "int32", np.arange(n, dtype=np.int32) * 1000, valid=valid),
            Column(b"f__s", "slices", b"abc" * n, slices=np.arange(n + 1, dtype=np.int32) * 3, valid=valid),
            Column(b"z", "bool", ones),
        ], valid

    @given(st.lists(st.booleans(), max_size=40))
    def test_a_block_equals_the_entries_it_stands_for(self, flags: list[bool]) -> None:
        columns, valid = self.columns(flags)
        plain = encode_examples(len(flags), columns)
        assert bytes(encode_examples(len(flags), columns, [Group(1, 5, valid)])) == bytes(plain)

    @pytest.mark.parametrize("bounds", [[(1, 7)], [(3, 3)], [(-1, 2)], [(1, 4), (2, 5)]])
    def test_groups_that_cannot_be_are_refused(self, bounds: list[tuple[int, int]]) -> None:
        columns, valid = self.columns([True, False])
        with pytest.raises(ValueError, match=r"not there|overlaps"):
            encode_examples(2, columns, [Group(*each, valid) for each in bounds])


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack("<QI", len(each), 0) + each + bytes(4) for each in payloads)


@pytest.mark.parametrize("step", [1, 3, 8, 50, 1000])
def test_records_are_counted_whatever_the_pieces(step: int) -> None:
    data = framed(b"", b"x" * 100, b"y" * 7)
    counter, ends = RecordCounter(), []
    for at in range(0, len(data), step):
        counter.feed(data[at : at + step])
        if counter.is_whole:
            ends.append(min(at + step, len(data)))
    assert (counter.records, counter.is_whole) == (3, True)
    assert set(ends) <= {16, 132, 155}
    counter.feed(framed(b"z")[:-1])
    assert (counter.records, counter.is_whole) == (4, False)


@pytest.mark.parametrize("length", [2**63, 2**64 - 9, 2**64 - 1])
def test_a_record_of_any_length_ends_nowhere(length: int) -> None:
    counter = RecordCounter()
    counter.feed(struct.pack("<Q", length) + bytes(100))
    assert (counter.records, counter.is_whole) == (1, False)

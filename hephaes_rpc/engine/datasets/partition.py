"""Which file each row goes to.

Strategy: rows are numbered in the order of the table, which inside every file is their order too.  A split gives each
row a part; a part is cut into shards of consecutive rows whose sizes differ by at most one, larger ones first.  Where
parts follow each other nothing is stored per row, otherwise one byte.

Parts of ``time`` follow each other; how many rows each gets is settled by largest remainder.  ``random`` draws a number
for each row from SplitMix64 (Steele, Lea, Flood 2014): row k gets the k-th output of the generator that starts at the
seed; all outputs are distinct, and the rows with the smallest make up train, the next ones val.  ``episode`` and
``group`` place a whole log, or all rows of one value, by SHA-256 of seed and name, so that an episode or a value is in
the same part whichever logs are converted; their sizes follow the fractions on average only.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from attrs import frozen
from numpy.typing import NDArray

from hephaes_rpc.engine.specs.names import ALL, FilePart
from hephaes_rpc.engine.specs.spec import Split

PARTS = ("train", "val", "test")
GAMMA = 0x9E3779B97F4A7C15
BLOCK_ROWS = 1 << 20

Codes: TypeAlias = NDArray[np.uint8]
Int64s: TypeAlias = NDArray[np.int64]
UInt64s: TypeAlias = NDArray[np.uint64]


@frozen(eq=False)
class Partition:
    """All files of a table, none of them empty unless the table is.

    Args:
        files: In order of part, then shard.
        part_of: uint8 per row, its part counted over those that are not empty; None: parts follow each other.
    """

    files: tuple[FilePart, ...]
    part_of: Codes | None = None

    @property
    def split_counts(self) -> dict[str, int]:
        """Rows by part, empty parts left out."""
        counts: dict[str, int] = {}
        for file in self.files:
            counts[file.split] = counts.get(file.split, 0) + file.n_rows
        return counts

    def dealer(self) -> "Dealer":
        """Deals the rows of the table, from the first one on."""
        return Dealer(self)


class Dealer:
    """Deals consecutive rows to the files of a partition."""

    def __init__(self, partition: Partition) -> None:
        files, self._part_of = partition.files, partition.part_of
        numbers: dict[str, list[int]] = {}
        for k, file in enumerate(files):
            numbers.setdefault(ALL if self._part_of is None else file.split, []).append(k)
        self._files = list(numbers.values())
        self._ends = [np.cumsum([files[k].n_rows for k in mine]) for mine in self._files]
        self._dealt = [0] * len(self._files)
        self._next = 0

    def take(self, n_rows: int) -> Iterator[tuple[int, Int64s | slice]]:
        """The next ``n_rows`` rows: number of a file, and which of them (counted from the first one) go there."""
        first, self._next = self._next, self._next + n_rows
        if self._part_of is None:
            for file, start, stop in self._deal(0, n_rows):
                yield file, slice(start, stop)
            return
        codes = self._part_of[first : self._next]
        for part in range(len(self._files)):
            rows = np.flatnonzero(codes == part)
            for file, start, stop in self._deal(part, len(rows)):
                yield file, rows[start:stop]

    def _deal(self, part: int, count: int) -> Iterator[tuple[int, int, int]]:
        """File, start and stop of the next ``count`` rows of a part."""
        ends, at = self._ends[part], 0
        while at < count:
            k = int(np.searchsorted(ends, self._dealt[part], side="right"))
            stop = min(count, at + int(ends[k]) - self._dealt[part])
            yield self._files[part][k], at, stop
            self._dealt[part] += stop - at
            at = stop


# -- splits ------------------------------------------------------------------------------------------------------------


def needs_values(split: Split | None) -> bool:
    """Whether the part of a row depends on what is in it."""
    return split is not None and split.strategy == "group"


def partition(split: Split | None, shards: int, n_rows: int, episode_id: str, groups: Codes | None = None) -> Partition:
    """The files of ``n_rows`` rows.

    Args:
        groups: uint8 per row, position in PARTS, as ``group_parts`` gives it; for strategy ``group``.
    """
    strategy = "none" if split is None or not n_rows else split.strategy
    codes: Codes | None = None
    if split is None or strategy == "none":
        counts = {ALL: n_rows}
    elif strategy == "episode":
        counts = {PARTS[_place(split, episode_id.encode("utf-8", "surrogateescape"))]: n_rows}
    elif strategy == "group" and groups is not None:
        codes = groups
        counts = dict(zip(PARTS, np.bincount(groups, minlength=len(PARTS)).tolist(), strict=True))
    else:
        counts = dict(zip(PARTS, part_counts(split, n_rows), strict=True))
        if strategy == "random":
            codes = _random(split.seed or 0, n_rows, list(counts.values()))
    return _cut(counts, shards, codes)


def part_counts(split: Split, n_rows: int) -> tuple[int, int, int]:
    """Rows of train, val and test by largest remainder; the earlier part wins a tie."""
    shares = [fraction * n_rows for fraction in _fractions(split)]
    counts = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda k: counts[k] - shares[k])
    for k in order[: n_rows - sum(counts)]:
        counts[k] += 1
    return counts[0], counts[1], counts[2]


def group_parts(split: Split, column: pa.Array) -> Codes:
    """The part of each row by its value, uint8, position in PARTS; absent values make one group."""
    encoded = _comparable(column).dictionary_encode(null_encoding="encode")
    parts = np.array([_place(split, _group_name(value)) for value in encoded.dictionary.to_pylist()], np.uint8)
    return parts[encoded.indices.to_numpy()] if len(column) else np.empty(0, np.uint8)


def _comparable(column: pa.Array) -> pa.Array:
    """Values that Arrow can tell apart: nested ones as text."""
    if pa.types.is_nested(column.type):
        return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
    return column


def _group_name(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"\0" if value is None else str(value).encode()


def _fractions(split: Split) -> list[Fraction]:
    """The fractions as they are written, brought to a sum of 1."""
    given = [Fraction(str(getattr(split, f"{part}_fraction") or 0)) for part in PARTS]
    total = sum(given)
    return [fraction / total for fraction in given]


def _place(split: Split, name: bytes) -> int:
    """The part of a name, as its position in PARTS."""
    digest = hashlib.sha256(b"%d\0%b" % (split.seed or 0, name)).digest()
    point = Fraction(int.from_bytes(digest[:8], "big"), 2**64)
    end = Fraction(0)
    for k, fraction in enumerate(_fractions(split)):
        end += fraction
        if point < end:
            return k
    raise AssertionError("the fractions add up to 1")


def _random(seed: int, n_rows: int, counts: Sequence[int]) -> Codes:
    """uint8 per row: the ``counts[0]`` rows with the smallest numbers are 0, the next ``counts[1]`` 1, and so on."""
    numbers = splitmix64(seed, 0, n_rows)
    ends = [int(end) for end in np.cumsum(counts)[:-1] if end < n_rows]
    if ends:
        numbers.partition(ends)
    limits = numbers[ends]
    del numbers
    codes = np.empty(n_rows, np.uint8)
    for first in range(0, n_rows, BLOCK_ROWS):
        last = min(n_rows, first + BLOCK_ROWS)
        codes[first:last] = np.searchsorted(limits, splitmix64(seed, first, last), side="right")
    return codes


def splitmix64(seed: int, first: int, last: int) -> UInt64s:
    """Outputs [first, last) of SplitMix64 with this seed (any integer, modulo 2^64), counted from 0."""
    z = np.arange(first + 1, last + 1, dtype=np.uint64) * np.uint64(GAMMA) + np.uint64(seed % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _cut(counts: Mapping[str, int], shards: int, codes: Codes | None) -> Partition:
    """Shards of each part that has rows; one empty file where there is no row at all."""
    filled = {name: count for name, count in counts.items() if count} or {ALL: 0}
    files = [
        FilePart(name, k, number, count // number + (k < count % number))
        for name, count in filled.items()
        for number in [max(1, min(shards, count))]
        for k in range(number)
    ]
    if codes is not None and len(filled) < len(counts):
        renumbered = np.zeros(len(counts), np.uint8)
        renumbered[[k for k, name in enumerate(counts) if name in filled]] = np.arange(len(filled))
        codes = renumbered[codes]
    return Partition(tuple(files), codes if len(filled) > 1 else None)

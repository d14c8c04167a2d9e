from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from _typeshed import ReadableBuffer
from typing_extensions import disjoint_base

CRC_IN_HARDWARE: Final[bool]

class Bits(NamedTuple):
    buffer: ReadableBuffer
    offset: int = 0

class Column(NamedTuple):
    key: bytes
    source: str
    values: ReadableBuffer
    per_row: int = 1
    rows: ReadableBuffer | None = None
    slices: ReadableBuffer | None = None
    bit_offset: int = 0
    valid: Bits | None = None
    present: Bits | None = None

class Group(NamedTuple):
    first: int
    stop: int
    valid: Bits

@disjoint_base
class ExampleEncoder:
    def __new__(cls, n_rows: int, columns: Iterable[Column], groups: Iterable[Group] = ()) -> Self: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def altered(self) -> list[int]: ...
    def encode(self, start: int = 0, max_bytes: int = 0) -> tuple[memoryview, int]: ...

@disjoint_base
class RecordCounter:
    """Counts the records of a TFRecord file that comes in pieces, by their lengths."""

    records: int
    def feed(self, data: ReadableBuffer) -> None: ...
    @property
    def is_whole(self) -> bool: ...

def encode_examples(n_rows: int, columns: Iterable[Column], groups: Iterable[Group] = ()) -> memoryview: ...
def crc32c(data: ReadableBuffer, value: int = 0) -> int: ...
def crc32c_portable(data: ReadableBuffer, value: int = 0) -> int: ...
def masked_crc32c(data: ReadableBuffer) -> int: ...

"""Payloads to columns: an interpreter of flat decode plans for ROS1 and CDR (XCDR1), both byte orders."""

from array import array
from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from _typeshed import ReadableBuffer
from numpy.typing import NDArray
from typing_extensions import disjoint_base

STATUS_NAMES: tuple[str, ...]

class Fixed(NamedTuple):
    column: int
    width: int
    n: int = 1
    form: str = "value"

class Text(NamedTuple):
    column: int
    offsets: int
    wide: bool = False
    bound: int = -1

class Sequence(NamedTuple):
    column: int
    offsets: int
    width: int
    bound: int = -1
    form: str = "value"

class Loop(NamedTuple):
    offsets: int
    body: tuple[Item, ...]
    n: int = -1
    bound: int = -1

Item = Fixed | Text | Sequence | Loop

@disjoint_base
class Buffer:
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...

@disjoint_base
class Decoder:
    """Collects the values of payloads of one message type into columns.

    Args:
        items: The wire order of the type.
        offsets_columns: Per column whether it holds int32 offsets (they start with 0) instead of values.
        cdr: CDR with its encapsulation header, else ROS1.
    """

    rows: int
    def __new__(cls, items: Iterable[Item], offsets_columns: Iterable[bool], *, cdr: bool) -> Self: ...
    def feed(self, data: ReadableBuffer, offset: NDArray[np.int64], length: NDArray[np.int64]) -> array[int]: ...
    @property
    def nbytes(self) -> int: ...
    def take(self) -> list[tuple[Buffer, int]]: ...

def feed_streams(
    decoders: list[Decoder | None],
    data: ReadableBuffer,
    offset: NDArray[np.int64],
    length: NDArray[np.int64],
    bounds: NDArray[np.int64],
) -> tuple[array[int], list[int], int]:
    """Decode payloads that lie stream by stream, ``bounds[k]`` to ``bounds[k + 1]`` those of decoder ``k``, if any.

    Returns:
        The status of each payload (uint8; 0 where nobody decoded it); the streams that were left alone since a payload
        of theirs is no plain CDR; by how many bytes the decoders hold more.

    Raises:
        ValueError: A payload lies outside the data, or a stream outside the payloads.
        OverflowError, MemoryError: As ``feed``.
    """

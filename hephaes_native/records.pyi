"""Native walk of record bytes: MCAP data sections and chunks, ROS1 bag files and chunks."""

from array import array

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer, disjoint_base

STATUS_NAMES: tuple[str, ...]
CRC_IN_HARDWARE: bool

@disjoint_base
class Walk:
    """Messages of one chunk, grouped by slot, in file order inside a slot.

    ``log_time``, ``publish_time`` (ns; a publish time beyond 2^63-1 is 2^63-1), ``offset``, ``length`` (bytes, of the
    payload inside the data) are int64[n]; ``bounds`` is int64[n_slots + 1]; ``definitions`` holds the offsets of
    schema, channel and connection records.  ``messages`` counts all messages, selected or not.  ``status`` is an index
    of STATUS_NAMES and ``stop`` the first byte of the record that ended the walk (the size of the data for status 0).
    """

    log_time: array[int]
    publish_time: array[int]
    offset: array[int]
    length: array[int]
    bounds: array[int]
    definitions: array[int]
    messages: int
    status: int
    stop: int

@disjoint_base
class Entries:
    """Messages, or index entries, in the order of the bytes.

    ``connection`` is uint32[n], ``log_time`` int64[n] (ns; negative beyond 2^63-1) and ``offset`` int32[n] (of the
    record, in its chunk; the nearest int32 where it is none).  ``malformed`` counts index records that contradict
    themselves; the rest is as in Walk.
    """

    connection: array[int]
    log_time: array[int]
    offset: array[int]
    definitions: array[int]
    malformed: int
    status: int
    stop: int

def walk_mcap(data: Buffer, slots: Buffer) -> Walk: ...
def walk_bag(data: Buffer, slots: Buffer) -> Walk: ...
def scan_mcap(data: Buffer) -> Entries: ...
def scan_bag(data: Buffer) -> Entries: ...
def index_mcap(data: Buffer) -> Entries: ...
def index_bag(data: Buffer) -> Entries: ...

@disjoint_base
class Runs:
    """Entries that follow each other with the same connection, as one.

    ``connection`` is uint32[r], ``length`` int64[r], in entries.  ``ascending``: offsets rise strictly inside each run.
    Least and greatest are those of all entries; the least is above the greatest where there is none.
    """

    connection: array[int]
    length: array[int]
    ascending: bool
    least_time: int
    greatest_time: int
    least_offset: int
    greatest_offset: int

def runs_of(connection: NDArray[np.uint32], log_time: NDArray[np.int64], offset: NDArray[np.int32]) -> Runs:
    """The runs of entries.

    Raises:
        ValueError: They differ in number.
    """

def spread(
    log_time: NDArray[np.int64],
    offset: NDArray[np.int32],
    length: NDArray[np.int64],
    place: NDArray[np.int64],
    times: NDArray[np.int64],
    offsets: NDArray[np.int32],
) -> None:
    """Copy runs that follow each other, ``length`` entries each, to their places in ``times`` and ``offsets``.

    Raises:
        ValueError: A run lies outside the entries, or its place outside the room.
    """

def lists(
    runs: NDArray[np.int64],
    run_start: NDArray[np.int64],
    connection: NDArray[np.uint32],
    times: NDArray[np.int64],
    slots: NDArray[np.int32],
    bounds: NDArray[np.int64],
    time: NDArray[np.int64],
) -> bool:
    """Whether ``time``, divided by ``bounds`` into slots, holds for each slot the times of the one run that has it.

    Run k owns ``times[run_start[k]:run_start[k + 1]]``.  False also where a slot has several of ``runs``.

    Raises:
        ValueError: There is no such run, or it lies outside ``times``.
    """

def heads_and_payloads(
    data: Buffer,
    time: NDArray[np.int64],
    offset: NDArray[np.int64],
    length: NDArray[np.int64],
    first: int,
    last: int,
    most_bytes: int,
) -> tuple[bytes, bytes | None]:
    """Of payloads ``first`` to ``last``: time and length of each, int64, and their bytes one after the other.

    The bytes are None where payloads have ``most_bytes`` or more on average.

    Raises:
        ValueError: A payload lies outside the data, or there is none.
    """

def any_begins(data: Buffer, offset: NDArray[np.int64], length: NDArray[np.int64], least: Buffer, most: Buffer) -> bool:
    """Whether the first bytes of a payload all lie between those of ``least`` and ``most`` (uint8), each included.

    Payloads that are shorter than that or lie outside the data do not count.
    """

def crc32(data: Buffer, value: int = 0) -> int:
    """``zlib.crc32``, by the processor's own means where it has any."""

"""Messages that rosbag2 has compressed one by one: each payload is a zstd frame.

Strategy: no CDR payload can begin with the magic of zstd, so a payload tells by itself whether it is a frame.  Frames
are decompressed into one buffer behind each other, within the budget of a chunk; the others are copied beside them.
A frame that is damaged stays as it is, and is then malformed CDR.
"""

from collections.abc import Sequence

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from hephaes_native import records
from hephaes_rpc.engine.logs.chunks import FREE_RAW_BYTES, MAX_RATIO, MAX_RAW_BYTES, check_budget
from hephaes_rpc.engine.logs.types import Walk
from hephaes_rpc.errors import LogError

MAGIC = b"\x28\xb5\x2f\xfd"
_LEAST, _MOST = MAGIC + b"\x00", MAGIC + b"\xff"


def may_hold_frames(data: bytes | memoryview, walk: Walk) -> bool:
    """Whether a message begins like a frame, whatever its encoding."""
    return records.any_begins(data, walk.offset, walk.length, _LEAST, _MOST)


def inflate(
    data: bytes | memoryview, walk: Walk, slots: NDArray[np.int32], where: str
) -> tuple[bytes | memoryview, Walk]:
    """The same messages with every zstd frame in these slots decompressed; nothing is copied where there is none."""
    frames = _frames(data, walk, slots)
    if not len(frames):
        return data, walk
    view = memoryview(data)
    is_frame = np.zeros(len(walk.offset), np.bool_)
    is_frame[frames] = True
    pieces: list[bytes | memoryview] = []
    total = 0
    for start, length, packed in zip(walk.offset.tolist(), walk.length.tolist(), is_frame.tolist(), strict=True):
        piece = view[start : start + length]
        pieces.append(_unpacked(piece, where) if packed else piece)
        total += len(pieces[-1])
        if total > MAX_RAW_BYTES:
            raise LogError("unsupported", f"{where}: its messages decompress to more than {MAX_RAW_BYTES} bytes")
    return b"".join(pieces), _placed(walk, pieces)


def _frames(data: bytes | memoryview, walk: Walk, slots: NDArray[np.int32]) -> NDArray[np.int64]:
    """Which messages begin like a frame."""
    wrapped = np.zeros(len(walk.bounds) - 1, np.bool_)
    wrapped[slots[slots >= 0]] = True
    if not wrapped.any():
        return np.empty(0, np.int64)
    raw = np.frombuffer(data, np.uint8)
    found = np.flatnonzero(np.repeat(wrapped, np.diff(walk.bounds)) & (walk.length > len(MAGIC)))
    for k, byte in enumerate(MAGIC):
        found = found[raw[walk.offset[found] + k] == byte]
    return found


def _unpacked(frame: memoryview, where: str) -> bytes | memoryview:
    import zstandard

    try:
        size = zstandard.frame_content_size(frame)
        if size >= 0:
            check_budget(len(frame), size, f"{where}: a message")
            return zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
        most = max(FREE_RAW_BYTES, min(MAX_RAW_BYTES, MAX_RATIO * len(frame)))
        raw = zstandard.ZstdDecompressor().stream_reader(frame).read(most + 1)
        check_budget(len(frame), len(raw), f"{where}: a message")
        return raw or frame
    except zstandard.ZstdError:
        return frame


def _placed(walk: Walk, pieces: Sequence[bytes | memoryview]) -> Walk:
    length = np.array([len(piece) for piece in pieces], np.int64)
    return evolve(walk, offset=np.cumsum(length) - length, length=length)

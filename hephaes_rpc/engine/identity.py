"""What tells a log from others without reading it: its size, when it was written, and a hash of its index.

Strategy: the index section of an MCAP file or a bag names every chunk, its times and its counts, and stands at the end;
no two recordings have the same one.  A log without one is told by its first and last bytes.  Nothing is parsed beyond
the two numbers that say where the section begins, and what is hashed is bounded.
Formats: https://mcap.dev/spec (footer), http://wiki.ros.org/Bags/Format/2.0 (bag header).
"""

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from hephaes_rpc.engine.logs.magic import BAG_MAGIC, MCAP_MAGIC

ENDS_BYTES = 64 << 10
MAX_INDEX_BYTES = 32 << 20
PIECE_BYTES = 1 << 20
_MCAP_FOOTER_BYTES = 1 + 8 + 20 + len(MCAP_MAGIC)
_MCAP_FOOTER = b"\x02" + struct.pack("<Q", 20)
_BAG_INDEX = b"index_pos="


@frozen
class Identity:
    """A log as it is now; ``mtime_ns`` is that of its youngest file."""

    size_bytes: int
    mtime_ns: int
    fingerprint: str


def identify(path: Path) -> Identity:
    """What a log, or a folder that is one, is now; raises OSError, and what reading the folder raises."""
    files = _files(path)
    digest = hashlib.sha256()
    size_bytes = mtime_ns = 0
    for each in files:
        with each.open("rb") as file:
            found = os.fstat(file.fileno())
            size_bytes += found.st_size
            mtime_ns = max(mtime_ns, found.st_mtime_ns)
            digest.update(_told_by(file, found.st_size))
    return Identity(size_bytes, mtime_ns, f"{size_bytes}:{digest.hexdigest()}")


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return (path,)
    from hephaes_rpc.engine.logs.recording import recording_in

    recording = recording_in(path)
    return recording.files if recording else ()


def _told_by(file: BinaryIO, size_bytes: int) -> bytes:
    """The digest of the bytes that tell one file from others."""
    start = _index_start(file, size_bytes)
    if start is not None and size_bytes - start <= MAX_INDEX_BYTES:
        kind, spans = b"index", [(start, size_bytes)]
    else:
        middle = max(0, size_bytes - ENDS_BYTES)
        kind, spans = b"ends", [(0, min(ENDS_BYTES, size_bytes)), (middle, size_bytes)]
    digest = hashlib.sha256(b"%s %d " % (kind, size_bytes))
    for begin, end in spans:
        file.seek(begin)
        while begin < end and (piece := file.read(min(PIECE_BYTES, end - begin))):
            digest.update(piece)
            begin += len(piece)
    return digest.digest()


def _index_start(file: BinaryIO, size_bytes: int) -> int | None:
    """Where the index section of a closed MCAP file or bag begins."""
    head = file.read(4096)
    start = 0
    if head.startswith(MCAP_MAGIC) and size_bytes >= len(MCAP_MAGIC) + _MCAP_FOOTER_BYTES:
        file.seek(size_bytes - _MCAP_FOOTER_BYTES)
        footer = file.read(_MCAP_FOOTER_BYTES)
        if footer.startswith(_MCAP_FOOTER) and footer.endswith(MCAP_MAGIC):
            (start,) = struct.unpack_from("<Q", footer, len(_MCAP_FOOTER))
    elif head.startswith(BAG_MAGIC):
        at = head.find(_BAG_INDEX)
        if 0 < at <= len(head) - len(_BAG_INDEX) - 8:
            (start,) = struct.unpack_from("<Q", head, at + len(_BAG_INDEX))
    return start if 0 < start < size_bytes else None

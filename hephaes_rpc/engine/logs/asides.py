"""What an MCAP file holds beside its messages: attachments and metadata.

Strategy: the records of the data section are walked once more, by their lengths; chunks end where the reader found that
they end, and what it gave up is stepped over with it.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import frozen
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Attachment, Metadata

from hephaes_native import records
from hephaes_rpc.engine.logs.chunks import MAX_RAW_BYTES
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.engine.logs.recordbody import RecordBody
from hephaes_rpc.engine.logs.types import LostRange

WINDOW_BYTES: Final = 1 << 20
_RECORD = struct.Struct("<BQ")
_CRC = struct.Struct("<I")
_ENDS = (Opcode.DATA_END, Opcode.FOOTER)
_KINDS = {Opcode.ATTACHMENT: ("an attachment", Attachment), Opcode.METADATA: ("a metadata record", Metadata)}


@frozen
class LeftOut:
    """An attachment or metadata record that cannot be read, as text for people."""

    reason: str


Aside: TypeAlias = Attachment | Metadata | LeftOut


def asides_of(file: LogFile, start: int, ends: Mapping[int, int], lost: Sequence[LostRange]) -> Iterator[Aside]:
    """Attachments and metadata from byte ``start`` on.

    Args:
        ends: Where the chunks that begin at these bytes end.
        lost: What the reader gave up, in file order.
    """
    position, window, base = start, b"", start
    while position < file.size:
        if not base <= position <= base + len(window) - _RECORD.size:
            window, base = file.read_up_to(position, WINDOW_BYTES), position
        if len(window) < _RECORD.size:
            return
        opcode, length = _RECORD.unpack_from(window, position - base)
        end = ends.get(position, position + _RECORD.size + length)
        if opcode in _ENDS:
            return
        if opcode == 0 or end > file.size or any(gap.start <= position < gap.end for gap in lost):
            if opcode in _KINDS:
                yield LeftOut(f"byte {position}: {_KINDS[Opcode(opcode)][0]} is damaged; it is left out")
            position = min((gap.end for gap in lost if gap.end > position), default=file.size)
            continue
        if opcode in _KINDS:
            yield _aside(file, Opcode(opcode), position, length)
        position = end


def _aside(file: LogFile, opcode: Opcode, position: int, length: int) -> Aside:
    what, kind = _KINDS[opcode]
    if length > MAX_RAW_BYTES:
        return LeftOut(f"byte {position}: {what} of {length} bytes is left out; the limit is {MAX_RAW_BYTES}")
    body = file.read(position + _RECORD.size, length)
    try:
        found: Attachment | Metadata = kind.read(RecordBody(body))  # type: ignore[attr-defined]
    except (McapError, struct.error, UnicodeDecodeError, OverflowError) as error:
        return LeftOut(f"byte {position}: {what} is damaged ({type(error).__name__}); it is left out")
    if isinstance(found, Attachment):
        covered = 16 + 4 + len(found.name.encode()) + 4 + len(found.media_type.encode()) + 8 + len(found.data)
        (crc,) = _CRC.unpack_from(body, covered)
        if crc and records.crc32(memoryview(body)[:covered]) != crc:
            return LeftOut(f"byte {position}: the CRC of attachment {found.name!r} does not match; it is left out")
    return found

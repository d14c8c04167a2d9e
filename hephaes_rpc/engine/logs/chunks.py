"""Decompression of one chunk, bounded before and while it happens.

Strategy: a chunk declares its decompressed size.  The size is believed only after it passed a budget (absolute, and
relative to the bytes that are really there, so that a small file cannot ask for a large allocation); the decompressor
then gets exactly that many bytes of room, and the result must fill it.  No size field inside the compressed frame is
ever allocated for.
"""

import bz2

from hephaes_rpc.errors import LogError

MAX_RAW_BYTES = 1 << 30
FREE_RAW_BYTES = 64 << 20
MAX_RATIO = 1000
FREE_SCAN_BYTES = 1 << 30
"""Decompressed to find the messages of chunks without index, whatever the size of the file."""
SCAN_COST = {"none": 0, "bz2": 8}
"""What a byte counts for there, by the time it takes; 1 for the others."""
ZSTD_PIECE_BYTES = 512
"""What is given to zstd at once where it cannot be told how much it may give back."""
COMPRESSIONS = ("none", "lz4", "zstd", "bz2")


def decompress(name: str, data: bytes | memoryview, raw_bytes: int, where: str) -> bytes | memoryview:
    """The ``raw_bytes`` that ``data`` decompresses to.

    Args:
        name: A member of COMPRESSIONS.
        raw_bytes: Declared decompressed size, within the budget.
        where: Names the chunk in the error.

    Raises:
        LogError: ``unsupported`` for an unknown compression, ``bad_input`` when the data is damaged or has another
            size than declared.
    """
    if name == "none":
        if len(data) != raw_bytes:
            raise LogError("bad_input", f"{where} holds {len(data)} bytes but declares {raw_bytes}")
        return data
    try:
        unpack = _DECOMPRESSORS[name]
    except KeyError:
        raise LogError(
            "unsupported", f"{where} has compression {name!r}; known are {', '.join(COMPRESSIONS)}"
        ) from None
    raw = unpack(data, raw_bytes, where) if raw_bytes else b""
    if len(raw) != raw_bytes:
        raise LogError("bad_input", f"{where} decompresses to {len(raw)} bytes but declares {raw_bytes}")
    return raw


def decompress_part(name: str, data: bytes | memoryview, raw_bytes: int, where: str) -> bytes | memoryview:
    """As much of ``raw_bytes`` as compressed data that is cut gives; raises LogError where it is damaged, too."""
    if name == "none":
        return data[:raw_bytes]
    try:
        unpack = _PARTS[name]
    except KeyError:
        raise LogError(
            "unsupported", f"{where} has compression {name!r}; known are {', '.join(COMPRESSIONS)}"
        ) from None
    return unpack(data, raw_bytes, where)


def check_budget(stored_bytes: int, raw_bytes: int, where: str) -> None:
    """Refuse a declared size that the stored bytes do not justify."""
    if raw_bytes > MAX_RAW_BYTES:
        raise LogError("unsupported", f"{where} declares {raw_bytes} bytes; the limit is {MAX_RAW_BYTES}")
    if raw_bytes > FREE_RAW_BYTES and raw_bytes > MAX_RATIO * stored_bytes:
        raise LogError(
            "unsupported",
            f"{where} declares {raw_bytes} bytes for {stored_bytes} stored ones; "
            f"beyond {FREE_RAW_BYTES} bytes the limit is {MAX_RATIO} to 1",
        )


def check_scan_budget(cost: int, file_bytes: int, where: str) -> None:
    """Refuse to decompress more for a scan than the file justifies: many small bombs are a large one."""
    if cost > max(FREE_SCAN_BYTES, MAX_RATIO * file_bytes):
        text = f"{where} and the chunks before it declare more bytes than a file of {file_bytes} may decompress to"
        raise LogError("unsupported", text)


def _bz2(data: bytes | memoryview, raw_bytes: int, where: str) -> bytes:
    unpacker = bz2.BZ2Decompressor()
    try:
        raw = unpacker.decompress(data, max_length=raw_bytes)
        rest = unpacker.decompress(b"", max_length=1) if not unpacker.eof else b""
    except (OSError, ValueError) as error:
        raise LogError("bad_input", f"{where} is not readable bz2 data: {error}") from error
    return _ended(raw, rest, unpacker.eof, where)


def _lz4(data: bytes | memoryview, raw_bytes: int, where: str) -> bytes:
    import lz4.frame

    unpacker = lz4.frame.LZ4FrameDecompressor()
    try:
        raw = unpacker.decompress(data, max_length=raw_bytes)
        rest = unpacker.decompress(b"", max_length=1) if not unpacker.eof else b""
    except (RuntimeError, ValueError, EOFError) as error:
        raise LogError("bad_input", f"{where} is not readable lz4 data: {error}") from error
    return _ended(raw, rest, unpacker.eof, where)


def _zstd(data: bytes | memoryview, raw_bytes: int, where: str) -> bytes:
    import zstandard

    try:
        declared = zstandard.frame_content_size(data)
        if declared not in (-1, raw_bytes):
            raise LogError("bad_input", f"{where} declares {raw_bytes} bytes but its zstd frame {declared}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=raw_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise LogError("bad_input", f"{where} is not readable zstd data: {error}") from error


def _part_of_bz2(data: bytes | memoryview, raw_bytes: int, where: str) -> bytes:
    try:
        return bz2.BZ2Decompressor().decompress(data, max_length=raw_bytes)
    except (OSError, ValueError) as error:
        raise LogError("bad_input", f"{where} is not readable bz2 data: {error}") from error


def _part_of_lz4(data: bytes | memoryview, raw_bytes: int, where: str) -> bytes:
    import lz4.frame

    try:
        raw: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=raw_bytes)
    except (RuntimeError, ValueError, EOFError) as error:
        raise LogError("bad_input", f"{where} is not readable lz4 data: {error}") from error
    return raw


def _part_of_zstd(data: bytes | memoryview, raw_bytes: int, where: str) -> bytes:
    import zstandard

    unpacker = zstandard.ZstdDecompressor().decompressobj()
    pieces: list[bytes] = []
    done = 0
    try:
        for at in range(0, len(data), ZSTD_PIECE_BYTES):
            if unpacker.eof or done >= raw_bytes:
                break
            pieces.append(unpacker.decompress(data[at : at + ZSTD_PIECE_BYTES]))
            done += len(pieces[-1])
    except zstandard.ZstdError as error:
        raise LogError("bad_input", f"{where} is not readable zstd data: {error}") from error
    return b"".join(pieces)[:raw_bytes]


def _ended(raw: bytes, rest: bytes, eof: bool, where: str) -> bytes:
    """``raw`` if the compressed stream ended with it."""
    if rest:
        raise LogError("bad_input", f"{where} decompresses to more than the {len(raw)} bytes it declares")
    if not eof:
        raise LogError("bad_input", f"{where} ends in the middle of its compressed data")
    return raw


_PARTS = {"bz2": _part_of_bz2, "lz4": _part_of_lz4, "zstd": _part_of_zstd}
_DECOMPRESSORS = {"bz2": _bz2, "lz4": _lz4, "zstd": _zstd}

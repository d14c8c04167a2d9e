"""Files that are compressed as a whole: unpacked into a private temporary file, within a budget.

Strategy: zstd frames are read a few hundred bytes at a time, so that no read can become more than a few megabytes, and
written to a file that has no name.  Where the data is cut or damaged, what came before stays and the loss is told.
"""

import os
import tempfile
from typing import Final

from hephaes_rpc.engine.logs.base import Progress
from hephaes_rpc.engine.logs.chunks import FREE_RAW_BYTES, MAX_RATIO, ZSTD_PIECE_BYTES
from hephaes_rpc.engine.logs.file import LogFile
from hephaes_rpc.errors import HephaesError, LogError

READ_BYTES: Final = 1 << 20
SPARE_BYTES: Final = 64 << 20


def unpack(file: LogFile, progress: Progress) -> LogFile:
    """The content of a zstd file, as a file that is gone when it is closed; ``file`` is closed.

    Raises:
        LogError: ``bad_input`` where nothing can be unpacked, ``unsupported`` beyond the budget.
        HephaesError: ``disk_full``, ``io_error``.
    """
    import zstandard

    most = max(FREE_RAW_BYTES, MAX_RATIO * file.size)
    damage: str | None = None
    with tempfile.TemporaryFile() as target:
        written, at, fresh = 0, 0, True
        try:
            unpacker = zstandard.ZstdDecompressor().decompressobj()
            for at in range(0, file.size, READ_BYTES):
                progress(at, file.size)
                data, done = file.read_up_to(at, READ_BYTES), 0
                while done < len(data):
                    piece = data[done : done + ZSTD_PIECE_BYTES]
                    raw, fresh = unpacker.decompress(piece), False
                    done += len(piece) - len(unpacker.unused_data)
                    written += len(raw)
                    if written > most:
                        text = f"{file.path} unpacks to more than {most} bytes; beyond {FREE_RAW_BYTES} bytes"
                        raise LogError("unsupported", f"{text} the limit is {MAX_RATIO} to 1", path=file.path)
                    _write(target.fileno(), raw, file.path)
                    if unpacker.eof:
                        unpacker, fresh = zstandard.ZstdDecompressor().decompressobj(), True
            if not fresh:
                damage = "its compressed data is cut"
        except zstandard.ZstdError as error:
            damage = f"its compressed data is damaged near byte {at}: {error}"
        if damage and not written:
            raise LogError("bad_input", f"{file.path} cannot be unpacked: {damage}", path=file.path)
        return file.replaced(os.dup(target.fileno()), damage)


def _write(fd: int, data: bytes, path: str) -> None:
    try:
        found = os.fstatvfs(fd)
        if found.f_bavail * found.f_frsize < len(data) + SPARE_BYTES:
            raise HephaesError("disk_full", f"no space is left to unpack {path}", path=path)
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        raise HephaesError("io_error", f"{path} cannot be unpacked: {error.strerror}", path=path) from error

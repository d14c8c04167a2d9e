"""What the machine does with a log, step by step, without any engine:  machine.py LOG.  Prints one JSON line, ms.

Runs in the environment of the shared benchmark's native probe, which gives the columns that Parquet is made of.
"""

from __future__ import annotations

import ctypes
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import numpy as np
import pyarrow.parquet as pq
import zstandard
from probe import Decoder, Log, load

REPEAT = 5


def milliseconds(action: Callable[[], object]) -> float:
    """Of the median run."""
    times = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main() -> None:
    path = Path(sys.argv[1])
    library, log = load(), Log(path)
    chunks = [bytes(chunk) for chunk in log.chunks()]
    view = np.frombuffer(b"".join(chunks), np.uint8)
    target = np.empty_like(view)
    unzstd = zstandard.ZstdDecompressor()
    by_zstd = [zstandard.ZstdCompressor(level=3).compress(chunk) for chunk in chunks]
    by_lz4 = [lz4.frame.compress(chunk) for chunk in chunks]

    class Loaded:
        """The same log, its chunks decompressed already."""

        topics, is_bag = log.topics, log.is_bag

        @staticmethod
        def chunks() -> list[bytes]:
            return chunks

    def decoded() -> Decoder:
        decoder = Decoder(Loaded)
        decoder.feed()
        return decoder

    def encode(dictionary: bool, compression: str) -> None:
        for table in tables.values():
            pq.write_table(table, io.BytesIO(), compression=compression, use_dictionary=dictionary)

    figures = {
        "read the file (page cache)": milliseconds(path.read_bytes),
        "memcpy of all messages": milliseconds(lambda: np.copyto(target, view)),
        "zstd decompress": milliseconds(lambda: [unzstd.decompress(piece) for piece in by_zstd]),
        "lz4 decompress": milliseconds(lambda: [lz4.frame.decompress(piece) for piece in by_lz4]),
        "CRC-32C (probe)": milliseconds(
            lambda: [library.masked_crc32c(chunk, ctypes.c_int64(len(chunk))) for chunk in chunks]
        ),
        "decode to columns (probe)": milliseconds(decoded),
    }
    keep = decoded()
    tables = keep.tables()
    for compression, dictionary in (("snappy", True), ("none", False), ("zstd", False)):
        name = f"Parquet of ready columns, {compression}{'' if dictionary else ', no dictionary'}"
        figures[name] = milliseconds(lambda d=dictionary, c=compression: encode(d, c))
    print(json.dumps({f"ms: {name}": value for name, value in figures.items()}))


if __name__ == "__main__":
    main()

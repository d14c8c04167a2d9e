"""The native parts alone:  kernels.py decode LOG | crc | tfrecord OUT [--rows N].  Prints medians of CPU time as JSON.

decode    every message of a log, chunks already decompressed, by one decoder per stream; ns per message and by topic
crc       CRC-32C of 64 MiB, GB/s, through the compiled function
tfrecord  rows of 40 float32 features (each with its presence key), batches already in columns, rows/s
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from hephaes_native import flatten
from hephaes_rpc.engine.datasets.writers import open_writer
from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.specs.spec import TIMESTAMP, TFRecordOutput

REPEAT = 7
FEATURES = 40
BATCH_ROWS = 50_000
FLUSH_BYTES = 16 << 20

Parts = list[tuple[bytes | memoryview, np.ndarray, np.ndarray]]


def _median(action: Callable[[], object]) -> float:
    """CPU seconds of the median run."""
    times = []
    for _ in range(REPEAT):
        start = time.thread_time()
        action()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def decode(log_path: Path) -> dict[str, float]:
    """Nanoseconds per message, over all and by topic."""
    with open_log(log_path) as log:
        streams = [stream for stream in log.summary.streams if stream.message_count]
        slots = log.slots(streams)
        chunks = [log.messages(i, slots) for i in range(len(log.chunks))]
    total, figures = 0.0, {}
    for slot, stream in enumerate(streams):
        decoder = StreamDecoder(stream.definition, stream.wire)
        parts = [(data, *walk.slot(slot)[1:]) for data, walk in chunks]

        def feed(decoder: StreamDecoder = decoder, parts: Parts = parts) -> None:
            for data, offset, length in parts:
                if decoder.feed(data, offset, length).any():
                    raise ValueError("malformed message")
                if decoder.nbytes >= FLUSH_BYTES:
                    decoder.take()
            decoder.take()

        seconds = _median(feed)
        total += seconds
        figures[f"ns per {stream.topic}"] = seconds / stream.message_count * 1e9
    return {"ns per message": total / sum(stream.message_count for stream in streams) * 1e9} | figures


def crc() -> dict[str, float]:
    """Gigabytes per second, in one long piece and in pieces of 200 bytes as records of a file are."""
    data = np.random.default_rng(1).bytes(64 << 20)
    small = [data[i : i + 200] for i in range(0, 20_000_000, 200)]

    def pieces() -> None:
        for piece in small:
            flatten.crc32c(piece)

    return {
        "GB/s": len(data) / _median(lambda: flatten.crc32c(data)) / 1e9,
        "GB/s in 200-byte pieces called from Python": 0.02 / _median(pieces),
    }


def tfrecord(out: Path, rows: int) -> dict[str, float]:
    """Rows per second of one file."""
    rng = np.random.default_rng(1)
    table = {TIMESTAMP: np.arange(rows)} | {
        f"feature_{k:02}": rng.standard_normal(rows).astype(np.float32) for k in range(FEATURES)
    }
    batches = pa.table(table).to_batches(BATCH_ROWS)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.tfrecord"

    def write() -> None:
        writer = open_writer(TFRecordOutput(), batches[0].schema, path, {})
        for batch in batches:
            writer.write(batch)
        writer.finish()

    return {"rows_per_s": rows / _median(write)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kernel", choices=["decode", "crc", "tfrecord"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    if arguments.kernel == "crc":
        figures = crc()
    elif arguments.kernel == "decode":
        figures = decode(arguments.path)
    else:
        figures = tfrecord(arguments.path, arguments.rows)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

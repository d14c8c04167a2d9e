"""Logs for the tests that drive the sidecar."""

from collections.abc import Iterator
from pathlib import Path

from tests.factories import Sample, samples, write_mcap


def write_long_log(path: Path, repeats: int) -> Path:
    """An MCAP of ``repeats`` times 2000 messages, one second of work for every hundred or so."""
    base = samples(2000, topics=("/imu", "/joints"))
    span_ns = base[-1].time - base[0].time + 1

    def messages() -> Iterator[Sample]:
        for k in range(repeats):
            for sample in base:
                yield sample._replace(time=sample.time + k * span_ns)

    return write_mcap(path, messages(), compression="zstd", chunk_size=1 << 20)

"""The fingerprint follows what was read, not how it was stored."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from blake3 import blake3

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.timeline.assembly import Assembly, Source, TableTask
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.digests import LONG_BYTES, StreamDigest, combined
from hephaes_rpc.engine.timeline.plan import wide_table
from tests.factories import Sample, samples, write_bag, write_mcap


def digests(path: Path) -> list[StreamDigest]:
    """The streams of a log after all of it was assembled."""
    with open_log(str(path)) as log:
        streams = log.summary.streams
        index = log.index(log.slots(streams))
        sources = [
            Source(s, StreamDecoder(s.definition, s.wire), index.slot(k)[0], ChunkRuns.of(index.slot(k)[1]))
            for k, s in enumerate(streams)
        ]
        times = [source.times for source in sources]
        schema = pa.schema(
            [("timestamp_ns", pa.int64()), *((f"f{k}", s.decoder.arrow_type) for k, s in enumerate(sources))]
        )
        table = wide_table(times, None)
        assembly = Assembly(log, sources, [TableTask(table, schema, tuple(range(len(sources))))])
        for k, source in enumerate(sources):
            source.digest = StreamDigest(source.stream, index.slot(k)[0], source.chunks, source.used)
        for _ in assembly.batches(lambda done, total: None):
            pass
        return [source.digest for source in sources if source.digest is not None]


def fingerprint(path: Path) -> str:
    return combined(digests(path))


def distinct_times(messages: list[Sample]) -> list[Sample]:
    """Every message at a time of its own, since rows take the last of equal ones only."""
    return [m._replace(time=m.time + 2 * k) for k, m in enumerate(messages)]


@pytest.mark.parametrize("shuffled", [False, True])
def test_storage_makes_no_difference(tmp_path, shuffled):
    messages = samples(300, shuffled=shuffled)
    found = {
        fingerprint(write_mcap(tmp_path / f"{k}.mcap", messages, compression=compression, chunk_size=size))
        for k, (compression, size) in enumerate((("none", 500), ("zstd", 4000), ("lz4", 10**7), ("none", 900)))
    }
    assert len(found) == 1


def test_the_container_makes_no_difference(tmp_path):
    messages = distinct_times(samples(120, ros=1))
    bag = fingerprint(write_bag(tmp_path / "a.bag", messages, compression="lz4"))
    assert bag == fingerprint(write_mcap(tmp_path / "a.mcap", messages, ros=1))


def test_the_order_in_the_file_makes_no_difference(tmp_path):
    messages = distinct_times(samples(300))
    mixed = list(messages)
    random.Random(3).shuffle(mixed)
    assert fingerprint(write_mcap(tmp_path / "a.mcap", messages)) == fingerprint(
        write_mcap(tmp_path / "b.mcap", mixed, chunk_size=700)
    )


@pytest.mark.parametrize("change", ["time", "payload", "lost", "topic"])
def test_content_makes_a_difference(tmp_path, change):
    messages = distinct_times(samples(60, topics=("/chatter", "/joints")))
    changed = list(messages)
    last = changed[-1]
    if change == "time":
        changed[-1] = last._replace(time=last.time + 1)
    elif change == "payload":
        changed[-1] = last._replace(payload=last.payload[:-1] + bytes([last.payload[-1] ^ 1]))
    elif change == "lost":
        del changed[-1]
    else:
        changed = [m for m in messages if m.topic == "/chatter"]
    assert fingerprint(write_mcap(tmp_path / "a.mcap", messages)) != fingerprint(
        write_mcap(tmp_path / "b.mcap", changed)
    )


@pytest.mark.parametrize("long_bytes", [1, LONG_BYTES])
def test_it_is_what_the_module_says(tmp_path, monkeypatch, long_bytes):
    monkeypatch.setattr("hephaes_rpc.engine.timeline.digests.LONG_BYTES", long_bytes)
    messages = distinct_times(samples(50, topics=("/chatter",)))
    (found,) = digests(write_mcap(tmp_path / "a.mcap", messages))
    heads = b"".join(np.array([m.time, len(m.payload)], "<i8").tobytes() for m in messages)
    payloads = b"".join(m.payload for m in messages)
    parts = [blake3(part).digest() for part in (found.name(), heads, payloads)]
    stream = blake3(b"".join(parts)).digest()
    assert found.finish() == stream
    assert combined([found]) == blake3(stream).hexdigest()

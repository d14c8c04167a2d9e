"""Reading one chunk ahead: the same chunks, and what is wrong with one told at its turn."""

import threading
from pathlib import Path

import pytest

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.logs.reader import MOST_AHEAD_BYTES
from hephaes_rpc.engine.timeline.ahead import ReadAhead
from hephaes_rpc.errors import LogError
from tests.factories import samples, write_bag, write_mcap


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_chunks_come_in_the_order_asked_for(tmp_path: Path, compression: str) -> None:
    with open_log(write_mcap(tmp_path / "a.mcap", samples(60), chunk_size=700, compression=compression)) as log:
        slots = log.slots(log.summary.streams)
        order = [*range(1, len(log.chunks)), 0]
        with ReadAhead(log, order, slots) as ahead:
            for i in order:
                assert log.is_read_ahead(i) == (compression != "none"), "there may be nothing to decompress"
                found, (data, walk) = ahead.take(), log.messages(i, slots)
                assert (found is None) == (compression == "none")
                if found is not None:
                    assert found[0] == data
                    assert found[1].offset.tolist() == walk.offset.tolist()
            assert ahead.take() is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hephaes-reader")]


def test_a_damaged_chunk_is_told_when_it_is_taken(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.bag", samples(60, ros=1), compression="lz4")
    with open_log(path) as log:
        assert len(log.chunks) > 2
        at = int(log.chunks.position[1])
    raw = bytearray(path.read_bytes())
    raw[at + 120 : at + 140] = bytes(20)
    path.write_bytes(raw)
    with open_log(path) as log, ReadAhead(log, range(len(log.chunks)), log.slots(log.summary.streams)) as ahead:
        assert ahead.take() is not None
        with pytest.raises(LogError, match=f"chunk 1 at byte {at}"):
            ahead.take()


def test_large_chunks_are_not_read_ahead(tmp_path: Path) -> None:
    big = [s._replace(payload=s.payload[:4] + bytes(MOST_AHEAD_BYTES // 2)) for s in samples(3, topics=("/chatter",))]
    with open_log(write_mcap(tmp_path / "a.mcap", big, chunk_size=1 << 30, compression="zstd")) as log:
        assert not log.is_read_ahead(0)

"""The message index against plain lists, whatever pieces it is built in."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaes_rpc.engine.logs import index as module
from hephaes_rpc.engine.logs.index import ChunkEntries, MessageIndex
from tests.thorough import examples

CHUNKS = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50)), max_size=6), max_size=9)


def entries_of(messages: list[tuple[int, int]]) -> ChunkEntries:
    connection, time = ([one[k] for one in messages] for k in (0, 1))
    offset = np.arange(len(messages), dtype=np.int32) * 10
    return ChunkEntries(np.array(connection, np.uint32), np.array(time, np.int64), offset).in_runs()


def rows(entries: ChunkEntries) -> list[tuple[Any, ...]]:
    return list(zip(entries.connection.tolist(), entries.time.tolist(), entries.offset.tolist(), strict=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(200))
@given(CHUNKS, st.integers(1, 9), st.sets(st.integers(0, 4)))
def test_it_has_every_message_once(
    monkeypatch: pytest.MonkeyPatch, chunks: list[list[tuple[int, int]]], piece: int, wanted: set[int]
) -> None:
    monkeypatch.setattr(module, "PIECE_MESSAGES", piece)
    monkeypatch.setattr(module, "GIVEN_BACK_MESSAGES", piece)
    given_ = [entries_of(messages) for messages in chunks]
    index = MessageIndex.build(list(given_))
    assert [rows(found) for found in index.entries()] == [rows(entries) for entries in given_]
    everything = [one for messages in chunks for one in messages]
    assert index.counts() == {id_: sum(c == id_ for c, _ in everything) for id_ in {c for c, _ in everything}}
    slots = np.full(5, -1, np.int32)
    slots[sorted(wanted)] = np.arange(len(wanted))
    found = index.select(slots)
    for slot, id_ in enumerate(sorted(wanted)):
        of = [(time, i) for i, messages in enumerate(chunks) for c, time in messages if c == id_]
        time, chunk = found.slot(slot) if len(found.bounds) > slot + 1 else ([], [])
        assert list(zip(list(time), list(chunk), strict=True)) == of
    shared = np.where(slots >= 0, slots // 2, slots).astype(np.int32)
    for some in (slots, shared):
        for i, messages in enumerate(chunks):
            by_slot = [[time for c, time in messages if some[c] == k] for k in range(int(some.max()) + 1)]
            bounds = np.cumsum([0, *(len(times) for times in by_slot)])
            walked = np.array([time for times in by_slot for time in times], np.int64)
            assert index.lists(i, some, bounds, walked)
            assert not index.lists(i, some, bounds, walked + 1) or not len(walked)
            assert not index.lists(i, some, np.append(bounds, bounds[-1] + 1), np.append(walked, 0))
        found = index.select(some)
        expected = [found.slot(k)[0].tolist() for k in range(len(found.bounds) - 1)]
        assert [time.tolist() for time in index.times(some)] == expected

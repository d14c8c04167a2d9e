"""Batches of many tables from one pass over a log, against rows put together one by one."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hephaes_rpc.engine.logs import LogReader, open_log
from hephaes_rpc.engine.messages.decode import StreamDecoder
from hephaes_rpc.engine.messages.msgdef import Definition
from hephaes_rpc.engine.specs.spec import Join, Resample, ResampleRows, RowStrategy, TriggerRows
from hephaes_rpc.engine.timeline import assembly
from hephaes_rpc.engine.timeline.assembly import Assembly, Source, TableTask
from hephaes_rpc.engine.timeline.chunkruns import ChunkRuns
from hephaes_rpc.engine.timeline.clocks import Wanted, read_stamps
from hephaes_rpc.engine.timeline.plan import Int64s, Listed, Table, topic_table, wide_table
from hephaes_rpc.engine.timeline.rows import plan_rows
from tests.factories import START_NS, Sample, samples, write_bag, write_mcap
from tests.reference import blend as blend_twin
from tests.reference import rows as rows_twin
from tests.reference import strategies
from tests.thorough import examples

NONE = np.empty(0, np.int64)

Decoded = list[tuple[int, Any]]


def spoil(messages: list[Sample], share: float, seed: int) -> list[Sample]:
    """Cut some payloads short, and give some of CDR the header of its second version."""
    random_ = random.Random(seed)

    def spoilt(payload: bytes) -> bytes:
        if random_.random() < share:
            return payload[:7]
        is_cdr = payload.startswith(b"\0\1\0\0")
        return b"\0\7" + payload[2:] if is_cdr and random_.random() < share / 2 else payload

    return [m._replace(payload=spoilt(m.payload)) for m in messages]


def placed(found: tuple[Int64s, NDArray[np.int32]]) -> tuple[Int64s, ChunkRuns]:
    """Times and chunks of a stream as a source takes them."""
    return found[0], ChunkRuns.of(found[1])


def sources(log: LogReader) -> list[Source]:
    streams = log.summary.streams
    index = log.index(log.slots(streams))
    return [Source(s, StreamDecoder(s.definition, s.wire), *placed(index.slot(k))) for k, s in enumerate(streams)]


def decoded(log: LogReader) -> list[Decoded]:
    """Every message of every stream in file order, decoded one by one; None where it is damaged."""
    streams = log.summary.streams
    slots = log.slots(streams)
    found: list[Decoded] = [[] for _ in streams]
    for i in np.unique(log.index(slots).chunk).tolist():
        data, walk = log.messages(i, slots)
        for k, stream in enumerate(streams):
            time, offset, length = walk.slot(k)
            for j in range(len(time)):
                decoder = StreamDecoder(stream.definition, stream.wire)
                bad = decoder.feed(data, offset[j : j + 1], length[j : j + 1])[0]
                found[k].append((int(time[j]), None if bad else decoder.take().to_pylist()[0]))
    return found


def schema_of(used: list[Source], columns: tuple[int, ...]) -> pa.Schema:
    named = [(f"f{i}", used[k].decoder.arrow_type) for i, k in enumerate(columns)]
    return pa.schema([("timestamp_ns", pa.int64()), *named])


def wide(used: list[Source], resample: Resample | None, columns: tuple[int, ...]) -> TableTask:
    return TableTask(wide_table([s.times for s in used], resample), schema_of(used, columns), columns)


def single(used: list[Source], k: int) -> TableTask:
    return TableTask(topic_table(k, used[k].times), schema_of(used, (k,)), (k,), drop_failed=True)


def assemble(log: LogReader, used: list[Source], tasks: list[TableTask]) -> list[list[list[Any]]]:
    """The rows of each table, as lists of the row time and the values."""
    told: list[tuple[int, int]] = []
    rows: list[list[list[Any]]] = [[] for _ in tasks]
    for number, batch in Assembly(log, used, tasks).batches(lambda done, total: told.append((done, total))):
        batch.validate(full=True)
        assert batch.schema.equals(tasks[number].schema)
        assert batch.num_rows
        rows[number] += [list(row.values()) for row in batch.to_pylist()]
    assert told == sorted(told)
    assert not told or told[-1][0] == told[-1][1]
    return rows


def between(messages: Decoded, time: int, definition: Definition) -> Any:
    """What interpolation gives a row, by the rules."""
    ordered = rows_twin.in_time_order(messages)
    lo = [m for m in ordered if m[0] <= time]
    hi = [m for m in ordered if m[0] > time]
    if not lo or (not hi and lo[-1][0] != time):
        return None
    if lo[-1][0] == time:
        return lo[-1][1]
    upper = [m for m in hi if m[0] == hi[0][0]][-1]
    return blend_twin.blend(lo[-1][1], upper[1], (time - lo[-1][0]) / (upper[0] - lo[-1][0]), definition)


def expected_wide(log: LogReader, messages: list[Decoded], resample: Resample | None) -> list[list[Any]]:
    if resample is None:
        rows = rows_twin.union(messages)
    elif resample.method == "downsample":
        rows = rows_twin.downsample(messages, resample.step_ns)
    else:
        grid = [time for time, _ in rows_twin.downsample(messages, resample.step_ns)]
        definitions = [s.definition for s in log.summary.streams]
        rows = [
            (t, [between(m, t, d) for m, d in zip(messages, definitions, strict=True)])
            for t in grid
            if t <= max(time for m in messages for time, _ in m)
        ]
    return [[time, *values] for time, values in rows]


def rounded(value: Any) -> Any:
    """Orientations to 12 digits: the order of additions in a norm is nobody's business."""
    if isinstance(value, dict):
        if set(value) == set("xyzw"):
            return {name: round(part, 12) for name, part in value.items()}
        return {name: rounded(member) for name, member in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


RESAMPLES = st.none() | st.builds(
    Resample, freq_hz=st.sampled_from([30.0, 97.0, 250.0]), method=st.sampled_from(["downsample", "interpolate"])
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=examples(60),
)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    chunk_size=st.sampled_from([1, 700, 10_000]),
    shuffled=st.booleans(),
    bag=st.booleans(),
    share=st.sampled_from([0.0, 0.2]),
    resample=RESAMPLES,
    limits=st.sampled_from([(1, 1), (900, 400), (1 << 24, 1 << 25)]),
)
def test_rows_equal_those_put_together_by_hand(
    tmp_path: Path,
    seed: int,
    n: int,
    chunk_size: int,
    shuffled: bool,
    bag: bool,
    share: float,
    resample: Resample | None,
    limits: tuple[int, int],
) -> None:
    messages = spoil(samples(n, ros=1 if bag else 2, seed=seed, shuffled=shuffled, connections=2), share, seed)
    write: Callable[..., Path] = write_bag if bag else write_mcap
    with (
        pytest.MonkeyPatch.context() as patch,
        open_log(write(tmp_path / "log", messages, chunk_size=chunk_size)) as log,
    ):
        patch.setattr(assembly, "FLUSH_BYTES", limits[0])
        patch.setattr(assembly, "BATCH_BYTES", limits[1])
        used = sources(log)
        whole = decoded(log)
        columns = (*range(len(used)), 0)
        tasks = [wide(used, resample, columns), *(single(used, k) for k in range(len(used)))]
        found = assemble(log, used, tasks)
        wanted = [[*row, row[1]] for row in expected_wide(log, whole, resample)]
        if resample is not None and resample.method == "interpolate":
            found[0], wanted = rounded(found[0]), rounded(wanted)
        assert repr(found[0]) == repr(wanted)
        for k, stream in enumerate(whole):
            rows = [[t, *values] for t, values in rows_twin.topics(stream) if values[0] is not None]
            assert repr(found[1 + k]) == repr(rows)
            counts = used[k].finish()
            times = [t for t, _ in stream]
            assert counts.messages == len(stream)
            assert counts.decoded == sum(value is not None for _, value in stream)
            assert counts.decode_failures == len(stream) - counts.decoded
            assert counts.collisions == len(times) - len(set(times))
            assert counts.out_of_order == sum(t < max(times[: i + 1]) for i, t in enumerate(times))
            assert len(counts.failures) == min(counts.decode_failures, 5)


STRATEGIES = st.builds(
    TriggerRows,
    trigger_topic=st.just("/imu"),
    joins=st.just([Join(topic="/joints", sync_policy="nearest", required=False), Join(topic="/chatter")]),
) | st.builds(
    ResampleRows,
    freq_hz=st.sampled_from([0.3, 1.0, 70.0]),
    method=st.just("downsample"),
    skip_empty=st.just(True),
    anchor_topic=st.sampled_from([None, "/imu"]),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=examples(60),
)
@given(
    strategy=STRATEGIES,
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    chunk_size=st.sampled_from([1, 700, 10_000]),
    bag=st.booleans(),
    share=st.sampled_from([0.0, 0.2]),
    limits=st.sampled_from([(1, 1), (900, 400), (1 << 24, 1 << 25)]),
)
def test_rows_of_a_strategy_take_selected_messages_on_any_clock(
    tmp_path: Path,
    strategy: RowStrategy,
    seed: int,
    n: int,
    chunk_size: int,
    bag: bool,
    share: float,
    limits: tuple[int, int],
) -> None:
    random_ = random.Random(seed)
    messages = spoil(samples(n, ros=1 if bag else 2, seed=seed, shuffled=True, connections=2), share, seed)
    random_.shuffle(messages)
    write: Callable[..., Path] = write_bag if bag else write_mcap
    with (
        pytest.MonkeyPatch.context() as patch,
        open_log(write(tmp_path / "log", messages, chunk_size=chunk_size)) as log,
    ):
        patch.setattr(assembly, "FLUSH_BYTES", limits[0])
        patch.setattr(assembly, "BATCH_BYTES", limits[1])
        streams = log.summary.streams
        wanted = [
            Wanted(
                stream,
                random_.choice(("header_stamp", "log_time")) if stream.topic in ("/imu", "/joints") else "log_time",
                np.array([random_.random() < 0.8 for _ in range(stream.message_count)], np.bool_),
            )
            for stream in streams
        ]
        stamps = read_stamps(log, wanted, lambda *_: None)
        index = log.index(log.slots(streams))
        used = [
            Source(s, StreamDecoder(s.definition, s.wire), found.time, ChunkRuns.of(index.slot(k)[1]), found.known)
            for k, (s, found) in enumerate(zip(streams, stamps, strict=True))
        ]
        whole = decoded(log)
        given_ = {
            s.topic: [(int(t), i) for i, (t, known) in enumerate(zip(found.time, found.known, strict=True)) if known]
            for s, found in zip(streams, stamps, strict=True)
        }
        found = plan_rows(strategy, {s.stream.topic: s.times for s in used})
        if isinstance(strategy, TriggerRows):
            rows, _ = strategies.trigger({"/imu": [], **given_}, "/imu", strategy.joins)
        else:
            rows = strategies.resample(
                {"/imu": [], **given_}, strategy.step_ns, "downsample", strategy.anchor_topic, skip_empty=True
            )
        columns = tuple(k for k in range(len(used)) if k in found.table.picks)
        got = assemble(log, used, [TableTask(found.table, schema_of(used, columns), columns)])[0]
        values = [
            [time, *(None if (at := row[streams[k].topic].value) is None else whole[k][at][1] for k in columns)]
            for time, row in rows
        ]
        assert repr(got) == repr(values)
        for source, (topic, mine) in zip(used, given_.items(), strict=True):
            times = [t for t, _ in mine]
            assert source.stream.topic == topic
            assert source.counts.messages == len(mine)
            assert source.counts.out_of_order == sum(t < max(times[: i + 1]) for i, t in enumerate(times))


def test_rows_that_take_no_message_leave_too(tmp_path: Path) -> None:
    with open_log(write_mcap(tmp_path / "log", samples(20))) as log:
        rows = Table(Listed(np.arange(5)), {})
        schema = pa.schema([("timestamp_ns", pa.int64())])
        assert assemble(log, [], [TableTask(rows, schema, ())]) == [[[0], [1], [2], [3], [4]]]
        used = sources(log)
        strategy = TriggerRows(trigger_topic="/a", joins=[Join(topic="/b", required=False)])
        rows = plan_rows(strategy, {"/b": NONE, "/a": np.arange(5)}).table
        rows = Table(rows.times, {0: rows.picks[0]})
        assert assemble(log, used, [TableTask(rows, schema_of(used, (0,)), (0,))])[0] == [[t, None] for t in range(5)]


def test_only_messages_that_a_row_takes_are_decoded(tmp_path: Path) -> None:
    with open_log(write_mcap(tmp_path / "log", samples(500))) as log:
        used = sources(log)
        (rows,) = assemble(log, used, [wide(used, Resample(freq_hz=2, method="downsample"), (0, 1, 2, 3))])
        taken = sum(value is not None for row in rows for value in row[1:])
        assert sum(s.counts.decoded for s in used) == taken < 100


def test_chunks_without_a_needed_message_are_not_read(tmp_path: Path) -> None:
    messages = samples(400, topics=["/imu"]) + [
        s._replace(time=s.time + 10**13) for s in samples(5, topics=["/chatter"])
    ]
    with open_log(write_mcap(tmp_path / "log", messages, chunk_size=3000)) as log:
        chatter = next(s for s in log.summary.streams if s.topic == "/chatter")
        index = log.index(log.slots([chatter]))
        used = [Source(chatter, StreamDecoder(chatter.definition, chatter.wire), *placed(index.slot(0)))]
        told: list[tuple[int, int]] = []
        list(Assembly(log, used, [single(used, 0)]).batches(lambda *step: told.append(step)))
        assert len(told) == len(np.unique(index.slot(0)[1])) < len(log.chunks) // 10


@pytest.mark.parametrize("resample", [None, Resample(freq_hz=100, method="interpolate")])
def test_memory_follows_the_window_not_the_log(
    tmp_path: Path, resample: Resample | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "FLUSH_BYTES", 4000)
    monkeypatch.setattr(assembly, "BATCH_BYTES", 4000)
    with open_log(write_mcap(tmp_path / "log", samples(3000), chunk_size=2000)) as log:
        used = sources(log)
        held = []
        for _ in Assembly(log, used, [wide(used, resample, (0, 1, 2, 3))]).batches(lambda *_: None):
            held.append(sum(piece.nbytes for s in used for _, piece in s._pieces))
        assert len(held) > 50
        assert max(held) < 40_000
        assert log.summary.size_bytes > 400_000


def test_a_table_without_messages_has_no_batches(tmp_path: Path) -> None:
    with open_log(write_mcap(tmp_path / "log", samples(20))) as log:
        stream = log.summary.streams[0]
        none = np.empty(0, np.int64), np.empty(0, np.int32)
        used = [Source(stream, StreamDecoder(stream.definition, stream.wire), *placed(none))]
        assert assemble(log, used, [wide(used, None, (0,)), single(used, 0)]) == [[], []]


def test_failures_name_the_time_and_the_reason(tmp_path: Path) -> None:
    messages = [Sample("/chatter", START_NS + i, b"\0\1\0\0" + bytes([9, 0, 0, 0, 65])) for i in range(9)]
    with open_log(write_mcap(tmp_path / "log", messages)) as log:
        used = sources(log)
        assert assemble(log, used, [single(used, 0)]) == [[]]
        counts = used[0].finish()
        assert (counts.decoded, counts.decode_failures, len(counts.failures)) == (0, 9, 5)
        assert counts.failures[0].log_time_ns == START_NS
        assert counts.failures[0].status

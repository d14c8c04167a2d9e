"""rosbag2 recordings: SQLite files, folders with and without metadata, splits, compression; the same rows of all."""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
import zstandard

from hephaes_rpc.engine.identity import identify
from hephaes_rpc.engine.logs import LogReader, StaleIndexError, open_log
from hephaes_rpc.engine.logs.composite import CompositeReader
from hephaes_rpc.engine.logs.recording import is_log_name, known_recording, recording_in
from hephaes_rpc.errors import HephaesError, LogError
from tests.engine.test_logs import read, written
from tests.factories import START_NS, Sample, samples, write_bag, write_mcap
from tests.recordings import pack, rows, write_db3, write_metadata

MESSAGES = samples(300)


def split(messages: list[Sample], parts: int = 3) -> list[list[Sample]]:
    size = -(-len(messages) // parts)
    return [messages[k : k + size] for k in range(0, len(messages), size)]


def write_splits(folder: Path, suffix: str, messages: list[Sample] = MESSAGES, prefix: str | None = None) -> list[Path]:
    folder.mkdir(parents=True)
    write: Callable[..., Path] = {"db3": write_db3, "mcap": write_mcap}[suffix]
    name = prefix or folder.name
    return [write(folder / f"{name}_{k}.{suffix}", part) for k, part in enumerate(split(messages))]


def by_rosbags(folder: Path, storage: str, mode: str) -> Path:
    """The recording as rosbags writes it."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    from tests.factories import TOPICS, store

    writer = Writer(folder, version=9, storage_plugin=StoragePlugin[storage])
    if mode:
        writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        connections = {t: writer.add_connection(t, TOPICS[t], typestore=store(2)) for t in sorted(TOPICS)}
        for message in MESSAGES:
            writer.write(connections[message.topic], message.time, message.payload)
    return folder


def splits_with_metadata(folder: Path, suffix: str, packed: bool, version: int) -> Path:
    paths = write_splits(folder, suffix, prefix="part")
    if packed:
        paths = [pack(path) for path in paths]
    return write_metadata(folder, [path.name for path in paths], version=version, compression="FILE" if packed else "")


FAMILY: dict[str, Callable[[Path], Path]] = {
    "mcap-none": lambda p: write_mcap(p / "a.mcap", MESSAGES),
    "mcap-lz4": lambda p: write_mcap(p / "a.mcap", MESSAGES, compression="lz4"),
    "mcap-zstd": lambda p: write_mcap(p / "a.mcap", MESSAGES, compression="zstd"),
    "mcap-loose": lambda p: write_mcap(p / "a.mcap", MESSAGES, chunked=False),
    "mcap-file-zstd": lambda p: pack(write_mcap(p / "a.mcap", MESSAGES)),
    "db3": lambda p: write_db3(p / "a.db3", MESSAGES),
    "db3-wal": lambda p: write_db3(p / "a.db3", MESSAGES, wal=True),
    "db3-messages-zstd": lambda p: write_db3(p / "a.db3", MESSAGES, packed=True),
    "db3-file-zstd": lambda p: pack(write_db3(p / "a.db3", MESSAGES)),
    "splits-mcap": lambda p: write_splits(p / "run", "mcap")[0].parent,
    "splits-db3": lambda p: write_splits(p / "run", "db3")[0].parent,
    "splits-other-name": lambda p: write_splits(p / "run", "db3", prefix="rosbag2_2024")[0].parent,
    "metadata-1": lambda p: splits_with_metadata(p / "run", "db3", False, 1),
    "metadata-5-packed": lambda p: splits_with_metadata(p / "run", "db3", True, 5),
    "metadata-9-mcap": lambda p: splits_with_metadata(p / "run", "mcap", False, 9),
    "rosbags-sqlite3": lambda p: by_rosbags(p / "run", "SQLITE3", ""),
    "rosbags-sqlite3-file": lambda p: by_rosbags(p / "run", "SQLITE3", "FILE"),
    "rosbags-sqlite3-message": lambda p: by_rosbags(p / "run", "SQLITE3", "MESSAGE"),
    "rosbags-mcap": lambda p: by_rosbags(p / "run", "MCAP", ""),
    "rosbags-mcap-file": lambda p: by_rosbags(p / "run", "MCAP", "FILE"),
    "rosbags-mcap-message": lambda p: by_rosbags(p / "run", "MCAP", "MESSAGE"),
}


@pytest.mark.parametrize("shape", sorted(FAMILY))
def test_the_same_recording_gives_the_same_rows(tmp_path, shape):
    (tmp_path / "plain").mkdir()
    with open_log(write_mcap(tmp_path / "plain" / "a.mcap", MESSAGES)) as log:
        expected = rows(log)
    path = FAMILY[shape](tmp_path)
    before = digest_of(path)
    with open_log(path) as log:
        found = rows(log)
        assert sorted(read(log)) == written(MESSAGES)
        assert (log.summary.outcome, log.summary.warnings, log.summary.lost_ranges) == ("whole", [], [])
        assert not log.summary.recovered
        log.rescan()
        assert sorted(read(log)) == written(MESSAGES)
    assert found.keys() == expected.keys()
    for key, (times, values) in expected.items():
        assert found[key][0] == times
        assert found[key][1].type == values.type
        assert found[key][1].equals(values) or found[key][1].to_pylist().__repr__() == values.to_pylist().__repr__()
    assert digest_of(path) == before, "the source is never touched"


def digest_of(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    files += [p for p in (path.with_name(path.name + "-wal"),) if p.exists()]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_recording_is_one_log_with_one_timeline(tmp_path):
    paths = write_splits(tmp_path / "run", "mcap")
    with open_log(tmp_path / "run") as log:
        assert isinstance(log, CompositeReader)
        summary = log.summary
        assert summary.message_count == len(MESSAGES)
        assert summary.size_bytes == sum(path.stat().st_size for path in paths)
        assert (summary.start_ns, summary.end_ns) == (MESSAGES[0].time, MESSAGES[-1].time)
        assert len(summary.streams) == 4
        assert all(len(stream.connections) == 3 for stream in summary.streams)
        assert summary.files == tuple(map(str, paths))
        slots = log.slots(summary.streams)
        index = log.index(slots)
        assert len(log.offsets(slots)) == len(index.time) == len(MESSAGES)
        for k in range(4):
            times, chunks = index.slot(k)
            assert times.tolist() == sorted(times.tolist())
            assert chunks.tolist() == sorted(chunks.tolist())
        log.close()


def test_progress_of_a_recording_ascends_over_all_its_files(tmp_path):
    paths = write_splits(tmp_path / "run", "mcap")
    told: list[tuple[int, int]] = []
    with open_log(tmp_path / "run", lambda done, total: told.append((done, total))):
        pass
    assert {total for _, total in told} == {sum(path.stat().st_size for path in paths)}
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
def test_a_missing_part_is_told(tmp_path, suffix):
    folder = splits_with_metadata(tmp_path / "run", suffix, False, 5)
    (folder / f"part_1.{suffix}").unlink()
    with open_log(folder) as log:
        assert log.summary.outcome == "part"
        assert log.summary.gaps == [f"part_1.{suffix} of the recording is missing"]
        assert sorted(read(log)) == written(split(MESSAGES)[0] + split(MESSAGES)[2])
    (folder / "metadata.yaml").unlink()
    with open_log(folder) as log:
        assert log.summary.gaps == ["part_1 of the recording is missing"]


def test_a_part_that_cannot_be_read_costs_that_part(tmp_path):
    folder = splits_with_metadata(tmp_path / "run", "mcap", False, 5)
    (folder / "part_1.mcap").write_bytes(b"nonsense")
    with open_log(folder) as log:
        (gap,) = log.summary.gaps
        assert gap.startswith("part_1.mcap cannot be read: ")
        assert [(lost.file, lost.start, lost.end) for lost in log.summary.lost_ranges] == [("part_1.mcap", 0, 8)]
        assert sorted(read(log)) == written(split(MESSAGES)[0] + split(MESSAGES)[2])
    for path in folder.glob("*.mcap"):
        path.write_bytes(b"nonsense")
    with pytest.raises(LogError, match="part_0"):
        open_log(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no YAML"),
        ("a: b", "has no rosbag2_bagfile_information"),
        ("rosbag2_bagfile_information: {version: 10, relative_file_paths: []}", "known are 1 to 9"),
        ("rosbag2_bagfile_information: {version: 5, relative_file_paths: 7}", "lists no files"),
        ("rosbag2_bagfile_information: {version: 5, relative_file_paths: [x.mcap]}", "lists other files"),
        ("rosbag2_bagfile_information: " + "[" * 100_000, "is no YAML"),
    ],
    ids=lambda text: text[:30],
)
def test_metadata_that_is_wrong_costs_only_itself(tmp_path, text, reason):
    write_splits(tmp_path / "run", "mcap")
    (tmp_path / "run" / "metadata.yaml").write_text(text)
    with open_log(tmp_path / "run") as log:
        assert sorted(read(log)) == written(MESSAGES)
        assert reason in log.summary.warnings[0]
        assert log.summary.outcome == "whole"


def test_metadata_names_no_files_elsewhere(tmp_path):
    outside = write_mcap(tmp_path / "secret.mcap", MESSAGES)
    write_splits(tmp_path / "run", "mcap")
    write_metadata(tmp_path / "run", [f"../{outside.name}", str(outside), "run_0.mcap"])
    found = recording_in(tmp_path / "run")
    assert found is not None
    assert (found.parts, found.missing) == (("run_0.mcap",), ("secret.mcap",)), "only names beside it count"


def test_which_folders_are_recordings(tmp_path):
    run = write_splits(tmp_path / "run", "mcap")[0].parent
    assert known_recording(run) is not None
    other = write_splits(tmp_path / "other", "mcap", prefix="night")[0].parent
    assert known_recording(other) is None, "files that happen to be numbered are not known to belong together"
    assert recording_in(other) is not None, "a folder that is asked for is"
    write_mcap(other / "else.mcap", [])
    with pytest.raises(LogError, match="holds 4 logs that are not known to be one recording"):
        open_log(other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HephaesError, match="no log lies in it"):
        open_log(tmp_path / "empty")
    one = tmp_path / "one"
    one.mkdir()
    pack(write_mcap(one / "one_0.mcap", MESSAGES), keep=True)
    found = recording_in(one)
    assert found is not None
    assert found.single == one / "one_0.mcap", "a packed file beside its unpacked self is the same"
    assert [is_log_name(n) for n in ("a.mcap", "a.DB3", "a.bag.zst", ".mcap", "zstd", "a.zstd", "a.mcap.gz")] == [
        *(True, True, True),
        *(False,) * 4,
    ]


class TestDb3:
    @pytest.mark.parametrize("schema", [1, 2, 3, 4])
    def test_every_storage_schema(self, tmp_path, schema):
        with open_log(write_db3(tmp_path / "a.db3", MESSAGES, schema=schema)) as log:
            assert sorted(read(log)) == written(MESSAGES)
            assert {s.undecodable for s in log.summary.streams} == {None}
            assert log.summary.library == ("rosbag2 testing" if schema > 2 else "")
            assert rows(log)

    @pytest.mark.parametrize(
        ("type_name", "reason"),
        [
            ("std_msgs/msg/Int64", "fit that of no ROS 2 distribution"),
            ("std_msgs/msg/Float64MultiArray", "fit that of no ROS 2 distribution"),
            ("my_msgs/msg/String", "no ROS 2 distribution has one"),
        ],
    )
    def test_types_without_definition_must_be_proven(self, tmp_path, type_name, reason):
        chatter = [m for m in MESSAGES if m.topic == "/chatter"]
        path = write_db3(tmp_path / "a.db3", chatter, schema=3, types={"/chatter": type_name})
        with open_log(path) as log:
            (stream,) = log.summary.streams
            assert stream.message_count == len(chatter)
            assert reason in (stream.undecodable or "")
            with pytest.raises(LogError, match="no definition"):
                _ = stream.definition

    def test_only_the_payloads_asked_for_are_read(self, tmp_path):
        big = [Sample("/blob", START_NS + k, b"\0\1\0\0" + bytes(1 << 20)) for k in range(20)]
        path = write_db3(tmp_path / "a.db3", [*big, *MESSAGES])
        with open_log(path) as log:
            reads: list[int] = []
            original = log._file.read_up_to
            log._file.read_up_to = lambda at, n: (reads.append(n), original(at, n))[1]
            slots = log.slots([s for s in log.summary.streams if s.topic == "/imu"])
            for i in set(log.index(slots).chunk.tolist()):
                log.messages(i, slots)
            assert sum(reads) < 1 << 20

    def test_many_rows_make_several_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("hephaes_rpc.engine.logs.db3.CHUNK_BYTES", 3000)
        monkeypatch.setattr("hephaes_rpc.engine.logs.db3.BATCH_ROWS", 7)
        shuffled = samples(300, shuffled=True)
        with open_log(write_db3(tmp_path / "a.db3", shuffled)) as log:
            assert len(log.chunks) > 10
            assert sorted(read(log)) == written(shuffled)

    def test_rows_that_changed_are_a_stale_index(self, tmp_path):
        path = write_db3(tmp_path / "a.db3", MESSAGES)
        with open_log(path) as log:
            log._rows[0].time[3] += 1
            with pytest.raises(StaleIndexError):
                list(read(log))
            log.rescan()
            assert sorted(read(log)) == written(MESSAGES)

    @pytest.mark.parametrize("page_size", [512, 4096, 65536])
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
    def test_a_cut_database_gives_what_is_there(self, tmp_path, page_size, kept):
        path = write_db3(tmp_path / "a.db3", MESSAGES, page_size=page_size)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        try:
            with open_log(path) as log:
                found = list(read(log))
                assert set(found) <= set(written(MESSAGES))
                assert log.summary.outcome == "part"
                assert log.summary.recovered
                assert log.summary.lost_ranges[-1].start == path.stat().st_size
        except LogError as error:
            assert "rosbag2" in error.message or "nothing that can be read" in error.message  # noqa: PT017

    def test_damaged_pages_cost_their_rows(self, tmp_path):
        path = write_db3(tmp_path / "a.db3", samples(2000), page_size=512)
        data = bytearray(path.read_bytes())
        every = set(written(samples(2000)))
        leaves = [at for at in range(0, len(data), 512) if at and data[at] == 0x0D]
        for at in random.Random(1).sample(leaves[5:], 3):
            data[at : at + 512] = bytes(512)
        path.write_bytes(data)
        with open_log(path) as log:
            found = list(read(log))
            assert set(found) < every
            assert len(found) > 0.8 * len(every)
            assert log.summary.outcome == "part"

    def test_payloads_on_damaged_pages_are_left_out_by_a_rescan(self, tmp_path):
        big = [Sample("/blob", START_NS + k, b"\0\1\0\0" + bytes([k]) * 5000) for k in range(20)]
        path = write_db3(tmp_path / "a.db3", big, page_size=512)
        data = bytearray(path.read_bytes())
        at = data.index(bytes([7]) * 400) // 512 * 512
        data[at : at + 4] = b"\xff" * 4
        path.write_bytes(data)
        with open_log(path) as log:
            assert log.summary.message_count == 20
            with pytest.raises(StaleIndexError):
                list(read(log))
            log.rescan()
            assert sorted(read(log)) == written([m for k, m in enumerate(big) if k != 7])
            assert log.summary.gaps == ["1 messages on damaged pages are left out"]

    def test_flipped_bytes_never_crash(self, tmp_path):
        path = write_db3(tmp_path / "a.db3", MESSAGES, page_size=512)
        data = path.read_bytes()
        random_ = random.Random(2)
        for _ in range(150):
            mutated = bytearray(data)
            for _ in range(random_.choice((1, 1, 4, 20))):
                mutated[random_.randrange(len(data))] = random_.randrange(256)
            path.write_bytes(mutated)
            begin = time.monotonic()
            try:
                with open_log(path) as log:
                    list(read(log))
            except HephaesError:
                pass
            assert time.monotonic() - begin < 10

    @pytest.mark.parametrize(
        "statements",
        [
            "CREATE TABLE topics (id)",
            "CREATE VIEW topics AS SELECT 1 id, 'a' name, 'b' type, 'cdr' serialization_format;"
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id, timestamp, data)",
            "CREATE TABLE topics (id INTEGER PRIMARY KEY, name, type, serialization_format);"
            "CREATE VIEW messages AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r)"
            " SELECT id, 1 topic_id, 1 timestamp, x'00' data FROM r",
            "CREATE TABLE topics (id INTEGER PRIMARY KEY, name, type, serialization_format);"
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id, timestamp,"
            " data AS (hex(zeroblob(500000000))))",
        ],
    )
    def test_databases_that_are_something_else(self, tmp_path, statements):
        path = tmp_path / "a.db3"
        db = apsw.Connection(str(path))
        db.execute(statements)
        db.close()
        with pytest.raises(LogError, match="no rosbag2 storage") as error:
            open_log(path)
        assert error.value.kind == "bad_input"

    def test_rows_that_are_no_messages_are_left_out(self, tmp_path):
        path = write_db3(tmp_path / "a.db3", MESSAGES)
        db = apsw.Connection(str(path))
        for row in ((1, "late", b"x"), (1, -5, b"x"), (99, 5, b"x"), (1, 5, "text"), (1, 5.5, b"x")):
            db.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", row)
        db.close()
        with open_log(path) as log:
            assert sorted(read(log)) == written(MESSAGES)
            assert log.summary.gaps == [
                "4 rows that are no messages are left out",
                "1 messages of topics that are declared nowhere are left out",
            ]

    def test_the_write_ahead_log_is_read_up_to_its_last_commit(self, tmp_path):
        path = write_db3(tmp_path / "a.db3", MESSAGES, wal=True)
        wal = path.with_name("a.db3-wal")
        data = wal.read_bytes()
        with open_log(path) as log:
            assert log.summary.message_count == len(MESSAGES)
        wal.write_bytes(data[: len(data) // 2])
        with open_log(path) as log:
            assert log.summary.message_count == 0, "the transaction of the messages was never committed"
        assert not list(tmp_path.glob("*-shm"))

    def test_work_can_be_ended(self, tmp_path):
        path = write_db3(tmp_path / "a.db3", MESSAGES)

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            open_log(path, stop)


class TestPacked:
    def test_a_bomb_is_refused(self, tmp_path):
        packer = zstandard.ZstdCompressor().compressobj()
        data = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
        (tmp_path / "a.mcap.zstd").write_bytes(data)
        begin = time.monotonic()
        with pytest.raises(LogError, match="the limit is 1000 to 1") as error:
            open_log(tmp_path / "a.mcap.zstd")
        assert error.value.kind == "unsupported"
        assert time.monotonic() - begin < 10

    def test_a_cut_file_keeps_what_came_before(self, tmp_path):
        messages = samples(20_000, topics=["/imu"])
        path = pack(write_mcap(tmp_path / "a.mcap", messages))
        path.write_bytes(path.read_bytes()[:1_000_000])
        with open_log(path) as log:
            assert "its compressed data is cut" in log.summary.gaps
            assert 0 < log.summary.message_count < len(messages)

    def test_several_frames_are_one_file(self, tmp_path):
        path = write_mcap(tmp_path / "a.mcap", MESSAGES)
        data = path.read_bytes()
        parts = [data[k : k + 5000] for k in range(0, len(data), 5000)]
        path.write_bytes(b"".join(map(zstandard.compress, parts)))
        with open_log(path) as log:
            assert sorted(read(log)) == written(MESSAGES)
            assert log.summary.size_bytes == path.stat().st_size

    def test_what_is_inside_counts(self, tmp_path):
        for content, match in ((b"hello", "no ROS bag"), (zstandard.compress(b"hello"), "inside another")):
            (tmp_path / "a.mcap.zstd").write_bytes(zstandard.compress(content))
            with pytest.raises(LogError, match=match):
                open_log(tmp_path / "a.mcap.zstd")
        bag = pack(write_bag(tmp_path / "a.bag", samples(50, ros=1)))
        with open_log(bag) as log:
            assert (log.summary.storage_format, log.summary.message_count) == ("bag", 50)

    def test_nothing_is_left_behind(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
        (tmp_path / "t").mkdir()
        with open_log(pack(write_mcap(tmp_path / "a.mcap", MESSAGES))):
            assert not list((tmp_path / "t").iterdir())

    def test_a_message_that_is_no_frame_is_malformed(self, tmp_path):
        broken = [m._replace(payload=zstandard.compress(m.payload)[:-3]) for m in MESSAGES[:5]]
        with open_log(write_db3(tmp_path / "a.db3", [*broken, *MESSAGES[5:]])) as log:
            assert len(list(read(log))) == len(MESSAGES)


def test_the_corpus_reads_as_rosbags_reads_it(shared, tmp_path):
    """Every folder of the corpus that is a recording, and every SQLite file, message by message."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    counted = 0
    for path in sorted((shared / "corpus").rglob("*.db3")):
        if not path.stat().st_size:
            continue
        folder = tmp_path / str(counted)
        folder.mkdir()
        shutil.copy(path, folder)
        with AnyReader([folder / path.name], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            expected = sorted((c.topic, t, bytes(raw)) for c, t, raw in reader.messages())
        with open_log(path) as log:
            assert sorted(read(log)) == expected, path
            assert log.summary.warnings == [
                f"{s.topic}: serialization format 'wrong_format' is unknown; it is read as cdr"
                for s in log.summary.streams
                if s.connections[0].encoding == "wrong_format"
            ]
        counted += 1
    assert counted > 30
    for name, count in (("mcap/wbag", 6074), ("sqlite3/wbag", 6074), ("mcap/reindex_test_bags/multiple_files", 3177)):
        with open_log(shared / "corpus" / "ros2__rosbag2" / "rosbag2_py" / "test" / "resources" / name) as opened:
            log: LogReader = opened
            assert log.summary.message_count == len(list(read(log))) == count


class TestChanges:
    """A folder that changes while it is read is noticed, one that does not is not."""

    @pytest.mark.parametrize("suffix", ["mcap", "db3"])
    def test_an_unchanged_folder(self, tmp_path, suffix):
        folder = splits_with_metadata(tmp_path / "run", suffix, False, 5)
        identity = identify(folder)
        with open_log(folder) as log:
            (folder / "notes.txt").write_text("nothing of the recording")
            (folder / "metadata.yaml").touch()
            log.require_unchanged()
            log.require_unchanged(may_grow=True)
        assert identify(folder) == identity

    @pytest.mark.parametrize("change", ["write", "replace", "remove", "rename", "cut"])
    def test_a_part_that_changes(self, tmp_path, change):
        folder = splits_with_metadata(tmp_path / "run", "mcap", False, 5)
        part = folder / "part_1.mcap"
        data = part.read_bytes()
        identity = identify(folder)
        with open_log(folder) as log:
            if change == "write":
                part.write_bytes(data[:-1] + b"\n")
            elif change == "replace":
                (folder / "other").write_bytes(data)
                (folder / "other").replace(part)
            elif change == "remove":
                part.unlink()
            elif change == "rename":
                part.rename(folder / "part_7.mcap")
            else:
                os.truncate(part, 1000)
            for may_grow in (False, True):
                with pytest.raises(HephaesError, match=r"changed while it was read") as error:
                    log.require_unchanged(may_grow=may_grow)
                assert error.value.kind == "source_changed"
        assert identify(folder) != identity

    def test_a_part_that_is_added(self, tmp_path):
        folder = write_splits(tmp_path / "run", "mcap")[0].parent
        with open_log(folder) as log:
            write_mcap(folder / "run_3.mcap", MESSAGES)
            log.require_unchanged(may_grow=True)
            with pytest.raises(HephaesError, match="it had 3 files and has 4 now"):
                log.require_unchanged()

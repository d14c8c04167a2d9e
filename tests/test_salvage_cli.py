"""``hephaes-rpc salvage``: the new file holds what was recovered, the log is never written."""

import hashlib
import json
from pathlib import Path

import pytest

from hephaes_rpc.cli.commands import run
from hephaes_rpc.engine.logs import open_log
from tests.engine.test_logs import read, theirs
from tests.engine.test_recordings import write_splits
from tests.factories import samples, write_bag, write_mcap
from tests.recordings import rows, write_db3

MESSAGES = samples(300)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_cut_log_becomes_a_whole_one(tmp_path, capsys):
    path = write_mcap(tmp_path / "a.mcap", MESSAGES, compression="zstd")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = digest(path)
    assert run(["salvage", str(path), "-o", str(tmp_path / "new.mcap"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with open_log(path) as log:
        expected = sorted(read(log))
    assert said["messages_written"] == len(expected)
    assert said["recovered"]
    assert said["reason"] == said["gaps"][0]
    assert said["lost_ranges"][0]["start"] >= 0
    assert digest(path) == before
    with open_log(tmp_path / "new.mcap") as new:
        assert (new.summary.outcome, new.summary.warnings) == ("whole", [])
        assert sorted(read(new)) == expected
    assert sorted(theirs(tmp_path / "new.mcap")) == expected, "other readers read it, too"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.mcap", "new.mcap"]


@pytest.mark.parametrize("kind", ["bag", "db3", "db3-old", "splits", "packed"])
def test_every_container_can_be_written_anew(tmp_path, capsys, kind):
    path = {
        "bag": lambda: write_bag(tmp_path / "a.bag", samples(300, ros=1), closed=False),
        "db3": lambda: write_db3(tmp_path / "a.db3", MESSAGES),
        "db3-old": lambda: write_db3(tmp_path / "a.db3", MESSAGES, schema=2),
        "splits": lambda: write_splits(tmp_path / "run", "mcap")[0].parent,
        "packed": lambda: write_db3(tmp_path / "a.db3", MESSAGES, packed=True),
    }[kind]()
    assert run(["salvage", str(path), "-o", str(tmp_path / "new.mcap")]) == 0
    assert "300 messages" in capsys.readouterr().out
    with open_log(path) as log, open_log(tmp_path / "new.mcap") as new:
        assert sorted(read(new)) == sorted(read(log))
        ours, others = rows(new), rows(log)
        assert ours.keys() == others.keys()
        assert all(ours[key][0] == others[key][0] for key in ours)
        assert all(repr(ours[key][1].to_pylist()) == repr(others[key][1].to_pylist()) for key in ours)
        assert new.summary.ros_version == log.summary.ros_version


def test_sequence_numbers_stay(tmp_path):
    from mcap.reader import make_reader

    path = write_mcap(tmp_path / "a.mcap", MESSAGES, compression="lz4")
    assert run(["salvage", str(path), "-o", str(tmp_path / "new.mcap")]) == 0
    found = []
    for file in (path, tmp_path / "new.mcap"):
        with file.open("rb") as stream:
            found.append(
                sorted((m.sequence, m.log_time, m.publish_time) for _, _, m in make_reader(stream).iter_messages())
            )
    assert found[0] == found[1]


def with_asides(path: Path, attachment_bytes: int = 5000) -> Path:
    """A log with two attachments and two metadata records between its chunks and behind them."""
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file, chunk_size=2000)
        writer.start()
        schema = writer.register_schema("std_msgs/msg/Int8", "ros2msg", b"int8 data")
        channel = writer.register_channel("/a", "cdr", schema)
        for k in range(300):
            writer.add_message(channel, k, b"\0\1\0\0" + bytes([k % 128]), k)
            if k == 100:
                writer.add_attachment(1, 2, "calib.yaml", "text/yaml", b"a" * attachment_bytes)
                writer.add_metadata("run", {"operator": "ä", "empty": ""})
        writer.add_attachment(3, 4, "", "", b"")
        writer.add_metadata("end", {})
        writer.finish()
    return path


def asides(path: Path) -> tuple[list[tuple[int, int, str, str, bytes]], list[tuple[str, dict[str, str]]]]:
    """Attachments and metadata as another reader sees them."""
    from mcap.reader import make_reader

    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        attachments = [(a.create_time, a.log_time, a.name, a.media_type, a.data) for a in reader.iter_attachments()]
        metadata = [(m.name, m.metadata) for m in reader.iter_metadata()]
    return sorted(attachments), sorted(metadata, key=lambda m: m[0])


def test_attachments_and_metadata_come_along(tmp_path, capsys):
    path = with_asides(tmp_path / "a.mcap")
    assert run(["salvage", str(path), "-o", str(tmp_path / "new.mcap")]) == 0
    told = capsys.readouterr().out
    assert "2 attachments and 2 metadata records" in told
    assert "nothing is missing" in told
    assert asides(tmp_path / "new.mcap") == asides(path)
    assert len(asides(path)[0]) == 2


def test_attachments_that_are_damaged_are_told(tmp_path, capsys):
    path = with_asides(tmp_path / "a.mcap")
    data = path.read_bytes()
    at = data.index(b"a" * 100)
    path.write_bytes(data[:at] + b"b" + data[at + 1 :])
    assert run(["salvage", str(path), "-o", str(tmp_path / "one.mcap"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["messages_written"], said["attachments_written"], said["metadata_written"]) == (300, 1, 2)
    assert said["left_out"][0].endswith("the CRC of attachment 'calib.yaml' does not match; it is left out")
    path.write_bytes(data[: at + 2000])
    assert run(["salvage", str(path), "-o", str(tmp_path / "two.mcap"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["attachments_written"], said["metadata_written"]) == (0, 0)
    assert "an attachment is damaged" in said["left_out"][0]
    assert 40 < said["messages_written"] < 300
    garbage = data.index(b"calib.yaml") - 30
    path.write_bytes(data[:garbage] + bytes(50) + data[garbage + 50 :])
    assert run(["salvage", str(path), "-o", str(tmp_path / "three.mcap"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["messages_written"] == 300
    assert said["gaps"]
    assert (tmp_path / "three.mcap").exists()


def test_what_the_parts_of_a_recording_repeat_comes_once(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for k in range(2):
        with_asides(tmp_path / "run" / f"run_{k}.mcap", 5000 + k)
    assert run(["salvage", str(tmp_path / "run"), "-o", str(tmp_path / "new.mcap"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["messages_written"], said["attachments_written"], said["metadata_written"]) == (600, 3, 2)


def test_the_log_is_never_overwritten(tmp_path, capsys):
    path = write_mcap(tmp_path / "a.mcap", MESSAGES)
    (tmp_path / "link.mcap").symlink_to(path)
    (tmp_path / "hard.mcap").hardlink_to(path)
    before = digest(path)
    for name in ("a.mcap", "link.mcap", "hard.mcap"):
        assert run(["salvage", str(path), "-o", str(tmp_path / name), "--overwrite"]) == 2
        assert "is the log itself" in capsys.readouterr().err
    run_folder = write_splits(tmp_path / "run", "mcap")[0].parent
    assert run(["salvage", str(run_folder), "-o", str(run_folder / "run_1.mcap"), "--overwrite"]) == 2
    other = write_mcap(tmp_path / "other.mcap", [])
    assert run(["salvage", str(path), "-o", str(other)]) == 2
    assert "is already there" in capsys.readouterr().err
    assert run(["salvage", str(path), "-o", str(other), "--overwrite"]) == 0
    assert digest(path) == before


def test_what_is_no_log_leaves_no_file(tmp_path, capsys):
    (tmp_path / "a.mcap").write_bytes(b"nonsense")
    assert run(["salvage", str(tmp_path / "a.mcap"), "-o", str(tmp_path / "new.mcap")]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.mcap"]

"""Which path is a log: a file, a recording's folder, any part of a recording."""

from pathlib import Path

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.logfiles import log_file, logs_below
from tests.engine.test_recordings import MESSAGES, split, write_splits
from tests.factories import write_mcap
from tests.recordings import pack, write_db3, write_metadata


@pytest.fixture
def run(tmp_path: Path) -> Path:
    paths = write_splits(tmp_path / "run", "db3", prefix="part")
    return write_metadata(tmp_path / "run", [path.name for path in paths])


def test_any_part_registers_the_recording(run: Path) -> None:
    whole = log_file(run)
    assert whole.path == run
    assert whole.size_bytes == sum(path.stat().st_size for path in run.glob("*.db3"))
    assert whole.mtime_ns == max(path.stat().st_mtime_ns for path in run.glob("*.db3"))
    for path in run.glob("*.db3"):
        assert log_file(path) == whole


def test_a_recording_of_one_file_is_that_file(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    path = pack(write_db3(folder / "one_0.db3", MESSAGES))
    write_metadata(folder, ["one_0.db3.zstd"], compression="FILE")
    assert log_file(folder) == log_file(path)
    assert log_file(path).path == path


def test_logs_that_are_no_parts_stay_logs(tmp_path: Path) -> None:
    for k, part in enumerate(split(MESSAGES)):
        write_mcap(tmp_path / f"drive_{k}.mcap", part)
    assert log_file(tmp_path / "drive_1.mcap").path == tmp_path / "drive_1.mcap"
    write_mcap(tmp_path / "else.mcap", [])
    with pytest.raises(HephaesError, match="not known to be one recording") as error:
        log_file(tmp_path)
    assert error.value.kind == "invalid_path"


def test_a_scan_finds_recordings_as_one(run: Path, tmp_path: Path) -> None:
    other = write_mcap(run / "beside.mcap", MESSAGES)
    single = write_mcap(tmp_path / "single.mcap", MESSAGES)
    packed = pack(write_mcap(tmp_path / "packed.mcap", MESSAGES))
    assert logs_below(tmp_path, True, lambda _: None) == sorted([run, other, single, packed])

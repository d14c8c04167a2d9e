"""The log that was looked at last: swept once while it is the same file, anew when it is another."""

import os
import shutil
from pathlib import Path

import pytest

from hephaes_rpc.engine.logs.kept import KeptLog
from hephaes_rpc.engine.logs.mcap import McapReader
from hephaes_rpc.errors import HephaesError, LogError
from tests.factories import samples, write_bag, write_mcap


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of MCAP files that were swept."""
    swept: list[str] = []
    plain = McapReader._sweep

    def counted(self: McapReader) -> None:
        swept.append(self._file.path)
        plain(self)

    monkeypatch.setattr(McapReader, "_sweep", counted)
    return swept


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def counts(kept: KeptLog, path: Path) -> tuple[int, list[int]]:
    """Messages of the log, and of each chunk as it is read."""
    with kept.open(str(path), lambda done, total: None) as log:
        slots = log.slots(log.summary.streams)
        read = [log.messages(i, slots)[1].messages for i in range(len(log.chunks))]
        return log.summary.message_count, read


def test_the_same_file_is_swept_once(tmp_path: Path, sweeps: list[str]) -> None:
    path = write_mcap(tmp_path / "a.mcap", samples(200), chunk_size=3000)
    kept = KeptLog()
    first = counts(kept, path)
    assert first[0] == sum(first[1]) == 200
    assert [counts(kept, path) for _ in range(3)] == [first] * 3
    assert len(sweeps) == 1


def test_between_uses_no_file_is_open(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.bag", samples(50))
    kept, before = KeptLog(), open_descriptors()
    counts(kept, path)
    assert open_descriptors() == before
    with pytest.raises(RuntimeError, match="work failed"), kept.open(str(path), lambda done, total: None):
        raise RuntimeError("work failed")
    assert open_descriptors() == before


@pytest.mark.parametrize("how", ["grown", "rewritten", "replaced"])
def test_another_file_of_that_name_is_swept_anew(tmp_path: Path, sweeps: list[str], how: str) -> None:
    path, other = write_mcap(tmp_path / "a.mcap", samples(200)), write_mcap(tmp_path / "b.mcap", samples(120))
    kept = KeptLog()
    assert counts(kept, path)[0] == 200
    if how == "replaced":
        shutil.copystat(path, other)
        other.replace(path)
    else:
        path.write_bytes(other.read_bytes() if how == "rewritten" else path.read_bytes() + b"\0")
    assert counts(kept, path)[0] == (200 if how == "grown" else 120)
    assert len(sweeps) == 2


def test_a_change_of_time_alone_counts(tmp_path: Path, sweeps: list[str]) -> None:
    path = write_mcap(tmp_path / "a.mcap", samples(60))
    kept = KeptLog()
    counts(kept, path)
    os.utime(path, ns=(1, 1))
    counts(kept, path)
    assert len(sweeps) == 2


def test_what_failed_is_forgotten(tmp_path: Path, sweeps: list[str]) -> None:
    path = write_mcap(tmp_path / "a.mcap", samples(60))
    kept = KeptLog()
    counts(kept, path)
    with pytest.raises(LogError), kept.open(str(path), lambda done, total: None):
        raise LogError("bad_input", "a chunk is damaged")
    counts(kept, path)
    assert len(sweeps) == 2
    path.unlink()
    with pytest.raises(HephaesError, match="does not exist"):
        counts(kept, path)


def test_one_log_is_kept(tmp_path: Path, sweeps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (write_mcap(tmp_path / f"{name}.mcap", samples(60)) for name in "ab")
    kept = KeptLog()
    for path in (one, other, one, one):
        counts(kept, path)
    assert len(sweeps) == 3
    monkeypatch.setattr("hephaes_rpc.engine.logs.kept.MAX_MESSAGES", 59)
    for _ in range(2):
        counts(kept, one)
    assert len(sweeps) == 4

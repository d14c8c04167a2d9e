"""A log that changes, shrinks or vanishes while it is read: an error that says so, no dataset of two halves."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hephaes_rpc.engine.pipeline import ConvertTask, Phase, Unit, convert
from hephaes_rpc.engine.specs.spec import ConversionSpec, ParquetOutput
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.testing.logs import samples, write_bag, write_mcap
from tests.corpus import Context
from tests.e2e.conftest import SpawnSidecar
from tests.e2e.sidecar import RpcError

Harm = Callable[[Path], None]


def vanish(path: Path) -> None:
    path.unlink()


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    found = path.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.rename(path)


def touch(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff")
    os.utime(path, ns=(1, 1))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1000))


class Harming(Context):
    """Harms the log when a phase is told for the first time."""

    def __init__(self, phase: str, harm: Callable[[], None]) -> None:
        super().__init__()
        self._phase, self._harm, self._done = phase, harm, False

    def progress(self, phase: Phase, done: int, total: int, unit: Unit, message: str = "") -> None:
        super().progress(phase, done, total, unit, message)
        if phase == self._phase and not self._done:
            self._done = True
            self._harm()


@pytest.fixture(params=["mcap", "bag"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "mcap":
        return write_mcap(tmp_path / "run.mcap", samples(2000), compression="zstd", chunk_size=1 << 14)
    return write_bag(tmp_path / "run.bag", samples(2000, ros=1), compression="lz4", chunk_size=1 << 14)


@pytest.mark.parametrize("phase", ["plan", "decode", "write", "publish"])
@pytest.mark.parametrize("harm", [vanish, halve, empty, replace, touch, grow], ids=lambda harm: harm.__name__)
def test_a_conversion_tells_and_publishes_nothing(log: Path, tmp_path: Path, harm: Harm, phase: str) -> None:
    task = ConvertTask(
        log_path=str(log),
        spec=ConversionSpec(output=ParquetOutput()),
        output_dir=str(tmp_path / "out"),
        episode_id="e",
        stem="run",
    )
    with pytest.raises(HephaesError) as told:
        convert(task, Harming(phase, lambda: harm(log)))
    assert told.value.kind == "source_changed"
    assert str(log) in told.value.message
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


@pytest.mark.e2e
def test_an_asset_that_has_gone_is_told_by_name(spawn: SpawnSidecar, tmp_path: Path) -> None:
    log = write_mcap(tmp_path / "run.mcap", samples(200))
    sidecar = spawn()
    sidecar.initialize()
    sidecar.request("workspaces/create", {"root_path": str(tmp_path / "w")})
    asset = sidecar.request("assets/register", {"file_path": str(log)})["id"]
    sidecar.request("assets/index", {"asset_id": asset})
    log.unlink()
    made = sidecar.request("conversions/create", {"asset_ids": [asset], "output": {"format": "parquet"}})
    job = sidecar.wait_for_job(made["job_id"])
    assert (job["status"], job["error"]["kind"]) == ("failed", "asset_unavailable")
    assert str(log) in job["error"]["message"]
    with pytest.raises(RpcError) as told:
        sidecar.request("assets/index", {"asset_id": asset})
    assert told.value.data["kind"] == "asset_unavailable"
    assert sidecar.request("health")["status"] == "ok"

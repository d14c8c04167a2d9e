"""The pytest plugin: a real sidecar for a test, and what goes with it.  Every fixture begins with ``hephaes_``."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hephaes_rpc.testing.sidecar import Sidecar
    from hephaes_rpc.testing.typed import TypedClient

SpawnSidecar = Callable[..., "Sidecar"]
WriteLog = Callable[..., Path]


@pytest.fixture
def hephaes_spawn(tmp_path: Path) -> Iterator[SpawnSidecar]:
    """Starts sidecars (``hephaes_spawn(data_dir=..., env=..., args=...)``), not yet initialized; all are ended."""
    from hephaes_rpc.testing.sidecar import Sidecar

    started: list[Sidecar] = []

    def start(data_dir: Path | None = None, **options: Any) -> Sidecar:
        sidecar = Sidecar(data_dir or tmp_path / "data", **options)
        started.append(sidecar)
        return sidecar

    yield start
    for sidecar in started:
        sidecar.stop()
    for sidecar in started:
        assert sidecar.stray == b"", "bytes on stdout that are no frame"


@pytest.fixture
def hephaes_sidecar(hephaes_spawn: SpawnSidecar) -> "Sidecar":
    """An initialized sidecar with a data folder of its own and no workspace."""
    sidecar = hephaes_spawn()
    sidecar.initialize()
    return sidecar


@pytest.fixture
def hephaes_workspace(hephaes_sidecar: "Sidecar", tmp_path: Path) -> Path:
    """The root of a new workspace, active in ``hephaes_sidecar``."""
    root = tmp_path / "workspace"
    hephaes_sidecar.request("workspaces/create", {"root_path": str(root)})
    return root


@pytest.fixture
def hephaes_client(hephaes_sidecar: "Sidecar", hephaes_workspace: Path) -> "TypedClient":
    """A typed client of ``hephaes_sidecar``, with an active workspace."""
    del hephaes_workspace
    from hephaes_rpc.testing.typed import TypedClient

    return TypedClient(hephaes_sidecar)


@pytest.fixture
def hephaes_mcap(tmp_path: Path) -> WriteLog:
    """Writes an MCAP: ``hephaes_mcap("drive.mcap", n=300, topics=("/imu",), compression="zstd", ...)``."""

    def write(name: str = "drive.mcap", n: int = 100, *, seed: int = 1, **options: Any) -> Path:
        from hephaes_rpc.testing import logs

        topics = options.pop("topics", tuple(logs.TOPICS))
        return logs.write_mcap(tmp_path / name, logs.samples(n, seed=seed, topics=topics), **options)

    return write


@pytest.fixture
def hephaes_bag(tmp_path: Path) -> WriteLog:
    """Writes a ROS1 bag: ``hephaes_bag("drive.bag", n=300, topics=("/imu",), compression="lz4", ...)``."""

    def write(name: str = "drive.bag", n: int = 100, *, seed: int = 1, **options: Any) -> Path:
        from hephaes_rpc.testing import logs

        topics = options.pop("topics", tuple(logs.TOPICS))
        return logs.write_bag(tmp_path / name, logs.samples(n, ros=1, seed=seed, topics=topics), **options)

    return write

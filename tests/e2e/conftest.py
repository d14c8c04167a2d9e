"""Fixtures of the tests that drive the real sidecar."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.sidecar import Sidecar

SpawnSidecar = Callable[..., Sidecar]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[SpawnSidecar]:
    """Starts sidecars (``spawn(data_dir=..., env=..., args=...)``), not yet initialized; all are ended afterwards."""
    started: list[Sidecar] = []

    def start(data_dir: Path | None = None, **options: Any) -> Sidecar:
        sidecar = Sidecar(data_dir or tmp_path / "data", **options)
        started.append(sidecar)
        return sidecar

    yield start
    for sidecar in started:
        sidecar.stop()
        assert sidecar.stray == b"", "bytes on stdout that are no frame"


@pytest.fixture
def sidecar(spawn: SpawnSidecar) -> Sidecar:
    """An initialized sidecar with a data folder of its own and no workspace."""
    running = spawn()
    running.initialize()
    return running


PROBE = [sys.executable, str(Path(__file__).with_name("probe.py"))]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """An initialized sidecar with the methods of ``probe.py``, one for a whole module."""
    with Sidecar(tmp_path_factory.mktemp("probe"), command=PROBE) as running:
        running.initialize()
        yield running
        assert running.stray == b"", "bytes on stdout that are no frame"
        assert running.shutdown() == 0

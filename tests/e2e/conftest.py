"""Fixtures of the tests that drive the real sidecar: those of the plugin under short names, and a probe."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hephaes_rpc.testing.plugin import SpawnSidecar
from tests.e2e.sidecar import Sidecar

__all__ = ["SpawnSidecar"]


@pytest.fixture
def spawn(hephaes_spawn: SpawnSidecar) -> SpawnSidecar:
    """Starts sidecars (``spawn(data_dir=..., env=..., args=...)``), not yet initialized; all are ended afterwards."""
    return hephaes_spawn


@pytest.fixture
def sidecar(hephaes_sidecar: Sidecar) -> Sidecar:
    """An initialized sidecar with a data folder of its own and no workspace."""
    return hephaes_sidecar


PROBE = [sys.executable, str(Path(__file__).with_name("probe.py"))]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """An initialized sidecar with the methods of ``probe.py``, one for a whole module."""
    with Sidecar(tmp_path_factory.mktemp("probe"), command=PROBE) as running:
        running.initialize()
        yield running
        assert running.stray == b"", "bytes on stdout that are no frame"
        assert running.shutdown() == 0

"""Fixtures of the tests that drive the real sidecar: those of the plugin under short names, and a probe."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.testing.plugin import SpawnSidecar
from tests.e2e.logs import write_long_log
from tests.e2e.sidecar import Sidecar

__all__ = ["SpawnSidecar"]


ASKED_ONLY = {"HEPHAES_ANALYZE": "off"}
"""For a sidecar that analyzes logs only when it is asked: tests of other things need not wait for that."""


@pytest.fixture
def spawn(hephaes_spawn: SpawnSidecar) -> SpawnSidecar:
    """Starts sidecars (``spawn(data_dir=..., env=..., args=...)``), not yet initialized; all are ended afterwards.

    They analyze logs only when asked; ``hephaes_sidecar`` is one that does as by default.
    """

    def start(data_dir: Path | None = None, *, env: Mapping[str, str] | None = None, **options: Any) -> Sidecar:
        return hephaes_spawn(data_dir, env={**ASKED_ONLY, **(env or {})}, **options)

    return start


@pytest.fixture
def sidecar(spawn: SpawnSidecar) -> Sidecar:
    """An initialized sidecar with a data folder of its own and no workspace."""
    running = spawn()
    running.initialize()
    return running


@contextmanager
def well_behaved(folder: Path, **options: Any) -> Iterator[Sidecar]:
    """An initialized sidecar that ends with 0 and has written nothing but frames."""
    with Sidecar(folder, **options) as running:
        running.initialize()
        yield running
        assert running.stray == b"", "bytes on stdout that are no frame"
        assert running.shutdown() == 0


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """An initialized sidecar for all tests of a module; each makes a workspace, and the last one made is active."""
    with well_behaved(tmp_path_factory.mktemp("common"), env=ASKED_ONLY) as running:
        yield running


@pytest.fixture(scope="session")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose conversion to gzipped TFRecord takes a second and more."""
    return write_long_log(tmp_path_factory.mktemp("long") / "long.mcap", 50)


PROBE = [sys.executable, str(Path(__file__).with_name("probe.py"))]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """An initialized sidecar with the methods of ``probe.py``, one for a whole module."""
    with well_behaved(tmp_path_factory.mktemp("probe"), command=PROBE) as running:
        yield running

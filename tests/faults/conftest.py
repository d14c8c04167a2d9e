"""Fixtures of the fault tests: sidecars, and small disks of their own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hephaes_rpc.testing.plugin import SpawnSidecar
from tests.e2e.sidecar import Sidecar
from tests.store.conftest import app, settings, workspace

__all__ = ["app", "settings", "workspace"]

Disk = Callable[[str], Path]


@pytest.fixture
def spawn(hephaes_spawn: SpawnSidecar) -> SpawnSidecar:
    """Starts sidecars (``spawn(data_dir=..., env=..., args=...)``), not yet initialized; all are ended afterwards."""
    return hephaes_spawn


@pytest.fixture
def sidecar(hephaes_sidecar: Sidecar) -> Sidecar:
    """An initialized sidecar with a data folder of its own and no workspace."""
    return hephaes_sidecar


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mounts a small disk of that size (``"4m"``); skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)], capture_output=True
        )
        if made.returncode != 0:
            pytest.skip("needs the right to mount a small disk")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the space that is left."""
    path = folder / "filler"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 16, 1 << 12, 1):
        try:
            while os.write(fd, bytes(size)):
                pass
        except OSError:
            continue
    os.close(fd)
    return path

"""Node and its packages, where they are to be had; the tests that need them are skipped without, and said to be."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NPM_TIMEOUT_S = 180
NPM_FLAGS = ("--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000")

Install = Callable[[Path], Path]


@pytest.fixture(scope="session")
def node() -> str:
    """The node program, version 20 or later."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"needs node 20 or later, this is {version}")
    return program


@pytest.fixture(scope="session")
def install(node: str, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """A copy of an npm package with its dependencies installed; skips where they cannot be fetched."""
    made: dict[Path, Path] = {}

    def copy(package: Path) -> Path:
        if package not in made:
            folder = tmp_path_factory.mktemp("npm") / package.name
            shutil.copytree(package, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
            command = ["npm", "ci", *NPM_FLAGS]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S, check=False
            )
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["npm ci failed"])[0]
                pytest.skip(f"the packages of {package.name} cannot be installed: {last}")
            made[package] = folder
        return made[package]

    return copy


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a client: a data folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAES_")}
    return kept | {"HEPHAES_BACKEND_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def serve() -> list[str]:
    """The command of the sidecar."""
    return [sys.executable, "-m", "hephaes_rpc", "serve"]

"""Hugging Face ``datasets`` loads Parquet files as what their manifests declare."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import consumers_check


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("consumers")
    consumers_check.write(folder)
    return folder


def test_everything_is_written(written: Path) -> None:
    for name in consumers_check.SPECS:
        paths = list((written / name).glob("*.parquet"))
        assert sum(pq.read_metadata(path).num_rows for path in paths) > 0, name


def test_datasets_reads_it_as_declared(written: Path) -> None:
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("needs Hugging Face datasets (pip install datasets); or run tests/consumers_check.py elsewhere")
    command = [sys.executable, consumers_check.__file__, "--read", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr

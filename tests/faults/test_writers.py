"""Every write of a conversion fails in turn: a clear error, and nothing that can be taken for a dataset."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.engine.datasets import publish
from hephaes_rpc.engine.pipeline import ConvertTask, convert
from hephaes_rpc.engine.specs.spec import ConversionSpec, Output, ParquetOutput, TFRecordOutput
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.testing.logs import samples, write_mcap
from tests.corpus import Context

OUTPUTS: dict[str, Output] = {
    "parquet": ParquetOutput(row_group_rows=200),
    "parquet topics": ParquetOutput(layout="topics", row_group_rows=200),
    "tfrecord": TFRecordOutput(),
    "tfrecord gzip": TFRecordOutput(compression="gzip"),
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_mcap(tmp_path / "run.mcap", samples(1000), chunk_size=1 << 14)


def task(log: Path, folder: Path, output: Output) -> ConvertTask:
    return ConvertTask(
        log_path=str(log), spec=ConversionSpec(output=output), output_dir=str(folder), episode_id="e", stem="run"
    )


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


LIMITED = """
import json, resource, sys
from pathlib import Path
from hephaes_rpc.engine.pipeline import convert
from hephaes_rpc.errors import HephaesError
from tests.corpus import Context
from tests.faults.test_writers import OUTPUTS, left, task

log, folder, name, limits = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    kind = message = ""
    try:
        convert(task(log, folder, OUTPUTS[name]), Context())
    except HephaesError as error:
        kind, message = error.kind, error.message
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(json.dumps([limit, kind, message, left(folder)]), flush=True)
"""


@pytest.mark.parametrize("name", OUTPUTS)
def test_files_may_not_grow_beyond_any_size(log: Path, tmp_path: Path, name: str) -> None:
    whole = tmp_path / "whole"
    convert(task(log, whole, OUTPUTS[name]), Context())
    largest = max(path.stat().st_size for path in whole.iterdir())
    limits = sorted({0, 1, 100, largest - 1, *(largest * k // 24 for k in range(1, 24))})
    folder = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(log), str(folder), name, json.dumps(limits)],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    tried = [json.loads(line) for line in run.stdout.splitlines()]
    assert [limit for limit, *_ in tried] == limits
    for limit, kind, message, files in tried:
        assert kind == "disk_full", (limit, kind, message)
        assert str(folder) in message
        assert files == [], limit


def _failing(monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> Callable[[], int]:
    """Has the ``at``-th call of what a publication does to the disk fail; how many there were."""
    seen = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == at:
                raise OSError(number, os.strerror(number))
            return function(*args, **more)

        return call

    monkeypatch.setattr(publish, "sync", counted(publish.sync))
    for name in ("write_bytes", "replace", "mkdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return lambda: seen


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "io_error"), (errno.EROFS, "permission")],
)
def test_every_step_of_a_publication_fails_in_turn(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    for at in range(1, 200):
        folder = tmp_path / f"out{at}"
        with monkeypatch.context() as patch:
            calls = _failing(patch, at, number)
            try:
                convert(task(log, folder, TFRecordOutput()), Context())
                told = None
            except HephaesError as error:
                told = error.kind
        if calls() < at:
            assert told is None
            break
        assert told == kind, at
        # The last call syncs the folder: all files are whole and have their names by then.
        assert left(folder) == [] or calls() == at, at
    assert at > 10

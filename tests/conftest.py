"""Fixtures every test may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tensorflow_client import TensorFlow, installed
from tests.thorough import examples

HERE = Path(__file__).parent
DATA = HERE / "data"

LONG = tuple(
    HERE / name
    for name in (
        "faults/test_soak.py",
        "test_build.py",
        "e2e/test_scripts.py",
        "e2e/test_jobs.py",
        "test_cli.py",
        "e2e/test_leases.py",
        "e2e/test_main_job.py",
        "jobs/test_queue.py",
        "e2e/test_hygiene.py",
        "e2e/test_spec_conversion.py",
        "test_authoring.py",
        "e2e/test_quality.py",
        "test_cli_report.py",
        "e2e/test_families.py",
        "faults/test_crash.py",
        "jobs/test_kinds.py",
        "test_wizard.py",
        "clients/test_typescript.py",
        "test_corpus.py",
        "faults/test_calls.py",
        "jobs/test_resume.py",
        "e2e/test_two_sidecars.py",
        "faults/test_disks.py",
        "faults/test_database.py",
    )
)
"""The files that take longest: run first, so that no process is left alone with one of them at the end."""

settings.register_profile("hephaes", max_examples=examples(100))
settings.load_profile("hephaes")


# What a shell starts in the background, or nohup, ignores these; the processes that the tests signal would too.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of ``LONG`` first, in that order; the others keep theirs."""
    place = {path: number for number, path in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real-log corpus and the independent oracles (HEPHAES_SHARED, default ../shared)."""
    folder = Path(os.environ.get("HEPHAES_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "corpus").is_dir():
        pytest.skip(f"needs the shared corpus: {folder.name}/corpus is absent (set HEPHAES_SHARED)")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Small real logs kept in the project."""
    return DATA


@pytest.fixture(scope="session")
def tensorflow() -> Iterator[TensorFlow]:
    """TensorFlow in a process of its own."""
    if not installed():
        pytest.skip("needs tensorflow (pip install 'hephaes-rpc[tensorflow]')")
    with TensorFlow() as process:
        yield process

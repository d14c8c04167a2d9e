"""Fixtures every test may use."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tensorflow_client import TensorFlow, installed
from tests.thorough import examples

DATA = Path(__file__).parent / "data"

settings.register_profile("hephaes", max_examples=examples(100))
settings.load_profile("hephaes")


# What a shell starts in the background, or nohup, ignores these; the processes that the tests signal would too.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


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

"""Fixtures of the tests of jobs."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.factories import samples, write_mcap
from tests.jobs.bench import Bench, opened

Use = Callable[[Bench], Coroutine[Any, Any, None]]


@pytest.fixture
def on_bench(tmp_path: Path) -> Callable[..., None]:
    """Runs a coroutine function with a bench."""

    def run(use: Use, **options: Any) -> None:
        async def main() -> None:
            async with opened(tmp_path, **options) as bench:
                await use(bench)

        asyncio.run(main())

    return run


@pytest.fixture(scope="session")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose conversion to gzipped TFRecord takes some seconds."""
    path = tmp_path_factory.mktemp("logs") / "long.mcap"
    few = samples(2000, topics=("/imu", "/joints", "/chatter"))
    step = few[-1].time - few[0].time + 1
    many = [sample._replace(time=sample.time + n * step) for n in range(60) for sample in few]
    return write_mcap(path, many, chunk_size=256 * 1024)

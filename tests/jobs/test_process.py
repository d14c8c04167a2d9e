"""The parent's end of a worker: what it has started, what it says, how it ends."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.jobs.process import KEPT_BYTES, TAIL_BYTES, WorkerProcess
from tests.jobs.bench import gone

Disturb = Callable[[str], None]


@pytest.fixture
def disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disturb:
    """Has every worker run some lines in the middle of an index task."""

    def write(lines: str) -> None:
        body = "".join(f"    {line}\n" for line in lines.splitlines())
        (tmp_path / "sitecustomize.py").write_text(
            "import os, signal, subprocess, sys, numpy\nreal = numpy.diff\n"
            f"def diff(*args, **kwargs):\n{body}    return real(*args, **kwargs)\nnumpy.diff = diff\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return write


def index(path: Path) -> dict[str, Any]:
    return {"type": "index", "job_id": "j", "attempt": 1, "assets": [{"asset_id": "a", "path": str(path)}]}


async def last_event(worker: WorkerProcess) -> Any:
    """The event that ends the task; None when the worker has ended without one."""
    while (event := await worker.event()) is not None and event["event"] not in ("done", "failed"):
        pass
    return event


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(": ")[2] for record in caplog.records if record.name == "worker"]


def test_what_a_worker_has_started_dies_with_it(disturb: Disturb, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    disturb(
        "child = subprocess.Popen(['sleep', '60'])\nprint(child.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )

    async def main() -> None:
        worker = await WorkerProcess.start()
        worker.run(index(data / "poses.bag"))
        assert await last_event(worker) is None
        assert await worker.event() is None
        assert (worker.signal, worker.exit_code, worker.alive) == ("SIGKILL", -signal.SIGKILL, False)
        await worker.end(5)

    asyncio.run(main())
    assert gone(int(said(caplog)[0]))


def test_a_process_that_has_left_the_group_delays_nothing(
    disturb: Disturb, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disturb("print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)")

    async def main() -> None:
        worker = await WorkerProcess.start()
        worker.run(index(data / "poses.bag"))
        assert await last_event(worker) == {"event": "done"}
        began = time.monotonic()
        await worker.end()
        assert time.monotonic() - began < 5

    asyncio.run(main())
    os.kill(int(said(caplog)[0]), signal.SIGKILL)


def test_of_a_flood_the_beginning_and_the_end_are_logged(
    disturb: Disturb, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disturb("print('first')\nfor n in range(100_000): print('x' * 50)\nprint('last', flush=True)")

    async def main() -> None:
        worker = await WorkerProcess.start()
        worker.run(index(data / "poses.bag"))
        assert await last_event(worker) == {"event": "done"}
        await worker.end()

    with caplog.at_level(logging.INFO):
        asyncio.run(main())
    lines = said(caplog)
    assert (lines[0], lines[-1]) == ("first", "last")
    assert sum(map(len, lines)) < KEPT_BYTES + TAIL_BYTES + 2 * 65536


def test_a_worker_that_waits_is_ended_at_once() -> None:
    async def main() -> None:
        worker = await WorkerProcess.start()
        assert worker.alive
        await worker.end()
        assert not worker.alive
        worker.kill()
        worker.ask_to_stop()

    asyncio.run(main())

"""The interactive lane: answers from warm workers; a crash or a cancel costs one worker, never the sidecar."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs.interactive import Interactive
from tests.jobs.bench import Bench, gone


def inspect(path: Path, **request: Any) -> dict[str, Any]:
    return {"type": "inspect", "path": str(path), "request": request}


def test_answers_come_from_one_warm_worker(on_bench: Callable[..., None], data: Path) -> None:
    async def use(bench: Bench) -> None:
        lane = Interactive(bench.queue, bench.app.config.worker_memory_bytes)
        told: list[str] = []
        pids = set()
        for _ in range(3):
            found = await lane.ask(inspect(data / "poses.bag"), lambda phase, _: told.append(phase))
            assert list(found["inspection"]["topics"]) == ["pose_data"]
            pids |= {worker.pid for worker in lane._idle}
        assert len(pids) == 1
        assert "index" in told
        await lane.close()
        assert all(gone(pid) for pid in pids)
        with pytest.raises(HephaesError, match="shutting down"):
            await lane.ask(inspect(data / "poses.bag"), lambda *_: None)

    on_bench(use)


def test_an_error_of_the_engine_keeps_the_worker(on_bench: Callable[..., None], data: Path, tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        lane = Interactive(bench.queue, bench.app.config.worker_memory_bytes)
        for path, kind in ((tmp_path / "gone.bag", "asset_unavailable"), (Path(__file__), "bad_input")):
            with pytest.raises(HephaesError) as refusal:
                await lane.ask(inspect(path), lambda *_: None)
            assert refusal.value.kind == kind
        (worker,) = lane._idle
        assert worker.tasks == 2
        await lane.close()

    on_bench(use)


def test_a_worker_that_dies_is_replaced(on_bench: Callable[..., None], data: Path) -> None:
    async def use(bench: Bench) -> None:
        lane = Interactive(bench.queue, bench.app.config.worker_memory_bytes)
        await lane.ask(inspect(data / "poses.bag"), lambda *_: None)
        (worker,) = lane._idle
        os.kill(worker.pid, signal.SIGSTOP)
        asking = asyncio.create_task(lane.ask(inspect(data / "poses.bag"), lambda *_: None))
        while worker.tasks < 2:
            await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(HephaesError, match="was killed by SIGKILL while it was looking at") as died:
            await asking
        assert died.value.kind == "worker_died"
        found = await lane.ask(inspect(data / "poses.bag"), lambda *_: None)
        assert found["inspection"]["message_count"] > 0
        await lane.close()

    on_bench(use)


def test_a_cancelled_request_kills_its_worker(on_bench: Callable[..., None], data: Path) -> None:
    async def use(bench: Bench) -> None:
        lane = Interactive(bench.queue, bench.app.config.worker_memory_bytes)
        await lane.ask(inspect(data / "poses.bag"), lambda *_: None)
        (worker,) = lane._idle
        os.kill(worker.pid, signal.SIGSTOP)
        asking = asyncio.create_task(lane.ask(inspect(data / "poses.bag"), lambda *_: None))
        while worker.tasks < 2:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while not gone(worker.pid):
            await asyncio.sleep(0.01)
        assert await lane.ask(inspect(data / "poses.bag"), lambda *_: None)
        await lane.close()

    on_bench(use)


def test_several_at_once_and_one_kept(on_bench: Callable[..., None], data: Path) -> None:
    async def use(bench: Bench) -> None:
        lane = Interactive(bench.queue, bench.app.config.worker_memory_bytes)
        found = await asyncio.gather(*(lane.ask(inspect(data / "poses.bag"), lambda *_: None) for _ in range(4)))
        assert len(found) == 4
        assert len(lane._idle) == 1
        await lane.close()

    on_bench(use)

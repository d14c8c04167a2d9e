"""What is finished is kept: after a crash, a cancel, a failure, and by a conversion that would make the same again."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.model.jobs import Job
from tests.jobs.bench import LONG, Bench, opened

OnBench = Callable[..., None]


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file is behind each name, and since when."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def said(bench: Bench, job: Job) -> list[str]:
    return [line.text for line in bench.ws.job_logs.page(job.id, 500).items]


async def first_published(bench: Bench, job: Job) -> dict[str, tuple[int, int]]:
    """Wait until the first of two logs is done and the second one is being converted; the files so far."""
    await bench.until(lambda: bench.ws.outputs.list().total > 0, "the first log's files")
    await bench.until(lambda: bench.queue._runs[job.id].asset == 1, "the second log")
    folder = bench.ws.outputs_dir / "run"
    return {name: found for name, found in inodes(folder).items() if not name.startswith(".")}


@pytest.mark.parametrize("what", ["the worker is killed", "cancelled and retried"])
def test_only_the_rest_is_redone(on_bench: OnBench, data: Path, long_log: Path, what: str) -> None:
    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(data / "poses.bag"), bench.register(long_log), **LONG)
        before = await first_published(bench, job)
        ids = {output.file_name: output.id for output in bench.ws.outputs.list().items}
        assert before
        if what == "the worker is killed":
            os.kill(bench.worker_of(job), signal.SIGKILL)
        else:
            await bench.queue.cancel(bench.ws, job.id)
            job = await bench.queue.retry(bench.ws, job.id)
        ended = await bench.end(job)
        assert ended.status == "succeeded", ended.error
        after = inodes(bench.ws.outputs_dir / "run")
        assert before.items() <= after.items()
        assert len(after) == 2 * len(before)
        assert "episode_0001 is finished and unchanged: kept, nothing was written" in said(bench, ended)
        assert not any("episode_0002" in text for text in said(bench, ended))
        found = {output.file_name: output.id for output in bench.ws.outputs.list().items}
        assert ids.items() <= found.items()
        assert set(found) == set(after)

    on_bench(use)


def test_a_sidecar_that_dies_leaves_what_is_finished(tmp_path: Path, data: Path, long_log: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as bench:
            job = bench.convert_job(bench.register(data / "poses.bag"), bench.register(long_log), **LONG)
            before = await first_published(bench, job)
            await bench.queue.drain()
        async with opened(tmp_path) as bench:
            ended = await bench.end(job)
            assert (ended.status, ended.attempt) == ("succeeded", 2)
            assert before.items() <= inodes(bench.ws.outputs_dir / "run").items()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["cut", "same size", "gone", "source", "spec"])
def test_what_is_not_what_it_was_is_redone(on_bench: OnBench, data: Path, tmp_path: Path, what: str) -> None:
    async def use(bench: Bench) -> None:
        log = tmp_path / "poses.bag"
        log.write_bytes((data / "poses.bag").read_bytes())
        asset = bench.register(log)
        spec: dict[str, Any] = {"output": {"format": "parquet"}}
        job = await bench.end(bench.convert_job(asset, **spec))
        path = bench.ws.outputs_dir / "run/episode_0001.parquet"
        good, before = path.read_bytes(), path.stat()
        if what == "cut":
            path.write_bytes(good[:-1])
        elif what == "same size":
            path.write_bytes(bytes(len(good)))
        elif what == "gone":
            path.unlink()
        elif what == "source":
            os.utime(log, ns=(1, 1))
        else:
            spec = {"output": {"format": "parquet", "compression": "zstd"}}
        again = await bench.end(bench.convert_job(asset, folder="again", reuse=True, **spec))
        assert (job.status, again.status) == ("succeeded", "succeeded")
        assert not any("unchanged" in text for text in said(bench, again))
        made = bench.ws.outputs_dir / "again/episode_0001.parquet"
        assert (made.stat().st_ino, made.stat().st_mtime_ns) != (before.st_ino, before.st_mtime_ns)
        assert (made.read_bytes() == good) == (what != "spec")

    on_bench(use)


def test_a_conversion_that_would_make_the_same_says_so_and_copies_nothing(on_bench: OnBench, data: Path) -> None:
    async def use(bench: Bench) -> None:
        assets = [bench.register(data / name) for name in ("poses.bag", "talker-zstd.mcap")]
        first = await bench.end(bench.convert_job(*assets, reuse=True, output={"format": "parquet"}))
        again = await bench.end(bench.convert_job(*assets, folder="again", reuse=True, output={"format": "parquet"}))
        other = await bench.end(bench.convert_job(*assets, folder="other", output={"format": "parquet"}))
        assert {first.status, again.status, other.status} == {"succeeded"}
        one, two, three = (inodes(bench.ws.outputs_dir / name) for name in ("run", "again", "other"))
        assert one == two
        assert one != three
        assert again.progress is not None
        assert again.progress.message == "2 of 2 logs are unchanged: nothing was converted"
        assert [text for text in said(bench, again) if "unchanged since run: linked, nothing was copied" in text]
        for job in (first, again):
            files = {o.file_name for o in bench.ws.outputs.list().items if o.job_id == job.id}
            assert files == set(one)

    on_bench(use)

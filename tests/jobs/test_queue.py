"""The queue with a real store and real worker processes."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs import queue
from hephaes_rpc.jobs.process import WorkerProcess
from hephaes_rpc.model.jobs import Job, JobType
from tests.jobs.bench import LONG, Bench, exists, gone, opened

OnBench = Callable[..., None]


def test_an_index_job_stores_what_the_log_holds(on_bench: OnBench, data: Path) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(data / "many-types.mcap")
        job = await bench.end(bench.index_job(asset))
        assert (job.status, job.attempt, job.error) == ("succeeded", 1, None)
        detail = bench.ws.assets.detail(asset.id)
        assert detail.asset.indexing_status == "indexed"
        assert detail.metadata is not None
        assert (detail.metadata.message_count, detail.metadata.topic_count) == (188, 94)
        assert detail.metadata.start_ns == 1749315324903302144
        assert detail.metadata.default_episode is not None
        assert detail.metadata.default_episode.episode_id == f"{asset.id}:default"
        raw = detail.metadata.raw_metadata
        assert (raw["ros_version"], raw["storage_format"], raw["outcome"]) == ("ROS2", "mcap", "whole")
        assert sum(use["chunks"] for use in raw["compression"].values()) > 0
        assert bench.statuses(job.id) == ["queued", "running", "succeeded"]

    on_bench(use)


def test_progress_reaches_100_once_and_before_the_end(on_bench: OnBench, data: Path) -> None:
    async def use(bench: Bench) -> None:
        heard = []
        asset = bench.register(data / "poses.bag")
        job = bench.index_job(asset)
        await bench.queue.run_to_end(bench.ws, job.id, heard.append)
        convert = await bench.end(bench.convert_job(asset))
        assert convert.status == "succeeded", convert.error
        for job_id in (job.id, convert.id):
            steps = [params["percentage"] for params in bench.told("jobs/progress", job_id)]
            assert steps == sorted(steps)
            assert steps.count(100) == 1
            ours = [
                m for m in bench.sent if job_id in (m["params"].get("job_id"), m["params"].get("job", {}).get("id"))
            ]
            assert [m["method"] for m in ours[-2:]] == ["jobs/progress", "jobs/didChange"]
            assert (ours[-2]["params"]["status"], ours[-1]["params"]["job"]["status"]) == ("succeeded", "succeeded")
        assert [p.percentage for p in heard][-1] == 100
        stored = bench.ws.jobs.get(convert.id).progress
        assert stored is not None
        assert (stored.percentage, stored.eta_s) == (100, 0.0)

    on_bench(use)


def test_a_conversion_publishes_each_log_and_outputs_are_in_the_store_before_the_end(
    on_bench: OnBench, data: Path
) -> None:
    async def use(bench: Bench) -> None:
        assets = [bench.register(data / name) for name in ("poses.bag", "talker-zstd.mcap")]
        job = await bench.end(bench.convert_job(*assets, output={"format": "parquet"}))
        assert job.status == "succeeded", job.error
        outputs = bench.ws.outputs.list().items
        assert {o.file_name for o in outputs if o.role == "dataset"} == {"episode_0001.parquet", "episode_0002.parquet"}
        assert {o.asset_ids[0] for o in outputs if "0002" in o.file_name} == {assets[1].id}
        assert {o.file_name for o in outputs} == set(bench.files())
        told = bench.told
        await bench.until(lambda: sum(len(each["ids"]) for each in told("outputs/didChange")) >= len(outputs))
        ids = [each for params in bench.told("outputs/didChange") for each in params["ids"]]
        assert sorted(ids) == sorted(o.id for o in outputs)

    on_bench(use)


def test_a_bad_log_fails_with_its_reason(on_bench: OnBench, tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        path = tmp_path / "bad.mcap"
        path.write_bytes(b"this is no log")
        asset = bench.register(path)
        job = await bench.end(bench.index_job(asset))
        assert job.status == "failed"
        assert job.error is not None
        assert (job.error.kind, job.error.data["asset_id"]) == ("bad_input", asset.id)
        assert "bad.mcap" in job.error.message
        detail = bench.ws.assets.detail(asset.id)
        assert detail.asset.indexing_status == "failed"
        assert detail.metadata is not None
        assert detail.metadata.indexing_error == job.error.message
        path.unlink()
        gone_job = await bench.end(bench.index_job(asset))
        assert gone_job.error is not None
        assert gone_job.error.kind == "asset_unavailable"
        assert bench.statuses(job.id) == ["queued", "running", "failed"]

    on_bench(use)


def test_index_jobs_share_a_worker_and_a_conversion_has_its_own(on_bench: OnBench, data: Path) -> None:
    async def use(bench: Bench) -> None:
        await bench.until(lambda: bool(bench.queue._idle), "a spare worker")
        spare = bench.queue._idle[0]
        for name in ("poses.bag", "talker-zstd.mcap", "arrays.bag"):
            assert (await bench.end(bench.index_job(bench.register(data / name)))).status == "succeeded"
        await bench.until(lambda: bench.queue._idle == [spare], "the worker to be idle again")
        assert spare.tasks == 3
        asset = bench.ws.assets.to_index() or [bench.ws.assets.list().items[0]]
        job = await bench.end(bench.convert_job(asset[0]))
        assert job.status == "succeeded"
        assert spare.tasks == 3
        os.kill(spare.pid, signal.SIGKILL)
        await bench.until(lambda: not spare.alive)
        assert (
            await bench.end(bench.index_job(bench.register(data / "arrays-basic-types.mcap")))
        ).status == "succeeded"

    on_bench(use)


async def decoding(bench: Bench, job: Job) -> int:
    """Wait until the job decodes; its worker's process id."""
    await bench.until(lambda: any(p["phase"] == "decode" for p in bench.told("jobs/progress", job.id)), "decoding")
    return bench.worker_of(job)


def test_cancel_stops_a_running_conversion_and_leaves_nothing(on_bench: OnBench, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(long_log), **LONG)
        pid = await decoding(bench, job)
        began = time.monotonic()
        cancelled = await bench.queue.cancel(bench.ws, job.id)
        assert time.monotonic() - began < 1
        assert (cancelled.status, cancelled.error, cancelled.finished_at is not None) == ("cancelled", None, True)
        assert bench.files() == []
        assert gone(pid)
        assert bench.statuses(job.id) == ["queued", "running", "cancelling", "cancelled"]
        with pytest.raises(HephaesError) as refused:
            await bench.queue.cancel(bench.ws, job.id)
        assert refused.value.kind == "job_already_finished"

    on_bench(use)


def test_cancel_kills_a_worker_that_does_not_listen_and_sweeps_after_it(on_bench: OnBench, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(long_log), **LONG)
        pid = await decoding(bench, job)
        assert any(name.endswith(f".{job.id}-1.tmp") for name in bench.files())
        foreign = bench.ws.outputs_dir / "run" / ".other.tfrecord.somebody-1.tmp"
        foreign.write_bytes(b"another attempt's")
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        cancelled = await bench.queue.cancel(bench.ws, job.id)
        assert time.monotonic() - began < 1
        assert cancelled.status == "cancelled"
        assert bench.files() == [foreign.name]
        assert gone(pid)

    on_bench(use)


def test_cancel_of_a_queued_job_is_at_once(on_bench: OnBench, data: Path) -> None:
    async def use(bench: Bench) -> None:
        job = bench.index_job(bench.register(data / "poses.bag"))
        cancelled = await bench.queue.cancel(bench.ws, job.id)
        assert (cancelled.status, cancelled.attempt) == ("cancelled", 0)
        with pytest.raises(HephaesError) as unknown:
            await bench.queue.cancel(bench.ws, "nobody")
        assert unknown.value.kind == "job_not_found"

    on_bench(use, start=False)


def test_a_killed_worker_costs_its_job_an_attempt_and_other_jobs_nothing(
    on_bench: OnBench, long_log: Path, data: Path
) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(long_log)
        job = bench.convert_job(asset, **LONG)
        pid = await decoding(bench, job)
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: "interrupted" in bench.statuses(job.id))
        lost = bench.told("jobs/didChange", job.id)[-1]["job"]
        assert (lost["status"], lost["signal"], lost["error"]["kind"]) == ("interrupted", "SIGKILL", "worker_died")
        assert "SIGKILL" in lost["error"]["message"]
        assert str(long_log) in lost["error"]["message"]
        assert bench.files() == []
        after = await bench.end(bench.convert_job(bench.register(data / "poses.bag"), folder="next"))
        assert after.status == "succeeded"
        ended = await bench.end(job)
        assert (ended.status, ended.attempt, ended.error, ended.signal) == ("succeeded", 2, None, None)
        assert bench.statuses(job.id) == ["queued", "running", "interrupted", "queued", "running", "succeeded"]
        told = [line.text for line in bench.ws.job_logs.page(job.id, 100).items]
        assert any("SIGKILL" in text and text.endswith("it will be tried again") for text in told)

    on_bench(use)


def test_a_worker_that_dies_each_time_fails_its_job_in_the_end(
    on_bench: OnBench, long_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaes_rpc.jobs.records.pause_s", lambda attempt: 0.05)

    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(long_log), **LONG)
        for attempt in (1, 2, 3):
            await bench.until(lambda n=attempt: bench.statuses(job.id).count("running") == n)  # type: ignore[misc]
            run = bench.queue._runs[job.id]
            await bench.until(lambda r=run: r.progress is not None)  # type: ignore[misc]
            os.kill(bench.worker_of(job), signal.SIGABRT)
            await bench.until(lambda: job.id not in bench.queue._runs)
        failed = await bench.end(job)
        assert (failed.status, failed.attempt, failed.signal) == ("failed", 3, "SIGABRT")
        assert failed.error is not None
        assert failed.error.kind == "worker_died"
        assert bench.files() == []

    on_bench(use)


@pytest.mark.parametrize("kind", ["stopped", "hanging"])
def test_a_worker_that_does_not_answer_is_killed_and_its_job_tried_again(
    on_bench: OnBench, long_log: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(queue, "SILENT_S", 5.0)
    monkeypatch.setattr("hephaes_rpc.jobs.records.pause_s", lambda attempt: 0.5)

    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(long_log), **LONG)
        pid = await decoding(bench, job)
        if kind == "stopped":
            os.kill(pid, signal.SIGSTOP)
        else:
            patience = queue.HANG_S
            monkeypatch.setattr(queue, "HANG_S", -1.0)
        await bench.until(lambda: "interrupted" in bench.statuses(job.id), "the worker to be missed")
        if kind == "hanging":
            monkeypatch.setattr(queue, "HANG_S", patience)
        told = [each["job"] for each in bench.told("jobs/didChange", job.id)]
        lost = next(each for each in told if each["status"] == "interrupted")
        assert lost["error"]["kind"] == "worker_died"
        assert {"stopped": "did not answer", "hanging": "did nothing"}[kind] in lost["error"]["message"]
        assert gone(pid)
        ended = await bench.end(job)
        assert (ended.status, ended.attempt) == ("succeeded", 2)

    on_bench(use)


def test_a_worker_may_have_so_much_memory(on_bench: OnBench, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        job = await bench.end(bench.convert_job(bench.register(long_log), **LONG))
        assert (job.status, job.attempt) == ("failed", 1)
        assert job.error is not None
        assert (job.error.kind, job.error.data["reason"]) == ("worker_died", "memory")
        assert "64 MB" in job.error.message
        assert bench.files() == []

    on_bench(use, HEPHAES_WORKER_MEMORY_MB="64")


def test_retry_makes_a_job_that_takes_the_conversion_over(on_bench: OnBench, long_log: Path, data: Path) -> None:
    async def use(bench: Bench) -> None:
        short, long = bench.register(data / "poses.bag"), bench.register(long_log)
        job = bench.convert_job(short, long, **LONG)
        with pytest.raises(HephaesError) as running:
            await bench.queue.retry(bench.ws, job.id)
        assert running.value.kind == "job_not_finished"
        await bench.until(lambda: bool(bench.told("outputs/didChange")), "the first log's files")
        first = {o.file_name: o.id for o in bench.ws.outputs.list().items}
        await bench.queue.cancel(bench.ws, job.id)
        new = await bench.queue.retry(bench.ws, job.id)
        assert (new.retry_of, new.status, new.attempt) == (job.id, "queued", 0)
        assert bench.ws.conversions.get(bench.ws.conversions.of_job(job.id) or "").job_id == new.id
        with pytest.raises(HephaesError) as twice:
            await bench.queue.retry(bench.ws, job.id)
        assert twice.value.data["job_id"] == new.id
        ended = await bench.end(new)
        assert ended.status == "succeeded", ended.error
        found = {o.file_name: o.id for o in bench.ws.outputs.list().items}
        assert first.items() <= found.items()
        with pytest.raises(HephaesError):
            await bench.queue.retry(bench.ws, new.id)

    on_bench(use)


def test_cancelling_who_waits_cancels_the_job(on_bench: OnBench, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(long_log)
        await bench.end(bench.index_job(asset))
        job = bench.convert_job(asset, **LONG)
        waiting = asyncio.create_task(bench.queue.run_to_end(bench.ws, job.id))
        await decoding(bench, job)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert bench.ws.jobs.get(job.id).status == "cancelled"

    on_bench(use)


def test_indexing_does_not_wait_for_conversions(on_bench: OnBench, long_log: Path, data: Path) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(long_log)
        jobs = [bench.convert_job(asset, folder=f"run{n}", **LONG) for n in range(2)]
        await decoding(bench, jobs[0])
        assert bench.ws.jobs.get(jobs[1].id).status == "queued"
        indexed = await bench.end(bench.index_job(bench.register(data / "poses.bag")))
        assert indexed.status == "succeeded"
        assert [bench.ws.jobs.get(job.id).status for job in jobs] == ["running", "queued"]

    on_bench(use, HEPHAES_MAX_WORKERS="1")


def test_workers_start_side_by_side(on_bench: OnBench, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[JobType] = []
    worker_for = queue.JobQueue._worker_for

    async def once_both_have_begun(jobs: queue.JobQueue, job_type: JobType) -> WorkerProcess:
        begun.append(job_type)
        async with asyncio.timeout(30):
            while len(begun) < 2:
                await asyncio.sleep(0.01)
        return await worker_for(jobs, job_type)

    async def no_spare(_: queue.JobQueue) -> None:
        """None waits."""

    monkeypatch.setattr(queue, "POLL_S", 300.0)
    monkeypatch.setattr(queue.JobQueue, "_worker_for", once_both_have_begun)
    monkeypatch.setattr(queue.JobQueue, "_keep_spare", no_spare)

    async def use(bench: Bench) -> None:
        names = ("poses.bag", "talker-zstd.mcap")
        jobs = [bench.convert_job(bench.register(data / name), folder=name) for name in names]
        await bench.queue.start()
        for job in jobs:
            ended = await bench.end(job)
            assert ended.status == "succeeded", ended.error

    on_bench(use, start=False)


def test_drain_interrupts_and_the_next_owner_goes_on(tmp_path: Path, long_log: Path, data: Path) -> None:
    pids = []

    async def main() -> None:
        async with opened(tmp_path) as bench:
            asset = bench.register(long_log)
            job = bench.convert_job(asset, **LONG)
            pids.append(await decoding(bench, job))
            began = time.monotonic()
            await bench.queue.drain()
            assert time.monotonic() - began < 2
            assert bench.statuses(job.id) == ["queued", "running", "interrupted"]
            assert bench.files() == []
            late = bench.index_job(bench.register(data / "poses.bag"))
        async with opened(tmp_path) as bench:
            ended = await bench.end(job)
            assert (ended.status, ended.attempt) == ("succeeded", 2)
            assert bench.statuses(job.id) == ["queued", "running", "succeeded"]
            assert (await bench.end(late)).status == "succeeded"

    asyncio.run(main())
    assert not exists(pids[0])


def test_orphans_are_told_of_swept_after_and_taken_up_while_attempts_are_left(tmp_path: Path, data: Path) -> None:
    dead = "00000000:4194305:1:nowhere"

    async def main() -> None:
        async with opened(tmp_path, start=False) as bench:
            poses, arrays = bench.register(data / "poses.bag"), bench.register(data / "arrays.bag")
            convert, index, asked = bench.convert_job(poses), bench.index_job(arrays), bench.index_job(poses)
            for _ in range(3):
                assert bench.ws.jobs.claim(dead) is not None
            bench.ws.jobs.transition(asked.id, expect=("running",), to="cancelling")
            bench.ws.assets.mark_indexing(arrays.id)
            folder = bench.ws.outputs_dir / "run"
            folder.mkdir()
            (folder / f".episode_0001.parquet.{convert.id}-1.tmp").write_bytes(b"half")
            (folder / "episode_0001.parquet").write_bytes(b"published, but the sidecar died before it was stored")
        async with opened(tmp_path) as bench:
            ended = [await bench.end(job) for job in (convert, index, asked)]
            assert [(job.status, job.attempt) for job in ended] == [
                ("succeeded", 2),
                ("succeeded", 2),
                ("cancelled", 1),
            ]
            assert bench.statuses(convert.id) == ["interrupted", "queued", "running", "succeeded"]
            assert bench.ws.assets.get(arrays.id).indexing_status == "indexed"
            assert not any(name.startswith(".") for name in bench.files())
            last = bench.ws.jobs.create("index", [poses.id], {}, {"assets": [{"asset_id": poses.id}]}, max_attempts=1)
            bench.ws.assets.mark_indexing(poses.id)
            assert bench.ws.jobs.claim_job(last.id, dead) is not None
            gave_up = await bench.end(last)
            assert gave_up.error is not None
            assert (gave_up.status, gave_up.error.kind) == ("failed", "worker_died")
            assert bench.ws.assets.get(poses.id).indexing_status == "pending"

    asyncio.run(main())


def test_two_sidecars_share_a_workspace(tmp_path: Path, long_log: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as one, opened(tmp_path, start=False) as two:
            job = one.convert_job(one.register(long_log), **LONG)
            pid = await decoding(one, job)
            began = time.monotonic()
            cancelled = await two.queue.cancel(two.ws, job.id)
            assert time.monotonic() - began < 2
            assert cancelled.status == "cancelled"
            assert gone(pid)

    asyncio.run(main())

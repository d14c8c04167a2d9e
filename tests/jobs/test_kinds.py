"""Every kind of failure is told apart, and cancelling is quick in every phase of a job."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs.progress import PARTS
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.model.jobs import Job
from hephaes_rpc.store.values import to_json
from tests.jobs.bench import LONG, Bench, exists, gone

OnBench = Callable[..., None]
ROWS: dict[str, Any] = {"row_strategy": {"kind": "per-message", "topic": "/imu"}}
ACC = {"source": {"topic": "/imu", "field_path": "linear_acceleration.z"}, "dtype": "float64"}


async def decoding(bench: Bench, job: Job) -> int:
    await bench.until(lambda: any(p["phase"] == "decode" for p in bench.told("jobs/progress", job.id)), "decoding")
    return bench.worker_of(job)


async def failed(bench: Bench, job: Job, kind: str) -> Job:
    ended = await bench.end(job)
    assert ended.error is not None
    assert (ended.status, ended.error.kind, ended.attempt) == ("failed", kind, 1), ended.error
    assert ended.error.message == ended.error_message
    assert not any(name.startswith(".") for name in bench.files())
    return ended


def test_what_the_log_and_the_spec_are_to_blame_for(on_bench: OnBench, tmp_path: Path, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        for name, content, kind in (
            ("bad.mcap", b"this is no log", "bad_input"),
            ("later.mcap", b"\x89MCAP1\r\n" + bytes(64), "unsupported"),
        ):
            (tmp_path / name).write_bytes(content)
            asset = bench.register(tmp_path / name)
            await failed(bench, bench.index_job(asset), kind)
            await failed(bench, bench.convert_job(asset), kind)
        asset = bench.register(long_log)
        picky = {**ACC, "source": {"topic": "/imu", "field_path": "orientation_covariance[40]"}, "missing": "error"}
        strict = {**ROWS, "features": {"x": {**picky, "source": {**picky["source"], "field_path": "header.frame_id"}}}}
        strict["features"]["x"] |= {"dtype": "int64", "transforms": [{"kind": "cast", "dtype": "int64"}]}
        await failed(bench, bench.convert_job(asset, **strict), "quality_gate")
        nobody = {**ROWS, "features": {"x": {**ACC, "source": {"topic": "/imu", "field_path": "nobody"}}}}
        await failed(bench, bench.convert_job(asset, **nobody), "invalid_spec")
        script = {"file": "x.py", "inputs": ["x"], "outputs": {"y": {"dtype": "bool"}}}
        await failed(
            bench, bench.convert_job(asset, **ROWS, features={"x": ACC}, computations=[script]), "script_failed"
        )

    on_bench(use)


def test_what_the_disk_is_to_blame_for(on_bench: OnBench, long_log: Path, data: Path) -> None:
    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(long_log), **LONG)
        pid = await decoding(bench, job)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        await failed(bench, job, "disk_full")
        assert bench.files() == []
        asset = bench.register(data / "poses.bag")
        await failed(bench, bench.convert_job(asset, folder="/sys/hephaes"), "permission")
        assert (await bench.end(bench.convert_job(asset, folder="good"))).status == "succeeded"

    on_bench(use)


def test_a_source_that_is_cut_meanwhile(on_bench: OnBench, tmp_path: Path, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        log = tmp_path / "log.mcap"
        log.write_bytes(long_log.read_bytes())
        job = bench.convert_job(bench.register(log), **LONG)
        pid = await decoding(bench, job)
        os.kill(pid, signal.SIGSTOP)
        os.truncate(log, log.stat().st_size // 2)
        os.kill(pid, signal.SIGCONT)
        await failed(bench, job, "source_changed")
        assert bench.files() == []

    on_bench(use)


def test_a_bug_leads_to_its_traceback(on_bench: OnBench, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(data / "poses.bag")
        for broken in ({"assets": [{"asset_id": asset.id}]}, {"assets": [{"asset_id": asset.id}], "spec": {}}):
            job = bench.convert_job(asset)
            payload = {**bench.ws.jobs.payload(job.id), **broken}
            if "spec" not in broken:
                del payload["conversion_id"]
            with bench.ws.db.write() as session:
                session.run("UPDATE jobs SET payload = ? WHERE id = ?", (to_json(payload), job.id))
            await bench.queue.start()
            ended = await failed(bench, job, "bug")
            assert ended.error is not None
            incident = ended.error.data["incident"]
            assert incident in ended.error.message
            assert incident in caplog.text
            assert "KeyError" in caplog.text.partition(incident)[2]
            await bench.queue.drain()
            bench.queue._draining = False

    on_bench(use, start=False)


PHASES = [(job_type, phase) for job_type, phases in PARTS.items() for phase in phases]


def queued(bench: Bench, job_type: str, asset: Asset) -> Job:
    """A job of that type that has been submitted."""
    if job_type == "convert":
        return bench.convert_job(asset, **LONG)
    return bench.index_job(asset) if job_type == "index" else bench.analyze_job(asset)


@pytest.mark.parametrize("stopped", [False, True], ids=["listening", "stopped"])
@pytest.mark.parametrize(("job_type", "phase"), PHASES)
def test_cancel_is_quick_in_every_phase(
    on_bench: OnBench, long_log: Path, job_type: str, phase: str, stopped: bool
) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(long_log)
        job = queued(bench, job_type, asset)
        seen = asyncio.Event()
        pids: list[int] = []

        def look(progress: Any) -> None:
            if progress.phase == phase and not seen.is_set():
                pids.append(bench.worker_of(job))
                if stopped:
                    os.kill(pids[0], signal.SIGSTOP)
                seen.set()

        bench.queue._listening[job.id].append(look)
        bench.queue.wake()
        await asyncio.wait_for(seen.wait(), 60)
        began = time.monotonic()
        with suppress(HephaesError):  # it may be done before its worker hears of it
            await bench.queue.cancel(bench.ws, job.id)
        assert time.monotonic() - began < 1
        ended = bench.ws.jobs.get(job.id)
        may_be_done = not stopped and (phase == "publish" or job_type == "index")
        assert ended.status in ("cancelled", *(["succeeded"] if may_be_done else []))
        if ended.status == "cancelled":
            assert bench.files() == []
            assert gone(pids[0], 20 if job_type == "analyze" else 1)
            assert bench.ws.assets.get(asset.id).indexing_status == "pending"
            assert bench.ws.outputs.list().total == 0
        steps = [p["percentage"] for p in bench.told("jobs/progress", job.id)]
        assert steps == sorted(steps)

    on_bench(use)


def test_nobody_waits_for_an_analysis_to_hear_of_its_end(
    on_bench: OnBench, long_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hephaes_rpc.jobs.queue.GRACE_S", 60)

    async def use(bench: Bench) -> None:
        job = bench.analyze_job(bench.register(long_log))
        await bench.until(lambda: bench.told("jobs/progress", job.id) != [], "progress")
        pid = bench.worker_of(job)
        os.kill(pid, signal.SIGSTOP)
        cancelled = await asyncio.wait_for(bench.queue.cancel(bench.ws, job.id), 30)
        assert cancelled.status == "cancelled"
        assert gone(pid, 20)
        asset = bench.ws.assets.get(job.target_asset_ids_json[0])
        assert (await bench.end(bench.index_job(asset))).status == "succeeded"

    on_bench(use)


def test_a_worker_that_does_not_die_is_not_waited_for(
    on_bench: OnBench, long_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(bench: Bench) -> None:
        job = bench.convert_job(bench.register(long_log), **LONG)
        pid = await decoding(bench, job)
        assert bench.files() != []
        os.kill(pid, signal.SIGSTOP)
        with monkeypatch.context() as held:
            held.setattr("hephaes_rpc.jobs.process.os.killpg", lambda *_: None)  # as if the disk held it
            cancelled = await asyncio.wait_for(bench.queue.cancel(bench.ws, job.id), 10)
        assert cancelled.status == "cancelled"
        assert exists(pid)
        assert bench.files() == []
        os.killpg(pid, signal.SIGKILL)
        await bench.until(lambda: not bench.queue._ending, "its end")
        assert (
            await bench.end(bench.index_job(bench.ws.assets.get(job.target_asset_ids_json[0])))
        ).status == "succeeded"

    on_bench(use)


@pytest.mark.parametrize("job_type", PARTS)
def test_progress_goes_through_every_phase_to_the_end(on_bench: OnBench, data: Path, job_type: str) -> None:
    async def use(bench: Bench) -> None:
        job = queued(bench, job_type, bench.register(data / "poses.bag"))
        assert (await bench.end(job)).status == "succeeded"
        told = bench.told("jobs/progress", job.id)
        steps = [progress["percentage"] for progress in told]
        assert steps == sorted(steps)
        assert steps[-1] == 100
        assert 100 not in steps[:-1]
        seen = list(dict.fromkeys(progress["phase"] for progress in told))
        assert seen == [phase for phase in PARTS[job_type] if phase in seen]

    on_bench(use)


def test_cancel_is_at_once_while_a_job_waits(on_bench: OnBench, long_log: Path) -> None:
    async def use(bench: Bench) -> None:
        asset = bench.register(long_log)
        index, _ = bench.ws.jobs.index_once(asset.id, {}, {"assets": [{"asset_id": asset.id}]})
        payload = {"conversion_id": "x", "spec": {}, "assets": [{"asset_id": asset.id}], "overwrite": False}
        made = bench.ws.conversions.create([asset.id], {}, payload, output_path="/x", needs=[index.id])
        assert (await bench.queue.cancel(bench.ws, made.job_id)).status == "cancelled"
        other = bench.ws.conversions.create([asset.id], {}, payload, output_path="/x", needs=[index.id])
        await bench.queue.start()
        await bench.until(lambda: bool(bench.statuses(index.id)), "the index to run")
        await bench.queue.cancel(bench.ws, index.id)
        held_back = await bench.end(other.job)
        assert held_back.error is not None
        assert (held_back.status, held_back.attempt, held_back.error.kind) == ("failed", 0, "cancelled")
        assert "could not be indexed first" in held_back.error.message

        job = bench.convert_job(asset, **LONG)
        os.kill(await decoding(bench, job), signal.SIGKILL)
        await bench.until(
            lambda: bench.ws.jobs.get(job.id).status == "interrupted", "the pause before it is tried again"
        )
        began = time.monotonic()
        assert (await bench.queue.cancel(bench.ws, job.id)).status == "cancelled"
        assert time.monotonic() - began < 0.5

    on_bench(use, start=False)


def test_a_conversion_waits_for_its_index_and_fails_with_its_reason(
    on_bench: OnBench, data: Path, tmp_path: Path
) -> None:
    async def use(bench: Bench) -> None:
        for path, status in ((data / "poses.bag", "succeeded"), (tmp_path / "bad.bag", "failed")):
            if not path.exists():
                path.write_bytes(b"no log")
            asset = bench.register(path)
            index, _ = bench.ws.jobs.index_once(asset.id, {}, {"assets": [{"asset_id": asset.id}]})
            payload = {
                "conversion_id": (conversion_id := f"c-{status}"),
                "spec": {},
                "assets": [{"asset_id": asset.id, "episode_id": "episode_0001"}],
                "overwrite": False,
            }
            made = bench.ws.conversions.create(
                [asset.id],
                {},
                payload,
                output_path=str(bench.ws.outputs_dir / status),
                conversion_id=conversion_id,
                needs=[index.id],
            )
            bench.queue.submit(bench.ws, made.job)
            ended = await bench.end(made.job)
            indexed = bench.ws.jobs.get(index.id)
            assert (indexed.status, ended.status) == (status, status)
            if ended.status == "failed":
                assert ended.error is not None
                assert indexed.error is not None
                assert (ended.error.kind, ended.error.data["needs_job_id"]) == ("bad_input", index.id)
                assert ended.error.message == f"the log could not be indexed first: {indexed.error.message}"
                assert ended.started_at is None
            else:
                assert ended.started_at is not None
                assert indexed.finished_at is not None
                assert ended.started_at >= indexed.finished_at

    on_bench(use)

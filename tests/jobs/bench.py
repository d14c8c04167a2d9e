"""A queue with a real store and real workers, on a loop of its own."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hephaes_rpc.config import Options, load
from hephaes_rpc.context import AppState
from hephaes_rpc.jobs.queue import JobQueue
from hephaes_rpc.jobs.records import analysis_of
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.model.jobs import Job
from hephaes_rpc.notify import Notifier
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.workspace import OpenWorkspace


class Bench:
    """A queue, the workspace it works in, and what it has told the client."""

    def __init__(self, app: AppState, sent: list[Any]) -> None:
        self.app = app
        self.sent = sent
        self.ws: OpenWorkspace = app.store.workspace(None)
        self.queue = app.jobs

    def register(self, path: Path) -> Asset:
        """Register a log."""
        found = path.stat()
        return self.ws.assets.register(path.resolve(), found.st_size, found.st_mtime_ns)

    def index_job(self, asset: Asset) -> Job:
        """A queued index job that has been submitted."""
        job = self.ws.jobs.create("index", [asset.id], {}, {"assets": [{"asset_id": asset.id}]})
        self.queue.submit(self.ws, job)
        return job

    def analyze_job(self, asset: Asset) -> Job:
        """A queued analysis that has been submitted."""
        found = analysis_of(self.ws, asset.id, "analyze_asset", again=True)
        assert found is not None
        self.queue.submit(self.ws, found[0])
        return found[0]

    def convert_job(self, *assets: Asset, folder: str = "run", reuse: bool = False, **spec: Any) -> Job:
        """A queued conversion that has been submitted."""
        conversion_id = str(uuid.uuid4())
        payload = {
            "conversion_id": conversion_id,
            "spec": spec,
            "assets": [
                {"asset_id": asset.id, "episode_id": f"episode_{n:04}"} for n, asset in enumerate(assets, start=1)
            ],
            "overwrite": False,
            "reuse": reuse,
        }
        made = self.ws.conversions.create(
            [asset.id for asset in assets],
            {},
            payload,
            output_path=str(self.ws.outputs_dir / folder),
            conversion_id=conversion_id,
        )
        self.queue.submit(self.ws, made.job)
        return made.job

    def told(self, method: str, job_id: str | None = None) -> list[Any]:
        """Params of what was sent, of one job where an id is given."""
        params = [message["params"] for message in self.sent if message["method"] == method]
        return [p for p in params if job_id in (None, p.get("job_id"), p.get("job", {}).get("id"))]

    def statuses(self, job_id: str) -> list[str]:
        """The statuses of a job as they were told."""
        return [params["job"]["status"] for params in self.told("jobs/didChange", job_id)]

    def files(self, folder: str = "run") -> list[str]:
        """Names in an output folder, hidden ones too."""
        path = self.ws.outputs_dir / folder
        return sorted(each.name for each in path.iterdir()) if path.exists() else []

    async def end(self, job: Job) -> Job:
        """The job once it has ended."""
        return await asyncio.wait_for(self.queue.run_to_end(self.ws, job.id), 30)

    async def until(self, condition: Callable[[], bool], what: str = "that", timeout_s: float = 20) -> None:
        """Wait for something."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, f"waited for {what} in vain; sent: {self.sent[-5:]}"
            await asyncio.sleep(0.01)

    def worker_of(self, job: Job) -> int:
        """Process id of the worker of a running job, once it has begun to decode."""
        run = self.queue._runs[job.id]
        assert run.worker is not None
        return run.worker.pid


@asynccontextmanager
async def opened(folder: Path, *, start: bool = True, drain: bool = True, **variables: str) -> AsyncIterator[Bench]:
    """A bench whose workspace lies in ``folder``."""
    environ = {"HEPHAES_BACKEND_DATA_DIR": str(folder / "data"), "HEPHAES_MAX_WORKERS": "2", **variables}
    config = load(Options(workspace_root=str(folder / "workspace")), Options(), environ)
    sent: list[Any] = []
    executor = ThreadPoolExecutor(4)
    store = AppStore(config)
    notify = Notifier(asyncio.get_running_loop(), lambda body, key: sent.append(json.loads(body)))
    notify.open()
    app = AppState(config, notify, executor, None, time.monotonic())  # type: ignore[arg-type]
    app.store, app.jobs = store, JobQueue(config, store, notify, executor)
    try:
        if start:
            await app.jobs.start()
        yield Bench(app, sent)
    finally:
        if drain:
            await app.jobs.drain()
            if dying := asyncio.all_tasks() - {asyncio.current_task()}:  # killed, but the machine may be busy
                await asyncio.wait(dying, timeout=30)
        executor.shutdown()
        store.close()


LONG: dict[str, Any] = {"output": {"format": "tfrecord", "compression": "gzip"}}


def exists(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int, timeout_s: float = 3.0) -> bool:
    """Whether a process ends within that time."""
    until = time.monotonic() + timeout_s
    while exists(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not exists(pid)

"""Index jobs that requests wait for.

Strategy: an asset has one index job at a time.  Requests of this process for the same asset share one run; a job that
somebody else has made is joined, not repeated.  A run is stopped when the last request that waits for it is cancelled.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Literal

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model import Job, Progress
from hephaes_rpc.registry import AppState
from hephaes_rpc.store.workspace import OpenWorkspace

Trigger = Literal["index_asset", "reindex_all", "convert"]
Told = Callable[[Progress], None]


class _Run:
    """One asset being indexed, and who listens; ``closing`` once nobody waits any more."""

    def __init__(self, app: AppState, workspace: OpenWorkspace, asset_id: str, trigger: Trigger) -> None:
        self.listeners: list[Told] = []
        self.closing = False
        self.task = asyncio.create_task(_job(app, workspace, asset_id, trigger, self._tell))

    def _tell(self, progress: Progress) -> None:
        for listener in self.listeners:
            listener(progress)


_runs: dict[tuple[OpenWorkspace, str], _Run] = {}


async def index(app: AppState, workspace: OpenWorkspace, asset_id: str, trigger: Trigger, told: Told) -> Job:
    """The finished job that indexed an asset; raises ``asset_not_found``."""
    key = workspace, asset_id
    while (run := _runs.get(key)) is not None and run.closing and not run.task.done():
        await asyncio.wait([run.task])
    if run is None or run.task.done():
        run = _runs[key] = _Run(app, workspace, asset_id, trigger)
    run.listeners.append(told)
    try:
        return await asyncio.shield(run.task)
    except asyncio.CancelledError:
        if len(run.listeners) == 1:
            run.closing = True
            run.task.cancel()
            await asyncio.gather(run.task, return_exceptions=True)
        raise
    finally:
        run.listeners.remove(told)
        if not run.listeners and _runs.get(key) is run:
            del _runs[key]


async def _job(app: AppState, workspace: OpenWorkspace, asset_id: str, trigger: Trigger, told: Told) -> Job:
    loop = asyncio.get_running_loop()
    while True:
        finding = loop.run_in_executor(app.executor, active_or_new, app, workspace, asset_id, trigger)
        try:
            job, is_ours = await asyncio.shield(finding)
        except asyncio.CancelledError:
            job, is_ours = await finding
            if is_ours:
                with contextlib.suppress(HephaesError):
                    await app.jobs.cancel(workspace, job.id)
            raise
        job = await app.jobs.run_to_end(workspace, job.id, told)
        if is_ours or job.status != "cancelled":
            return job


def active_or_new(app: AppState, workspace: OpenWorkspace, asset_id: str, trigger: Trigger) -> tuple[Job, bool]:
    """The job that indexes an asset already, or a new one; whether it is new."""
    asset = workspace.assets.get(asset_id)
    payload = {"type": "index", "assets": [{"asset_id": asset.id, "path": asset.file_path}]}
    job, is_new = workspace.jobs.index_once(asset.id, {"execution": "worker", "trigger": trigger}, payload)
    if is_new:
        app.jobs.submit(workspace, job)
    return job, is_new

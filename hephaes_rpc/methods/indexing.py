"""Jobs on an asset that requests wait for: its index, its analysis.

Strategy: an asset has one such job of each kind at a time.  Requests of this process for the same asset share one run;
a job that somebody else has made is joined, not repeated.  A run is stopped when the last request that waits for it is
cancelled.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Literal

from hephaes_rpc.context import AppState
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.jobs.records import analysis_of
from hephaes_rpc.model.jobs import Job, Progress
from hephaes_rpc.store.workspace import OpenWorkspace

Trigger = Literal["index_asset", "reindex_all", "convert"]
Told = Callable[[Progress], None]
Found = Callable[[], tuple[Job, bool]]
"""Makes a job, or finds the one that waits or is at work already; whether it is new."""


class _Run:
    """A job at work on one asset, and who listens; ``closing`` once nobody waits any more."""

    def __init__(self, app: AppState, workspace: OpenWorkspace, find: Found) -> None:
        self.listeners: list[Told] = []
        self.closing = False
        self.task = asyncio.create_task(_job(app, workspace, find, self._tell))

    def _tell(self, progress: Progress) -> None:
        for listener in self.listeners:
            listener(progress)


_runs: dict[tuple[OpenWorkspace, str, str], _Run] = {}


async def index(app: AppState, workspace: OpenWorkspace, asset_id: str, trigger: Trigger, told: Told) -> Job:
    """The finished job that indexed an asset; raises ``asset_not_found``."""
    find = partial(active_or_new, app, workspace, asset_id, trigger)
    return await _shared(app, workspace, ("index", asset_id), find, told)


async def analyze(app: AppState, workspace: OpenWorkspace, asset_id: str, told: Told) -> Job:
    """The finished job that analyzed an asset; raises ``asset_not_found``."""
    return await _shared(app, workspace, ("analyze", asset_id), partial(_analysis, app, workspace, asset_id), told)


async def _shared(app: AppState, workspace: OpenWorkspace, what: tuple[str, str], find: Found, told: Told) -> Job:
    key = workspace, *what
    while (run := _runs.get(key)) is not None and run.closing and not run.task.done():
        await asyncio.wait([run.task])
    if run is None or run.task.done():
        run = _runs[key] = _Run(app, workspace, find)
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


async def _job(app: AppState, workspace: OpenWorkspace, find: Found, told: Told) -> Job:
    loop = asyncio.get_running_loop()
    while True:
        finding = loop.run_in_executor(app.executor, find)
        try:
            job, is_ours = await asyncio.shield(finding)
        except asyncio.CancelledError:
            job, is_ours = await finding
            if is_ours:
                with contextlib.suppress(HephaesError):
                    await app.jobs.cancel(workspace, job.id)
            raise
        if not is_ours:
            app.jobs.wake()
        job = await app.jobs.run_to_end(workspace, job.id, told, is_new=is_ours)
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


def _analysis(app: AppState, workspace: OpenWorkspace, asset_id: str) -> tuple[Job, bool]:
    """The job that analyzes an asset already, or a new one; whether it is new."""
    found = analysis_of(workspace, asset_id, "analyze_asset", again=True)
    if found is None:
        raise RuntimeError(f"no job analyzes {asset_id} again")
    if found[1]:
        app.jobs.submit(workspace, found[0])
    return found

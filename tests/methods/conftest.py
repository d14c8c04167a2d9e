"""The method table over a real store, without pipes."""

import asyncio
import inspect
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hephaes_rpc.config import Options, load
from hephaes_rpc.context import AppState, RequestContext
from hephaes_rpc.jobs.queue import JobQueue
from hephaes_rpc.methods import register_all
from hephaes_rpc.notify import Notifier, WorkDone
from hephaes_rpc.protocol import read_params
from hephaes_rpc.registry import REGISTRY
from hephaes_rpc.serde import encode, unstructure
from hephaes_rpc.store.app import AppStore


class Table:
    """Calls methods as the protocol does: strict params in, JSON out.

    Attributes:
        sent: Notifications, in order.
    """

    def __init__(self, folder: Path) -> None:
        register_all()
        self.folder = folder
        self.sent: list[dict[str, Any]] = []
        self.loop = asyncio.new_event_loop()
        self.executor = ThreadPoolExecutor(4)
        config = load(Options(data_dir=str(folder / "data")), Options(), {})
        notifier = Notifier(self.loop, lambda frame, _key: self.sent.append(json.loads(frame)))
        notifier.open()
        lifecycle: Any = None  # nothing here asks for it
        self.app = AppState(config, notifier, self.executor, lifecycle, time.monotonic())
        self.open()

    def open(self) -> None:
        """Open the store, as a sidecar that starts does."""
        self.app.store = AppStore(self.app.config)
        self.app.jobs = self.loop.run_until_complete(_queue(self.app))

    def context(self) -> RequestContext:
        """The context of one more request."""
        return RequestContext(self.app, 1, WorkDone(self.app.notify, None))

    def call(self, name: str, context: RequestContext | None = None, /, **params: Any) -> Any:
        """The result of a method as JSON values; raises HephaesError."""
        method = REGISTRY.methods[name]
        structured, _ = read_params(method, params)
        outcome = method.handler(context or self.context(), structured)
        if inspect.iscoroutine(outcome):
            outcome = self.loop.run_until_complete(outcome)
        return json.loads(encode(unstructure(outcome, method.result)))

    def changes(self, noun: str) -> list[dict[str, Any]]:
        """Params of the ``didChange`` notifications of a noun so far."""
        self.app.notify.flush()
        return [m["params"] for m in self.sent if m["method"] == f"{noun}/didChange"]

    def close(self) -> None:
        self.executor.shutdown()
        self.app.store.close()
        self.loop.close()


async def _queue(app: AppState) -> JobQueue:
    """A queue that has not begun: jobs wait."""
    return JobQueue(app.config, app.store, app.notify, app.executor)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Table]:
    """The methods over an empty registry."""
    table = Table(tmp_path)
    yield table
    table.close()


@pytest.fixture
def table(bare: Table) -> Table:
    """The methods with an active workspace."""
    bare.call("workspaces/create", root_path=str(bare.folder / "workspace"))
    return bare


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file with the name of a log."""
    path = tmp_path / "logs" / "drive.mcap"
    path.parent.mkdir()
    path.write_bytes(b"not looked at")
    return path

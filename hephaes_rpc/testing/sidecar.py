"""The real sidecar on raw pipes, as a client that checks every byte sees it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hephaes_rpc.client import TIMEOUT_S, Client
from hephaes_rpc.model.jobs import FINAL


class Sidecar(Client):
    """A running sidecar that forgets nothing it said.

    Args:
        data_dir: Its data folder; also where stderr is kept.
        env: Variables on top of the test's own environment, which loses every ``HEPHAES_*``.
        args: Further words after ``serve``.
        command: Another command in the place of ``python -m hephaes_rpc serve``.

    Attributes:
        process: The child process, leader of its own session.
        messages: Everything received, in order.
        stray: Bytes on stdout that were no frame; must stay empty.
    """

    def __init__(
        self,
        data_dir: Path,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        command: Sequence[str] | None = None,
    ) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.messages: list[dict[str, Any]] = []
        self._stderr_path = data_dir / "stderr.txt"
        self._reading = threading.Event()
        self._reading.set()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAES_")}
        environ |= {"HEPHAES_BACKEND_DATA_DIR": str(data_dir), **(env or {})}
        with self._stderr_path.open("ab") as stderr:
            super().__init__(
                [*(command or (sys.executable, "-m", "hephaes_rpc", "serve")), *args],
                env=environ,
                stderr=stderr,
                new_session=True,
            )

    # --- in

    def response(self, request_id: Any, timeout: float | None = TIMEOUT_S) -> dict[str, Any]:
        """The whole response message to that id (None too), past ones included."""
        key = (type(request_id), request_id)
        return self._wait(lambda: self._answers.get(key), timeout, f"no answer to request {request_id!r}")

    def responses(self, request_id: Any) -> list[dict[str, Any]]:
        """Every response so far to that id."""
        return [m for m in list(self.messages) if "method" not in m and "id" in m and _same(m["id"], request_id)]

    def notifications(self, method: str) -> list[Any]:
        """Params of the notifications of a method so far."""
        return [m.get("params") for m in list(self.messages) if m.get("method") == method and "id" not in m]

    def wait_for(
        self, method: str, predicate: Callable[[Any], bool] = lambda _: True, timeout: float = TIMEOUT_S
    ) -> Any:
        """The params of the first notification (or request) of a method that fits, past ones included."""
        found = self.wait_message(
            lambda m: m.get("method") == method and predicate(m.get("params")), timeout, f"no {method} that fits"
        )
        return found.get("params")

    def wait_message(self, predicate: Callable[[Any], bool], timeout: float, what: str) -> Any:
        """The first message that fits, past ones included."""
        seen = 0

        def look() -> dict[str, Any] | None:
            nonlocal seen
            start, seen = seen, len(self.messages)
            return next((message for message in self.messages[start:seen] if predicate(message)), None)

        return self._wait(look, timeout, what)

    def wait_for_job(self, job_id: str, timeout: float = TIMEOUT_S) -> Any:
        """The job as its final ``jobs/didChange`` has it."""

        def ended(params: Any) -> bool:
            return params["job"]["id"] == job_id and params["job"]["status"] in FINAL

        return self.wait_for("jobs/didChange", ended, timeout)["job"]

    def pause_reading(self) -> None:
        """Stop reading stdout (what a read in progress gets is still taken)."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Read stdout again."""
        self._reading.set()

    def _read_some(self, pipe: int) -> bytes:
        self._reading.wait()
        return super()._read_some(pipe)

    def _take(self, message: Any) -> None:
        self.messages.append(message)
        if "method" not in message:
            self._answers.setdefault((type(message.get("id")), message.get("id")), message)

    def _failure(self, what: str, timeout: float | None) -> BaseException:
        state = f"ended with {self.process.poll()}" if self._ended else f"silent for {timeout} s"
        return AssertionError(f"{what}; sidecar {state}; stderr: {self.stderr[-3000:]}")

    # --- life

    def initialize(self, timeout: float | None = TIMEOUT_S, **params: Any) -> Any:
        """The handshake: ``initialize`` with these params on top of the usual ones, then ``initialized``."""
        return super().initialize(timeout, **{"clientInfo": {"name": "tests"}} | params)

    def shutdown(self, timeout: float = TIMEOUT_S) -> int:
        """``shutdown``, ``exit``, and the exit code."""
        assert self.request("shutdown", timeout=timeout) is None
        self.notify("exit")
        return self.wait(timeout)

    def wait(self, timeout: float = TIMEOUT_S) -> int:
        """The exit code (negative: the signal)."""
        return self.process.wait(timeout)

    def children(self) -> list[int]:
        """Process ids of everything alive in the sidecar's session but itself."""
        return [pid for pid in session_members(self.process.pid) if pid != self.process.pid]

    @property
    def stderr(self) -> str:
        """What it has said on stderr."""
        return self._stderr_path.read_text(errors="replace")

    def stop(self) -> None:
        """End it, by force if need be, and everything it has started."""
        if self.process.poll() is None:
            self.process.kill()
        for pid in session_members(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self._reading.set()
        super().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def session_members(session: int) -> list[int]:
    """Ids of the live processes of a session (zombies left out)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found

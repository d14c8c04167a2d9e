"""The real sidecar on raw pipes, as a client that checks every byte sees it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 30.0
_ABSENT = object()


class RpcError(Exception):
    """The error the sidecar answered with."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{code} {message} {data!r}")
        self.code = code
        self.message = message
        self.data = data


def frame(message: Any) -> bytes:
    """A message (JSON value, or bytes as they are) with its header."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Sidecar:
    """A running sidecar.

    Args:
        data_dir: Its data folder; also where stderr is kept.
        env: Variables on top of the test's own environment.
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
        self._stderr_path = data_dir / "stderr.txt"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HEPHAES_")}
        environ |= {"HEPHAES_BACKEND_DATA_DIR": str(data_dir), **(env or {})}
        with self._stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*(command or (sys.executable, "-m", "hephaes_rpc", "serve")), *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environ,
                start_new_session=True,
            )
        self.messages: list[Any] = []
        self.stray = b""
        self._next_id = 0
        self._arrived = threading.Condition()
        self._ended = False
        self._reading = threading.Event()
        self._reading.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # --- out

    def send_raw(self, data: bytes) -> None:
        """Write bytes to the sidecar's stdin as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: Any) -> None:
        """Send one framed message, well-formed or not."""
        self.send_raw(frame(message))

    def notify(self, method: str, params: Any = _ABSENT) -> None:
        """Send a notification; the member ``params`` is left out unless given."""
        self.send({"jsonrpc": "2.0", "method": method} | ({} if params is _ABSENT else {"params": params}))

    def start(self, method: str, params: Any = _ABSENT, request_id: Any = None) -> Any:
        """Send a request and return its id without waiting for the answer."""
        if request_id is None:
            self._next_id += 1
            request_id = self._next_id
        message = {"jsonrpc": "2.0", "id": request_id, "method": method}
        self.send(message | ({} if params is _ABSENT else {"params": params}))
        return request_id

    def request(self, method: str, params: Any = _ABSENT, timeout: float = TIMEOUT_S) -> Any:
        """The result of a request; raises RpcError."""
        return self.result(self.start(method, params), timeout)

    def cancel(self, request_id: Any) -> None:
        """Ask for a request to be cancelled."""
        self.notify("$/cancelRequest", {"id": request_id})

    def answer(self, request_id: Any, result: Any) -> None:
        """Answer a request of the sidecar."""
        self.send({"jsonrpc": "2.0", "id": request_id, "result": result})

    # --- in

    def result(self, request_id: Any, timeout: float = TIMEOUT_S) -> Any:
        """The result of the request with that id; raises RpcError."""
        answer = self.response(request_id, timeout)
        if "error" in answer:
            raise RpcError(answer["error"]["code"], answer["error"]["message"], answer["error"].get("data"))
        return answer["result"]

    def response(self, request_id: Any, timeout: float = TIMEOUT_S) -> dict[str, Any]:
        """The whole response message to that id (None too)."""

        def fits(message: Any) -> bool:
            return "method" not in message and "id" in message and _same(message["id"], request_id)

        return self.wait_message(fits, timeout, f"no answer to request {request_id!r}")

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
        until = time.monotonic() + timeout
        seen = 0
        with self._arrived:
            while True:
                for message in self.messages[seen:]:
                    if predicate(message):
                        return message
                seen = len(self.messages)
                left = until - time.monotonic()
                if left <= 0 or self._ended:
                    state = f"ended with {self.process.poll()}" if self._ended else f"silent for {timeout} s"
                    raise AssertionError(f"{what}; sidecar {state}; stderr: {self.stderr[-3000:]}")
                self._arrived.wait(left)

    def pause_reading(self) -> None:
        """Stop reading stdout (what a read in progress gets is still taken)."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Read stdout again."""
        self._reading.set()

    def _read(self) -> None:
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        buffer = b""
        while True:
            self._reading.wait()
            data = os.read(pipe, 1 << 20)
            if not data:
                break
            buffer += data
            messages: list[Any] = []
            buffer = self._frames(buffer, messages)
            with self._arrived:
                self.messages += messages
                self._arrived.notify_all()
        with self._arrived:
            self.stray += buffer
            self._ended = True
            self._arrived.notify_all()

    def _frames(self, buffer: bytes, messages: list[Any]) -> bytes:
        """Take whole frames off the buffer: one exact header, a body of strict JSON that ends in a counted newline."""
        prefix = b"Content-Length: "
        while buffer:
            end = buffer.find(b"\r\n\r\n")
            header = buffer if end < 0 else buffer[:end]
            if not header.startswith(prefix) and not prefix.startswith(header):
                self.stray += buffer
                return b""
            if end < 0:
                return buffer
            stop = end + 4 + int(header[len(prefix) :])
            if stop > len(buffer):
                return buffer
            body = buffer[end + 4 : stop]
            if not body.endswith(b"\n"):
                self.stray += body
            messages.append(json.loads(body, parse_constant=_not_json))
            buffer = buffer[stop:]
        return b""

    # --- life

    def initialize(self, timeout: float = TIMEOUT_S, **params: Any) -> Any:
        """The handshake: ``initialize`` with these params on top of the usual ones, then ``initialized``."""
        usual = {"processId": os.getpid(), "clientInfo": {"name": "tests"}, "capabilities": {}}
        result = self.request("initialize", usual | params, timeout)
        self.notify("initialized", {})
        return result

    def shutdown(self, timeout: float = TIMEOUT_S) -> int:
        """``shutdown``, ``exit``, and the exit code."""
        assert self.request("shutdown", timeout=timeout) is None
        self.notify("exit")
        return self.wait(timeout)

    def close_stdin(self) -> None:
        """End the sidecar's input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

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
        self._reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _not_json(name: str) -> Any:
    raise AssertionError(f"{name} on the wire")


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

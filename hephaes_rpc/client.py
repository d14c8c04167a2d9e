"""A client of the sidecar: starts the process, frames messages, matches answers to requests.

The command line asks one thing at a time through it, ``hephaes_rpc.testing`` builds on it.  It reads strictly: a
header that is not exactly ours, or a body that is no JSON object with a counted newline, is kept in ``stray`` and ends
reading.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from hephaes_rpc import __version__
from hephaes_rpc.errors import HephaesError

TIMEOUT_S = 30.0
LEAVE_S = 5.0
INBOX = 10_000
READ_BYTES = 1 << 20
HEADER_BYTES = 64
ABSENT: Any = object()
_HEADER = b"Content-Length: "

T = TypeVar("T")


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


def take_frames(buffer: bytearray) -> tuple[list[Any], bytes]:
    """Take whole frames off the front of ``buffer``: their messages, and what stands there that is no frame of ours."""
    messages: list[Any] = []
    at = 0
    stray = b""
    while at < len(buffer):
        end = buffer.find(b"\r\n\r\n", at)
        header = bytes(buffer[at : at + HEADER_BYTES] if end < 0 else buffer[at:end])
        if not _is_header(header, whole=end >= 0):
            stray = bytes(buffer[at:])
            break
        stop = end + 4 + int(header[len(_HEADER) :]) if end >= 0 else len(buffer) + 1
        if stop > len(buffer):
            break
        try:
            messages.append(_read_body(bytes(buffer[end + 4 : stop])))
        except ValueError:
            stray = bytes(buffer[at:])
            break
        at = stop
    del buffer[:at]
    return messages, stray


def _is_header(header: bytes, *, whole: bool) -> bool:
    length = header[len(_HEADER) :]
    if whole or length:
        return header.startswith(_HEADER) and length.rstrip(b"\r\n" if not whole else b"").isdigit()
    return _HEADER.startswith(header)


def _read_body(body: bytes) -> dict[str, Any]:
    message = json.loads(body, parse_constant=_not_json)
    if type(message) is not dict or not body.endswith(b"\n"):
        raise ValueError("no JSON object on a line of its own")
    return message


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} on the wire")


def serve_command(*options: str) -> list[str]:
    """How this very program is started as a sidecar."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "serve", *options]
    return [sys.executable, "-P", "-m", "hephaes_rpc", "serve", *options]


class Client:
    """One sidecar process and its pipes.

    Requests may be made from several threads.  Notifications and requests of the sidecar queue up for
    ``next_message``; of those that nobody takes the newest are kept.  As a context manager it does the handshake, and
    shuts the sidecar down at the end.

    Args:
        command: The command that serves.
        env: Its environment; None for ours.
        stderr: Where its stderr goes; None for ours.
        new_session: Whether it leads a session of its own.

    Attributes:
        process: The child process.
        stray: Bytes on stdout that were no frame; reading has ended with them.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stderr: IO[bytes] | int | None = None,
        new_session: bool = False,
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603  (the caller's own command)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=env,
            start_new_session=new_session,
        )
        self.stray = b""
        self._arrived = threading.Condition()
        self._writing = threading.Lock()
        self._answers: dict[tuple[type, Any], dict[str, Any]] = {}
        self._inbox: deque[dict[str, Any]] = deque(maxlen=INBOX)
        self._last_id = 0
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="reader", daemon=True)
        self._reader.start()

    # --- out

    def send_raw(self, data: bytes) -> None:
        """Write bytes to the sidecar's stdin as they are."""
        assert self.process.stdin is not None
        with self._writing:
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def send(self, message: Any) -> None:
        """Send one framed message, well-formed or not."""
        self.send_raw(frame(message))

    def notify(self, method: str, params: Any = ABSENT) -> None:
        """Send a notification; the member ``params`` is left out unless given."""
        self.send({"jsonrpc": "2.0", "method": method} | _given(params))

    def start(self, method: str, params: Any = ABSENT, request_id: Any = None) -> Any:
        """Send a request and return its id without waiting for the answer."""
        if request_id is None:
            with self._arrived:
                self._last_id += 1
                request_id = self._last_id
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method} | _given(params))
        return request_id

    def request(self, method: str, params: Any = ABSENT, timeout: float | None = TIMEOUT_S) -> Any:
        """The result of a request; raises RpcError."""
        try:
            request_id = self.start(method, params)
        except BrokenPipeError:
            self._reader.join(LEAVE_S)
            raise self._failure(f"{method} cannot be sent", timeout) from None
        return self.result(request_id, timeout)

    def cancel(self, request_id: Any) -> None:
        """Ask for a request to be cancelled."""
        self.notify("$/cancelRequest", {"id": request_id})

    def answer(self, request_id: Any, result: Any) -> None:
        """Answer a request of the sidecar."""
        self.send({"jsonrpc": "2.0", "id": request_id, "result": result})

    # --- in

    def result(self, request_id: Any, timeout: float | None = TIMEOUT_S) -> Any:
        """The result of the request with that id; raises RpcError."""
        answer = self.response(request_id, timeout)
        if "error" in answer:
            raise RpcError(answer["error"]["code"], answer["error"]["message"], answer["error"].get("data"))
        return answer["result"]

    def response(self, request_id: Any, timeout: float | None = TIMEOUT_S) -> dict[str, Any]:
        """The whole response message to that id; it is handed out once."""
        key = (type(request_id), request_id)
        what = f"no answer to request {request_id!r}"
        return self._wait(lambda: self._answers.pop(key, None), timeout, what)

    def next_message(self, timeout: float | None = TIMEOUT_S) -> dict[str, Any]:
        """The oldest notification or request of the sidecar that has not been taken yet."""
        return self._wait(lambda: self._inbox.popleft() if self._inbox else None, timeout, "no message")

    def _wait(self, look: Callable[[], T | None], timeout: float | None, what: str) -> T:
        """What ``look`` finds that is not None; it is asked again whenever something has arrived."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._arrived:
            while (found := look()) is None:
                left = None if until is None else until - time.monotonic()
                if self._ended or (left is not None and left <= 0):
                    raise self._failure(what, timeout)
                self._arrived.wait(left)
        return found

    def _failure(self, what: str, timeout: float | None) -> BaseException:
        """What is raised when the awaited does not come."""
        if not self._ended:
            return HephaesError("io_error", what if timeout is None else f"{what} within {timeout:g} s")
        if self.stray:
            return HephaesError("bug", f"the sidecar sent no JSON-RPC: {self.stray[:80]!r}")
        try:
            code = self.process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return HephaesError("worker_died", "the sidecar closed its output")
        return HephaesError("worker_died", f"the sidecar ended with exit code {code} and did not answer")

    def _read(self) -> None:
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        buffer, stray = bytearray(), b""
        while not stray and (data := self._read_some(pipe)):
            buffer += data
            messages, stray = take_frames(buffer)
            with self._arrived:
                for message in messages:
                    self._take(message)
                self._arrived.notify_all()
        with self._arrived:
            self.stray = stray or bytes(buffer)
            self._ended = True
            self._arrived.notify_all()

    def _read_some(self, pipe: int) -> bytes:
        return os.read(pipe, READ_BYTES)

    def _take(self, message: Any) -> None:
        """Keep a message that has arrived; the condition is held."""
        if "method" in message:
            self._inbox.append(message)
        else:
            self._answers[type(message.get("id")), message.get("id")] = message

    # --- life

    def initialize(self, timeout: float | None = TIMEOUT_S, **params: Any) -> Any:
        """The handshake: ``initialize`` with these params on top of the usual ones, then ``initialized``."""
        info = {"name": "hephaes-rpc", "version": __version__}
        usual = {"processId": os.getpid(), "clientInfo": info, "capabilities": {}}
        result = self.request("initialize", usual | params, timeout)
        self.notify("initialized", {})
        return result

    def shutdown(self, timeout: float = TIMEOUT_S) -> int:
        """``shutdown``, ``exit``, and the exit code."""
        self.request("shutdown", timeout=timeout)
        self.notify("exit")
        return self.process.wait(timeout)

    def close_stdin(self) -> None:
        """End the sidecar's input."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def stop(self) -> None:
        """End the process by closing its input, after a while by force."""
        self.close_stdin()
        try:
            self.process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(LEAVE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Self:
        try:
            self.initialize()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None or issubclass(kind, RpcError):
                self.shutdown()
        except (HephaesError, BrokenPipeError):
            if kind is None:
                raise
        finally:
            self.stop()


def _given(params: Any) -> dict[str, Any]:
    return {} if params is ABSENT else {"params": params}

"""A client of our own sidecar: starts it, does the handshake, asks one thing at a time."""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hephaes_rpc import __version__
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.stdio import Fault, FrameReader, Message

LEAVE_S = 5.0

Notified = Callable[[str, Any], None]


class AnswerError(Exception):
    """The sidecar answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data = error.get("data")


def serve_command(*options: str) -> list[str]:
    """How this very program is started as a sidecar."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "serve", *options]
    return [sys.executable, "-P", "-m", "hephaes_rpc", "serve", *options]


class Client:
    """One sidecar process; a context manager that shuts it down.

    Args:
        options: Command line of ``serve``.
        notified: Called with method and params of every notification, while a request or ``wait`` is under way.
    """

    def __init__(self, *options: str, notified: Notified | None = None) -> None:
        self._notified = notified
        self._inbox: queue.SimpleQueue[Message | Fault | None] = queue.SimpleQueue()
        self._last_id = 0
        command = serve_command(*options)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (ours)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        FrameReader(self._stdout.fileno(), self._deliver, self._ended).start()

    def _deliver(self, found: list[Message | Fault]) -> None:
        for item in found:
            self._inbox.put(item)

    def _ended(self, lost: bool) -> None:
        del lost
        self._inbox.put(None)

    def __enter__(self) -> Self:
        params = {
            "processId": os.getpid(),
            "clientInfo": {"name": "hephaes-rpc", "version": __version__},
            "capabilities": {},
        }
        try:
            self.request("initialize", params)
            self._send({"jsonrpc": "2.0", "method": "initialized", "params": {}})
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None or issubclass(kind, AnswerError):
                self.request("shutdown")
                self._send({"jsonrpc": "2.0", "method": "exit"})
        except HephaesError:
            if kind is None:
                raise
        finally:
            self._leave()

    def request(self, method: str, params: Any = None) -> Any:
        """The result of one call; raises AnswerError, or HephaesError when the sidecar is gone."""
        self._last_id += 1
        request_id = self._last_id
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            body["params"] = params
        self._send(body)
        while True:
            message = self.wait()
            if message.get("id") == request_id and "method" not in message:
                if "error" in message:
                    raise AnswerError(message["error"])
                return message["result"]

    def wait(self) -> dict[str, Any]:
        """The next message of the sidecar; notifications are also handed to ``notified``."""
        item = self._inbox.get()
        if item is None:
            raise self._gone()
        if isinstance(item, Fault):
            raise HephaesError("bug", f"the sidecar sent no JSON-RPC: {item.message}")
        message: dict[str, Any] = item.value
        if "method" in message and "id" not in message and self._notified is not None:
            self._notified(message["method"], message.get("params"))
        return message

    def _send(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        try:
            self._stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
            self._stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def _gone(self) -> HephaesError:
        try:
            code = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return HephaesError("worker_died", "the sidecar closed its output")
        return HephaesError("worker_died", f"the sidecar ended with exit code {code} and did not answer")

    def _leave(self) -> None:
        """End the process: by closing its input, after a while by force."""
        with suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

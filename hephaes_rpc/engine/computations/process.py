"""The worker's end of a script's process: batches go there, columns come back, within time, or the process is killed.

Strategy: one pipe each way, without blocking, so that whoever waits can be cancelled at any moment and a script that
does not answer costs its time limit and a grace.  Nothing that comes back is believed: frames are bounded, columns are
validated in full.
"""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from hephaes_rpc.engine.computations.runner import HEADER
from hephaes_rpc.engine.computations.scripts import Script, script_error
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.processes import command

POLL_S = 0.05
GRACE_S = 1.0
START_S = 30.0
MAX_REPLY_BYTES = 2 << 30
_PIECE_BYTES = 1 << 20


class ScriptProcess:
    """A script being run; a context manager that ends it.

    Args:
        script: What is run.
        function: A function that ``check_function`` has passed, and its line.
        outputs: Name -> ``dtype`` and ``shape``.
        time_s: Seconds that a call, or loading the script, may take.
        memory_mb: Beyond what the process has without the script.
        check: Raises when the work should stop; called many times a second.
    """

    def __init__(
        self,
        script: Script,
        function: tuple[str, int],
        outputs: Mapping[str, Mapping[str, Any]],
        time_s: float,
        memory_mb: int,
        check: Callable[[], None],
    ) -> None:
        self._script, self._outputs, self._time_s, self._check = script, outputs, time_s, check
        self._line = function[1]
        self._task = {
            "path": script.path,
            "source": script.source,
            "function": function[0],
            "line": function[1],
            "outputs": outputs,
            "time_s": time_s,
            "memory_mb": memory_mb,
        }
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        """Start the process and load the script; raises ``script_failed``."""
        self._process = subprocess.Popen(  # noqa: S603  (this program itself)
            command("script"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        try:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
            self._exchange(b"S", json.dumps(self._task).encode(), START_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def call(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """The columns of a batch in the order of the outputs; raises ``script_failed``."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        reply = self._exchange(b"B", bytes(sink.getvalue()), 0.0)
        try:
            found = pa.ipc.open_stream(reply).read_next_batch()
            found.validate(full=True)
            if found.num_rows != batch.num_rows or found.schema.names != list(self._outputs):
                raise ValueError("other columns than were asked for")
        except (pa.ArrowException, ValueError, StopIteration) as error:
            raise script_error(self._script.path, self._line, f"what came back is no batch: {error}") from None
        return list(found.columns)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _exchange(self, kind: bytes, payload: bytes, more_s: float) -> bytes:
        until = time.monotonic() + self._time_s + GRACE_S + more_s
        out = [memoryview(HEADER.pack(kind, len(payload))), memoryview(payload)]
        received = bytearray()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            ready.register(stdin, selectors.EVENT_WRITE)
            while True:
                self._check()
                if time.monotonic() > until:
                    raise self._failed(f"it took longer than its {self._time_s:g} s and did not stop")
                for key, _ in ready.select(POLL_S):
                    if key.fileobj is stdin:
                        if not self._send(stdin.fileno(), out):
                            ready.unregister(stdin)
                    elif (reply := self._receive(stdout.fileno(), received)) is not None:
                        return reply

    def _send(self, descriptor: int, out: list[memoryview]) -> bool:
        """Write a piece; whether there is more."""
        try:
            out[0] = out[0][os.write(descriptor, out[0][:_PIECE_BYTES]) :]
        except BrokenPipeError:
            return False  # why, is told by what comes back
        except BlockingIOError:
            return True
        while out and not out[0]:
            out.pop(0)
        return bool(out)

    def _receive(self, descriptor: int, received: bytearray) -> bytes | None:
        """Read a piece; the payload once it is whole."""
        piece = os.read(descriptor, _PIECE_BYTES)
        if not piece:
            raise self._failed(self._how_it_ended())
        received += piece
        if len(received) < HEADER.size:
            return None
        kind, size = HEADER.unpack_from(received)
        if size > MAX_REPLY_BYTES or kind not in b"OBE":
            raise self._failed("it wrote into the pipe that its columns take")
        if len(received) < HEADER.size + size:
            return None
        payload = bytes(received[HEADER.size : HEADER.size + size])
        if kind == b"E":
            told = json.loads(payload)
            raise script_error(self._script.path, told["line"], told["why"])
        return payload

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed the pipe that its columns take"
        if code < 0:
            import signal

            return f"its process was killed by {signal.Signals(-code).name}"
        return f"it ended its process with code {code}"

    def _failed(self, why: str) -> HephaesError:
        return script_error(self._script.path, None, why)

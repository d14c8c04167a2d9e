"""The process that runs one script: record batches in, the columns of a function out, within limits.

Frames in both directions are a byte that says what follows, eight bytes of length, and the payload.  In: ``S`` once,
JSON with the script, its function, the columns it owes and its limits; ``B`` a record batch as an Arrow stream.  Out:
``O`` when the script is loaded, ``B`` the columns, ``E`` an error as JSON, after which nothing follows.

A script may do whatever its user may, but it starts no processes: what it left behind would outlive its job.  What it
prints goes to stderr.
"""

import json
import linecache
import os
import signal
import struct
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from hephaes_rpc.processes import die_with_parent

HEADER = struct.Struct("<cQ")
FORBIDDEN = ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system", "subprocess.Popen")


class _TooLongError(BaseException):
    """The time of a call is over; no ``except Exception`` of a script holds it up."""


class _ContractError(Exception):
    """A function gave something else than the columns it owes."""


def run(read_fd: int, write_fd: int) -> int:
    """Serve the script until the input ends; returns the exit code."""
    die_with_parent()
    with os.fdopen(read_fd, "rb") as source, os.fdopen(write_fd, "wb") as sink:
        frame = _read(source)
        if frame is None:
            return 0
        task = json.loads(frame[1])
        try:
            function = _load(task)
        except BaseException as error:
            return _fail(sink, error, task)
        _write(sink, b"O", b"")
        while (frame := _read(source)) is not None:
            try:
                answer = _call(function, frame[1], task)
            except BaseException as error:
                return _fail(sink, error, task)
            _write(sink, b"B", answer)
    return 0


def _read(source: Any) -> tuple[bytes, bytes] | None:
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, size = HEADER.unpack(header)
    return kind, source.read(size)


def _write(sink: Any, kind: bytes, payload: bytes) -> None:
    sys.stdout.flush()
    sink.write(HEADER.pack(kind, len(payload)))
    sink.write(payload)
    sink.flush()


def _load(task: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The function, once the top of the script has run."""
    import numpy as np
    import pyarrow as pa

    del np, pa  # loaded before memory is counted
    _restrict(task["memory_mb"])
    path, source = task["path"], task["source"]
    module = types.ModuleType("script")
    module.__file__ = path
    sys.modules["script"] = module
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    code = compile(source, path, "exec")
    sys.addaudithook(_forbid)
    with _Timed(task["time_s"]):
        exec(code, module.__dict__)  # noqa: S102  (running it is what the user has asked for)
    function = getattr(module, task["function"], None)
    if not callable(function):
        raise _ContractError(f"{task['function']!r} is no function once the script has run")
    found: Callable[[Any], Any] = function
    return found


def _restrict(memory_mb: int) -> None:
    """Memory that the script may have beyond what this process has now."""
    if sys.platform == "win32":
        return
    import resource

    mapped = 0
    with suppress(OSError), open("/proc/self/statm") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    limit = mapped + (memory_mb << 20)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _forbid(event: str, _: tuple[Any, ...]) -> None:
    if event in FORBIDDEN:
        raise PermissionError(f"a script may not start processes ({event})")


class _Timed:
    """Raises _TooLongError in the block after so many seconds, where the system can."""

    def __init__(self, time_s: float) -> None:
        self._time_s = time_s

    def __enter__(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, _over)
            signal.setitimer(signal.ITIMER_REAL, self._time_s)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _over(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _TooLongError


def _call(function: Callable[[Any], Any], payload: bytes, task: Mapping[str, Any]) -> bytes:
    """The columns of one batch as an Arrow stream."""
    import pyarrow as pa

    from hephaes_rpc.engine.computations.owed import owed

    batch = pa.ipc.open_stream(payload).read_next_batch()
    with _Timed(task["time_s"]):
        given = function(batch)
    try:
        found = owed(given, batch.num_rows, task["outputs"])
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise _ContractError(f"{task['function']}: {error}") from None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_batch(found)
    return bytes(sink.getvalue())


def _fail(sink: Any, error: BaseException, task: Mapping[str, Any]) -> int:
    """Tell of an error with the last line of the script that it passed through."""
    line = _line_of(error, task["path"])
    match error:
        case _TooLongError():
            why = f"it took longer than its {task['time_s']:g} s"
        case _ContractError():
            why, line = str(error), task["line"]
        case MemoryError():
            why = f"it needed more memory than its {task['memory_mb']} MB"
        case SystemExit():
            why = f"it called exit ({error.code})"
        case _:
            why = f"{type(error).__name__}: {error}"
    _write(sink, b"E", json.dumps({"line": line, "why": why[:1000]}).encode())
    _print_frames(error, task["path"])
    return 1


def _print_frames(error: BaseException, path: str) -> None:
    """Where in the script it happened, call by call, for the log of the job."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    with suppress(BaseException):
        sys.stderr.write("".join(traceback.format_list(frames[-20:])))
        sys.stderr.flush()


def _line_of(error: BaseException, path: str) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    line = None
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == path:
            line = step.tb_lineno
        step = step.tb_next
    return line

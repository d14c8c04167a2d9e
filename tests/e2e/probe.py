"""A sidecar with a few methods more, for what no method of the product does on purpose.  Run as a program."""

import sys

if __name__ == "__main__":
    from hephaes_rpc import stdio

    wire = stdio.claim()

import asyncio
import ctypes
import errno
import os
import subprocess
import threading
import time
from typing import Any, Literal

from attrs import field, frozen, validators

from hephaes_rpc.config import Options
from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.registry import Lane, method


@frozen
class Anything:
    value: Any = None


@frozen
class Typed:
    count: int
    name: str
    ratio: float = 0.5
    flag: bool = False
    mode: Literal["fast", "slow"] = "fast"
    limit: int = field(default=100, validator=[validators.ge(1), validators.le(500)])
    tags: list[str] = field(factory=list)


@frozen
class Seconds:
    seconds: float


@frozen
class How:
    how: str


@frozen
class Storm:
    threads: int
    count: int
    size: int


@method("probe/echo", params=Anything, result=Any)
def echo(ctx: RequestContext, params: Anything) -> Any:
    """Give back what came."""
    return params.value


@method("probe/typed", params=Typed, result=Typed)
def typed(ctx: RequestContext, params: Typed) -> Typed:
    """Give back what came, typed."""
    return params


@method("probe/raise", params=How)
def fail(ctx: RequestContext, params: How) -> None:
    """Fail in one of many ways."""
    failures: dict[str, BaseException] = {
        "ValueError": ValueError("secret words of the server"),
        "SystemExit": SystemExit(7),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "ENOSPC": OSError(errno.ENOSPC, "No space left on device", "/data/out.parquet"),
        "EACCES": OSError(errno.EACCES, "Permission denied", "/data/out.parquet"),
        "EIO": OSError(errno.EIO, "Input/output error"),
        "ENOENT": OSError(errno.ENOENT, "No such file", "/data/in.bag"),
        "hephaes": HephaesError("asset_not_found", "no asset a1 is registered", hint="register it", asset_id="a1"),
        "data": HephaesError("asset_not_found", "data that JSON cannot say", value={1, 2}),
    }
    raise failures[params.how]


@method("probe/number", params=How, result=float)
def number(ctx: RequestContext, params: How) -> float:
    """Answer a number that may be none."""
    return float(params.how)


@method("probe/result", params=How, result=Any)
def result(ctx: RequestContext, params: How) -> Any:
    """Answer with what JSON may not be able to say."""
    return {"set": {1}, "object": object(), "key": {1: 2}, "coroutine": None, "nan": [float("nan")], "big": 2**60}[
        params.how
    ]


@method("probe/block", params=Seconds)
def block(ctx: RequestContext, params: Seconds) -> None:
    """Hold the event loop, as nothing should."""
    time.sleep(params.seconds)


@method("probe/io", params=Seconds, result=str, lane=Lane.IO)
def io(ctx: RequestContext, params: Seconds) -> str:
    """Sleep in a thread without looking up."""
    time.sleep(params.seconds)
    return threading.current_thread().name


@method("probe/patient", params=Seconds, result=str, lane=Lane.IO, progress=True)
def patient(ctx: RequestContext, params: Seconds) -> str:
    """Sleep in a thread and look up often."""
    until = time.monotonic() + params.seconds
    while time.monotonic() < until:
        ctx.check()
        ctx.progress.report("waiting", 50)
        time.sleep(0.01)
    return "done"


@method("probe/long", params=Seconds, result=str, lane=Lane.LONG, progress=True)
async def long(ctx: RequestContext, params: Seconds) -> str:
    """Sleep as a task."""
    ctx.progress.report("sleeping", 10)
    await asyncio.sleep(params.seconds)
    return "done"


@method("probe/stubborn", params=Seconds, result=str, lane=Lane.LONG)
async def stubborn(ctx: RequestContext, params: Seconds) -> str:
    """Sleep as a task that does not let itself be cancelled."""
    until = time.monotonic() + params.seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue
    return "done"


@method("probe/broken", lane=Lane.LONG, progress=True)
async def broken(ctx: RequestContext) -> None:
    """Fail as a task."""
    await asyncio.sleep(0)
    raise HephaesError("disk_full", "no space left on the disk of the probe")


@method("probe/storm", params=Storm, lane=Lane.LONG)
async def storm(ctx: RequestContext, params: Storm) -> None:
    """Notify from many threads at once."""

    def notify(number: int) -> None:
        for index in range(params.count):
            text = chr(97 + number) * (1 + (index * 7919) % params.size)
            ctx.app.notify.notify("probe/storm", {"thread": number, "index": index, "text": text})

    await asyncio.gather(*(ctx.in_thread(notify, number) for number in range(params.threads)))


@method("probe/flood", params=Storm, lane=Lane.LONG)
async def flood(ctx: RequestContext, params: Storm) -> None:
    """Notify progress of one thing without end, from one thread."""
    for index in range(params.count):
        ctx.app.notify.notify("probe/flood", {"index": index, "text": "x" * params.size}, key="flood")


@method("probe/print", lane=Lane.IO)
def stray(ctx: RequestContext) -> None:
    """Print in every way there is."""
    print("a print")
    sys.stdout.write("a write\n")
    sys.stdout.flush()
    os.write(1, b"a raw write\n")
    subprocess.run([sys.executable, "-c", "import os; os.write(1, b'a child\\n'); print('again')"], check=True)
    subprocess.run("echo a shell", shell=True, check=True)
    library = ctypes.CDLL(None)
    library.puts(b"a C library")
    library.fflush(None)
    data = subprocess.run(["cat"], capture_output=True, check=True).stdout
    assert data == b"", "a child found something on stdin"


@method("probe/ask", params=Anything, result=Any, lane=Lane.LONG)
async def ask(ctx: RequestContext, params: Anything) -> Any:
    """Ask the client."""
    return await ctx.app.request_client("window/openFileDialog", {"title": params.value})


@method("probe/modules", params=Anything, result=list[str])
def modules(ctx: RequestContext, params: Anything) -> list[str]:
    """The top-level modules that are imported."""
    return sorted({name.partition(".")[0] for name in sys.modules})


@method("probe/warn", params=How)
def warn(ctx: RequestContext, params: How) -> None:
    """Log a warning."""
    import logging

    logging.getLogger("hephaes_rpc.probe").warning("%s", params.how)


if __name__ == "__main__":
    from hephaes_rpc import server

    sys.exit(server.serve(wire, Options(), os.environ))

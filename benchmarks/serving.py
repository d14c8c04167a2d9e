"""The sidecar alone, as its client sees it:  serving.py start | calls | logs LOG ... | opening LOG.  Prints JSON.

start  seconds from the start of the process to the answer to ``initialize``, in turn with pygls' own import
calls  round trips of ``health`` one after the other, and requests per second when all are written at once; the client
       is a bare pipe that counts frames
logs   in a warm sidecar, milliseconds of ``assets/index`` of each log, and seconds of a preview of five rows of what it
       drafts
opening  seconds from the start of ``hephaes-rpc convert`` until it opens the log
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hephaes_rpc.client import Client, frame, serve_command

STARTS, LONE, PIPELINED, INDEXED, PREVIEWED, ROWS = 7, 2000, 20_000, 7, 3, 5
SETTLED_S = 3.0
"""By then a sidecar has its spare worker, whose start would be measured too."""
OPENED = """
import sys, os
log = sys.argv[-1]
def hear(event, arguments):
    if event == "open" and arguments[0] == log:
        os._exit(0)
sys.addaudithook(hear)
from hephaes_rpc.cli.commands import run
run(sys.argv[1:])
os._exit(1)
"""
IMPORT = [sys.executable, "-c", "import pygls.lsp.server"]
MARK = b"Content-Length"
READ_BYTES = 1 << 20


class Pipe:
    """A sidecar and the ends of its pipes."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            serve_command("--data-dir", str(folder / "data")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout.fileno()

    def send(self, data: bytes) -> None:
        """Write to its stdin."""
        self._in.write(data)
        self._in.flush()

    def take(self, n: int) -> None:
        """Read until so many frames have begun, the last of which has come whole."""
        found, tail = 0, b""
        while found < n or not tail.endswith(b"}\n"):
            data = tail + os.read(self._out, READ_BYTES)
            found += data.count(MARK)
            tail = data[-len(MARK) + 1 :]


@contextmanager
def sidecar() -> Iterator[Pipe]:
    """One that has answered ``initialize``."""
    with tempfile.TemporaryDirectory() as name:
        pipe = Pipe(Path(name))
        try:
            pipe.send(_request(0, "initialize", {"processId": None, "capabilities": {}}))
            pipe.take(1)
            yield pipe
        finally:
            pipe.process.kill()
            pipe.process.wait()


def _request(request_id: int, method: str, params: object) -> bytes:
    return frame({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


def start() -> dict[str, float]:
    """Of a fresh process to its first answer, and of an import of pygls."""
    ours, theirs = [], []
    for _ in range(STARTS):
        began = time.perf_counter()
        with sidecar():
            ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run(IMPORT, check=True)
        theirs.append(time.perf_counter() - began)
    first, imported = statistics.median(ours), statistics.median(theirs)
    return {"first answer s": first, "import of pygls s": imported, "first answer in imports": first / imported}


def calls() -> dict[str, float]:
    """Of ``health``: no notification of the sidecar may come in between, so it has no workspace."""
    with sidecar() as pipe:
        time.sleep(SETTLED_S)
        took = []
        for k in range(1, LONE + 1):
            began = time.perf_counter()
            pipe.send(_request(k, "health", {}))
            pipe.take(1)
            took.append(time.perf_counter() - began)
        flood = b"".join(_request(k, "health", {}) for k in range(1, PIPELINED + 1))
        began = time.perf_counter()
        writer = threading.Thread(target=pipe.send, args=(flood,))
        writer.start()
        pipe.take(PIPELINED)
        flooded = time.perf_counter() - began
        writer.join()
    took.sort()
    return {
        "round trip p50 us": took[LONE // 2] * 1e6,
        "round trip p99 us": took[LONE * 99 // 100] * 1e6,
        "pipelined per s": PIPELINED / flooded,
    }


def logs(paths: list[Path]) -> dict[str, float]:
    """Each under several names, since a log that is known is not read again."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_WORK")) as name:
        folder = Path(name)
        env = {**os.environ, "HEPHAES_ANALYZE": "off"}
        with Client(serve_command("--data-dir", str(folder / "data")), env=env, stderr=subprocess.DEVNULL) as client:
            client.request("workspaces/create", {"root_path": str(folder / "workspace")})
            for path in paths:
                indexed, previewed, asset = [], [], ""
                for k in range(INDEXED + 1):
                    link = folder / f"{k}-{path.name}"
                    os.link(path.resolve(), link)
                    asset = client.request("assets/register", {"file_path": str(link)})["id"]
                    began = time.perf_counter()
                    client.request("assets/index", {"asset_id": asset})
                    indexed.append(time.perf_counter() - began)
                spec = client.request("conversions/draft", {"asset_id": asset}, timeout=120)["draft"]["spec"]
                for _ in range(PREVIEWED + 1):
                    began = time.perf_counter()
                    client.request(
                        "conversions/preview", {"asset_id": asset, "spec": spec, "sample_n": ROWS}, timeout=60
                    )
                    previewed.append(time.perf_counter() - began)
                figures[f"index ms {path.name}"] = statistics.median(indexed[1:]) * 1e3
                figures[f"preview s {path.name}"] = statistics.median(previewed[1:])
    return figures


def opening(log: Path) -> dict[str, float]:
    """The process ends where it would open the log."""
    took = []
    with tempfile.TemporaryDirectory() as out:
        for _ in range(STARTS):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", OPENED, "convert", "-o", f"{out}/made", str(log)], check=True)
            took.append(time.perf_counter() - began)
    return {"log opened s": statistics.median(took)}


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    paths = [Path(each) for each in given]
    measure = {"start": start, "calls": calls, "logs": lambda: logs(paths), "opening": lambda: opening(paths[0])}
    print(json.dumps(measure[what]()))

"""Machine instructions to decode a message, counted by callgrind: the same in every run, on a busy machine too.

    python -m tests.native.instructions            what they are now, beside what is recorded
    python -m tests.native.instructions --write    record them

Counts depend on what compiled the decoder and on the functions of the C library, so they are recorded with those.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hephaes_native import decode
from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.messages.decode import StreamDecoder

RECORDED = Path(__file__).with_name("instructions.json")
N_MESSAGES = 2000
_COUNTED = re.compile(r"\b__pyx_pw_\w*7Decoder_\d+feed\b")
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def made_by() -> dict[str, str]:
    """What counts depend on beside the code; empty where they cannot be had."""
    if shutil.which("valgrind") is None or shutil.which("nm") is None:
        return {}
    cython = re.search(rb"cython_(\d+_\d+_\d+)", Path(decode.__file__).read_bytes())
    told = [[os.environ.get("CC", "gcc").split()[0], "--version"], ["valgrind", "--version"]]
    compiler, valgrind = (
        subprocess.run(argv, capture_output=True, text=True, check=False).stdout.partition("\n")[0] for argv in told
    )
    return {
        "machine": platform.machine(),
        "libc": "-".join(platform.libc_ver()),
        "python": platform.python_version(),
        "cython": cython[1].decode() if cython else "",
        "compiler": compiler,
        "valgrind": valgrind,
    }


def per_message() -> dict[str, int]:
    """Instructions to decode a message, by wire format and type."""
    from tests.factories import samples, write_bag, write_mcap

    symbols = subprocess.run(["nm", decode.__file__], capture_output=True, text=True, check=True).stdout
    (feed,) = _COUNTED.findall(symbols)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs = [
            write_mcap(folder / "log.mcap", samples(N_MESSAGES), chunk_size=1 << 30),
            write_bag(folder / "log.bag", samples(N_MESSAGES, ros=1), chunk_size=1 << 30),
        ]
        argv = ["valgrind", "--tool=callgrind", f"--toggle-collect={feed}", f"--dump-after={feed}"]
        argv += [f"--callgrind-out-file={folder}/count", sys.executable, "-m", "tests.native.instructions", "inside"]
        env = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run([*argv, *map(str, logs)], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"callgrind ended with code {done.returncode}: {done.stderr[-2000:]}")
        calls = json.loads(done.stdout)
        counts = [_total(folder / f"count.{k}") for k in range(1, len(calls) + 1)]
    return {what: round(count / n) for (what, n), count in zip(calls, counts, strict=True)}


def _total(path: Path) -> int:
    found = _TOTAL.search(path.read_text())
    if found is None:
        raise RuntimeError(f"{path.name} has no total")
    return int(found[1])


def _inside(paths: list[str]) -> None:
    """Decode each stream of these logs in one call; prints what was decoded, and how many messages, in this order."""
    calls: list[tuple[str, int]] = []
    for path in paths:
        with open_log(path) as log:
            streams = log.summary.streams
            data, walk = log.messages(0, log.slots(streams))
            for k, stream in enumerate(streams):
                _, offset, length = walk.slot(k)
                StreamDecoder(stream.definition, stream.wire).feed(data, offset, length)
                calls.append((f"{stream.wire} {stream.type_name}", len(offset)))
    print(json.dumps(calls))


def main() -> None:
    """As the module says."""
    if sys.argv[1:2] == ["inside"]:
        _inside(sys.argv[2:])
        return
    found = per_message()
    if "--write" in sys.argv:
        RECORDED.write_text(json.dumps({"made_by": made_by(), "per_message": found}, indent=1) + "\n")
    recorded = json.loads(RECORDED.read_text())["per_message"] if RECORDED.exists() else {}
    for what, count in found.items():
        known = recorded.get(what)
        print(f"{what:50} {count:8,}" + (f"  {count / known - 1:+.1%}" if known else ""))


if __name__ == "__main__":
    main()

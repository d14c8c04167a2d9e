"""``make sanitize``: the native modules under AddressSanitizer and UBSan.

The sources are copied to ``build/sanitize`` and built there with ``HEPHAES_BUILD=sanitize``; then, with the sanitizers'
libraries preloaded and Python's own allocator off (it would hide overreads), run the native tests and this file's
``mutate``: payloads of the small real logs, changed in one place or cut, each in a buffer of exactly its size.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PAYLOADS = int(os.environ.get("HEPHAES_SANITIZE_PAYLOADS", "100000"))
SEED = int(os.environ.get("HEPHAES_SANITIZE_SEED", "1"))
COUNTED = "tests/native/test_instructions.py"
"""Its instructions are those of the release."""
LIES = (0, 1, 2, 3, 2**7, 2**16, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)


def main() -> int:
    """Build, run the native tests, run the mutations; the first finding ends it."""
    copy = ROOT / "build" / "sanitize"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("hephaes_native", "hephaes_rpc", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name in ("build.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    build = {**os.environ, "HEPHAES_BUILD": "sanitize"}
    subprocess.run([sys.executable, "build.py"], cwd=copy, env=build, check=True)
    environ = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "LD_PRELOAD": " ".join(_library(name) for name in ("libasan.so", "libubsan.so")),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    for command in (
        ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "tests/native", f"--ignore={COUNTED}"],
        ["tests/sanitize.py", "mutate"],
    ):
        done = subprocess.run([sys.executable, *command], cwd=copy, env=environ, check=False)
        if done.returncode:
            return done.returncode if done.returncode > 0 else 1
    return 0


def _library(name: str) -> str:
    compiler = os.environ.get("CC", "gcc").split()
    found = subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    if not Path(path).is_absolute():
        raise SystemExit(f"the compiler has no {name}; the sanitizers need gcc and its libasan and libubsan")
    return path


class _Kind(NamedTuple):
    """Real payloads of one stream, and what decodes them."""

    name: str
    decoder: Any
    payloads: list[bytes]


def mutate() -> int:
    """Decode PAYLOADS changed payloads, walk and scan changed chunks; whatever comes back is right."""
    import hephaes_native.decode

    if "sanitize" not in hephaes_native.decode.__file__:
        raise SystemExit(f"{hephaes_native.decode.__file__} is not the sanitized build")
    kinds, chunks = _material()
    random_ = random.Random(SEED)
    began = time.monotonic()
    statuses: Counter[str] = Counter()
    for number in range(PAYLOADS):
        kind = kinds[number % len(kinds)]
        payload = _changed(random_.choice(kind.payloads), random_)
        statuses[_decode(kind.decoder, payload)] += 1
        if number % 20 == 0:
            _walk(*random_.choice(chunks), random_)
    took_s = time.monotonic() - began
    print(f"{PAYLOADS} mutated payloads of {len(kinds)} types (seed {SEED}) in {took_s:.0f} s: no finding")
    print(", ".join(f"{name} {count}" for name, count in statuses.most_common()))
    return 0


def _material() -> tuple[list[_Kind], list[tuple[str, bytes]]]:
    import numpy as np

    from hephaes_rpc.engine.logs import open_log
    from hephaes_rpc.engine.messages.decode import StreamDecoder

    kinds, chunks = [], []
    for path in sorted((ROOT / "tests" / "data").glob("*.*")):
        if path.suffix not in (".bag", ".mcap"):
            continue
        with open_log(path) as log:
            streams = [s for s in log.summary.streams if s.undecodable is None and s.message_count]
            slots = log.slots(streams)
            payloads: list[list[bytes]] = [[] for _ in streams]
            for i in np.unique(log.index(slots).chunk).tolist():
                data, walk = log.messages(i, slots)
                chunks.append((log.storage_format, bytes(data)))
                for k, found in enumerate(payloads):
                    _, offset, length = walk.slot(k)
                    for o, n in list(zip(offset.tolist(), length.tolist(), strict=True))[:20]:
                        found.append(bytes(data[o : o + n]))
            for stream, found in zip(streams, payloads, strict=True):
                decoder = StreamDecoder(stream.definition, stream.wire)
                kinds.append(_Kind(f"{path.name} {stream.topic}", decoder, found))
    return kinds, chunks


def _changed(payload: bytes, random_: random.Random) -> bytes:
    """One change: a cut, flipped bits, a lying 32-bit word at an aligned place, or another tail."""
    data = bytearray(payload)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        way = random_.randrange(5)
        if not data or way == 0:
            del data[random_.randrange(len(data) + 1) :]
        elif way == 1:
            data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
        elif way in (2, 3) and len(data) >= 4:
            struct.pack_into("<I", data, random_.randrange(len(data) // 4) * 4, random_.choice(LIES))
        else:
            data += random_.randbytes(random_.randrange(16))
    return bytes(data)


def _decode(decoder: Any, payload: bytes) -> str:
    import numpy as np

    from hephaes_rpc.engine.messages.decode import STATUS_NAMES

    one = np.array([len(payload)], np.int64)
    status = decoder.feed(payload, np.zeros(1, np.int64), one)
    decoder.take().validate(full=True)
    return STATUS_NAMES[int(status[0])]


def _walk(container: str, chunk: bytes, random_: random.Random) -> None:
    import numpy as np

    from hephaes_native import records

    start = random_.randrange(len(chunk) + 1)
    data = _changed(chunk[:start][-4096:] if random_.random() < 0.5 else chunk[:8192], random_)
    walk, scan = (records.walk_bag, records.scan_bag) if container == "bag" else (records.walk_mcap, records.scan_mcap)
    walk(data, np.zeros(64, np.int32))
    scan(data)


if __name__ == "__main__":
    sys.exit(mutate() if sys.argv[1:] == ["mutate"] else main())

"""``make fuzz TARGET=bag|mcap|db3|decode MINUTES=30``: build with sanitizers and coverage, then fuzz one target.

The sources are copied to ``build/fuzz`` and the native modules built there with ``HEPHAES_BUILD=fuzz`` (clang:
AddressSanitizer, UBSan, coverage for libFuzzer); Python modules are instrumented by atheris when they are imported.
Inputs that reach new code stay in ``build/fuzz/found/TARGET``, those that are a finding in ``build/fuzz/findings``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "fuzz"
TARGETS = ("bag", "mcap", "db3", "decode")
MAX_BYTES = {"bag": 64 << 10, "mcap": 64 << 10, "db3": 64 << 10, "decode": 16 << 10}
RSS_LIMIT_MB = 8192
"""The instrumentation never frees the result of a comparison of arrays; what one input may take is judged by itself."""
MALLOC_LIMIT_MB = 160
TIMEOUT_S = 120
"""Of the clock; the targets themselves count the seconds of the processor."""


def main() -> int:
    """Build and fuzz; 0 where there was no finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, help="run this input only, such as a finding")
    options = parser.parse_args()
    import atheris

    preload = Path(atheris.__file__).parents[1] / "asan_with_fuzzer.so"
    copy = _built()
    found, findings = WORK / "found" / options.target, WORK / "findings"
    found.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    environ = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "LD_PRELOAD": str(preload),
        "PYTHONMALLOC": "malloc",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:quarantine_size_mb=32",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    command = [sys.executable, "-m", "fuzz.drive", options.target]
    if options.input:
        command.append(str(options.input.resolve()))
    else:
        dictionary = copy / "fuzz" / f"{options.target}.dict"
        command += [str(found), str(copy / "fuzz" / "corpus" / options.target)]
        command += [f"-max_total_time={int(options.minutes * 60)}", f"-seed={options.seed}"]
        command += [f"-dict={dictionary}"] if dictionary.exists() else []
    command += [f"-max_len={MAX_BYTES[options.target]}", f"-artifact_prefix={findings}/{options.target}-"]
    command += [f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={RSS_LIMIT_MB}", f"-malloc_limit_mb={MALLOC_LIMIT_MB}"]
    command += ["-print_final_stats=1"]
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="hephaes-fuzz-", dir=memory if memory.is_dir() else None) as folder:
        return subprocess.run(command, cwd=copy, env=environ | {"TMPDIR": folder}, check=False).returncode


def _built() -> Path:
    """The folder of the sources with their modules, brought up to date."""
    copy = WORK / "tree"
    names = ("hephaes_native", "hephaes_rpc", "fuzz", "build.py", "pyproject.toml")
    listed = ["git", "ls-files", "-co", "--exclude-standard", *names]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        source, target = ROOT / name, copy / name
        if source.is_file() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    clang = os.environ.get("CC") or next((c for c in ("clang", "clang-16") if shutil.which(c)), None)
    if clang is None:
        raise SystemExit("fuzzing needs clang (Debian: apt install clang-16), or CC that names one")
    build = {**os.environ, "HEPHAES_BUILD": "fuzz", "CC": clang, "LDSHARED": f"{clang} -shared"}
    subprocess.run([sys.executable, "build.py"], cwd=copy, env=build, check=True)
    return copy


if __name__ == "__main__":
    sys.exit(main())

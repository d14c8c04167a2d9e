"""Command lines of the engine under test, by what a benchmark case asks for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from harness import COMPARE, WORK, peer

PROGRAM = str(Path(sys.executable).parent / "hephaes-rpc")
SPEC_MODES = ("trigger", "resample")
_DUMP = """
import sys
sys.path.insert(0, sys.argv[1])
from hephaes_convert import spec_of
print(spec_of(sys.argv[2], sys.argv[3], sys.argv[4] == "images").model_dump_json(by_alias=True, exclude_unset=True))
"""


def convert(log: Path, out: Path, fmt: str, mode: str, *options: str) -> list[str]:
    """A conversion.

    Args:
        mode: ``none`` (one wide table), ``topics`` (a file per topic), ``downsample``, ``interpolate``, or a spec of
            the shared benchmark, ``trigger`` or ``resample``.
    """
    argv = [PROGRAM, "convert", str(log), "-o", str(out), *options]
    if mode in SPEC_MODES:
        return [*argv, "--spec", str(spec_file(mode, fmt, images="sensor" in log.name))]
    argv += ["--format", fmt]
    if mode == "topics":
        return [*argv, "--layout", "topics"]
    return argv if mode == "none" else [*argv, "--resample-hz", "10", "--method", mode]


def inspect(log: Path) -> list[str]:
    """What is in this file?"""
    return [PROGRAM, "inspect", str(log), "--json", "--no-check"]


def spec_file(mode: str, fmt: str, *, images: bool) -> Path:
    """The very spec that the reference is given, as it writes it down itself."""
    path = WORK / "specs" / f"{mode}-{fmt}{'-images' if images else ''}.json"
    if not path.exists():
        python = peer("venv", "")[0]
        argv = [python, "-B", "-c", _DUMP, str(COMPARE), mode, fmt, "images" if images else ""]
        spec = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(spec, indent=1))
    return path

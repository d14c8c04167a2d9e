"""The environment of the reference engine, and its process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WORK = Path(os.environ.get("BENCH_WORK", ROOT / "bench-work")).resolve()
# the reference's own requirements do not resolve to a set that works
PINS = (
    "hephaes==0.3.0",
    "numpy==1.26.4",
    "pillow==13.0.0",
    "pyarrow==25.0.1",
    "rosbags==0.11.9",
    "mcap==1.6.0",
    "lz4==4.4.5",
    "zstandard==0.25.0",
)


def python() -> Path:
    """The interpreter that can import the reference; installed at the first call."""
    found = WORK / "venv" / "bin" / "python"
    if not found.exists():
        subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
    if subprocess.run([found, "-c", "import hephaes"], capture_output=True, check=False).returncode:
        print("installing the reference engine", file=sys.stderr, flush=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", *PINS], check=True)
    return found


def convert_all(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run the reference on every task; one answer each, as ``reference.py`` prints them."""
    script = Path(__file__).with_name("reference.py")
    done = subprocess.run(
        [python(), script], input=json.dumps(tasks), capture_output=True, text=True, check=False, cwd=WORK
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"file"')]
    if len(answers) != len(tasks):
        raise RuntimeError(f"the reference answered {len(answers)} of {len(tasks)} tasks: {done.stderr[-500:]}")
    return answers

"""The other end of ``tf_oracle``: TensorFlow's view of a TFRecord file."""

import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from attrs import frozen

ROOT = Path(__file__).parents[1]


def installed() -> bool:
    """Whether TensorFlow can be asked."""
    return importlib.util.find_spec("tensorflow") is not None


@frozen(eq=False)
class Feature:
    """All values of one key: row i has values ``[starts[i], starts[i + 1])``; byte strings are listed."""

    values: Any
    starts: Any

    def row(self, i: int) -> list[Any]:
        """The values of one record."""
        found = self.values[self.starts[i] : self.starts[i + 1]]
        return found if isinstance(found, list) else found.tolist()


@frozen(eq=False)
class Records:
    """A whole file."""

    rows: int
    kinds: dict[str, list[str]]
    features: dict[str, Feature]


class TensorFlow:
    """A child process with TensorFlow in it; a context manager."""

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.tf_oracle"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._scratch.cleanup()

    def read(self, path: Path) -> Records:
        """The records of a file, parsed by the features file beside it; AssertionError with TensorFlow's complaint."""
        assert self._process.stdin
        assert self._process.stdout
        out = Path(self._scratch.name) / "out.npz"
        beside = path.with_name(f"{path.stem}.features.json")
        request = {"data": str(path), "features": str(beside), "out": str(out)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        declared = json.loads(beside.read_bytes())["features"]
        with np.load(out) as arrays:
            features = {key: _feature(arrays, i, entry["kind"]) for i, (key, entry) in enumerate(declared.items())}
        return Records(answer["rows"], answer["kinds"], features)


def _feature(arrays: Any, i: int, kind: str) -> Feature:
    values = arrays[f"v{i}"]
    if kind == "bytes":
        blob, ends = values.tobytes(), arrays[f"o{i}"].tolist()
        values = [blob[a:b] for a, b in itertools.pairwise(ends)]
    return Feature(values, arrays[f"s{i}"])

"""``python -m fuzz.drive TARGET [OPTION ...]``: libFuzzer, with the engine instrumented as it is imported."""

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import atheris

from fuzz.mutate import MUTATORS

with atheris.instrument_imports(include=["hephaes_rpc.engine"]):
    from fuzz.targets import targets, watched
    from hephaes_rpc.engine.logs import db3, types

assert db3  # it is imported by who opens such a file
parse = types.parse_definition  # type: ignore[attr-defined]
types.parse_definition = lru_cache(256)(parse)  # type: ignore[attr-defined]  # ``decode`` changes definitions


def main(name: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    import hephaes_native.decode

    if "fuzz" not in hephaes_native.decode.__file__:
        raise SystemExit(f"{hephaes_native.decode.__file__} is not the build for fuzzing")
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    atheris.Setup([name, *arguments], watched(targets(folder)[name]), custom_mutator=MUTATORS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

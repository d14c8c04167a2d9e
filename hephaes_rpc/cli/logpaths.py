"""The logs that a spec's ``input.paths`` name: files, folders, shell patterns."""

import glob
from collections.abc import Iterator
from pathlib import Path

from hephaes_rpc.engine.logs.recording import SUFFIXES, is_log_name
from hephaes_rpc.engine.specs.spec import Input
from hephaes_rpc.errors import HephaesError, SpecError
from hephaes_rpc.methods.logfiles import folder_of, log_file, logs_below


def logs_of(wanted: Input) -> list[str]:
    """The logs, each once, in the order of ``paths``, below a path sorted.

    Raises:
        HephaesError: ``invalid_path``: a path does not exist or leads to no log.
        SpecError: ``recursive`` has no effect on the paths given.
    """
    found: dict[str, None] = {}
    is_file = []
    for text in wanted.paths:
        path = Path(text).expanduser()
        is_file.append(path.is_file())
        logs = list(_below(text, path, recursive=wanted.recursive))
        if not logs:
            raise HephaesError("invalid_path", f"input.paths: {text} leads to no log ({', '.join(SUFFIXES)})")
        found |= dict.fromkeys(logs)
    if wanted.recursive and all(is_file):
        raise SpecError("input.recursive has no effect: input.paths names files only")
    return list(found)


def _below(text: str, path: Path, *, recursive: bool) -> Iterator[str]:
    if path.is_dir():
        yield from map(str, logs_below(folder_of(text), recursive, lambda _: None))
    elif path.exists() or not glob.has_magic(text):
        yield str(log_file(text).path)
    else:
        for match in sorted(glob.glob(str(path), recursive=recursive or "**" in text)):  # noqa: PTH207
            if is_log_name(match) and Path(match).is_file():
                yield str(log_file(match).path)

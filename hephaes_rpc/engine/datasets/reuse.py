"""Finished files that need not be made again: known by a key of all that decides their bytes, looked at before use.

Strategy: the same log, spec and version of this program give the same bytes, so files that were finished under a key
are what a run under the same key would make, if they are still what they were: size always, digest up to a bound.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from hephaes_rpc import __version__
from hephaes_rpc.engine.datasets.publish import sync, temporary_name
from hephaes_rpc.engine.identity import Identity

DIGESTED_BYTES = 256 << 20
"""Of one log's files; what is beyond is told by size alone."""
_PIECE_BYTES = 1 << 20


def key_of(source: Identity, file_name: str, document: Mapping[str, Any], stem: str, scripts: Sequence[str]) -> str:
    """The key (64 hex digits) of what a conversion makes of a log.

    Args:
        source: The log as it is now.
        file_name: Its name, which manifests tell.
        document: The spec document as JSON values.
        stem: What output files are called by.
        scripts: Digests of the scripts that the spec names.
    """
    told = {
        "version": __version__,
        "pyarrow": pa.__version__,
        "source": [source.size_bytes, source.mtime_ns, source.fingerprint, file_name],
        "document": document,
        "stem": stem,
        "scripts": list(scripts),
    }
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def are_intact(files: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all files (``path``, ``size_bytes``, ``sha256``) are what they were; digests up to a bound."""
    left = DIGESTED_BYTES
    for file in files:
        try:
            with open(file["path"], "rb") as stream:  # noqa: PTH123
                if os.fstat(stream.fileno()).st_size != file["size_bytes"]:
                    return False
                if file["size_bytes"] <= left:
                    left -= file["size_bytes"]
                    if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                        return False
        except OSError:
            return False
    return bool(files)


def linked(files: Sequence[Mapping[str, Any]], folder: Path, tag: str) -> list[dict[str, Any]] | None:
    """The same files under the same names in another folder, by hard links, in their order; None where that cannot be.

    Args:
        files: Intact ones.
        folder: Made if absent.
        tag: Marks temporary names.
    """
    made: list[dict[str, Any]] = []
    temporary: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            final = folder / Path(file["path"]).name
            beside = folder / temporary_name(final.name, tag)
            temporary.append(beside)
            os.link(file["path"], beside)
            made.append({**file, "path": str(final)})
        for beside, file in zip(temporary, made, strict=True):
            beside.replace(file["path"])
        sync(folder)
    except OSError:
        for beside in temporary:
            with suppress(OSError):
                beside.unlink()
        return None
    return made

"""Scripts of users as files: which may run, what is in them, and whether a function can be what a spec asks of it."""

import ast
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from hephaes_rpc.engine.specs.values import is_script_path
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.serde import closest

MAX_BYTES = 1 << 20


@frozen
class Scripts:
    """A folder of scripts.

    Args:
        folder: Absolute.
        enabled: Path below the folder -> SHA-256 (hex) of what may run; None lets every script of the folder run.
    """

    folder: str
    enabled: Mapping[str, str] | None = None


@frozen
class Script:
    """A script as it was read; ``path`` is relative to the folder, with slashes."""

    path: str
    source: str
    sha256: str


@frozen
class Function:
    """A function at the top of a script; ``problem`` is why no computation can call it, or None."""

    name: str
    line: int
    problem: str | None


def read_script(scripts: Scripts, path: str) -> Script:
    """A script that may run.

    Raises:
        HephaesError: ``script_not_found``, or ``script_not_enabled`` when it is not enabled, or not as it is now.
    """
    script = load_script(scripts.folder, path)
    if scripts.enabled is not None and scripts.enabled.get(path) != script.sha256:
        why = "has changed since it was registered" if path in scripts.enabled else "is not registered"
        message = f"the script {path} {why}"
        raise HephaesError("script_not_enabled", message, hint="read it, then scripts/register", script=path)
    return script


def load_script(folder: str, path: str) -> Script:
    """A script below the folder, whether it may run or not; raises ``script_not_found``."""
    data = _content(folder, path)
    try:
        source = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"the script {path} is not UTF-8 from byte {error.start} on"
        raise HephaesError("script_failed", message, script=path) from None
    return Script(path, source, hashlib.sha256(data).hexdigest())


def _content(folder: str, path: str) -> bytes:
    missing = HephaesError("script_not_found", f"there is no script {path!r} in {folder}", script=path)
    if not is_script_path(path):
        raise missing
    root = Path(folder).resolve()
    try:
        real = (root / path).resolve(strict=True)
        if not real.is_relative_to(root):
            raise missing
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise missing
            data = file.read(MAX_BYTES + 1)
    except OSError:
        raise missing from None
    if len(data) > MAX_BYTES:
        raise HephaesError("script_failed", f"the script {path} is larger than {MAX_BYTES} bytes", script=path)
    return data


def functions_of(script: Script) -> list[Function]:
    """The functions at the top of a script, which is not run; raises ``script_failed`` where it is no Python."""
    try:
        tree = ast.parse(script.source, script.path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        why = getattr(error, "msg", None) or str(error)
        raise script_error(script.path, line, f"it is no Python: {why}") from None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [Function(node.name, node.lineno, _problem(node)) for node in tree.body if isinstance(node, kinds)]


def check_function(script: Script, name: str) -> Function:
    """A function that takes one record batch; raises ``script_failed`` with file and line."""
    found = functions_of(script)
    function = next((each for each in reversed(found) if each.name == name), None)
    if function is None:
        near = closest(name, [each.name for each in found])
        hint = f"; did you mean {near!r}?" if near else ""
        raise script_error(script.path, 1, f"it has no function {name!r}{hint}")
    if function.problem is not None:
        raise script_error(script.path, function.line, f"the function {name!r} {function.problem}")
    return function


def _problem(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    if isinstance(node, ast.AsyncFunctionDef):
        return "is async"
    given = [*node.args.posonlyargs, *node.args.args]
    if not given and node.args.vararg is None:
        return "takes no record batch"
    if len(given) - len(node.args.defaults) > 1:
        return "takes more than one record batch"
    if any(default is None for default in node.args.kw_defaults):
        return "needs keyword arguments"
    return None


def script_error(path: str, line: int | None, why: str, **data: Any) -> HephaesError:
    """What is told of a script that failed, with file and line."""
    place = f"{path}, line {line}" if line is not None else path
    return HephaesError("script_failed", f"{place}: {why}", script=path, line=line, **data)

"""Classes that are made late are the classes that would have been made at once."""

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

LATE = "from hephaes_rpc.imports import import_lsp_types; import_lsp_types()"
AT_ONCE = "import lsprotocol.types"
PRELUDE = """
import contextlib, inspect, json, sys, threading
from lsprotocol import types
import attrs
assert attrs.define.__module__ == "attr._next_gen"
classes = {name: one for name, one in vars(types).items() if isinstance(one, type) and "__init__" in vars(one)}
classes = {name: one for name, one in classes.items() if one.__module__ == "lsprotocol.types"}
made = lambda: sum(attrs.has(one) for one in classes.values())
"""


def after(import_types: str, code: str) -> Any:
    """What ``code`` prints, as JSON, in a process that has imported the LSP types one way or the other."""
    script = f"{import_types}\n{PRELUDE}\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_every_class_takes_and_shows_what_it_took_when_made_at_once() -> None:
    code = """
        seen = {}
        for name, one in classes.items():
            with contextlib.suppress(TypeError):  # some need arguments, by which time they are made
                one()
            fields = [(each.name, str(each.type), repr(each.default)[:40], each.kw_only) for each in attrs.fields(one)]
            seen[name] = [str(inspect.signature(one.__init__)), fields, sorted(set(vars(one)) & {"__eq__", "__repr__"})]
        print(json.dumps(seen))
    """
    late, at_once = after(LATE, code), after(AT_ONCE, code)
    assert len(late) > 500
    assert late == at_once


def test_a_class_is_made_with_its_first_object() -> None:
    code = """
        before = made()
        here, there = types.Position(line=1, character=2), types.Position(1, 2)
        told = [made() - before, here == there, here != types.Position(2, 2), here > there, repr(here)]
        try:
            types.Position(-1, 0)
        except ValueError as error:
            told.append(type(error).__name__)
        told.append(types.ResponseError(code=1, message="m").data)
        print(json.dumps([before, *told]))
    """
    assert after(LATE, code) == [0, 1, True, True, False, "1:2", "ValueError", None]


def test_threads_that_make_the_first_objects_at_once_all_get_them() -> None:
    code = """
        sys.setswitchinterval(1e-6)
        start, found = threading.Barrier(8), []
        def make():
            start.wait()
            found.extend(repr(types.ResponseError(code=n, message="m")) for n in range(3))
        threads = [threading.Thread(target=make) for _ in range(8)]
        [each.start() for each in threads], [each.join() for each in threads]
        print(json.dumps(sorted(found)))
    """
    wanted = [f"ResponseError(code={n}, message='m', data=None)" for n in range(3)]
    assert after(LATE, code) == sorted(wanted * 8)


@pytest.mark.parametrize("import_types", [LATE, AT_ONCE])
def test_pygls_can_tell_its_errors(import_types: str) -> None:
    code = """
        from pygls.exceptions import JsonRpcMethodNotFound
        error = JsonRpcMethodNotFound().to_response_error()
        print(json.dumps([error.code, type(error).__name__, attrs.has(type(error))]))
    """
    assert after(import_types, code) == [-32601, "ResponseError", True]

"""One closed table of kinds, used the same everywhere."""

import ast
import re
from pathlib import Path

import pytest

from hephaes_rpc.errors import KINDS, CancelledByClient, HephaesError, ParamsError, SpecError
from hephaes_rpc.methods import register_all
from hephaes_rpc.registry import REGISTRY

PACKAGE = Path(__file__).parents[1] / "hephaes_rpc"
CODES = {-32700, -32600, -32601, -32602, -32603, -32002, -32800, -32803, 400, 404, 409, 422, 503}


def test_every_kind_has_a_code_of_the_contract_and_a_meaning() -> None:
    for kind, (code, meaning, _) in KINDS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind)
        assert code in CODES
        assert meaning


def test_kinds_that_are_raised_are_in_the_table() -> None:
    raised = {
        kind
        for path in PACKAGE.rglob("*.py")
        for kind in re.findall(r'(?:HephaesError|LogError|JobError)\(\s*"([a-z_]+)"', path.read_text())
    }
    assert raised
    assert raised <= set(KINDS)


def test_errors_carry_the_data_that_their_kind_promises() -> None:
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not call.args:
                continue
            kind = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
            if call.func.id in ("HephaesError", "LogError") and kind in KINDS:
                given = {keyword.arg for keyword in call.keywords}
                assert None in given or given >= set(KINDS[kind].always), f"{path.name}:{call.lineno}"


def test_methods_name_kinds_of_the_table() -> None:
    register_all()
    assert all(set(method.errors) <= set(KINDS) for method in REGISTRY.methods.values())


def test_an_error_carries_kind_hint_and_data() -> None:
    error = HephaesError("asset_not_found", "no asset a", hint="register it", asset_id="a")
    assert (error.code, str(error)) == (404, "no asset a")
    assert error.to_data() == {"kind": "asset_not_found", "hint": "register it", "asset_id": "a"}
    assert HephaesError("bug", "x").to_data() == {"kind": "bug"}
    assert CancelledByClient().code == -32800
    assert SpecError("x").code == 422
    with pytest.raises(KeyError):
        HephaesError("no_such_kind", "x")


def test_params_errors_count_what_they_do_not_say() -> None:
    one = {"path": "a", "message": "is missing", "expected": "integer", "got": "nothing"}
    assert str(ParamsError([one])) == "a: is missing"
    assert str(ParamsError([one, one, one])) == "a: is missing (and 2 more)"

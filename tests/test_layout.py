"""The rules of ARCHITECTURE.md that imports and files can break."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "hephaes_rpc").rglob("*.py"))
HEAVY = ("pyarrow", "tensorflow", "rosbags", "rich", "bokeh", "jinja2", "questionary")


def imports(path: Path) -> Iterator[str]:
    """Top-level names of everything a module imports, wherever in the module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_import_contracts_hold():
    code = "import sys; from importlinter.cli import lint_imports_command as lint; sys.argv = ['lint-imports']; lint()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_apsw_is_imported_by_the_store_and_for_logs_that_are_databases_only():
    users = {path.relative_to(ROOT) for path in MODULES if "apsw" in imports(path)}
    assert {user.as_posix() for user in users if user.parent.name != "store"} == {"hephaes_rpc/engine/logs/db3.py"}


@pytest.mark.parametrize("name", ["sqlite3", "tensorflow", "pickle", "multiprocessing"])
def test_absent_on_purpose(name):
    assert [path for path in MODULES if name in imports(path)] == []


def test_only_the_command_line_and_a_dying_worker_print():
    users = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                users.add(path.relative_to(ROOT).as_posix())
    assert {user for user in users if not user.startswith("hephaes_rpc/cli/")} <= {"hephaes_rpc/jobs/worker.py"}


def test_native_sources_import_nothing_of_ours_and_no_numpy():
    for path in sorted((ROOT / "hephaes_native").glob("*.p[xy][dx]")):
        for name in re.findall(r"^\s*(?:from|c?import)\s+(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert name not in ("hephaes_rpc", "numpy", "pyarrow"), path.name


def test_native_sources_set_no_directives():
    for path in sorted((ROOT / "hephaes_native").glob("*.pyx")):
        assert "# cython:" not in path.read_text(encoding="utf-8"), f"{path.name}: directives belong to build.py"


def test_every_package_is_packaged():
    packages = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in MODULES} | {"hephaes_native"}
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert set(setuptools.find_packages(str(ROOT), **found)) == packages


def test_every_native_module_has_a_stub():
    native = ROOT / "hephaes_native"
    assert [p.stem for p in sorted(native.glob("*.pyx"))] == [p.stem for p in sorted(native.glob("*.pyi"))]


def test_every_module_says_what_it_is_for():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not text or ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"


def test_architecture_names_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    for file, test in named:
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_the_table_of_methods_is_true():
    code = "\n".join(
        (
            "from hephaes_rpc.methods import MODULES, register_all",
            "from hephaes_rpc.registry import REGISTRY",
            "register_all()",
            "found = {}",
            "for name, method in REGISTRY.methods.items():",
            "    found.setdefault(method.handler.__module__.rpartition('.')[2], []).append(name)",
            "assert {module: tuple(names) for module, names in found.items()} == MODULES, found",
        )
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_first_answer_needs_no_specs():
    code = "\n".join(
        (
            "import sys, hephaes_rpc.server, hephaes_rpc.protocol, hephaes_rpc.store.app, hephaes_rpc.jobs.queue",
            "from hephaes_rpc.registry import REGISTRY",
            "REGISTRY.find('initialize')",
            "late = ('hephaes_rpc.engine.specs', 'hephaes_rpc.methods.', 'hephaes_rpc.model.dashboard')",
            "print(*(name for name in sys.modules if name.startswith(late)))",
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hephaes_rpc.methods.lifecycle"]


@pytest.mark.parametrize(
    ("what", "absent"),
    [
        ("import hephaes_rpc.server, hephaes_rpc.methods as m; m.register_all()", HEAVY),
        ("import hephaes_rpc.stdio", (*HEAVY, "apsw", "pygls", "attrs", "numpy")),
    ],
)
def test_start_imports_nothing_heavy(what, absent):
    code = f"{what}; import sys; print(*sorted(set({absent!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

"""The TypeScript client: generated from the committed document, strict, and driving the real sidecar."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ROOT, Install

PACKAGE = ROOT / "clients" / "typescript"


def generator() -> Any:
    """The module ``clients/typescript/generate.py``."""
    spec = importlib.util.spec_from_file_location("generate", PACKAGE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_source_is_fresh() -> None:
    made = generator()
    expected = made.generate(json.loads(made.DOCUMENT.read_bytes()))
    assert made.TARGET.read_text(encoding="utf-8") == expected, "say `make docs`"


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({}, "Json"),
        ({"type": "integer"}, "number"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": ["integer", "number"]}, "number"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"type": "array"}, "Json[]"),
        ({"type": "array", "items": {"type": ["string", "null"]}}, "(string | null)[]"),
        (
            {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "{ [name: string]: string[] }",
        ),
        ({"type": "object", "properties": {"a": {}, "b-c": {}}, "required": ["a"]}, '{ a: Json; "b-c"?: Json }'),
        ({"anyOf": [{"$ref": "#/components/schemas/Asset"}, {"type": "null"}]}, "Asset | null"),
    ],
)
def test_schemas_become_types(schema: Any, shown: str) -> None:
    assert generator()._type(schema) == shown


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "tests" / "clients" / "openrpc"])
def test_locks_pin_everything_and_name_no_registry(folder: Path) -> None:
    lock = (folder / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    package = json.loads((folder / "package.json").read_text())
    pinned = package.get("dependencies", {}) | package.get("devDependencies", {})
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
    installed = json.loads(lock)["packages"]
    assert all("integrity" in entry for path, entry in installed.items() if path)


@pytest.mark.e2e
@pytest.mark.slow
def test_it_compiles_under_strict_and_drives_the_main_job(
    node: str, install: Install, environ: dict[str, str], serve: list[str], data: Path
) -> None:
    folder = install(PACKAGE)
    options = json.loads((PACKAGE / "tsconfig.json").read_text())["compilerOptions"]
    assert options["strict"] is True
    compiled = subprocess.run(
        [node, "node_modules/typescript/bin/tsc", "--skipLibCheck"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stdout
    environ |= {"HEPHAES_SERVE": json.dumps(serve), "HEPHAES_LOG": str(data / "poses.bag")}
    done = subprocess.run(
        [node, "--test", str(folder / "dist" / "test")],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), done.stdout

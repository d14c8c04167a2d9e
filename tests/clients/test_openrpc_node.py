"""The OpenRPC project's own validator on our document."""

import subprocess

import pytest

from tests.clients.conftest import ROOT, Install


@pytest.mark.slow
def test_the_validator_of_the_openrpc_project_agrees(node: str, install: Install) -> None:
    folder = install(ROOT / "tests" / "clients" / "openrpc")
    done = subprocess.run(
        [node, "validate.mjs", str(ROOT / "docs" / "openrpc.json")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("valid: OpenRPC 1.3")

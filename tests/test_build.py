"""Every way of building the project carries its extension, and says what is missing when it cannot."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
SOURCES = ("hephaes_native", "hephaes_rpc", "pyproject.toml", "build.py", "MANIFEST.in", "README.md", "LICENSE")
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("HEPHAES_", "PYTHONPATH"))}


def modules() -> set[str]:
    """Names of the native modules."""
    return {path.stem for path in (ROOT / "hephaes_native").glob("*.pyx")}


SOONER = '#!/bin/sh\nexec cc "$@" -O0\n'
"""A compiler that does not optimize: what is built is looked at and run once."""


def run(*command: str | Path, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run with Python; the output is shown when a test fails."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**ENVIRON, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    return done


@pytest.fixture(scope="module")
def sooner(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program ``SOONER``."""
    program = tmp_path_factory.mktemp("compiler") / "cc"
    program.write_text(SOONER)
    program.chmod(0o755)
    return str(program)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, and a foreign extension that an earlier build left behind."""
    folder = tmp_path_factory.mktemp("checkout")
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *SOURCES, "CHANGELOG.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if names.returncode:
        pytest.skip("needs a git checkout")
    for name in names.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "hephaes_native" / "records.cpython-39-x86_64-linux-gnu.so").write_bytes(b"another Python's")
    return folder


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    """The source distribution."""
    code = "import sys; sys.path.insert(0, '.'); import build; print(build.build_sdist('out'))"
    assert run("-c", code, cwd=checkout).returncode == 0
    (found,) = (checkout / "out").glob("*.tar.gz")
    return found


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution; what Cython makes stays there for the next build."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(unpacked: Path, sooner: str) -> Path:
    """The wheel, built from the unpacked source distribution alone."""
    code = "import sys; sys.path.insert(0, '.'); import build; print(build.build_wheel('out'))"
    assert run("-c", code, cwd=unpacked, CC=sooner).returncode == 0
    (found,) = (unpacked / "out").glob("*.whl")
    return found


def test_sdist_holds_sources_and_no_products(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        f"hephaes_native/{p.name}" for s in ("pyx", "pxd", "pyi", "h") for p in ROOT.glob(f"hephaes_native/*.{s}")
    }
    wanted |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("hephaes_rpc/store/migrations/*.sql")}
    assert wanted | {"build.py", "pyproject.toml", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.endswith((".so", ".c", ".pyd"))]


def test_wheel_holds_its_own_extension_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {n for n in names if n.endswith((".so", ".pyd"))} == {f"hephaes_native/{m}{SUFFIX}" for m in modules()}
    assert not [name for name in names if name.endswith((".c", ".pyx"))]
    wanted = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("hephaes_rpc/**/*.sql")}
    assert wanted | {"hephaes_native/decode.pyi", "hephaes_native/py.typed", "hephaes_rpc/py.typed"} <= set(names)
    assert not any(name.startswith("tests/") or name == "build.py" for name in names)


def test_wheel_works_where_it_is_unpacked(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    log = ROOT / "tests" / "data" / "poses.bag"
    done = run("-m", "hephaes_rpc", "cat", log, "--limit", "1", cwd=tmp_path)
    assert done.returncode == 0
    assert "geometry_msgs/msg/Pose" in done.stdout
    where = "import hephaes_rpc, hephaes_native.decode as d; print(hephaes_rpc.__file__, d.__file__)"
    assert run("-c", where, cwd=tmp_path).stdout.count(str(tmp_path)) == 2


def test_editable_install_builds_beside_the_sources(unpacked, sooner, tmp_path):
    code = "import sys; sys.path.insert(0, '.'); import build; print(build.build_editable(sys.argv[1]))"
    assert run("-c", code, tmp_path, cwd=unpacked, CC=sooner).returncode == 0
    assert {path.name for path in (unpacked / "hephaes_native").glob(f"*{SUFFIX}")} == {m + SUFFIX for m in modules()}
    (editable,) = tmp_path.glob("*.whl")
    assert not [name for name in zipfile.ZipFile(editable).namelist() if name.endswith(".so")]


@pytest.mark.parametrize("compiler", ["/bin/false", "no-such-compiler"])
def test_missing_compiler_is_one_sentence(unpacked, wheel, tmp_path, compiler):
    code = "import sys; sys.path.insert(0, '.'); import build; print(build.build_wheel(sys.argv[1]))"
    source = tmp_path / "source"
    # What Cython made for the wheel goes along, with its times: only the compiler is missing.
    shutil.copytree(unpacked, source, ignore=shutil.ignore_patterns("*.so", "*.o", "out"))
    done = run("-c", code, tmp_path / "out", cwd=source, CC=compiler)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("hephaes-rpc needs a C compiler and Python's headers to build ")
    assert compiler in done.stdout.splitlines()[-1]


def test_unknown_build_mode_is_refused(checkout):
    done = run("build.py", cwd=checkout, HEPHAES_BUILD="fast")
    assert done.returncode != 0
    assert "HEPHAES_BUILD='fast' is not one of: release, checked, sanitize, fuzz, coverage" in done.stdout

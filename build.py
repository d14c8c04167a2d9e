"""In-tree PEP 517 backend: setuptools plus the Cython extension modules of ``hephaes_native``.

``pip install .``, ``pip install -e .``, wheels and sdists all come through here.  ``python build.py [MODULE ...]``
builds the extensions beside their sources for development.

``HEPHAES_BUILD`` chooses the build: ``release`` (default), ``checked`` (places in views, and C asserts, checked),
``sanitize`` (AddressSanitizer and UBSan, gcc or clang), ``fuzz`` (the same for libFuzzer, clang), ``coverage`` (line
tracing).

This file shadows the PyPA tool of the same name under ``python -m build``: call ``pyproject-build`` or ``pip wheel``.
"""

import os
import sys
from pathlib import Path
from typing import Any

import setuptools
from setuptools import Extension
from setuptools import build_meta as _meta
from setuptools.build_meta import *  # noqa: F403  (a backend is its hooks; those not overridden are setuptools' own)
from setuptools.command.build_ext import build_ext

PACKAGE = Path("hephaes_native")
CHECKED = {"boundscheck": True, "wraparound": True, "initializedcheck": True}
RELEASE = dict.fromkeys(CHECKED, False) | {"cdivision": True}
MODES: dict[str, tuple[dict[str, bool], list[str], list[str]]] = {
    # mode: (Cython directives beyond the common ones, compiler flags, linker flags)
    "release": (RELEASE, ["-O3", "-g0", "-DNDEBUG"], []),
    "checked": (CHECKED, ["-O1", "-g", "-UNDEBUG"], []),
    "sanitize": (
        RELEASE,
        ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fno-wrapv", "-fsanitize=address,undefined"],
        ["-fsanitize=address,undefined"],
    ),
    "fuzz": (
        RELEASE,
        [
            *("-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", "-fno-wrapv", "-fno-sanitize-recover=undefined"),
            "-fsanitize=address,undefined,fuzzer-no-link",
        ],
        [],
    ),
    "coverage": (RELEASE | {"linetrace": True}, ["-O0", "-g", "-DCYTHON_TRACE_NOGIL=1"], []),
}


def extensions(only: set[str] | None = None) -> list[Extension]:
    """The extension modules, cythonized; ``only`` restricts them to the given module names (``decode``, ...)."""
    from Cython.Build import cythonize

    mode = os.environ.get("HEPHAES_BUILD", "release")
    if mode not in MODES:
        raise SystemExit(f"HEPHAES_BUILD={mode!r} is not one of: {', '.join(MODES)}")
    directives, compile_args, link_args = MODES[mode]
    if sys.platform == "win32":
        compile_args, link_args = ["/O2"], []
    modules = [
        Extension(
            f"{PACKAGE.name}.{source.stem}",
            [source.as_posix()],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            depends=[p.as_posix() for pattern in ("*.pxd", "*.h") for p in sorted(PACKAGE.glob(pattern))],
        )
        for source in sorted(PACKAGE.glob("*.pyx"))
        if only is None or source.stem in only
    ]
    return cythonize(
        modules,
        build_dir=f"build/cython-{mode}",
        compiler_directives={"language_level": 3, "embedsignature": True, **directives},
    )


class BuildExt(build_ext):
    """build_ext that compiles side by side, and says in one sentence what is missing when there is no compiler."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extension(self, ext: Any) -> None:
        from setuptools.errors import CCompilerError, ExecError, PlatformError

        try:
            super().build_extension(ext)
        except (CCompilerError, ExecError, PlatformError) as error:
            raise SystemExit(
                f"hephaes-rpc needs a C compiler and Python's headers to build {ext.name} "
                f"(Debian: apt install gcc python3-dev; macOS: xcode-select --install): {error}"
            ) from None


class _Backend(_meta._BuildMetaBackend):
    """setuptools' backend with the extension modules handed to ``setup()``; there is no setup.py."""

    def run_setup(self, setup_script: str = "setup.py") -> None:
        del setup_script
        # An sdist has no product of Cython, so nothing need be made for it.
        modules = [] if "sdist" in sys.argv else extensions()
        setuptools.setup(ext_modules=modules, cmdclass={"build_ext": BuildExt})


_backend = _Backend()
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
build_editable = _backend.build_editable


def main(names: list[str]) -> None:
    """Build the named extension modules (all when none is named) in place."""
    setuptools.setup(
        script_args=["-q", "build_ext", "--inplace", "--build-temp", f"build/temp-{'-'.join(names) or 'all'}"],
        ext_modules=extensions(set(names) or None),
        cmdclass={"build_ext": BuildExt},
    )


if __name__ == "__main__":
    main(sys.argv[1:])

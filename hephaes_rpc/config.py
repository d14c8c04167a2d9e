"""The configuration: read once, from the command line, ``initializationOptions``, the environment, in that order.

The environment keeps the names of the REST backend.  Local data lies in ``HEPHAES_BACKEND_DATA_DIR``; without it in
``~/.hephaes/backend`` when the desktop shell started us (``HEPHAES_DESKTOP_MODE``), else in the platform's folder for
user data.  Blank variables count as unset, ``~`` is expanded.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from attrs import field, frozen

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class ConfigError(ValueError):
    """The command line or the environment asks for something that cannot be; the message is one sentence."""


@frozen
class Options:
    """What a client may set in ``initializationOptions``, and the command line under the same names."""

    workspace_root: str | None = field(
        default=None, metadata={"doc": "opened, or created; active for this process only"}
    )
    data_dir: str | None = field(default=None, metadata={"doc": "root of local data"})
    log_level: LogLevel | None = None


@frozen
class Config:
    """Where things lie and how much is logged.

    Attributes:
        data_dir: Root of local data (mode 0700).
        db_path: The registry database, ``app.db``.
        raw_dir: Uploaded logs, a folder per workspace.
        log_dir: Log files.
        legacy_workspace_root: A single workspace of older set-ups, imported when the registry is empty.
        workspace_root: Opened, or created, and active for this process only.
        log_level: Name of a logging level, lower case.
        app_name: Shown by ``health``.
        desktop: Started by the desktop shell.
        max_workers: Conversion workers that may run at once.
        analyzes: Logs that were indexed are analyzed when there is nothing else to do.
        worker_memory_bytes: Memory that each worker may have.
    """

    data_dir: Path
    db_path: Path
    raw_dir: Path
    log_dir: Path
    legacy_workspace_root: Path
    workspace_root: Path | None
    log_level: str
    app_name: str
    desktop: bool
    max_workers: int
    analyzes: bool
    worker_memory_bytes: int


def load(arguments: Options, options: Options, environ: Mapping[str, str]) -> Config:
    """The configuration; touches no file.  Raises ConfigError."""

    def variable(name: str) -> str | None:
        return environ.get(f"HEPHAES_{name}", "").strip() or None

    def folder(name: str, default: Path) -> Path:
        value = variable(name)
        return _path(value) if value else default

    desktop = (variable("DESKTOP_MODE") or "").lower() in _ON
    data = arguments.data_dir or options.data_dir or variable("BACKEND_DATA_DIR")
    data_dir = _path(data) if data else _default_data_dir(desktop)
    workspace_root = arguments.workspace_root or options.workspace_root
    level = arguments.log_level or options.log_level or variable("LOG_LEVEL") or variable("BACKEND_LOG_LEVEL") or "info"
    if level.lower() not in LOG_LEVELS:
        raise ConfigError(f"log level {level!r} is not one of {', '.join(LOG_LEVELS)}")
    return Config(
        data_dir=data_dir,
        db_path=folder("BACKEND_DB_PATH", data_dir / "app.db"),
        raw_dir=folder("BACKEND_RAW_DATA_DIR", data_dir / "raw"),
        log_dir=folder("BACKEND_LOG_DIR", data_dir / "logs"),
        legacy_workspace_root=folder("WORKSPACE_ROOT", data_dir / "workspace"),
        workspace_root=_path(workspace_root) if workspace_root else None,
        log_level=level.lower(),
        app_name=variable("BACKEND_APP_NAME") or "Hephaes Backend",
        desktop=desktop,
        max_workers=_max_workers(variable("MAX_WORKERS")),
        analyzes=_switch("ANALYZE", variable("ANALYZE"), True),
        worker_memory_bytes=_number("WORKER_MEMORY_MB", variable("WORKER_MEMORY_MB"), 2048, 64, 1 << 20) << 20,
    )


def _path(text: str) -> Path:
    try:
        return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  (symlinks stay, '..' goes)
    except RuntimeError as error:
        raise ConfigError(f"{text!r} names no home folder: {error}") from None


def _default_data_dir(desktop: bool) -> Path:
    if desktop:
        return _path("~/.hephaes/backend")
    from platformdirs import user_data_path

    return user_data_path("hephaes", appauthor=False)


def _max_workers(text: str | None) -> int:
    if text is None:
        return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
    return _number("MAX_WORKERS", text, 1, 1, 64)


def _switch(name: str, text: str | None, default: bool) -> bool:
    if text is None:
        return default
    if text.lower() not in (*_ON, *_OFF):
        raise ConfigError(f"HEPHAES_{name} {text!r} is neither on nor off")
    return text.lower() in _ON


def _number(name: str, text: str | None, default: int, least: int, most: int) -> int:
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not least <= int(text) <= most:
        raise ConfigError(f"HEPHAES_{name} {text!r} is not a number from {least} to {most}")
    return int(text)

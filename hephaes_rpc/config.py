"""The configuration: read once, from the command line, ``initializationOptions`` and the environment, in that order."""

from pathlib import Path

from attrs import frozen


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

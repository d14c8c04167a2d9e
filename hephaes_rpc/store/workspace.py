"""One workspace: a folder of the user's with ``.hephaes`` in it, which holds its database and its outputs."""

import logging
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store import backups
from hephaes_rpc.store.assets import Assets
from hephaes_rpc.store.conversions import Conversions
from hephaes_rpc.store.db import Database, os_error, scripts
from hephaes_rpc.store.finished import Finished
from hephaes_rpc.store.folderlock import FolderLock
from hephaes_rpc.store.joblogs import JobLogs
from hephaes_rpc.store.jobs import Jobs
from hephaes_rpc.store.outputs import Outputs
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.tags import Tags
from hephaes_rpc.store.uploads import Uploads

if TYPE_CHECKING:
    from hephaes_rpc.store.configs import Configs
    from hephaes_rpc.store.dashboard import Dashboard
    from hephaes_rpc.store.drafts import Drafts

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x48455057  # "HEPW"
FOLDER = ".hephaes"
DATABASE = "workspace.db"
LEGACY_DATABASE = "workspace.sqlite3"
OUTPUTS = "outputs"
SCRIPTS = "scripts"

Identity = tuple[int, int]


class OpenWorkspace:
    """A workspace whose database is open.

    Attributes:
        id: Its id in the registry.
        name: Its display name.
        root: The user's folder, absolute, links resolved.
        dir: ``<root>/.hephaes``.
        outputs_dir: Where conversions write, a folder each.
        backups_dir: Where copies of the database lie.
        scripts_dir: ``<root>/scripts``, where users put scripts; made by nobody but them.
        identity: What the database file was when it was opened.
    """

    def __init__(self, workspace_id: str, name: str, root: Path) -> None:
        """Open what ``create`` has made; raises what ``Database`` raises, ``io_error`` while that is being replaced."""
        self.id = workspace_id
        self.name = name
        self.root = root
        self.dir = root / FOLDER
        self.outputs_dir = self.dir / OUTPUTS
        self.backups_dir = self.dir / backups.FOLDER
        self.scripts_dir = root / SCRIPTS
        path = self.dir / DATABASE
        identity = identify(path)
        if identity is None:
            raise HephaesError("workspace_conflict", f"{self.dir} has no database", path=str(path))
        self.identity = identity
        self._lock = _share(self.dir)
        try:
            self.db = Database(
                path,
                scripts("workspace"),
                APPLICATION_ID,
                lambda version, copy: backups.make(self.backups_dir, version, "migration", copy),
            )
            try:
                private_folder(self.outputs_dir)
            except HephaesError:
                self.db.close()
                raise
        except HephaesError:
            self._lock.close()
            raise
        places = self._places = Places(root)
        self.assets = Assets(self.db, places)
        self.jobs = Jobs(self.db, places)
        self.conversions = Conversions(self.db, places)
        self.outputs = Outputs(self.db, places)
        self.job_logs = JobLogs(self.db)
        self.finished = Finished(self.db, places)
        self.tags = Tags(self.db)
        self.uploads = Uploads(self.db)
        self._take_over(places)

    @cached_property
    def configs(self) -> "Configs":
        """The saved configs; what knows specs is imported for whoever asks."""
        from hephaes_rpc.store.configs import Configs

        return Configs(self.db)

    @cached_property
    def dashboard(self) -> "Dashboard":
        """Figures over everything; their classes are imported for whoever asks."""
        from hephaes_rpc.store.dashboard import Dashboard

        return Dashboard(self.db)

    @cached_property
    def drafts(self) -> "Drafts":
        """The drafts; what knows specs is imported for whoever asks."""
        from hephaes_rpc.store.drafts import Drafts

        return Drafts(self.db)

    def _take_over(self, places: Places) -> None:
        """Import the older program's database beside ours, once; one that cannot be is left alone."""
        old = self.dir / LEGACY_DATABASE
        if not old.is_file():
            return
        try:
            from hephaes_rpc.store.legacy import import_once

            import_once(self.db, places, old)
        except (HephaesError, OSError) as error:
            logger.warning("%s is not imported: %s", old, error)

    def missing_files(self, check: Callable[[], None]) -> tuple[int, list[str]]:
        """How many files the database tells of, and those that are not there; ``check`` is called between them."""
        with self.db.read() as session:
            stored = [row[0] for row in session.all("SELECT file_path FROM assets UNION SELECT path FROM outputs")]
        missing = []
        for path in map(self._places.absolute, stored):
            check()
            if not os.path.lexists(path):
                missing.append(path)
        return len(stored), missing

    def close(self) -> None:
        """Close the database; whoever still uses the workspace gets errors."""
        self.db.close()
        self._lock.close()


def create(root: Path) -> None:
    """Make the folder and the database of a workspace where there is none yet.

    Raises:
        HephaesError: ``invalid_path`` (the root is no folder), ``workspace_conflict`` (``.hephaes`` is something else),
            ``permission``, ``disk_full``, ``io_error``.
    """
    if root.exists() and not root.is_dir():
        raise HephaesError("invalid_path", f"{root} is not a folder", path=str(root))
    folder = root / FOLDER
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        raise HephaesError("workspace_conflict", f"{folder} is not a folder", path=str(folder))
    try:
        root.mkdir(parents=True, exist_ok=True)
        private_folder(folder)
        if identify(folder / DATABASE) is None:
            _require_fresh(folder)
            Database.create(folder / DATABASE, scripts("workspace"), APPLICATION_ID)
        private_folder(folder / OUTPUTS)
    except OSError as error:
        raise os_error(error, f"no workspace could be made in {root}") from error


def _share(folder: Path) -> FolderLock:
    try:
        return FolderLock(folder)
    except BlockingIOError:
        message = f"the database in {folder} is being replaced by another sidecar"
        raise HephaesError("io_error", message, hint="try again") from None


def _require_fresh(folder: Path) -> None:
    """Refuse a folder whose database has been lost; an older program's workspace keeps its files beside ours."""
    if (folder / LEGACY_DATABASE).is_file():
        return
    for path in folder.iterdir():
        unfinished = path.name.startswith(f".{DATABASE}.")
        if not unfinished and (path.name != OUTPUTS or any(path.iterdir())):
            message = f"{folder} has no database, but it is not empty ({path.name})"
            raise HephaesError(
                "workspace_conflict", message, hint="workspaces/restore puts a backup in its place", path=str(folder)
            )


def identify(database: Path) -> Identity | None:
    """Which file a database is, None when there is none."""
    try:
        found = database.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, unless it is there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise os_error(error, f"the folder {path} could not be made") from error

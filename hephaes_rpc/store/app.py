"""The registry of workspaces and the workspaces that are open.

Strategy: the registry stores which roots are known and which one is active; whether a workspace is usable is looked at
when somebody asks, never stored, so reading writes nothing and one broken workspace is only ever an entry with a
reason.  A database that was refused is looked at again once its file has changed.
"""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

import contextlib
import logging
import os
import shutil
import threading
import uuid
from pathlib import Path

from attrs import frozen

from hephaes_rpc.config import Config
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.workspaces import Workspace, WorkspaceStatus
from hephaes_rpc.store import backups
from hephaes_rpc.store import workspace as place
from hephaes_rpc.store.db import Database, Row, Session, os_error, scripts
from hephaes_rpc.store.folderlock import FolderLock
from hephaes_rpc.store.keeper import Keeper
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Page, Where
from hephaes_rpc.store.probing import Prober
from hephaes_rpc.store.scripts import EnabledScripts
from hephaes_rpc.store.values import now_us, to_time
from hephaes_rpc.store.workspace import OpenWorkspace

log = logging.getLogger(__name__)

APPLICATION_ID = 0x48455041  # "HEPA"

_COLUMNS = "w.id, w.name, w.root_path, w.created_at, w.updated_at, w.last_opened_at"

LISTING = Listing(
    name="workspaces",
    columns=_COLUMNS,
    source="workspaces w",
    id="w.id",
    sorts={
        "last_opened_at": ("coalesce(w.last_opened_at, 0)", "-w.created_at"),
        "created_at": ("w.created_at",),
        "name": ("w.name",),
    },
    default="-last_opened_at",
)

_OF_THE_FILE = ("workspace_corrupt", "workspace_newer")
"""Refusals that stand as long as the file is the same; a full disk or a missing right may pass."""
_Signature = tuple[int, int, int, int]


@frozen
class _Entry:
    """A row of the registry."""

    id: str
    name: str
    root: Path
    created_at: int
    updated_at: int
    last_opened_at: int | None

    @property
    def database(self) -> Path:
        return self.root / place.FOLDER / place.DATABASE


@frozen
class _Look:
    """What was found where a workspace should be; ``opened`` when it is ready."""

    opened: OpenWorkspace | None
    status: WorkspaceStatus
    reason: str | None


class AppStore:
    """The registry and everything behind it; safe to use from any thread.

    Attributes:
        scripts: Which scripts of users may run.

    Args:
        config: Its folders are made; the registry is opened or created.  ``workspace_root`` is opened or created and
            active for this process; one that cannot be is told to whoever asks for the active workspace.

    Raises:
        HephaesError: The registry itself cannot be used.
    """

    def __init__(self, config: Config) -> None:
        for folder in (config.data_dir, config.db_path.parent, config.raw_dir, config.log_dir):
            place.private_folder(folder)
        registry = scripts("app")
        if place.identify(config.db_path) is None:
            Database.create(config.db_path, registry, APPLICATION_ID)
        self._db = Database(config.db_path, registry, APPLICATION_ID)
        self.scripts = EnabledScripts(self._db)
        self._lock = threading.RLock()
        self._prober = Prober()
        self._open: dict[str, OpenWorkspace] = {}
        self._refused: dict[str, tuple[_Signature | None, HephaesError]] = {}
        self._process_active: str | None = None
        self._wanted_root = config.workspace_root
        self._import_legacy(config.legacy_workspace_root)
        with contextlib.suppress(HephaesError):
            self._open_wanted()
        self._keeper = Keeper(lambda: [each for each, _ in self.databases() if each is not None])

    @property
    def active_workspace_id(self) -> str | None:
        """The ready workspace that serves calls which name none.

        This process's own choice, else the stored one, else the one opened last (never opened ones: the oldest).
        """
        with self._db.read() as session:
            stored = session.value("SELECT value FROM app_state WHERE key = 'active_workspace_id'")
            rows = session.all(
                f"SELECT {_COLUMNS} FROM workspaces w"
                " ORDER BY w.id = ? DESC, w.id = ? DESC, coalesce(w.last_opened_at, 0) DESC, w.created_at, w.id",
                (self._process_active, stored),
            )
        return next((entry.id for entry in map(_entry, rows) if self._look(entry).opened), None)

    def workspaces(
        self, limit: int = DEFAULT_LIMIT, cursor: str | None = None, sort: str | None = None
    ) -> Page[Workspace]:
        """A page of the registry, the one opened last first unless sorted otherwise."""
        with self._db.read() as session:
            page = LISTING.page(
                session,
                None,
                Where(),
                lambda rows: [_entry(row) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
            )
        items = [self._describe(entry) for entry in page.items]
        return Page(items, page.total, page.next_cursor, page.total_is_lower_bound)

    def get_workspace(self, workspace_id: str) -> Workspace:
        """One entry of the registry; raises ``workspace_not_found``."""
        return self._describe(self._entry(workspace_id))

    def create_workspace(self, root_path: str, name: str | None = None, activate: bool = True) -> Workspace:
        """Make a workspace in a folder, or register the one that is there.

        A root that is registered keeps its id, and its name unless one is given.

        Raises:
            HephaesError: ``invalid_path``, ``workspace_conflict``, ``workspace_newer``, ``workspace_corrupt``,
                ``permission``, ``disk_full``, ``io_error``.
        """
        root = _resolved(root_path)
        with self._lock:
            place.create(root)
            workspace_id = self._open_at(root, name)
            if activate:
                self._activate(workspace_id)
        return self.get_workspace(workspace_id)

    def activate(self, workspace_id: str) -> Workspace:
        """Make a workspace the active one, here and for processes to come.

        Raises:
            HephaesError: ``workspace_not_found``, ``workspace_not_ready``.
        """
        self.workspace(workspace_id)
        self._activate(workspace_id)
        return self.get_workspace(workspace_id)

    def delete_workspace(self, workspace_id: str, force: bool = False) -> None:
        """Remove ``.hephaes`` with all that is in it, and the entry; the user's own files stay.

        Raises:
            HephaesError: ``workspace_not_found``; ``workspace_busy``: jobs are queued or at work;
                ``workspace_conflict``: ``.hephaes`` leads elsewhere or, without ``force``, holds the database of an
                older program.
        """
        with self._lock:
            entry = self._entry(workspace_id)
            folder = entry.root / place.FOLDER
            found = self._look(entry)
            if os.path.lexists(folder):
                _require_deletable(folder, force)
            self._require_idle(entry, found.opened)
            unfinished = [upload.part for upload in found.opened.uploads.open()] if found.opened else []
            self._forget(entry.id)
            doomed = folder.with_name(f"{place.FOLDER}.{uuid.uuid4().hex}.deleted")
            try:
                if folder.is_dir():
                    folder.rename(doomed)
                with self._db.write("workspaces") as session:
                    session.run("DELETE FROM workspaces WHERE id = ?", (entry.id,))
                for part in unfinished:
                    part.unlink(missing_ok=True)
                if doomed.is_dir():
                    shutil.rmtree(doomed)
            except OSError as error:
                raise os_error(error, f"{folder} could not be removed") from error

    def backups(self, workspace_id: str) -> list[backups.Backup]:
        """The copies of a workspace's database, whatever has become of it; raises ``workspace_not_found``."""
        return backups.backups_in(self._entry(workspace_id).database.parent / backups.FOLDER)

    def restore_workspace(self, workspace_id: str, file_name: str | None = None) -> tuple[Workspace, str | None]:
        """Put a copy (None: the newest) in the place of a workspace's database.

        Returns:
            The workspace, and where the database that was there lies now.

        Raises:
            HephaesError: ``workspace_not_found``; ``workspace_busy``: jobs are queued or at work, or another process
                has the database open; ``backup_not_found``, ``workspace_corrupt``, ``workspace_newer``: of the copy;
                ``permission``, ``disk_full``, ``io_error``.
        """
        with self._lock:
            entry = self._entry(workspace_id)
            self._require_idle(entry, self._look(entry).opened)
            self._forget(entry.id)
            with contextlib.closing(_lone(entry)):
                replaced = backups.restore(
                    entry.database.parent / backups.FOLDER,
                    entry.database,
                    file_name,
                    backups.checked_copy(scripts("workspace"), place.APPLICATION_ID),
                )
        return self.get_workspace(workspace_id), str(replaced) if replaced else None

    def _require_idle(self, entry: _Entry, opened: OpenWorkspace | None) -> None:
        waiting = opened.jobs.counts() if opened else {}
        if any(waiting.values()):
            message = f"jobs are still queued or running in the workspace {entry.name}"
            raise HephaesError("workspace_busy", message, workspace_id=entry.id, jobs=waiting)

    def workspace(self, workspace_id: str | None) -> OpenWorkspace:
        """The named workspace, or the active one.

        Raises:
            HephaesError: ``workspace_not_found``, ``workspace_not_ready``, ``no_active_workspace``; what opening
                ``workspace_root`` raised, as long as that has not succeeded.
        """
        if workspace_id is None:
            self._open_wanted()
            workspace_id = self.active_workspace_id
            if workspace_id is None:
                message = "no workspace is ready: create or open one first"
                raise HephaesError("no_active_workspace", message, hint="workspaces/create")
        entry = self._entry(workspace_id)
        found = self._look(entry)
        if found.opened is None:
            raise HephaesError(
                "workspace_not_ready",
                f"the workspace {entry.id} is not ready: {found.reason}",
                workspace_id=entry.id,
                status=found.status,
                reason=found.reason,
            )
        found.opened.name = entry.name
        return found.opened

    def open_workspaces(self) -> list[OpenWorkspace]:
        """Every ready workspace of the registry, opened; broken ones are left out."""
        with self._db.read() as session:
            rows = session.all(f"SELECT {_COLUMNS} FROM workspaces w ORDER BY w.created_at, w.id")
        found = []
        for entry in map(_entry, rows):
            with contextlib.suppress(HephaesError):
                found.append(self.workspace(entry.id))
        return found

    def opened(self) -> list[OpenWorkspace]:
        """The workspaces that are open by now; no file is looked at, and nobody waited for."""
        return [*self._open.values()]

    def job_counts(self) -> tuple[int, int]:
        """Queued and running jobs of the workspaces that are open by now."""
        queued = running = 0
        for each in self.opened():
            with contextlib.suppress(HephaesError):  # damaged, or closed meanwhile
                counts = each.jobs.counts()
                queued, running = queued + counts["queued"], running + counts["running"]
        return queued, running

    def jobs_revision(self) -> tuple[int, int]:
        """What changes whenever this process changes a job, or opens or closes a workspace; waits for nothing."""
        opened = self.opened()
        return hash(tuple(map(id, opened))), sum(each.db.own("jobs") for each in opened)

    def databases(self) -> list[tuple[OpenWorkspace | None, Database]]:
        """The registry, under None, and the databases of the workspaces that are open."""
        return [(None, self._db), *((each, each.db) for each in self.opened())]

    def close(self) -> None:
        """Close every database."""
        self._keeper.stop()
        self._prober.close()
        with self._lock:
            for workspace_id in list(self._open):
                self._forget(workspace_id)
            self._db.close()

    def _entry(self, workspace_id: str) -> _Entry:
        with self._db.read() as session:
            row = session.one(f"SELECT {_COLUMNS} FROM workspaces w WHERE id = ?", (workspace_id,))
        if row is None:
            message = f"no workspace with the id {workspace_id} is registered"
            raise HephaesError("workspace_not_found", message, workspace_id=workspace_id)
        return _entry(row)

    def _look(self, entry: _Entry) -> _Look:
        """Whether a workspace can be used, and why not; one that can is opened."""
        try:
            identity = self._prober.identify(entry.database)
        except HephaesError as hang:
            return _Look(None, "invalid", hang.message)
        with self._lock:
            opened = self._open.get(entry.id)
            if opened is not None and opened.identity == identity:
                damage = opened.db.damage
                return _Look(None, "invalid", damage.message) if damage else _Look(opened, "ready", None)
            self._forget(entry.id)
            if identity is None:
                folder = entry.database.parent
                absent = entry.database if folder.is_dir() else folder
                return _Look(None, "missing", f"{absent} does not exist")
            signature = _signature(entry.database)
            known, error = self._refused.get(entry.id, (None, None))
            if error is None or known != signature:
                try:
                    opened = self._open[entry.id] = OpenWorkspace(entry.id, entry.name, entry.root)
                except HephaesError as refusal:
                    error = refusal
                    if refusal.kind in _OF_THE_FILE:
                        self._refused[entry.id] = (signature, refusal)
                else:
                    self._refused.pop(entry.id, None)
                    return _Look(opened, "ready", None)
            return _Look(None, "invalid", error.message)

    def _describe(self, entry: _Entry) -> Workspace:
        found = self._look(entry)
        active = 0
        if found.opened:
            with contextlib.suppress(HephaesError):
                active = sum(found.opened.jobs.counts().values())
        return Workspace(
            id=entry.id,
            name=entry.name,
            active_job_count=active,
            root_path=str(entry.root),
            workspace_dir=str(entry.database.parent),
            database_path=str(entry.database),
            created_at=to_time(entry.created_at),
            updated_at=to_time(entry.updated_at),
            last_opened_at=to_time(entry.last_opened_at),
            status=found.status,
            status_reason=found.reason,
        )

    def _open_at(self, root: Path, name: str | None) -> str:
        """Open the workspace at ``root`` and register it; its id."""
        with self._db.read() as session:
            known = session.one(f"SELECT {_COLUMNS} FROM workspaces w WHERE root_path = ?", (str(root),))
        if known is not None and self._look(_entry(known)).opened:
            opened = None
        else:
            opened = OpenWorkspace(
                known[0] if known else f"ws_{uuid.uuid4().hex}", name or root.name or str(root), root
            )
        try:
            with self._db.write("workspaces") as session:
                workspace_id = _register(session, opened.id if opened else "", root, name)
        except BaseException:
            if opened is not None:
                opened.close()
            raise
        if opened is not None:
            opened.id = workspace_id
            self._open[workspace_id] = opened
            self._refused.pop(workspace_id, None)
        return workspace_id

    def _activate(self, workspace_id: str) -> None:
        now = now_us()
        with self._db.write("workspaces") as session:
            session.run(
                "UPDATE workspaces SET last_opened_at = ?, updated_at = ? WHERE id = ?", (now, now, workspace_id)
            )
            session.run(
                "INSERT INTO app_state (key, value) VALUES ('active_workspace_id', ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (workspace_id,),
            )
        self._process_active = workspace_id
        self._wanted_root = None

    def _open_wanted(self) -> None:
        """Open or create the root this process was started with, unless that is done."""
        with self._lock:
            if self._wanted_root is not None:
                self._process_active = self.create_workspace(str(self._wanted_root), activate=False).id
                self._wanted_root = None

    def _import_legacy(self, root: Path) -> None:
        """Register the single workspace of an older set-up when nothing else is known."""
        with self._db.read() as session:
            known = session.value("SELECT count(*) FROM workspaces")
        if known == 0 and (root / place.FOLDER).is_dir():
            try:
                self.create_workspace(str(root))
            except HephaesError as error:
                log.warning("the workspace of an older set-up is left out: %s", error.message)

    def _forget(self, workspace_id: str) -> None:
        opened = self._open.pop(workspace_id, None)
        if opened is not None:
            opened.close()


def _entry(row: Row) -> _Entry:
    workspace_id, name, root, *times = row
    return _Entry(workspace_id, name, Path(root), *times)


def _register(session: Session, workspace_id: str, root: Path, name: str | None) -> str:
    now = now_us()
    known = session.value("SELECT id FROM workspaces WHERE root_path = ?", (str(root),))
    if known is None:
        session.run(
            "INSERT INTO workspaces (id, name, root_path, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            (workspace_id, name or root.name or str(root), str(root), now, now),
        )
        return workspace_id
    session.run("UPDATE workspaces SET name = ?1, updated_at = ?2 WHERE id = ?3 AND name <> ?1", (name, now, known))
    return str(known)


def _lone(entry: _Entry) -> FolderLock:
    """The folder of a database that nobody has open, to ourselves."""
    try:
        return FolderLock(entry.database.parent, alone=True)
    except BlockingIOError:
        message = f"the database of the workspace {entry.name} is open in another sidecar"
        raise HephaesError(
            "workspace_busy", message, hint="end the other sidecar and try again", workspace_id=entry.id, jobs={}
        ) from None


def _require_deletable(folder: Path, force: bool) -> None:
    if folder.resolve() != folder or not folder.is_dir():
        raise HephaesError("workspace_conflict", f"{folder} is not a folder of its own", path=str(folder))
    if not force and (folder / place.LEGACY_DATABASE).exists():
        message = f"{folder} also holds the database of an older program, {place.LEGACY_DATABASE}"
        raise HephaesError("workspace_conflict", message, hint="force: true removes that too", path=str(folder))


def _resolved(root_path: str) -> Path:
    try:
        root = Path(root_path).expanduser().resolve()
        str(root).encode()
        root.exists()  # a path too long for any file is told by asking for it
    except (OSError, RuntimeError, ValueError) as error:
        raise HephaesError("invalid_path", f"{root_path!a} is not a usable path: {error}") from None
    return root


def _signature(path: Path) -> _Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

"""Which scripts may run: a choice of this machine's user, kept in the registry, never in a workspace."""

from datetime import datetime

from attrs import frozen

from hephaes_rpc.store.db import Database
from hephaes_rpc.store.values import now_us, to_time


@frozen
class Enabled:
    """A script as it was when it was registered."""

    sha256: str
    registered_time: datetime


class EnabledScripts:
    """The enabled scripts of all workspaces."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, workspace_id: str) -> dict[str, Enabled]:
        """By path below the scripts folder of the workspace."""
        with self._db.read() as session:
            rows = session.all(
                "SELECT path, sha256, registered_at FROM enabled_scripts WHERE workspace_id = ? ORDER BY path",
                (workspace_id,),
            )
        return {path: Enabled(sha256, to_time(at)) for path, sha256, at in rows}

    def enable(self, workspace_id: str, path: str, sha256: str) -> None:
        """Let a script run as long as its content stays as it is."""
        with self._db.write("workspaces") as session:
            session.run(
                "INSERT INTO enabled_scripts (workspace_id, path, sha256, registered_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (workspace_id, path) DO UPDATE"
                " SET sha256 = excluded.sha256, registered_at = excluded.registered_at",
                (workspace_id, path, sha256, now_us()),
            )

    def disable(self, workspace_id: str, path: str) -> None:
        """Let a script run no more."""
        with self._db.write("workspaces") as session:
            session.run("DELETE FROM enabled_scripts WHERE workspace_id = ? AND path = ?", (workspace_id, path))

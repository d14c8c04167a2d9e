"""Daily copies of the databases of workspaces that are open."""

import logging
import threading
from collections.abc import Callable, Iterable

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.backups import back_up, is_due
from hephaes_rpc.store.workspace import OpenWorkspace

log = logging.getLogger(__name__)

FIRST_LOOK_S = 10.0
LOOK_S = 900.0


class Keeper:
    """Makes the daily copies of open workspaces, in a thread of its own.

    Args:
        workspaces: Those that are open now.
    """

    def __init__(self, workspaces: Callable[[], Iterable[OpenWorkspace]]) -> None:
        self._workspaces = workspaces
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backups", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Make no more."""
        self._stopping.set()

    def _run(self) -> None:
        wait_s = FIRST_LOOK_S
        while not self._stopping.wait(wait_s):
            wait_s = LOOK_S
            for workspace in self._workspaces():
                self._look(workspace)

    def _look(self, workspace: OpenWorkspace) -> None:
        try:
            if is_due(workspace.backups_dir):
                back_up(workspace.db, workspace.backups_dir, "daily")
        except HephaesError as error:
            log.warning("no backup of %s today: %s", workspace.db.path, error.message)
        except Exception:
            log.exception("no backup of %s today", workspace.db.path)

"""Keeps what is asked of the assets of a large workspace in memory, once somebody asks.

Strategy: columns (``assetcolumns.py``) are made beside the requests, which go by SQL meanwhile.  A request takes them
when they can follow to the very state of the database that its transaction sees, whoever has changed it; otherwise it
goes by SQL, which is always right, and new columns are made.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.store.assetsearch import AssetFilters
from hephaes_rpc.store.db import Database, Session
from hephaes_rpc.store.pages import Order

if TYPE_CHECKING:
    from hephaes_rpc.store.assetcolumns import AssetColumns

logger = logging.getLogger(__name__)

LARGE = 20_000
"""Assets that SQL looks through in no time."""
REST = 5.0
"""Making columns takes one part of the time, resting as many."""


class AssetMemory:
    """The columns of one workspace, while it is large; safe to use from any thread.

    Args:
        prefix: The workspace's root with a slash behind it.
    """

    def __init__(self, db: Database, prefix: str) -> None:
        self._db = db
        self._prefix = prefix
        self._lock = threading.Lock()
        self._columns: AssetColumns | None = None
        self._making: threading.Thread | None = None
        self._rested_at = 0.0

    def find(self, session: Session, filters: AssetFilters, order: Order) -> tuple[list[int], int] | None:
        """What ``AssetColumns.find`` finds; None where SQL has to."""
        n_assets = session.value("SELECT coalesce(sum(n), 0) FROM counters WHERE noun = 'assets'")
        with self._lock:
            columns = self._columns
            if columns is not None:
                try:
                    is_there = columns.follow(session)
                except BaseException:
                    self._columns = None
                    raise
                if not is_there or columns.is_worn:
                    self._make()
                return columns.find(session, filters, order) if is_there else None
            if n_assets > LARGE:
                self._make()
            return None

    def wait(self) -> None:
        """Until the columns that are being made are there."""
        making = self._making
        if making is not None:
            making.join()

    def _make(self) -> None:
        """Begin to make columns, unless that is under way or has just been."""
        if (self._making is None or not self._making.is_alive()) and time.monotonic() >= self._rested_at:
            self._making = threading.Thread(target=self._run, name="columns", daemon=True)
            self._making.start()

    def _run(self) -> None:
        from hephaes_rpc.store.assetcolumns import AssetColumns

        began = time.monotonic()
        try:
            with self._db.read() as session:
                n_assets = session.value("SELECT count(*) FROM assets")
                columns = AssetColumns(session, n_assets, self._prefix)
        except HephaesError as error:  # closed meanwhile
            logger.debug("no columns of %s: %s", self._db.path, error)
            return
        except Exception:
            logger.exception("no columns of %s", self._db.path)
            return
        finally:
            now = time.monotonic()
            self._rested_at = now + REST * (now - began)
        with self._lock:
            self._columns = columns

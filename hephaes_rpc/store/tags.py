"""Tags of assets."""

from collections.abc import Iterable

from hephaes_rpc.model import Tag
from hephaes_rpc.store.db import Database, Session
from hephaes_rpc.store.values import to_json, to_time


class Tags:
    """The tags of one workspace."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of_asset(self, asset_id: str) -> list[Tag]:
        """The tags of an asset by name."""
        with self._db.read() as session:
            return tags_of(session, [asset_id])[asset_id]


def tags_of(session: Session, asset_ids: Iterable[str]) -> dict[str, list[Tag]]:
    """The tags of each asset by name, in one statement."""
    found: dict[str, list[Tag]] = {asset_id: [] for asset_id in asset_ids}
    rows = session.all(
        "SELECT x.asset_id, t.id, t.name, t.created_at FROM asset_tags x JOIN tags t ON t.id = x.tag_id"
        " WHERE x.asset_id IN (SELECT value FROM json_each(?)) ORDER BY t.name, t.id",
        (to_json(list(found)),),
    )
    for asset_id, tag_id, name, created_at in rows:
        found[asset_id].append(Tag(tag_id, name, to_time(created_at)))
    return found

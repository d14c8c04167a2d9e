"""Tags of assets."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from collections.abc import Iterable

from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.workspaces import Tag, TagEntry
from hephaes_rpc.store.db import Database, Row, Session
from hephaes_rpc.store.pages import DEFAULT_LIMIT, Listing, Page, Where
from hephaes_rpc.store.values import new_id, normalized, now_us, to_json, to_time

_COLUMNS = "t.id, t.name, t.created_at, t.asset_count"

LISTING = Listing(
    name="tags",
    columns=_COLUMNS,
    source="tags t",
    id="t.id",
    sorts={"name": ("t.name",), "created_at": ("t.created_at",), "asset_count": ("t.asset_count",)},
    default="name",
)


class Tags:
    """The tags of one workspace; a tag is named by its id or by its name, whatever the case and the blanks."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, name: str) -> TagEntry:
        """A new tag; raises ``tag_already_exists``."""
        tag_id = new_id()
        with self._db.write("tags") as session:
            session.run(
                "INSERT INTO tags (id, name, normalized_name, created_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (normalized_name) DO NOTHING",
                (tag_id, name, normalized(name), now_us()),
            )
            tag = self._find(session, name)
        if tag.id != tag_id:
            message = f"a tag with the name {name} already exists"
            raise HephaesError("tag_already_exists", message, tag_id=tag.id, name=name)
        return tag

    def attach(self, asset_id: str, selector: str) -> TagEntry:
        """Give an asset a tag; raises ``asset_not_found``, ``tag_not_found``, ``tag_already_attached``."""
        with self._db.write("assets", "tags") as session:
            number, file_name = _asset(session, asset_id)
            tag = self._find(session, selector)
            if not session.run(
                "INSERT INTO asset_tags (tag_id, asset, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (tag.id, number, now_us()),
            ):
                message = f"{file_name} already has the tag {tag.name}"
                raise HephaesError("tag_already_attached", message, asset_id=asset_id, tag_id=tag.id)
        return tag

    def detach(self, asset_id: str, selector: str) -> tuple[TagEntry, bool]:
        """Take a tag from an asset; the tag, and whether it is gone, since no asset carries it any more.

        Raises:
            HephaesError: ``asset_not_found``, ``tag_not_found``, ``tag_not_attached``.
        """
        with self._db.write("assets", "tags") as session:
            number, file_name = _asset(session, asset_id)
            tag = self._find(session, selector)
            if not session.run("DELETE FROM asset_tags WHERE tag_id = ? AND asset = ?", (tag.id, number)):
                message = f"{file_name} does not have the tag {tag.name}"
                raise HephaesError("tag_not_attached", message, asset_id=asset_id, tag_id=tag.id)
            is_gone = session.run("DELETE FROM tags WHERE id = ? AND asset_count = 0", (tag.id,)) > 0
        return tag, is_gone

    def list(self, limit: int = DEFAULT_LIMIT, cursor: str | None = None, sort: str | None = None) -> Page[TagEntry]:
        """A page of tags, by name unless sorted otherwise."""
        with self._db.read() as session:
            return LISTING.page(
                session,
                None,
                Where(),
                lambda rows: [_entry(row) for row in rows],
                limit=limit,
                cursor=cursor,
                sort=sort,
            )

    def _find(self, session: Session, selector: str) -> TagEntry:
        row = session.one(
            f"SELECT {_COLUMNS} FROM tags t WHERE t.id = lower(?1) OR t.normalized_name = ?2"
            " ORDER BY t.id = lower(?1) DESC LIMIT 1",
            (selector, normalized(selector)),
        )
        if row is None:
            raise HephaesError("tag_not_found", f"no tag has the id or the name {selector}", tag_id=selector)
        return _entry(row)


def tags_of(session: Session, asset_ids: Iterable[str]) -> dict[str, list[Tag]]:
    """The tags of each asset by name, in one statement."""
    found: dict[str, list[Tag]] = {asset_id: [] for asset_id in asset_ids}
    rows = session.all(
        "SELECT a.id, t.id, t.name, t.created_at FROM json_each(?) i CROSS JOIN assets a ON a.id = i.value"
        " CROSS JOIN asset_tags x ON x.asset = a.registered_at CROSS JOIN tags t ON t.id = x.tag_id"
        " ORDER BY t.name, t.id",
        (to_json(list(found)),),
    )
    for asset_id, tag_id, name, created_at in rows:
        found[asset_id].append(Tag(tag_id, name, to_time(created_at)))
    return found


def _asset(session: Session, asset_id: str) -> Row:
    row = session.one("SELECT registered_at, file_name FROM assets WHERE id = ?", (asset_id,))
    if row is None:
        raise HephaesError("asset_not_found", f"no asset has the id {asset_id}", asset_id=asset_id)
    return row


def _entry(row: Row) -> TagEntry:
    tag_id, name, created_at, asset_count = row
    return TagEntry(tag_id, name, to_time(created_at), asset_count)

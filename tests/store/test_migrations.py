"""A workspace of every shipped version opens, and keeps what it holds."""

from pathlib import Path

import apsw
import pytest

from hephaes_rpc.store.assets import AssetFilters
from hephaes_rpc.store.db import Database, scripts
from hephaes_rpc.store.workspace import APPLICATION_ID, OpenWorkspace
from tests.store.test_dashboard import assert_counted

FIRST_ROWS = """
INSERT INTO assets (id, file_path, file_name, file_type, file_size, mtime_ns, indexing_status, registered_at,
    last_indexed_at, search_text) VALUES
    ('b', 'logs/b.bag', 'b.bag', 'bag', 7, 1, 'indexed', 100, 500, 'b.bag bag ' || char(1) || 'logs/b.bag'),
    ('a', 'logs/a.bag', 'a.bag', 'bag', 5, 1, 'pending', 100, NULL, 'a.bag bag ' || char(1) || 'logs/a.bag'),
    ('c', '/x/c.mcap', 'c.mcap', 'mcap', 3, 1, 'failed', 101, NULL, 'c.mcap mcap /x/c.mcap'),
    ('d', '/x/d.mcap', 'd.mcap', 'mcap', 1, 1, 'pending', 900, NULL, 'd.mcap mcap /x/d.mcap');
INSERT INTO asset_metadata (asset_id, duration, start_ns, end_ns, message_count, created_at, updated_at)
    VALUES ('b', 1.5, 2000, 3000, 4, 1, 1);
INSERT INTO tags (id, name, normalized_name, created_at) VALUES ('t', 'Night', 'night', 1), ('u', 'none', 'none', 1);
INSERT INTO asset_tags (asset_id, tag_id, created_at) VALUES ('b', 't', 1), ('d', 't', 1);
INSERT INTO jobs (id, type, status, config, payload, max_attempts, created_at, updated_at, finished_at, error)
    VALUES ('j', 'convert', 'failed', '{}', '{}', 3, 1, 2, 2, '{"kind": "bug", "message": "x"}'),
    ('k', 'index', 'queued', '{}', '{}', 3, 1, 2, NULL, NULL);
INSERT INTO job_assets (job_id, position, asset_id) VALUES ('j', 0, 'b');
INSERT INTO conversions (id, job_id, config, output_path, created_at, updated_at) VALUES ('v', 'j', '{}', 'x', 1, 2);
INSERT INTO outputs (id, conversion_id, job_id, path, relative_path, file_name, format, role, size_bytes, search_text,
    created_at, updated_at) VALUES
    ('o', 'v', 'j', 'x/y.parquet', 'y.parquet', 'y.parquet', 'parquet', 'dataset', 9, 'y', 1, 1);
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a workspace of the first version, with rows in it."""
    folder = tmp_path / "root" / ".hephaes"
    folder.mkdir(parents=True)
    path = folder / "workspace.db"
    assert Database.create(path, scripts("workspace")[:1], APPLICATION_ID)
    db = apsw.Connection(str(path))
    db.execute(FIRST_ROWS).fetchall()
    db.close()
    return tmp_path / "root"


def test_the_first_version(root: Path) -> None:
    workspace = OpenWorkspace("ws", "name", root)
    page = workspace.assets.list(sort="registered_time")
    assert [item.id for item in page.items] == ["a", "b", "c", "d"]
    numbers = [item.registered_time.microsecond for item in page.items]
    assert numbers == [100, 101, 102, 900]
    assert [tag.name for tag in page.items[1].tags] == ["Night"]
    assert [(tag.name, tag.asset_count) for tag in workspace.tags.list().items] == [("Night", 2), ("none", 0)]
    found = workspace.assets.metadata("b")
    assert found is not None
    assert (found.duration, found.start_ns, found.end_ns, found.message_count) == (1.5, 2000, 3000, 4)
    for filters in (AssetFilters(search="logs/b"), AssetFilters(min_duration=1), AssetFilters(search=f"{root}/logs/b")):
        assert [item.id for item in workspace.assets.list(filters).items] == ["b"]
    assert [job.id for job in workspace.assets.detail("b").related_jobs] == ["j"]
    with workspace.db.read() as session:
        assert_counted(session)
        assert session.value("PRAGMA integrity_check") == "ok"
        assert session.all("PRAGMA foreign_key_check") == []
    new = workspace.assets.register(root / "new.bag", 1, 1)
    assert workspace.assets.list(AssetFilters(search="new.bag")).items[0].id == new.id
    workspace.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(root: Path) -> None:
    path = root / ".hephaes" / "workspace.db"
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="refused a statement"):
        Database(path, (*scripts("workspace"), "CREATE TABLE assets (x) STRICT;"), APPLICATION_ID)
    db = apsw.Connection(str(path))
    assert db.execute("PRAGMA user_version").fetchall() == [(1,)]
    db.close()
    assert path.read_bytes() == before

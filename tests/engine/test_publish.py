"""Publication: all files or none, under their names only when complete."""

import errno
import os
from pathlib import Path

import pytest

from hephaes_rpc.engine.datasets import publish
from hephaes_rpc.engine.datasets.publish import Publication, output_error
from hephaes_rpc.errors import HephaesError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_together_at_commit(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    with Publication(folder, "t1", overwrite=False) as publication:
        publication.claim("data.parquet").write_bytes(b"rows")
        publication.put("data.parquet.manifest.json", b"{}")
        assert names(folder) == [".data.parquet.manifest.json.t1.tmp", ".data.parquet.t1.tmp"]
        assert publication.size("data.parquet") == 4
        publication.commit()
        assert names(folder) == ["data.parquet", "data.parquet.manifest.json"]
    assert (folder / "data.parquet").read_bytes() == b"rows"


def test_nothing_is_left_without_commit(tmp_path: Path) -> None:
    with Publication(tmp_path, "t", overwrite=False) as publication:
        publication.claim("a").write_bytes(b"")
        publication.claim("never-written")
    assert names(tmp_path) == []


def test_renames_follow_the_claims_and_only_after_every_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    sync, replace = publish.sync, Path.replace
    monkeypatch.setattr(publish, "sync", lambda path: (told.append(("sync", path.name)), sync(path)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (told.append(("rename", b.name)), replace(a, b)))
    with Publication(tmp_path, "t", overwrite=False) as publication:
        for name in ("z", "a", "m"):
            publication.put(name, b"")
        publication.commit()
    renames = [("rename", name) for name in ("z", "a", "m")]
    assert told == [("sync", f".{name}.t.tmp") for name in ("z", "a", "m")] + renames + [("sync", tmp_path.name)]


@pytest.mark.parametrize("link", [False, True])
def test_an_existing_file_is_refused_and_kept(tmp_path: Path, link: bool) -> None:
    if link:
        (tmp_path / "a").symlink_to("nowhere")
    else:
        (tmp_path / "a").write_bytes(b"old")
    with Publication(tmp_path, "t", overwrite=False) as publication:
        for refuse in (lambda: publication.expect(["b", "a"]), lambda: publication.claim("a")):
            with pytest.raises(HephaesError, match="/a is already there") as refusal:
                refuse()
            assert refusal.value.kind == "output_exists"
    assert names(tmp_path) == ["a"]


def test_overwriting_replaces_at_commit_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with Publication(tmp_path, "t", overwrite=True) as publication:
        publication.put("a", b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
        publication.commit()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Publication(tmp_path, "t", overwrite=True) as publication, pytest.raises(HephaesError, match="is a folder"):
        publication.claim("a")


def test_a_failing_rename_takes_back_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_bytes(b"old")
    replace = Path.replace

    def failing(a: Path, b: Path) -> Path:
        if b.name == "c":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(a, b)

    monkeypatch.setattr(Path, "replace", failing)
    with Publication(tmp_path, "t", overwrite=True) as publication:
        for name in ("a", "old", "c", "d"):
            publication.put(name, b"new")
        with pytest.raises(HephaesError) as failure:
            publication.commit()
    assert failure.value.kind == "disk_full"
    assert names(tmp_path) == ["old"]


def test_names_are_claimed_once_and_are_not_too_long(tmp_path: Path) -> None:
    with Publication(tmp_path, "t", overwrite=False) as publication:
        publication.put("a", b"")
        with pytest.raises(HephaesError, match="two outputs are called 'a'"):
            publication.claim("a")
        with pytest.raises(HephaesError, match="is too long") as refusal:
            publication.expect(["ü" * 125])
        assert refusal.value.kind == "invalid_path"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EFBIG, "disk_full"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "permission"),
        (errno.EIO, "io_error"),
    ],
)
def test_errors_of_the_disk_have_kinds(tmp_path: Path, number: int, kind: str) -> None:
    error = output_error(OSError(number, "x"), tmp_path)
    assert error.kind == kind
    assert str(tmp_path) in error.message
    assert os.strerror(number) in error.message
    assert ("bytes are free" in error.message) == (kind == "disk_full")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HephaesError, match="Not a directory") as failure:
        Publication(tmp_path / "file" / "out", "t", overwrite=False)
    assert failure.value.kind == "io_error"

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hephaes_rpc import config
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.store.app import AppStore
from hephaes_rpc.store.workspace import OpenWorkspace


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., config.Config]:
    """A configuration whose data folder is below the test's own folder; keywords are environment variables."""

    def make(workspace_root: Path | None = None, **environ: str) -> config.Config:
        options = config.Options(
            data_dir=str(tmp_path / "data"), workspace_root=str(workspace_root) if workspace_root else None
        )
        return config.load(config.Options(), options, {f"HEPHAES_{name}": value for name, value in environ.items()})

    return make


@pytest.fixture
def app(settings: Callable[..., config.Config]) -> Iterator[AppStore]:
    """An empty registry."""
    store = AppStore(settings())
    yield store
    store.close()


@pytest.fixture
def workspace(app: AppStore, tmp_path: Path) -> OpenWorkspace:
    """A fresh workspace in ``tmp_path / "root"``."""
    return app.workspace(app.create_workspace(str(tmp_path / "root")).id)


@pytest.fixture
def asset(workspace: OpenWorkspace) -> Asset:
    """A registered log."""
    return workspace.assets.register(workspace.root / "logs" / "run.bag", 100, 1)


def listing(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def fingerprint(folder: Path) -> dict[str, str]:
    """Name and content of every file below a folder; what readers of a WAL database share in memory is left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }

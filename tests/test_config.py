"""Command line, then client, then environment; one sentence for what cannot be."""

from pathlib import Path

import pytest

from hephaes_rpc.config import Config, ConfigError, Options, load


def environment(**variables: str) -> Config:
    return load(Options(), Options(), variables)


def test_the_command_line_wins_over_the_client_and_the_client_over_the_environment() -> None:
    environ = {"HEPHAES_BACKEND_DATA_DIR": "/env", "HEPHAES_LOG_LEVEL": "debug"}
    client = Options(data_dir="/client", log_level="error", workspace_root="/ws")
    assert load(Options(), Options(), environ).data_dir == Path("/env")
    config = load(Options(), client, environ)
    assert (config.data_dir, config.log_level, config.workspace_root) == (Path("/client"), "error", Path("/ws"))
    assert load(Options(data_dir="/argv"), client, environ).data_dir == Path("/argv")


def test_everything_lies_in_the_data_folder_unless_said_otherwise() -> None:
    config = environment(HEPHAES_BACKEND_DATA_DIR="/d", HEPHAES_BACKEND_LOG_DIR="/l", HEPHAES_BACKEND_RAW_DATA_DIR=" ")
    assert config.db_path == Path("/d/app.db")
    assert config.raw_dir == Path("/d/raw")
    assert config.log_dir == Path("/l")
    assert config.legacy_workspace_root == Path("/d/workspace")
    assert config.app_name == "Hephaes Backend"


def test_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert environment(HEPHAES_BACKEND_DATA_DIR="~/a/../b").data_dir == tmp_path / "b"
    assert environment(HEPHAES_BACKEND_DATA_DIR="c").data_dir == tmp_path / "c"
    assert environment(HEPHAES_DESKTOP_MODE="1").data_dir == tmp_path / ".hephaes" / "backend"
    assert tmp_path in environment().data_dir.parents or environment().data_dir.is_absolute()


@pytest.mark.parametrize(
    "variables",
    [
        {"HEPHAES_LOG_LEVEL": "loud"},
        {"HEPHAES_MAX_WORKERS": "0"},
        {"HEPHAES_MAX_WORKERS": "65"},
        {"HEPHAES_MAX_WORKERS": "²"},
        {"HEPHAES_MAX_WORKERS": "two"},
        {"HEPHAES_BACKEND_DATA_DIR": "~nobody-of-that-name/x"},
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        environment(**variables)
    assert next(iter(variables.values())).lower() in str(caught.value)
    assert "\n" not in str(caught.value)


def test_levels_in_any_case_and_the_old_name() -> None:
    assert environment(HEPHAES_BACKEND_LOG_LEVEL="WARNING").log_level == "warning"
    assert environment(HEPHAES_MAX_WORKERS="64").max_workers == 64
    assert 1 <= environment().max_workers <= 4

"""``hephaes-rpc report``, run as a person runs it."""

from pathlib import Path

from tests.engine.quality.drives import clean, written
from tests.engine.quality.test_defects import DEFECTS
from tests.test_cli import cli, sentence


def test_a_page(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "page.html"
    done = cli("report", data / "poses.bag", "-o", page)
    assert done.stdout.startswith(f"{page} (")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "is already there" in sentence(cli("report", data / "poses.bag", "-o", page, code=2))
    cli("report", data / "talker-zstd.mcap", "-o", page, "--overwrite")
    assert "talker-zstd.mcap" in page.read_text()


def test_the_page_tells_what_is_wrong_by_all_messages_unless_asked_not_to(tmp_path: Path) -> None:
    log = written(tmp_path / "drive.mcap", DEFECTS["nan"].make(clean()))
    said = "pose.pose.position.y of /odom is NaN"
    page = tmp_path / "page.html"
    cli("report", log, "-o", page)
    assert said in page.read_text()
    cli("report", log, "-o", page, "--overwrite", "--no-check")
    assert said not in page.read_text()


def test_what_is_no_log(data: Path, tmp_path: Path) -> None:
    done = cli("report", data / "README.md", "-o", tmp_path / "page.html", code=2)
    assert "is no ROS bag, MCAP or rosbag2 SQLite file" in sentence(done)
    assert list(tmp_path.iterdir()) == []

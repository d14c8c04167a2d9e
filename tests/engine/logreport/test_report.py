"""Pages of logs, parsed as HTML: what they show is what other readers find, and they load nothing."""

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer
from PIL import Image
from rosbags.highlevel import AnyReader

from hephaes_rpc.engine.logreport import gather
from hephaes_rpc.engine.logreport.report import report_of, write_report
from hephaes_rpc.errors import CancelledByClient, HephaesError
from hephaes_rpc.testing.logs import START_NS, Sample, samples, store, write_bag, write_mcap

VOID = {"meta", "img", "link", "br", "input"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Context:
    """Notes what is told; stops at the n-th check."""

    temp_tag = "test"

    def __init__(self, stop_at: int = -1) -> None:
        self.told: list[tuple[str, int, int]] = []
        self._left = stop_at

    def progress(self, phase: str, done: int, total: int, unit: str, message: str = "") -> None:
        self.told.append((phase, done, total))

    def check(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise CancelledByClient


class Page(HTMLParser):
    """Elements, their texts and attributes; tags must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """Attributes of the elements that have the wanted ones (a class among others)."""
        return [
            a
            for t, a in self.elements
            if t == tag and all(v in a.get(k.rstrip("_"), "").split() for k, v in wanted.items())
        ]

    def said(self, tag: str) -> list[str]:
        return [text.strip() for where, text in self.texts if where == tag]


def page_of(path: Path) -> tuple[str, Page]:
    text = report_of(str(path), Context()).decode()
    return text, Page(text)


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells of the table of topics, by topic."""
    found = {}
    for row in re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", text, re.DOTALL):
        name, *cells = (re.sub(r"<[^>]*>", "", cell) for cell in re.split(r"</t[hd]>", row))
        found[name] = cells
    return found


def items_of(text: str) -> dict[str, Any]:
    return {
        name: json.loads(body)
        for name, body in re.findall(r'<script type="application/json" id="(p\d+)">(.*?)</script>', text, re.DOTALL)
    }


def lines_of(item: Any) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Times (s) and values of each line of a plot, from what BokehJS is given."""
    found = []
    for renderer in item["doc"]["roots"][0]["attributes"]["renderers"]:
        glyph = renderer["attributes"]["glyph"]
        source = renderer["attributes"]["data_source"]
        if glyph["name"] == "Line":
            columns = dict(source["attributes"]["data"]["entries"])
            t, v = (
                np.frombuffer(gzip.decompress(base64.b64decode(columns[name]["array"]["data"])), columns[name]["dtype"])
                for name in ("t", "v")
            )
            found.append((t, v))
    return found


def plot_titled(text: str, topic_anchor: str, title: str) -> Any:
    """The item of the plot with a title, of a topic."""
    section = text[text.index(f'<section class="topic" id="{topic_anchor}"') :]
    section = section[section.index(f"<h4>{title}") :]
    name = re.search(r'data-plot="(p\d+)"', section)
    assert name is not None
    return items_of(text)[name[1]]


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_the_table_and_lines_are_what_another_reader_finds(data: Path) -> None:
    log = data / "turtlesim-bz2.bag"
    text, page = page_of(log)
    rows = rows_of(text)
    values: dict[str, list[tuple[int, Any]]] = {}
    with AnyReader([log]) as reader:
        assert set(rows) == {c.topic for c in reader.connections}
        start = reader.start_time
        for connection, time, raw in reader.messages():
            values.setdefault(connection.topic, []).append((time, reader.deserialize(raw, connection.msgtype)))
    for topic, (type_name, messages, *_rest) in rows.items():
        assert int(messages.replace(",", "")) == len(values[topic])
        assert type_name
    anchors = dict(zip(rows, (a["id"] for a in page.all("section", class_="topic")), strict=True))
    ((t, v), *others) = lines_of(plot_titled(text, anchors["/turtle1/pose"], "/turtle1/pose"))
    poses = values["/turtle1/pose"]
    assert len(others) == 4
    drawn = v[np.isfinite(v)]
    assert set(drawn.tolist()) <= {float(np.float32(message.x)) for _, message in poses}
    assert (drawn.min(), drawn.max()) == (min(m.x for _, m in poses), max(m.x for _, m in poses))
    assert set(t.tolist()) <= {(time - start) / 1e9 for time, _ in poses}


def test_every_plot_has_its_data_and_says_what_it_shows(data: Path) -> None:
    text, page = page_of(data / "turtlesim-bz2.bag")
    targets = [a for _, a in page.elements if "data-plot" in a]
    assert [a["data-plot"] for a in targets] == list(items_of(text))
    assert all(a["role"] == "img" and a["aria-label"] for a in targets)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_it_loads_nothing_and_runs_only_its_own_scripts(data: Path) -> None:
    text, page = page_of(data / "turtlesim-bz2.bag")
    (policy,) = (a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "action", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style


def test_the_same_log_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    log = data / "turtlesim-bz2.bag"
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(log, tmp_path / "elsewhere")
    first = report_of(str(log), Context())
    assert report_of(str(tmp_path / "elsewhere" / log.name), Context()) == first
    assert str(data).encode() not in first


def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = [
        "/<img src=x onerror=alert(1)>",
        "/</script><script>alert(1)</script>",
        '/"><b>',
        "/$$\\alpha$$",
        "/a\u2028b",
    ]
    payload = bytes(store(2).serialize_cdr(store(2).types["std_msgs/msg/Float64"](data=1.5), "std_msgs/msg/Float64"))
    log = tmp_path / "<b>&.mcap"
    with log.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/Float64", "ros2msg", b"float64 data")
        for k, name in enumerate(names):
            channel = writer.register_channel(name, "cdr", schema)
            writer.add_message(channel, START_NS + k, payload, START_NS + k)
        writer.finish()
    text, page = page_of(log)
    assert sorted(t for t in page.said("h3") if t) == sorted(names)
    assert page.all("b") == []
    assert page.all("img") == []
    assert len(re.findall(r"<script>", text)) == 2
    assert "<b>&.mcap" in page.said("h1")


def test_pictures(tmp_path: Path) -> None:
    types = store(2).types
    log = tmp_path / "camera.mcap"
    with log.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        text = store(2).generate_msgdef("sensor_msgs/msg/Image", ros_version=2)[0]
        schema = writer.register_schema("sensor_msgs/msg/Image", "ros2msg", text.encode())
        channel = writer.register_channel("/camera", "cdr", schema)
        for k in range(30):
            stamp = types["builtin_interfaces/msg/Time"](sec=START_NS // 10**9, nanosec=0)
            header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="")
            pixels = np.full((48, 64, 3), (200, 8 * k, 10), np.uint8)
            message = types["sensor_msgs/msg/Image"](
                header=header,
                height=48,
                width=64,
                encoding="rgb8" if k else "lost",
                is_bigendian=0,
                step=192,
                data=pixels.ravel(),
            )
            payload = bytes(store(2).serialize_cdr(message, "sensor_msgs/msg/Image"))
            writer.add_message(channel, START_NS + k * 10**8, payload, START_NS + k * 10**8)
        writer.finish()
    text, page = page_of(log)
    pictures = page.all("img")
    assert len(pictures) == gather.SHOTS_PER_TOPIC - 1
    assert "image encoding 'lost' is not supported" in page.said("div")
    for picture in pictures:
        found = re.fullmatch(r"/camera at ([\d.]+) s", picture["alt"])
        assert found is not None
        k = round(float(found[1]) * 10)
        with Image.open(io.BytesIO(base64.b64decode(picture["src"].partition(",")[2]))) as image:
            assert (image.format, image.size) == ("JPEG", (64, 48))
            assert np.allclose(image.getpixel((30, 20)), (200, 8 * k, 10), atol=6)
    (t, v), *_ = lines_of(plot_titled(text, "t0", "Latency"))
    assert np.allclose(v, 1e0 * np.round(t, 9))


# -- other logs --------------------------------------------------------------------------------------------------------


def test_a_damaged_log_says_so(tmp_path: Path) -> None:
    log = write_mcap(tmp_path / "cut.mcap", samples(400), chunk_size=4000)
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    text, page = page_of(log)
    assert "damaged" in page.said("dd")
    assert any(said.startswith("part of the log is lost: ") for said in page.said("p"))
    assert 0 < sum(int(cells[1]) for cells in rows_of(text).values()) < 400


def test_a_log_without_topics(data: Path) -> None:
    text, page = page_of(data / "no-messages.bag")
    assert "The log has no topics." in page.said("p")
    assert items_of(text) == {}


def test_a_pause_is_found_and_leads_to_its_place(tmp_path: Path) -> None:
    payload = next(s.payload for s in samples(50, ros=1) if s.topic == "/chatter")
    times = [k * 10**8 for k in range(100) if not 40 <= k < 60]
    log = write_bag(tmp_path / "pause.bag", [Sample("/chatter", START_NS + time, payload) for time in times])
    _, page = page_of(log)
    (place, *_) = page.all("button", class_="go")
    assert (float(place["data-from"]), float(place["data-to"])) == (3.9, 6.0)
    assert "/chatter is silent for 2.1 s; a message comes every 100 ms" in page.said("p")


def test_what_is_too_much_to_read_is_sampled_and_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_mcap(tmp_path / "long.mcap", samples(600, topics=("/imu",)), chunk_size=4000)
    monkeypatch.setattr(gather, "MAX_READ", 40_000)
    _, page = page_of(log)
    (note,) = (said for said in page.said("p") if said.startswith("Fields are drawn"))
    found = re.match(r"Fields are drawn from a sample: (\d+) of 600 messages", note)
    assert found is not None
    assert 0 < int(found[1]) < 600


def test_progress_is_told_and_stopping_leaves_nothing(data: Path, tmp_path: Path) -> None:
    context = Context()
    write_report(str(data / "turtlesim-bz2.bag"), tmp_path / "out" / "a.html", context)
    assert {"index", "decode", "write"} <= {phase for phase, _, _ in context.told}
    with pytest.raises(CancelledByClient):
        write_report(str(data / "turtlesim-bz2.bag"), tmp_path / "b.html", Context(stop_at=5))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.html", "out"]


def test_the_log_and_other_files_are_not_replaced(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "poses.bag"
    shutil.copy(data / "poses.bag", log)
    for target, overwrite in ((log, True), (log, False)):
        with pytest.raises(HephaesError, match=r"poses\.bag is"):
            write_report(str(log), target, Context(), overwrite=overwrite)
    assert log.read_bytes() == (data / "poses.bag").read_bytes()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_draws_it_without_complaint(data: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    made = write_report(str(data / "turtlesim-bz2.bag"), tmp_path / "page.html", Context())
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1280,2400"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, "--dump-dom", f"file://{made.path}"], capture_output=True, text=True, timeout=90, check=True
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "log level" not in line]
    assert complaints == []
    assert done.stdout.count('data-drawn="true"') > 3

"""The page: facts and plots as one HTML file that loads nothing.

Strategy: text of the log gets in by autoescaping templates only; plots are JSON in data blocks in which ``<`` is
escaped.  A content security policy lets run what the page itself brings, by digest, and nothing be loaded.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from bokeh.resources import INLINE
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hephaes_rpc import __version__
from hephaes_rpc.engine.logreport import drawing
from hephaes_rpc.engine.logreport.drawing import Item, TimeSpan
from hephaes_rpc.engine.logreport.facts import LogFacts, Shot, TopicFacts
from hephaes_rpc.engine.logreport.fields import FieldPlot
from hephaes_rpc.engine.logreport.thinning import Points
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.task import Context
from hephaes_rpc.model.quality import Finding

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
MAX_FINDINGS = 200
_UNITS = ("s", "ms", "µs")
SPARK_WIDTH, SPARK_HEIGHT = 80, 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_NS = 253_402_300_799 * NS_PER_S
_DARK = """
  --bg: #0f1115; --card: #171a21; --ink: #e8eaee; --soft: #9aa3b2; --line: #272c36; --grid: #2b313c; --accent: #7fb0ff;
  --error: #ff8f91; --error-bg: #3a1a1c; --warning: #f5bd58; --warning-bg: #35270c; --info: #7fb0ff; --info-bg: #16263f;
  --good: #65d29b; --good-bg: #10291d; --spark: #5b95f5;
"""


class _Plots:
    """Items that the page draws, by their ids."""

    def __init__(self) -> None:
        self.items: list[tuple[str, Markup]] = []

    def add(self, item: Item) -> str:
        name = f"p{len(self.items)}"
        text = json.dumps(item, separators=(",", ":"), ensure_ascii=True)
        self.items.append((name, Markup(text.replace("<", "\\u003c"))))  # noqa: S704  (a data block, never markup)
        return name


def page(facts: LogFacts, context: Context) -> bytes:
    """The whole file, UTF-8; the same facts give the same bytes."""
    plots = _Plots()
    start_ns = facts.summary.start_ns
    span = TimeSpan(start_ns or 0, facts.info.duration_s)
    numbers = {topic.info.topic: f"t{k}" for k, topic in reversed(list(enumerate(facts.topics)))}
    timeline = None
    if start_ns is not None:
        item = drawing.timeline(facts.topics, facts.findings, span)
        timeline = {
            "id": plots.add(item),
            "label": f"When messages came, a row for each of {len(facts.topics)} topics; numbers are in the table",
        }
    topics = []
    for k, topic in enumerate(facts.topics):
        context.check()
        context.progress("write", k, len(facts.topics), "rows")
        topics.append(_topic(topic, f"t{k}", span, plots))
    scripts = [_script(text) for text in (*_library(), _asset("page.js"))]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    html = environment.from_string(
        _asset("page.html.jinja")
    ).render(
        policy=POLICY.format(scripts=" ".join(f"'sha256-{_digest(script)}'" for script in scripts)),
        css=Markup(_css()),  # noqa: S704  (ours)
        log={"name": facts.name, "format": _format(facts), "facts": _summary(facts)},
        findings=[_finding(finding, numbers, span) for finding in facts.findings[:MAX_FINDINGS]],
        reasons=_reasons(facts),
        timeline=timeline,
        topics=topics,
        items=plots.items,
        scripts=scripts,
        footer=_footer(facts),
    )
    return html.encode("utf-8", "backslashreplace")


def _library() -> list[str]:
    """The plotting library, as scripts."""
    resources = INLINE.clone(components=["bokeh"])
    return [text for text in resources.js_raw if not text.startswith("Bokeh.set_log_level")]


def _script(text: str) -> Markup:
    """A script as it can stand in the page; what ends it early could only be in a string."""
    return Markup(text.replace("</script", "<\\/script"))  # noqa: S704  (ours and the library's)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(str(script).encode()).digest()).decode()


def _asset(name: str) -> str:
    return files("hephaes_rpc.engine.logreport").joinpath(name).read_text("utf-8")


def _css() -> str:
    dark = (
        f"@media (prefers-color-scheme: dark) {{ :root:not([data-theme='light']) {{{_DARK}}} }}\n"
        f":root[data-theme='dark'] {{{_DARK} color-scheme: dark; }}\n"
        ":root[data-theme='light'] { color-scheme: light; }"
    )
    keys = "\n".join(f".c{k} {{ --c: {color}; }}" for k, color in enumerate(drawing.PALETTE))
    return _asset("page.css").replace("/*dark*/", dark).replace("/*keys*/", keys)


# -- the log -----------------------------------------------------------------------------------------------------------


def _format(facts: LogFacts) -> str:
    summary = facts.summary
    return f"{summary.storage_format} · {summary.ros_version}" + (f" · {summary.library}" if summary.library else "")


def _summary(facts: LogFacts) -> list[dict[str, str]]:
    summary = facts.summary
    found = []
    tone = "fine" if facts.score.value >= 90 else "fair" if facts.score.value >= 60 else "bad"
    found.append(_fact("Quality", f"{facts.score.value}", "of 100", tone))
    found.append(_fact("Duration", duration(facts.info.duration_s)))
    found.append(_fact("Messages", f"{summary.message_count:,}"))
    found.append(_fact("Topics", f"{len(facts.topics):,}"))
    more = f"in {len(summary.files):,} files" if len(summary.files) > 1 else ""
    found.append(_fact("Size", size(summary.size_bytes), more))
    if summary.start_ns is not None:
        day, _, clock = moment(summary.start_ns).partition(" ")
        found.append(_fact("Starts", clock.partition(".")[0] or day, f"{day}, UTC" if clock else ""))
    used = [f"{name or 'none'}" for name in summary.compression]
    if used:
        stored = sum(use.stored_bytes for use in summary.compression.values())
        raw = sum(use.raw_bytes for use in summary.compression.values())
        more = f"{raw / stored:.1f} times smaller" if stored and raw > 1.05 * stored else ""
        found.append(_fact("Compression", ", ".join(used), more))
    if summary.outcome == "part":
        found.append(_fact("State", "damaged", "part of it cannot be read", "bad"))
    else:
        found.append(_fact("State", "whole", "", "fine"))
    return found


def _fact(name: str, value: str, more: str = "", tone: str = "") -> dict[str, str]:
    return {"name": name, "value": value, "more": more, "tone": tone}


def _reasons(facts: LogFacts) -> list[dict[str, str | None]]:
    reasons = facts.score.reasons[:6]
    return [{"points": number(r.points), "kind": r.kind.replace("_", " "), "topic": r.topic} for r in reasons]


def _finding(finding: Finding, numbers: dict[str, str], span: TimeSpan) -> dict[str, Any]:
    found: dict[str, Any] = {
        "severity": finding.severity,
        "kind": finding.kind.replace("_", " "),
        "message": finding.message,
        "topic": finding.topic,
        "anchor": numbers.get(finding.topic or ""),
        "when": "",
    }
    if finding.start_ns is not None:
        start = (finding.start_ns - span.start_ns) / NS_PER_S
        end = start if finding.end_ns is None else (finding.end_ns - span.start_ns) / NS_PER_S
        when = f"at {start:,.3f} s" if start == end else f"{start:,.3f} to {end:,.3f} s"
        found |= {"from": start, "to": end, "when": when}
    return found


def _footer(facts: LogFacts) -> str:
    more = len(facts.findings) - MAX_FINDINGS
    left_out = f" {more:,} more findings are not listed." if more > 0 else ""
    return (
        f"Made by hephaes-rpc {__version__}. Times are log times in UTC. Where a line has more points than the plot "
        f"has room for, every column of it shows its least and its greatest value, so no extreme is lost.{left_out}"
    )


# -- a topic -----------------------------------------------------------------------------------------------------------


def _topic(topic: TopicFacts, anchor: str, span: TimeSpan, plots: _Plots) -> dict[str, Any]:
    info = topic.info
    latency = "" if topic.latency is None else seconds(topic.latency.mean)
    return {
        "anchor": anchor,
        "name": info.topic,
        "type": info.type_name,
        "messages": f"{info.message_count:,}",
        "rate": rate(info.rate_hz) if info.rate_hz else "",
        "pause": "" if info.max_gap_ns is None else seconds(info.max_gap_ns / NS_PER_S),
        "latency": latency,
        "tally": _tally(topic),
        "spark": _spark(topic),
        "spark_label": _spark_label(topic, span),
        "notes": _notes(topic),
        "shots": [_shot(shot, topic, span) for shot in topic.shots],
        "plots": [*_timing_plots(topic, span, plots), *(_field_plot(plot, topic, span, plots) for plot in topic.plots)],
    }


def _tally(topic: TopicFacts) -> str:
    often = f", {rate(topic.info.rate_hz)}" if topic.info.rate_hz else ""
    plural = "" if topic.info.message_count == 1 else "s"
    return f"{topic.info.message_count:,} message{plural}{often}"


def _notes(topic: TopicFacts) -> list[str]:
    notes = []
    if topic.timing is None:
        notes.append("No messages.")
    if topic.note:
        notes.append(f"Fields are not drawn: {topic.note}.")
    if topic.plots:
        if topic.read == topic.info.message_count:
            which = f"all {topic.read:,} messages" if topic.read > 1 else "the one message"
            text = f"Fields are drawn from {which}."
        else:
            text = (
                f"Fields are drawn from a sample: {topic.read:,} of {topic.info.message_count:,} messages, taken "
                "evenly; extremes between them are not seen."
            )
        if topic.plots_left_out:
            text += f" {topic.plots_left_out} more groups of numbers are left out."
        notes.append(text)
    return notes


def _timing_plots(topic: TopicFacts, span: TimeSpan, plots: _Plots) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    timing = topic.timing
    if timing is None:
        return found
    if len(timing.rate_hz):
        low, high = rate(float(timing.rate_hz.min())), rate(float(timing.rate_hz.max()))
        item = drawing.rate_plot(topic, span)
        found.append(_plot("Rate", "Hz", low if low == high else f"{low} to {high}", plots.add(item)))
    if timing.between.count > 1:
        unit, scale = _unit(timing.between.high)
        item = drawing.lines_plot([timing.between], span, scale=scale, from_zero=True)
        text = f"usually {seconds(timing.usual_s)}; {_extent(timing.between, seconds)}"
        found.append(_plot("Time between messages", unit, text, plots.add(item)))
    if topic.latency is not None:
        unit, scale = _unit(max(abs(topic.latency.low), abs(topic.latency.high)))
        item = drawing.lines_plot([topic.latency], span, timing.pause_ns, scale=scale)
        text = _extent(topic.latency, seconds)
        if topic.latency.low < topic.latency.high:
            text += f", {seconds(topic.latency.mean)} on average"
        found.append(_plot("Latency", f"{unit}, log time minus header stamp", text, plots.add(item)))
    return found


def _unit(value_s: float) -> tuple[str, float]:
    """Unit for values like this one, and how many of it a second has."""
    return ("s", 1.0) if abs(value_s) >= 1 else ("ms", 1e3) if abs(value_s) >= 1e-3 else ("µs", 1e6)


def _plot(title: str, unit: str, text: str, name: str) -> dict[str, Any]:
    return {"title": title, "unit": unit, "note": text, "label": f"{title}: {text}", "id": name, "lines": []}


def _field_plot(plot: FieldPlot, topic: TopicFacts, span: TimeSpan, plots: _Plots) -> dict[str, Any]:
    assert topic.timing is not None
    whole = topic.read == topic.info.message_count
    pause_ns = topic.timing.pause_ns if whole else drawing.NEVER
    item = drawing.lines_plot(plot.points, span, pause_ns)
    keys = [
        {"name": line.name, "range": _extent(points, number)}
        for line, points in zip(plot.lines, plot.points, strict=True)
    ]
    nonfinite = sum(points.nonfinite for points in plot.points)
    notes = [plot.note] if plot.note else []
    if nonfinite:
        notes.append(f"{nonfinite:,} values are NaN or infinite and not drawn")
    lines = "; ".join(f"{key['name']} {key['range']}" for key in keys)
    return {
        "title": plot.title,
        "unit": "",
        "note": ", ".join(notes),
        "label": f"{plot.title} over time: {lines}",
        "id": plots.add(item),
        "lines": keys,
    }


def _extent(points: Points, shown: Any) -> str:
    if not points.count:
        return "no finite value"
    if points.low == points.high:
        return f"always {shown(points.low)}"
    return f"{shown(points.low)} to {shown(points.high)}"


def _shot(shot: Shot, topic: TopicFacts, span: TimeSpan) -> dict[str, Any]:
    at = (shot.time_ns - span.start_ns) / NS_PER_S
    encoded = base64.b64encode(shot.jpeg).decode()
    return {
        "src": f"data:image/jpeg;base64,{encoded}" if shot.jpeg else "",
        "alt": f"{topic.info.topic} at {at:,.3f} s",
        "failure": shot.failure,
        "at": at,
        "when": f"{at:,.3f} s",
    }


def _spark(topic: TopicFacts) -> str:
    """Bars of the messages over time as the path of an SVG of 80 x 20."""
    if topic.timing is None:
        return ""
    counts = topic.timing.activity
    most, width = max(counts), SPARK_WIDTH / len(counts)
    bars = ((width * k, max(1.0, SPARK_HEIGHT * n / most)) for k, n in enumerate(counts) if n)
    return "".join(f"M{x:.4g} {SPARK_HEIGHT}v-{height:.1f}h{width:.4g}v{height:.1f}z" for x, height in bars)


def _spark_label(topic: TopicFacts, span: TimeSpan) -> str:
    if topic.timing is None:
        return ""
    first, last = (
        (float(ns) - span.start_ns) / NS_PER_S for ns in (topic.timing.starts.min(), topic.timing.ends.max())
    )
    filled = sum(1 for n in topic.timing.activity if n)
    return f"messages from {first:,.1f} to {last:,.1f} s, in {filled} of {len(topic.timing.activity)} parts of the log"


# -- numbers as people read them ---------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Up to six significant digits."""
    value += 0.0  # no minus before zero
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 and value == int(value) else f"{value:.6g}"


def rate(value_hz: float) -> str:
    """``49.47 Hz``."""
    return f"{value_hz:,.4g} Hz" if value_hz < 10_000 else f"{value_hz:,.0f} Hz"


def seconds(value: float) -> str:
    """``4.2 s``, ``16 ms``, ``30 µs``."""
    size_ = abs(float(f"{value:.4g}"))
    power = 0 if size_ >= 1 or not size_ else 1 if size_ >= 1e-3 else 2
    shown = value * 1000**power
    return f"{shown:,.0f} {_UNITS[power]}" if abs(shown) >= 1000 else f"{shown:.4g} {_UNITS[power]}"


def duration(value: float) -> str:
    """``1 h 02 min 03 s``, ``21.7 s``."""
    if value < 60:
        return seconds(value)
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min {rest:02} s" if hours else f"{minutes} min {rest:02} s"


def size(count: float) -> str:
    """Bytes with a decimal prefix."""
    for prefix in ("", "k", "M", "G"):
        if count < 999.5:
            return f"{count:.0f} B" if not prefix else f"{count:.1f} {prefix}B"
        count /= 1000
    return f"{count:.1f} TB"


def moment(time_ns: int) -> str:
    """A time as ``2023-11-14 22:13:20.000``; beyond the year 9999 as nanoseconds."""
    if not 0 <= time_ns <= _LATEST_NS:
        return f"{time_ns} ns"
    whole, rest = divmod(time_ns, NS_PER_S)
    return f"{_EPOCH + timedelta(seconds=whole):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03}"

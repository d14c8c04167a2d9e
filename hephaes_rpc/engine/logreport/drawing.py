"""Plots of a report as Bokeh items: JSON that BokehJS draws in the page; nothing from a log is text on a canvas.

Strategy: names and legends are HTML around the plots, so that they are escaped in one place and read aloud.  Colours of
text and grids are CSS variables of the page; those of lines suit light and dark.  Making a plot with Bokeh takes tens
of milliseconds: plots that differ in numbers only are made once, and get their numbers as JSON.  Ids are numbered anew
in each item, so the same facts give the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from attrs import frozen
from bokeh.core.serialization import Serializer
from bokeh.embed import json_item
from bokeh.models import (
    BasicTicker,
    BasicTickFormatter,
    BoxZoomTool,
    ColumnDataSource,
    CrosshairTool,
    HoverTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.models.annotations import Span
from bokeh.plotting import figure

from hephaes_rpc.engine.logreport.facts import TopicFacts
from hephaes_rpc.engine.logreport.thinning import Float64s, Points
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.model.quality import Finding

Item = dict[str, Any]

PALETTE = (
    *("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#0ea5b7"),
    *("#ec4899", "#7cb518", "#f97316", "#64748b", "#2dd4bf", "#a16207"),
)
SEVERITY_COLORS = {"error": "#e5484d", "warning": "#e8950c", "info": "#3b82f6"}
RUN_COLOR = "#4f8ef7"
ROW_PX, PLOT_PX = 26, 190
MAX_MARKED = 60
MAX_MARKS = 400
NEVER = 1 << 62
"""A pause that nothing is."""


@frozen(eq=False)
class TimeSpan:
    """What the page's time axis shows: a log from ``start_ns``, ``duration_s`` long."""

    start_ns: int
    duration_s: float

    def seconds(self, times: Int64s) -> Float64s:
        """Times (int64, ns) as seconds since the start of the log."""
        return (times - self.start_ns) / NS_PER_S


def timeline(topics: Sequence[TopicFacts], findings: Sequence[Finding], span: TimeSpan) -> Item:
    """One row of ROW_PX per topic, the first on top: runs of messages, and findings that have a place in time."""
    n = len(topics)
    plot = _figure()
    plot.frame_height = ROW_PX * n
    plot.x_range.update(**_whole(span))
    plot.y_range.update(start=n - 0.5, end=-0.5)
    plot.ygrid.visible = plot.yaxis.visible = False
    runs = ColumnDataSource(_runs(topics, span))
    bars = plot.segment(
        x0="left", x1="right", y0="y", y1="y", source=runs, color=RUN_COLOR, alpha=0.85, line_width=ROW_PX // 2
    )
    _ticks(plot, runs, "left", 0.25, color=RUN_COLOR)
    tips = [("messages", "@n{0,0}"), ("from", "@left{0,0.000} s"), ("to", "@right{0,0.000} s")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=[*tips, ("lasts", "@length{0,0.000} s")]))
    found = ColumnDataSource(_marks(topics, findings, span))
    marks = plot.segment(
        x0="left", x1="right", y0="y", y1="y", source=found, color="color", alpha=0.35, line_width=ROW_PX - 6
    )
    for end in ("left", "right"):
        _ticks(plot, found, end, 0.38, color="color", line_width=2)
    tips = [("finding", "@kind"), ("from", "@left{0,0.000} s"), ("lasts", "@length{0,0.000} s")]
    plot.add_tools(HoverTool(renderers=[marks], tooltips=tips))
    return _item(plot)


def _ticks(plot: Any, source: ColumnDataSource, at: str, half: float, **look: Any) -> None:
    """A short upright line at each place; unlike bars, segments beyond the plot's ends leave no edge there."""
    top, bottom = (np.asarray(source.data["y"], np.float64) + offset for offset in (-half, half))
    source.data = {**source.data, "top": top, "bottom": bottom}
    plot.segment(x0=at, x1=at, y0="top", y1="bottom", source=source, **look)


def _runs(topics: Sequence[TopicFacts], span: TimeSpan) -> dict[str, Any]:
    rows = [(k, topic.timing) for k, topic in enumerate(topics) if topic.timing is not None]
    starts, ends, counts = (
        np.concatenate([np.empty(0, np.int64), *(getattr(timing, name) for _, timing in rows)])
        for name in ("starts", "ends", "counts")
    )
    row = np.repeat([k for k, _ in rows], [len(timing.starts) for _, timing in rows])
    left, right = span.seconds(starts), span.seconds(ends)
    return {"y": row, "left": left, "right": right, "n": counts, "length": right - left}


def _marks(topics: Sequence[TopicFacts], findings: Sequence[Finding], span: TimeSpan) -> dict[str, Any]:
    row = {topic.info.topic: k for k, topic in reversed(list(enumerate(topics)))}
    marks = [f for f in findings if f.start_ns is not None and f.topic in row][:MAX_MARKS]
    begin = span.seconds(np.array([f.start_ns for f in marks], np.int64))
    end = span.seconds(np.array([f.start_ns if f.end_ns is None else f.end_ns for f in marks], np.int64))
    return {
        "y": [row[f.topic] for f in marks if f.topic is not None],
        "left": begin,
        "right": end,
        "length": end - begin,
        "kind": [f.kind.replace("_", " ") for f in marks],
        "color": [SEVERITY_COLORS[f.severity] for f in marks],
    }


def rate_plot(topic: TopicFacts, span: TimeSpan) -> Item:
    """Messages per second, from zero on."""
    assert topic.timing is not None
    rate_hz = topic.timing.rate_hz
    return _filled(
        _rate_skeleton(),
        {
            "x": _whole(span),
            "y": {"start": 0.0, "end": 1.12 * float(rate_hz.max())},
            "data0": {"data": _encoded(span.seconds(topic.timing.rate_edges), np.append(rate_hz, rate_hz[-1]))},
        },
    )


def lines_plot(
    lines: Sequence[Points], span: TimeSpan, pause_ns: int = NEVER, *, scale: float = 1.0, from_zero: bool = False
) -> Item:
    """A line per series in the colours of PALETTE, called ``line0`` and so on; lines end where messages pause.

    What a line cannot show, a message between two pauses, is a dot; so is every message where there are few.

    Args:
        scale: Values are drawn multiplied by it.
    """
    low = scale * min((points.low for points in lines if points.count), default=0.0)
    high = scale * max((points.high for points in lines if points.count), default=1.0)
    pad = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    fills: dict[str, dict[str, Any]] = {
        "x": _whole(span),
        "y": {"start": min(0.0, low) if from_zero else low - pad, "end": high + pad},
    }
    for k, points in enumerate(lines):
        times, values = span.seconds(points.times), scale * points.values
        breaks = np.flatnonzero(np.diff(points.times) > pause_ns + points.spacing_ns) + 1
        line = np.insert(times, breaks, times[breaks - 1]), np.insert(values, breaks, np.nan)
        lone = np.diff(np.concatenate([[0], breaks, [len(times)]])) == 1
        dots = np.concatenate([[0], breaks])[lone] if len(times) > MAX_MARKED else np.arange(len(times))
        fills[f"data{k}"] = {"data": _encoded(*line)}
        fills[f"dots{k}"] = {"data": _encoded(times[dots], values[dots])}
    return _filled(_lines_skeleton(len(lines)), fills)


_AT = ("at", "@t{0,0.000} s")


@cache
def _rate_skeleton() -> str:
    plot = _figure()
    plot.height = PLOT_PX
    source = ColumnDataSource({"t": [], "v": []}, name="data0")
    plot.varea_step(x="t", y1=0, y2="v", step_mode="after", source=source, fill_color=PALETTE[0], fill_alpha=0.15)
    line = plot.step(x="t", y="v", mode="after", source=source, line_color=PALETTE[0], line_width=1.5)
    plot.add_tools(HoverTool(renderers=[line], mode="vline", tooltips=[("rate", "@v{0,0.00} Hz"), _AT]))
    return json.dumps(_item(plot))


@cache
def _lines_skeleton(n: int) -> str:
    plot = _figure()
    plot.height = PLOT_PX
    lines = []
    for k in range(n):
        color = PALETTE[k % len(PALETTE)]
        source = ColumnDataSource({"t": [], "v": []}, name=f"data{k}")
        line = plot.line(x="t", y="v", source=source, line_color=color, line_width=1.4, name=f"line{k}")
        lines.append(line)
        dots = ColumnDataSource({"t": [], "v": []}, name=f"dots{k}")
        plot.scatter(x="t", y="v", source=dots, color=color, size=5, name=f"line{k}")
    plot.add_tools(HoverTool(renderers=lines, tooltips=[("value", "@v{0,0.[000000]}"), _AT]))
    return json.dumps(_item(plot))


def _whole(span: TimeSpan) -> dict[str, float]:
    pad = 0.01 * span.duration_s or 0.5
    return {"start": -pad, "end": span.duration_s + pad}


def _figure() -> Any:
    """An empty plot; dragging zooms in time, so does the wheel with ctrl."""
    plot = figure(
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools=[],
        x_range=Range1d(name="x"),
        y_range=Range1d(name="y"),
        min_border=0,
        min_border_top=6,
        min_border_right=12,
    )
    zoom = BoxZoomTool(dimensions="width")
    plot.add_tools(
        zoom,
        WheelZoomTool(dimensions="width", modifiers={"ctrl": True}),
        CrosshairTool(overlay=Span(dimension="height", line_color="#8a93a3", line_dash="dotted", line_width=1)),
    )
    plot.toolbar.active_drag = zoom
    plot.grid.grid_line_alpha = 0.6
    plot.outline_line_color = None
    plot.background_fill_alpha = plot.border_fill_alpha = 0
    for axis in plot.axis:
        axis.minor_tick_line_color = axis.axis_line_color = None
        axis.major_tick_line_alpha = 0.4
        axis.major_label_text_font_size = "11px"
        axis.formatter = BasicTickFormatter(use_scientific=True, power_limit_high=6, power_limit_low=-4)
    plot.yaxis.ticker = BasicTicker(desired_num_ticks=5)
    return plot


def _encoded(times: Float64s, values: Float64s) -> Any:
    """Columns ``t`` and ``v`` as BokehJS takes them."""
    return Serializer(deferred=False).encode({"t": times, "v": values})


def _filled(skeleton: str, fills: Mapping[str, Mapping[str, Any]]) -> Item:
    """A plot made before, with other attributes for the models of these names."""

    def fill(members: dict[str, Any]) -> dict[str, Any]:
        members.update(fills.get(members.get("name", ""), {}))
        return members

    item: Item = json.loads(skeleton, object_hook=fill)
    return item


def _item(plot: Any) -> Item:
    """The plot as JSON with ids that are always the same."""
    item: Item = dict(json_item(plot))
    names: dict[str, str] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: names.setdefault(part, f"m{len(names)}") if key == "id" else renamed(part)
                for key, part in value.items()
            }
        return [renamed(part) for part in value] if isinstance(value, list) else value

    item["doc"] = renamed(item["doc"])
    item["root_id"] = names[item["root_id"]]
    return item

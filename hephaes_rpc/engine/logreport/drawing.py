"""Plots of a report as Bokeh items: JSON that BokehJS draws in the page; nothing from a log is text on a canvas.

Strategy: names and legends are HTML around the plots, so that they are escaped in one place and read aloud.  Colours of
text and grids are CSS variables of the page; those of lines suit light and dark.  Ids are numbered anew in each item:
the same facts give the same bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen
from bokeh.embed import json_item
from bokeh.models import (
    BasicTickFormatter,
    BoxZoomTool,
    ColumnDataSource,
    CrosshairTool,
    HoverTool,
    Range1d,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure

from hephaes_rpc.engine.logreport.facts import TopicFacts
from hephaes_rpc.engine.logreport.thinning import Float64s, Points
from hephaes_rpc.engine.logs.describe import NS_PER_S
from hephaes_rpc.engine.logs.types import Int64s
from hephaes_rpc.model import Finding

Item = dict[str, Any]

PALETTE = (
    *("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#0ea5b7"),
    *("#ec4899", "#7cb518", "#f97316", "#64748b", "#2dd4bf", "#a16207"),
)
SEVERITY_COLORS = {"error": "#e5484d", "warning": "#e8950c", "info": "#3b82f6"}
RUN_COLOR = "#4f8ef7"
ROW_PX, AXIS_PX, PLOT_PX = 26, 44, 190
MAX_MARKED = 60
MAX_MARKS = 400


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
    plot = _figure(span, ROW_PX * n + AXIS_PX)
    plot.y_range = Range1d(n - 0.5, -0.5)
    plot.ygrid.visible = plot.yaxis.visible = False
    rows = [(k, topic.timing) for k, topic in enumerate(topics) if topic.timing is not None]
    starts, ends, counts = (
        np.concatenate([np.empty(0, np.int64), *(getattr(timing, name) for _, timing in rows)])
        for name in ("starts", "ends", "counts")
    )
    row = np.concatenate([np.empty(0, np.int64), *(np.full(len(timing.starts), k) for k, timing in rows)])
    left, right = span.seconds(starts), span.seconds(ends)
    source = ColumnDataSource({"y": row, "left": left, "right": right, "n": counts, "length": right - left})
    bars = plot.hbar(
        y="y",
        left="left",
        right="right",
        height=0.5,
        source=source,
        fill_color=RUN_COLOR,
        fill_alpha=0.85,
        line_color=RUN_COLOR,
        line_width=1,
        hover_fill_alpha=1,
    )
    tips = [("messages", "@n{0,0}"), ("from", "@left{0,0.000} s"), ("to", "@right{0,0.000} s")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=[*tips, ("lasts", "@length{0,0.000} s")]))
    number = {topic.info.topic: k for k, topic in reversed(list(enumerate(topics)))}
    marks = [f for f in findings if f.start_ns is not None and f.topic in number][:MAX_MARKS]
    if marks:
        begin = span.seconds(np.array([f.start_ns for f in marks], np.int64))
        end = span.seconds(np.array([f.start_ns if f.end_ns is None else f.end_ns for f in marks], np.int64))
        data = {
            "y": [number[f.topic] for f in marks if f.topic is not None],
            "left": begin,
            "right": end,
            "length": end - begin,
            "kind": [f.kind.replace("_", " ") for f in marks],
            "color": [SEVERITY_COLORS[f.severity] for f in marks],
        }
        found = plot.hbar(
            y="y",
            left="left",
            right="right",
            height=0.72,
            source=ColumnDataSource(data),
            fill_color="color",
            fill_alpha=0.28,
            line_color="color",
            line_width=1.5,
        )
        tips = [("finding", "@kind"), ("from", "@left{0,0.000} s"), ("lasts", "@length{0,0.000} s")]
        plot.add_tools(HoverTool(renderers=[found], tooltips=tips))
    return _item(plot)


def rate_plot(topic: TopicFacts, span: TimeSpan) -> Item:
    """Messages per second, from zero on."""
    assert topic.timing is not None
    plot = _figure(span, PLOT_PX)
    times, values = span.seconds(topic.timing.rate_at), topic.timing.rate_hz
    plot.y_range = Range1d(0, 1.12 * float(values.max(initial=0)) or 1)
    source = ColumnDataSource({"t": times, "v": values})
    plot.varea_step(x="t", y1=0, y2="v", step_mode="center", source=source, fill_color=PALETTE[0], fill_alpha=0.15)
    line = plot.step(x="t", y="v", mode="center", source=source, line_color=PALETTE[0], line_width=1.5)
    plot.add_tools(HoverTool(renderers=[line], mode="vline", tooltips=[("rate", "@v{0,0.00} Hz"), _AT]))
    return _item(plot)


def lines_plot(lines: Sequence[Points], span: TimeSpan, pause_ns: int, *, from_zero: bool = False) -> Item:
    """A line per series in the colours of PALETTE, named by their numbers; lines end where messages pause."""
    plot = _figure(span, PLOT_PX)
    low = min((points.low for points in lines if points.count), default=0.0)
    high = max((points.high for points in lines if points.count), default=1.0)
    pad = 0.06 * (high - low) or max(abs(high) * 0.05, 1e-9)
    plot.y_range = Range1d(min(0.0, low) if from_zero else low - pad, high + pad)
    drawn = []
    for k, points in enumerate(lines):
        color = PALETTE[k % len(PALETTE)]
        times, values = _interrupted(points, pause_ns)
        source = ColumnDataSource({"t": span.seconds(times), "v": values})
        line = plot.line(x="t", y="v", source=source, line_color=color, line_width=1.4, name=f"line{k}")
        drawn.append(line)
        if 0 < len(points.values) <= MAX_MARKED:
            plot.scatter(x="t", y="v", source=source, color=color, size=5, name=f"line{k}")
    plot.add_tools(HoverTool(renderers=drawn, tooltips=[("value", "$swatch:value @v{0.[000000]}"), _AT]))
    return _item(plot)


_AT = ("at", "@t{0,0.000} s")


def _interrupted(points: Points, pause_ns: int) -> tuple[Int64s, Float64s]:
    """Times and values with a NaN in each pause."""
    breaks = np.flatnonzero(np.diff(points.times) > pause_ns)
    times = np.insert(points.times, breaks + 1, points.times[breaks])
    return times, np.insert(points.values, breaks + 1, np.nan)


def _figure(span: TimeSpan, height: int) -> Any:
    """An empty plot over the whole log; dragging zooms in time, so does the wheel with ctrl."""
    pad = 0.01 * span.duration_s or 0.5
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools=[],
        x_range=Range1d(-pad, span.duration_s + pad),
        min_border=0,
        min_border_right=12,
        output_backend="canvas",
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
    plot.yaxis.ticker.desired_num_ticks = 5
    return plot


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
    item["doc"]["title"] = ""
    return item

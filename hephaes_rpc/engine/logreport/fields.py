"""Which fields of a topic are drawn, and their numbers from decoded messages.

Strategy: ``authoring.measures`` groups fields and puts the best first; what has numbers and does not merely describe
the message is a plot.  Scalars and short arrays are a line per element; of long and nested arrays all elements are
points of one series, so that what is drawn is their range.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from attrs import evolve, field, frozen

from hephaes_rpc.engine.authoring.inspection import Looked
from hephaes_rpc.engine.authoring.measures import Measure, measures_of
from hephaes_rpc.engine.features.columns import element, is_list, items, lengths, numbers, sequence
from hephaes_rpc.engine.features.fieldpath import FieldPath, compile_path
from hephaes_rpc.engine.logreport.thinning import Float64s, Points
from hephaes_rpc.engine.logs.types import Int64s

MIN_SCORE = 30
MAX_PLOTS = 8
MAX_LINES = 12
SCALE_FACTOR = 20


@frozen(eq=False)
class Drawn:
    """A series that is to be drawn.

    Args:
        element: Which element of an array; None takes all of them, or the value that is no array.
        is_range: Whether its points are all elements of an array.
    """

    name: str
    path: FieldPath
    element: int | None = None
    is_range: bool = False

    def values(self, messages: pa.StructArray, times: Int64s) -> tuple[Int64s, Float64s]:
        """Times (int64, ns) and numbers of decoded messages, in their order."""
        values, kept = self.path.extract(messages)
        times = times if kept is None else times[kept]
        if self.element is not None:
            values, kept = element(values, self.element)
            times = times if kept is None else times[kept]
        values = sequence(values)
        while is_list(values.type):
            times, values = np.repeat(times, lengths(values)), sequence(items(values))
        return times, numbers(values).astype(np.float64)


@frozen(eq=False)
class FieldPlot:
    """A group of fields that is one plot.

    Args:
        title: What it is called: the path that its lines share.
        note: What is not drawn of it; empty for nothing.
        points: As many as lines, once the messages have been read.
    """

    title: str
    lines: tuple[Drawn, ...]
    note: str = ""
    points: tuple[Points, ...] = field(default=())


def plots_of(looked: Looked) -> tuple[list[FieldPlot], int]:
    """The plots of a topic, the best first, and how many groups of numbers are left out."""
    measures = [m for m in measures_of(looked) if m.sort in ("number", "bool") and m.score >= MIN_SCORE]
    return [_plot(measure, looked) for measure in measures[:MAX_PLOTS]], len(measures[MAX_PLOTS:])


def _plot(measure: Measure, looked: Looked) -> FieldPlot:
    paths = [compile_path(path, looked.stream.definition) for path in measure.paths]
    title = _shared(measure.paths)
    if len(paths) > 1:
        names = [path.removeprefix(title).lstrip(".") for path in measure.paths]
        is_range = len(measure.shape) > 1
        lines = tuple(Drawn(name, path, is_range=is_range) for name, path in zip(names, paths, strict=True))
        return FieldPlot(title or looked.stream.topic, lines, "all elements of the array" if is_range else "")
    (path,) = paths
    if not measure.shape:
        return FieldPlot(title, (Drawn(title, path),))
    size = measure.shape[0]
    if len(measure.shape) > 1 or not 0 < size <= MAX_LINES:
        some = f"{size} elements" if size > 0 and len(measure.shape) == 1 else "all elements"
        return FieldPlot(title, (Drawn(title, path, is_range=True),), f"least to greatest of {some}")
    names = list(measure.names) or [f"[{k}]" for k in range(size)]
    return FieldPlot(title, tuple(Drawn(name, path, k) for k, name in enumerate(names)))


def _shared(paths: Sequence[str]) -> str:
    """The words that all paths begin with; a lone path is its own."""
    if len(paths) == 1:
        return paths[0]
    words: list[str] = []
    for parts in zip(*(path.split(".") for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        words.append(parts[0])
    return ".".join(words)


def parted(plot: FieldPlot) -> list[FieldPlot]:
    """A plot whose messages have been read, as one per line where one scale would flatten them all; none if empty."""
    there = [points for points in plot.points if points.count]
    if not any(points.count or points.nonfinite for points in plot.points):
        return []
    own = max((points.high - points.low for points in there), default=0.0)
    common = max((p.high for p in there), default=0.0) - min((p.low for p in there), default=0.0)
    if len(plot.lines) == 1 or common <= SCALE_FACTOR * own or own == 0:
        return [plot]
    return [
        evolve(plot, title=line.path.text, lines=(line,), points=(points,))
        for line, points in zip(plot.lines, plot.points, strict=True)
        if points.count or points.nonfinite
    ]


def selection(plots: Sequence[FieldPlot]) -> Iterator[str]:
    """Dotted names that must be decoded for the plots."""
    for plot in plots:
        for line in plot.lines:
            if line.path.selection is not None:
                yield line.path.selection

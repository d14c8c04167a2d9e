"""What a report tells of a log: plain facts, gathered before anything is drawn."""

from attrs import frozen

from hephaes_rpc.engine.logreport.fields import FieldPlot
from hephaes_rpc.engine.logreport.thinning import Points
from hephaes_rpc.engine.logreport.timing import Timing
from hephaes_rpc.engine.logs.describe import LogInfo, StreamInfo
from hephaes_rpc.engine.logs.types import LogSummary
from hephaes_rpc.model.quality import Finding, Score


@frozen(eq=False)
class Shot:
    """A picture of a contact sheet: a JPEG, or why there is none."""

    time_ns: int
    jpeg: bytes
    failure: str = ""


@frozen(eq=False)
class TopicFacts:
    """One stream.

    Args:
        timing: None without messages.
        latency: Log time minus header stamp, s; None where messages have no stamp.
        plots: Fields with their points.
        plots_left_out: Groups of numeric fields that are not drawn.
        read: Messages that were decoded for plots, of all; 0 where none had to be.
        failed: Of those, malformed ones.
        shots: Pictures in order of time.
        note: Why no field is drawn; empty where some are or there is none.
    """

    info: StreamInfo
    timing: Timing | None
    latency: Points | None = None
    plots: tuple[FieldPlot, ...] = ()
    plots_left_out: int = 0
    read: int = 0
    failed: int = 0
    shots: tuple[Shot, ...] = ()
    note: str = ""


@frozen(eq=False)
class LogFacts:
    """A log."""

    name: str
    summary: LogSummary
    info: LogInfo
    topics: tuple[TopicFacts, ...]
    findings: tuple[Finding, ...]
    score: Score

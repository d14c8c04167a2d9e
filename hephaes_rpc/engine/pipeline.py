"""One conversion from a log to published files: index, plan, decode, write, publish."""

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

from attrs import frozen

from hephaes_rpc.engine.spec import ConversionSpec

Phase: TypeAlias = Literal["index", "plan", "decode", "write", "publish"]
Unit: TypeAlias = Literal["bytes", "rows", "messages"]


@frozen(kw_only=True)
class ConvertTask:
    """A conversion as plain data.

    Args:
        log_path: The log.
        output_dir: Folder of the outputs; made if absent.
        episode_id: Name of the episode in the manifest.
        stem: Outputs are ``<stem>.<ext>``, or ``<stem>-<field>.<ext>`` with layout ``topics``.
        overwrite: Replace files that already have these names; without it they are refused (``output_exists``).
    """

    log_path: str
    spec: ConversionSpec
    output_dir: str
    episode_id: str
    stem: str
    overwrite: bool = False


class Context(Protocol):
    """What a conversion needs of its surroundings; called from the thread that called ``convert``."""

    @property
    def temp_tag(self) -> str:
        """Marks this attempt's temporary files ``.{name}.{temp_tag}.tmp``; safe in a file name."""
        ...

    def progress(self, phase: Phase, done: int, total: int, unit: Unit, message: str = "") -> None:
        """Told a few times per second at least; cheap."""
        ...

    def check(self) -> None:
        """Raises CancelledByClient when the work should stop."""
        ...


@frozen(kw_only=True)
class OutputFile:
    """A published file.

    Args:
        path: Absolute path.
        rows: Rows of a dataset, else 0.
        sha256: Of the whole file, hex.
    """

    path: str
    role: Literal["dataset", "manifest", "report", "sidecar"]
    format: Literal["parquet", "tfrecord", "json", "md"]
    rows: int
    size_bytes: int
    sha256: str


@frozen(kw_only=True)
class ConvertResult:
    """Outputs in the order they were published (datasets, sidecars, reports, manifests) and what was counted.

    Args:
        counts: ``rows``, ``messages`` (of the mapped topics), ``decoded``, ``decode_failures``, ``collisions``,
            ``out_of_order``.
    """

    outputs: tuple[OutputFile, ...]
    counts: Mapping[str, int]
    warnings: tuple[str, ...]


def convert(task: ConvertTask, context: Context) -> ConvertResult:
    """Convert one log.  All errors are HephaesErrors; on any of them nothing is left under a final name."""
    raise NotImplementedError

"""A conversion as plain data: what is asked for, what comes of it, and what it needs of its surroundings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from attrs import field, frozen

from hephaes_rpc.engine.specs.spec import ConversionSpec

if TYPE_CHECKING:
    from hephaes_rpc.engine.computations.scripts import Scripts

Phase: TypeAlias = Literal["index", "plan", "decode", "write", "publish"]
Unit: TypeAlias = Literal["bytes", "rows", "messages"]
Role: TypeAlias = Literal["dataset", "manifest", "report", "sidecar"]
Format: TypeAlias = Literal["parquet", "tfrecord", "json", "md", "py"]


@frozen(kw_only=True)
class ConvertTask:
    """A conversion as plain data.

    Args:
        log_path: The log.
        output_dir: Folder of the outputs; made if absent.
        episode_id: Name of the episode in the manifest and in file name templates.
        stem: Outputs are ``<stem>.<ext>``, ``<stem>-<field>.<ext>`` with layout ``topics``, and as
            ``partition.file_name`` says for a spec with features.
        overwrite: Replace files that already have these names; without it they are refused (``output_exists``).
        metadata: What the spec's document says about itself; told in the manifest.
        scripts: Where the scripts of ``computations`` are, and which may run; None lets none run.
        only: Names of the datasets to be made, of all that the spec makes of the log; None is all of them.
    """

    log_path: str
    spec: ConversionSpec
    output_dir: str
    episode_id: str
    stem: str
    overwrite: bool = False
    metadata: Mapping[str, Any] = field(factory=dict)
    scripts: "Scripts | None" = None
    only: tuple[str, ...] | None = None


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
    role: Role
    format: Format
    rows: int
    size_bytes: int
    sha256: str


@frozen(kw_only=True)
class ConvertResult:
    """Outputs in the order they were published (datasets, sidecars, reports, manifests) and what was counted.

    Args:
        counts: ``rows``, ``messages`` (selected ones of the topics in use), ``decoded``, ``decode_failures``,
            ``collisions``, ``out_of_order``; with features ``dropped_rows`` and ``filled_values`` too.
    """

    outputs: tuple[OutputFile, ...]
    counts: Mapping[str, int]
    warnings: tuple[str, ...]

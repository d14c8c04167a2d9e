"""What a published dataset holds: its rows, a page at a time, and its columns."""

import base64
import hashlib
from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, le

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, InWorkspace
from hephaes_rpc.methods.outputs import OutputParams
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.serde import encode
from hephaes_rpc.store.pages import DEFAULT_LIMIT, MAX_LIMIT
from hephaes_rpc.store.values import from_json

FORMATS = ("parquet", "tfrecord")

READ_ERRORS = (
    "output_not_found",
    "output_unavailable",
    "bad_input",
    "unsupported",
    "worker_died",
    *WORKSPACE_ERRORS,
)


@frozen(kw_only=True)
class OutputsRowsParams(InWorkspace):
    """Which rows of a dataset, and what of them.

    Args:
        output_id: Id of a published dataset.
    """

    output_id: str
    cursor: str | None = field(default=None, metadata={"doc": "next_cursor of the page before"})
    limit: int = field(
        default=DEFAULT_LIMIT,
        validator=[ge(1), le(MAX_LIMIT)],
        metadata={"doc": "rows at most; a page of large rows ends earlier"},
    )
    columns: list[str] | None = field(
        default=None, metadata={"doc": "names of columns, of Parquet also of members of structs (imu.orientation)"}
    )
    images: Literal["omit", "thumbnail"] | None = field(
        default=None,
        metadata={"doc": "what stands for images: their size alone, or a small PNG; without it they come as they are"},
    )


@frozen(kw_only=True)
class RowPage:
    """Rows in the order of the file; ``columns`` are those of the file or those that were asked for."""

    columns: list[str]
    items: list[dict[str, Any]]
    total: int
    next_cursor: str | None


@frozen(kw_only=True)
class OutputColumn:
    """A column; nested ones by their leaves with dots between.

    ``shape`` is that of one value, outermost first, -1 where the length varies.  Counts and bounds are null where the
    file does not tell.
    """

    name: str
    dtype: str
    shape: list[int]
    nullable: bool
    null_count: int | None
    min: Any
    max: Any


@frozen(kw_only=True)
class OutputSchema:
    """What a dataset says of itself; TFRecord files have no row groups."""

    columns: list[OutputColumn]
    row_count: int
    row_groups: int
    metadata: dict[str, Any]


@method(
    "outputs/rows",
    params=OutputsRowsParams,
    result=RowPage,
    errors=("cursor_mismatch", *READ_ERRORS),
    lane=Lane.IO,
)
def outputs_rows(ctx: RequestContext, params: OutputsRowsParams) -> RowPage:
    """Rows of a Parquet or TFRecord output; bytes as tagged base64."""
    path, wanted = _wanted(ctx, params)
    bound_to = _binding(params, path)
    if params.cursor is not None:
        wanted["place"] = _decoded(params.cursor, bound_to)
    wanted |= {"limit": params.limit, "columns": params.columns, "images": params.images}
    found = _answer(ctx, {"type": "rows", "path": path, "wanted": wanted})
    behind = found["next"]
    cursor = None if behind is None else base64.urlsafe_b64encode(encode([bound_to, *behind.values()])).decode()
    return RowPage(columns=found["columns"], items=found["items"], total=found["total"], next_cursor=cursor)


@method("outputs/schema", params=OutputParams, result=OutputSchema, errors=READ_ERRORS, lane=Lane.IO)
def outputs_schema(ctx: RequestContext, params: OutputParams) -> OutputSchema:
    """The columns of a Parquet or TFRecord output."""
    path, wanted = _wanted(ctx, params)
    found = _answer(ctx, {"type": "schema", "path": path, "wanted": wanted})
    return OutputSchema(**{**found, "columns": [OutputColumn(**column) for column in found["columns"]]})


def _wanted(ctx: RequestContext, params: OutputsRowsParams | OutputParams) -> tuple[str | None, dict[str, Any]]:
    """The file and what the worker is to read of it, from the start."""
    outputs = ctx.workspace(params.workspace_id).outputs
    output = outputs.get(params.output_id)
    if output.format not in FORMATS:
        message = f"{output.file_name} has no rows: only {' and '.join(FORMATS)} outputs have"
        raise HephaesError("unsupported", message, output_id=output.id, format=output.format)
    return output.file_path, {
        "output_id": output.id,
        "format": output.format,
        "place": {"row": 0, "offset": 0},
        "rows": outputs.row_count(output.id),
    }


def _binding(params: OutputsRowsParams, path: str | None) -> str:
    return hashlib.sha256(encode([params.output_id, path, params.columns])).hexdigest()[:16]


def _decoded(cursor: str, bound_to: str) -> dict[str, int]:
    try:
        owner, row, offset = from_json(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        owner = row = offset = None
    if owner != bound_to or type(row) is not int or type(offset) is not int:
        message = "the cursor belongs to another output or other columns"
        raise HephaesError("cursor_mismatch", message, hint="start again without a cursor")
    return {"row": row, "offset": offset}


def _answer(ctx: RequestContext, task: dict[str, Any]) -> dict[str, Any]:
    """What a worker answers.  A page is large: it is taken here, off the loop, and becomes a response here."""
    return ctx.on_loop(lambda: ctx.app.interactive.ask(task, lambda _phase, _percentage: None))

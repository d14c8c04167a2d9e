"""Every error the product can answer with: one tree, one closed table of kinds.

A kind is a stable snake_case word that clients branch on; ``KINDS`` gives its JSON-RPC code and its meaning, and is the
only place where the two meet.  Subclasses exist only by what the caller should do about the error.
"""

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """The JSON-RPC error code of a kind, one line on when it happens, and what its data always has beside ``kind``."""

    code: int
    meaning: str
    always: tuple[str, ...] = ()


PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
NOT_INITIALIZED, CANCELLED, REQUEST_FAILED = -32002, -32800, -32803

KINDS: dict[str, Kind] = {
    # the envelope
    "parse_error": Kind(PARSE_ERROR, "the body is not JSON"),
    "invalid_request": Kind(INVALID_REQUEST, "not a JSON-RPC 2.0 message, or not allowed now"),
    "method_not_found": Kind(METHOD_NOT_FOUND, "no such method", ("method", "did_you_mean")),
    "invalid_params": Kind(INVALID_PARAMS, "params do not fit the method", ("errors",)),
    "bug": Kind(INTERNAL_ERROR, "a bug of the sidecar; data.incident leads to the traceback in the log"),
    "not_initialized": Kind(NOT_INITIALIZED, "initialize has not been answered yet"),
    "cancelled": Kind(CANCELLED, "the client asked for it to stop"),
    # reasons outside the request
    "disk_full": Kind(REQUEST_FAILED, "no space left where the file or the database lies"),
    "permission": Kind(REQUEST_FAILED, "the file system refused"),
    "worker_died": Kind(REQUEST_FAILED, "a worker process ended without an answer"),
    "source_changed": Kind(REQUEST_FAILED, "the log changed or vanished while it was read"),
    "io_error": Kind(REQUEST_FAILED, "the operating system reported an input/output error"),
    # the log or the spec
    "bad_input": Kind(422, "the log is damaged or not a log"),
    "unsupported": Kind(422, "the log or the request uses something this version does not read or write"),
    "quality_gate": Kind(422, "the log failed a quality gate of the spec"),
    "script_failed": Kind(422, "a user script failed"),
    "script_not_found": Kind(404, "the folder of scripts has no such file", ("script",)),
    "script_not_enabled": Kind(409, "the script is not registered, or has changed since", ("script",)),
    "invalid_spec": Kind(422, "the conversion spec contradicts itself or the log"),
    # nouns
    "invalid_path": Kind(400, "the path does not exist, is not a file or a folder, or has the wrong type"),
    "cursor_mismatch": Kind(400, "the cursor belongs to other filters or another sort"),
    "workspace_not_found": Kind(404, "no workspace with that id is registered", ("workspace_id",)),
    "workspace_not_ready": Kind(409, "the workspace is missing or invalid", ("workspace_id",)),
    "no_active_workspace": Kind(409, "no workspace is active"),
    "workspace_busy": Kind(409, "jobs are queued or running in the workspace", ("workspace_id", "jobs")),
    "workspace_conflict": Kind(409, "the folder cannot become or stop being a workspace"),
    "workspace_newer": Kind(409, "the database was written by a newer version"),
    "workspace_corrupt": Kind(409, "the database is damaged or not ours"),
    "backup_not_found": Kind(404, "the workspace has no such backup", ("file_name", "known")),
    "asset_not_found": Kind(404, "no asset with that id", ("asset_id",)),
    "asset_already_registered": Kind(409, "the log is already registered in this workspace", ("asset_id", "file_path")),
    "tag_not_found": Kind(404, "no tag with that id or name", ("tag_id",)),
    "tag_not_attached": Kind(404, "the asset does not have the tag", ("asset_id", "tag_id")),
    "tag_already_exists": Kind(409, "a tag with that name exists", ("tag_id", "name")),
    "tag_already_attached": Kind(409, "the asset has the tag already", ("asset_id", "tag_id")),
    "invalid_name": Kind(400, "the name of an upload is no name for a log", ("file_name",)),
    "upload_empty": Kind(400, "the upload has no content", ("file_name",)),
    "upload_not_found": Kind(404, "no upload with that id is open; it may have expired", ("upload_id",)),
    "upload_incomplete": Kind(409, "bytes of the upload are missing", ("upload_id", "expected_offset")),
    "offset_mismatch": Kind(409, "the chunk does not start where the last one ended", ("upload_id", "expected_offset")),
    "checksum_mismatch": Kind(422, "the content of the upload is not that of its checksum", ("upload_id", "sha256")),
    "dialog_unavailable": Kind(503, "the client has no file dialog, or it failed"),
    "config_not_found": Kind(404, "no conversion config with that id or name", ("config_id",)),
    "config_revision_not_found": Kind(404, "the config has no such revision", ("config_id", "revision_number")),
    "config_name_taken": Kind(422, "another conversion config has that name", ("config_id", "name")),
    "config_invalid": Kind(422, "the document of the conversion config cannot be used", ("config_id", "reason")),
    "draft_not_found": Kind(404, "no draft with that id", ("draft_id",)),
    "draft_revision_not_found": Kind(404, "the draft has no such revision", ("draft_id", "revision_number")),
    "draft_state": Kind(409, "the status of the draft does not allow it", ("draft_id", "status")),
    "draft_not_previewed": Kind(409, "the revision of the draft has no good preview", ("draft_id", "revision_number")),
    "unknown_config": Kind(422, "the request names a config that the workspace does not have", ("saved_config_id",)),
    "unknown_asset": Kind(422, "the request names an asset that the workspace does not have", ("asset_id",)),
    "asset_not_indexed": Kind(422, "the asset must be indexed first", ("asset_ids",)),
    "asset_unavailable": Kind(422, "the registered file is gone", ("path",)),
    "job_not_found": Kind(404, "no job with that id", ("job_id",)),
    "job_already_finished": Kind(409, "the job has already ended", ("job_id", "status")),
    "job_not_finished": Kind(409, "the job has not ended yet", ("job_id", "status")),
    "conversion_not_found": Kind(404, "no conversion with that id", ("conversion_id",)),
    "output_not_found": Kind(404, "no output with that id", ("output_id",)),
    "output_exists": Kind(409, "a file with the name of an output is already there", ("path",)),
    "output_unavailable": Kind(404, "the output's file is gone", ("output_id",)),
}


class HephaesError(Exception):
    """An error fit to be shown to a person.

    Args:
        kind: A key of ``KINDS``.
        message: One sentence that names the thing and the place.
        hint: What to do about it, if that is known.
        data: Ids and figures a client may use; JSON values only.
    """

    def __init__(self, kind: str, message: str, *, hint: str | None = None, **data: Any) -> None:
        super().__init__(message)
        self.code = KINDS[kind].code
        self.kind = kind
        self.message = message
        self.hint = hint
        self.data = data

    def to_data(self) -> dict[str, Any]:
        """The ``data`` member of the error on the wire."""
        hint = {"hint": self.hint} if self.hint else {}
        return {"kind": self.kind, **hint, **self.data}


class ParamsError(HephaesError):
    """The params break the method's shape: fix them.  ``errors``: every error, with path, message, expected, got."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        self.errors = errors
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__("invalid_params", f"{first['path'] or 'params'}: {first['message']}{more}", errors=errors)


class SpecError(HephaesError):
    """The conversion spec contradicts itself or the log: fix the spec."""

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__("invalid_spec", message, **data)


class LogError(HephaesError):
    """The log cannot be read: choose another file.  ``kind`` is ``bad_input`` or ``unsupported``."""


class CancelledByClient(HephaesError):  # noqa: N818  (a normal outcome, not an error of anybody)
    """Work stopped because it was asked to."""

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__("cancelled", message)

"""Uploads: a log's bytes come over the wire and become an asset.

Strategy: bytes go to a hidden file in the workspace's folder below the raw data, under an exclusive lock per upload, so
that chunks never mix whoever sends them; how many have come is in the store only once they are on the disk.  The file
gets its name when all of it is there, and never takes the place of another.
"""

import base64
import binascii
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import field, frozen
from attrs.validators import ge, matches_re, optional

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.logs.recording import SUFFIXES
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, InWorkspace, refused, require
from hephaes_rpc.methods.logfiles import log_file, printable
from hephaes_rpc.methods.registration import register
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.uploads import PART, Upload
from hephaes_rpc.store.workspace import OpenWorkspace, private_folder

MAX_CHUNK_BYTES = 8 << 20
MAX_NAME_BYTES = 240
PIECE_BYTES = 1 << 20

NAME_ERRORS = ("invalid_name", "upload_empty", "asset_already_registered")


@frozen(kw_only=True)
class AssetsUploadParams(InWorkspace):
    """A whole log; what does not fit into one message takes ``assets/uploadBegin``.

    Args:
        data_base64: The bytes of the file.
    """

    file_name: str = field(metadata={"doc": "what follows the last slash counts"})
    data_base64: str


@frozen(kw_only=True)
class AssetsUploadBeginParams(InWorkspace):
    """A log that comes in chunks.

    Args:
        size_bytes: Of the whole file.
    """

    file_name: str = field(metadata={"doc": "what follows the last slash counts"})
    size_bytes: int = field(validator=ge(0))
    sha256: str | None = field(
        default=None, validator=optional(matches_re("[0-9a-fA-F]{64}")), metadata={"doc": "checked at the end"}
    )


@frozen(kw_only=True)
class UploadBegun:
    """An upload that expires after 24 hours."""

    upload_id: str


@frozen(kw_only=True)
class AssetsUploadChunkParams(InWorkspace):
    """The next bytes of an upload, at most 8 MiB.

    Args:
        upload_id: As ``assets/uploadBegin`` gave it.
        offset: Where they begin in the file: all bytes before have come.
        data_base64: The bytes.
    """

    upload_id: str
    offset: int = field(validator=ge(0))
    data_base64: str


@frozen(kw_only=True)
class UploadProgress:
    """How much of an upload has come."""

    received_bytes: int


@frozen(kw_only=True)
class UploadParams(InWorkspace):
    """One upload.

    Args:
        upload_id: As ``assets/uploadBegin`` gave it.
    """

    upload_id: str


@method(
    "assets/upload",
    params=AssetsUploadParams,
    result=Asset,
    errors=(*NAME_ERRORS, *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def assets_upload(ctx: RequestContext, params: AssetsUploadParams) -> Asset:
    """Keep a log's bytes among the raw data and register it."""
    workspace = ctx.workspace(params.workspace_id)
    data = _decoded(params.data_base64)
    path = _place(ctx, workspace, params.file_name, len(data))
    part = path.with_name(f".{os.urandom(8).hex()}{PART}")
    try:
        with part.open("xb") as file:
            file.write(data)
        return _publish(ctx, workspace, part, path)
    finally:
        part.unlink(missing_ok=True)


@method(
    "assets/uploadBegin",
    params=AssetsUploadBeginParams,
    result=UploadBegun,
    errors=(*NAME_ERRORS, *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def assets_upload_begin(ctx: RequestContext, params: AssetsUploadBeginParams) -> UploadBegun:
    """Begin an upload in chunks."""
    workspace = ctx.workspace(params.workspace_id)
    for upload in workspace.uploads.expire():
        upload.part.unlink(missing_ok=True)
    path = _place(ctx, workspace, params.file_name, params.size_bytes)
    digest = params.sha256.lower() if params.sha256 else None
    upload = workspace.uploads.begin(path.name, path, params.size_bytes, digest)
    upload.part.touch()
    return UploadBegun(upload_id=upload.id)


@method(
    "assets/uploadChunk",
    params=AssetsUploadChunkParams,
    result=UploadProgress,
    errors=("upload_not_found", "offset_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def assets_upload_chunk(ctx: RequestContext, params: AssetsUploadChunkParams) -> UploadProgress:
    """Take the bytes from ``offset`` on; a wrong one is told what is expected."""
    workspace = ctx.workspace(params.workspace_id)
    data = _decoded(params.data_base64)
    if len(data) > MAX_CHUNK_BYTES:
        require([refused("data_base64", "a chunk has at most 8 MiB", "at most 8 MiB", len(data))])
    with _locked(workspace, params.upload_id) as (upload, file):
        if params.offset != upload.received_bytes:
            raise HephaesError(
                "offset_mismatch",
                f"{upload.file_name}: the next chunk starts at {upload.received_bytes}, not at {params.offset}",
                upload_id=upload.id,
                expected_offset=upload.received_bytes,
            )
        if params.offset + len(data) > upload.size_bytes:
            room = upload.size_bytes - params.offset
            require([refused("data_base64", "the chunk ends beyond size_bytes", f"at most {room} bytes", len(data))])
        _write(file, data, params.offset)
        if not workspace.uploads.receive(upload.id, params.offset, len(data)):
            raise _gone(upload.id)
    return UploadProgress(received_bytes=params.offset + len(data))


@method(
    "assets/uploadCommit",
    params=UploadParams,
    result=Asset,
    errors=(
        "upload_not_found",
        "upload_incomplete",
        "checksum_mismatch",
        "asset_already_registered",
        "asset_not_found",
        *WORKSPACE_ERRORS,
    ),
    lane=Lane.LONG,
)
async def assets_upload_commit(ctx: RequestContext, params: UploadParams) -> Asset:
    """Register a log that has come as a whole; once committed, the same asset is the answer again."""
    workspace = await ctx.opened(params.workspace_id)
    asset: Asset = await ctx.in_thread(_commit, ctx, workspace, params.upload_id)
    return asset


@method("assets/uploadAbort", params=UploadParams, errors=("upload_not_found", *WORKSPACE_ERRORS), lane=Lane.IO)
def assets_upload_abort(ctx: RequestContext, params: UploadParams) -> None:
    """Forget an upload and its bytes."""
    workspace = ctx.workspace(params.workspace_id)
    with _locked(workspace, params.upload_id) as (upload, _):
        workspace.uploads.abort(upload.id)
        upload.part.unlink(missing_ok=True)


def _commit(ctx: RequestContext, workspace: OpenWorkspace, upload_id: str) -> Asset:
    known = workspace.uploads.get(upload_id)
    if known.asset_id is not None:
        return workspace.assets.get(known.asset_id)
    with _locked(workspace, upload_id) as (upload, file):
        if upload.received_bytes < upload.size_bytes:
            raise HephaesError(
                "upload_incomplete",
                f"{upload.file_name}: {upload.received_bytes} of {upload.size_bytes} bytes have come",
                upload_id=upload.id,
                expected_offset=upload.received_bytes,
            )
        found = _digest(ctx, file) if upload.sha256 else None
        if found != upload.sha256:
            message = f"{upload.file_name}: what has come is not what its checksum says"
            raise HephaesError("checksum_mismatch", message, upload_id=upload.id, sha256=found)
        asset = _publish(ctx, workspace, upload.part, upload.path)
        workspace.uploads.commit(upload.id, asset.id)
        upload.part.unlink(missing_ok=True)
        return asset


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        require([refused("data_base64", f"not base64: {error}", "base64 text", text)])
        raise


def _place(ctx: RequestContext, workspace: OpenWorkspace, file_name: str, size_bytes: int) -> Path:
    """Where an upload of that name and size will lie; refuses what cannot become a log."""
    name = _name(file_name)
    if size_bytes == 0:
        raise HephaesError("upload_empty", f"the upload of {name} is empty", file_name=name)
    folder = ctx.app.config.raw_dir / workspace.id
    private_folder(folder)
    path = folder.resolve() / name
    _require_free(workspace, path)
    if shutil.disk_usage(folder).free < size_bytes:
        raise HephaesError("disk_full", f"{name} does not fit: less than {size_bytes} bytes are free in {folder}")
    return path


def _name(text: str) -> str:
    """The file name of an upload: without folders, with the suffix of a log."""
    name = text.strip().rpartition("/")[2].strip()
    try:
        n_bytes = len(name.encode())
    except UnicodeEncodeError:
        n_bytes = 0
    if name in ("", ".", "..") or not 0 < n_bytes <= MAX_NAME_BYTES or not name.isprintable():
        raise HephaesError("invalid_name", f"{printable(text[:80])!r} is no name for a file", file_name=printable(name))
    if Path(name).suffix.lower() not in SUFFIXES:
        supported = ", ".join(SUFFIXES)
        raise HephaesError("invalid_name", f"{name} is no log: {supported} are supported", file_name=name)
    return name


def _require_free(workspace: OpenWorkspace, path: Path) -> None:
    known = workspace.assets.by_path(path)
    if known is not None or os.path.lexists(path):
        raise _taken(path, known.id if known else None)


def _taken(path: Path, asset_id: str | None) -> HephaesError:
    message = f"{path} is already registered in this workspace"
    return HephaesError("asset_already_registered", message, asset_id=asset_id, file_path=str(path))


def _gone(upload_id: str) -> HephaesError:
    return HephaesError("upload_not_found", f"no upload has the id {upload_id}", upload_id=upload_id)


@contextmanager
def _locked(workspace: OpenWorkspace, upload_id: str) -> Iterator[tuple[Upload, int]]:
    """An open upload and its file; nobody else, in whatever process, works on it meanwhile."""
    upload = workspace.uploads.get(upload_id)
    if upload.status != "open":
        raise _gone(upload_id)
    try:
        file = os.open(upload.part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise _gone(upload_id) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        upload = workspace.uploads.get(upload_id)
        if upload.status != "open":
            raise _gone(upload_id)
        yield upload, file
    finally:
        os.close(file)


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
    os.fdatasync(file)


def _digest(ctx: RequestContext, file: int) -> str:
    digest: Any = hashlib.sha256()
    offset = 0
    while piece := os.pread(file, PIECE_BYTES, offset):
        ctx.check()
        digest.update(piece)
        offset += len(piece)
    found: str = digest.hexdigest()
    return found


def _publish(ctx: RequestContext, workspace: OpenWorkspace, part: Path, path: Path) -> Asset:
    """Give the bytes their name and register them; both or neither."""
    _require_free(workspace, path)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        raise _taken(path, None) from None
    try:
        return register(ctx, workspace, log_file(path))
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise

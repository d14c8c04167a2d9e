"""Registering logs, as a scan, a dialog and an upload do it too."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from attrs import frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.logfiles import LogFile, fingerprint, log_file, printable
from hephaes_rpc.model.assets import Asset
from hephaes_rpc.store.workspace import OpenWorkspace


@frozen(kw_only=True)
class RegistrationSkip:
    """A log that was found and not registered; ``detail`` is the sentence that ``assets/register`` answers with."""

    file_path: str
    reason: Literal["duplicate", "invalid_path"]
    detail: str


def register(ctx: RequestContext, workspace: OpenWorkspace, file: LogFile) -> Asset:
    """A new asset, or one whose file has moved here; raises ``asset_already_registered``, ``invalid_path``."""
    (outcome,) = workspace.assets.register_many([file], fingerprint)
    _tell(ctx, workspace, [outcome])
    if isinstance(outcome, HephaesError):
        raise outcome
    return outcome


def register_all(
    ctx: RequestContext, workspace: OpenWorkspace, paths: Iterable[Path | str]
) -> tuple[list[Asset], list[RegistrationSkip]]:
    """Register what can be; all of it or, when the request is cancelled, nothing."""
    paths = list(paths)
    refusals: dict[Path | str, HephaesError] = {}
    usable: dict[Path | str, LogFile] = {}
    for path in paths:
        ctx.check()
        try:
            usable[path] = log_file(path)
        except HephaesError as error:
            refusals[path] = error
    outcomes = workspace.assets.register_many(usable.values(), fingerprint)
    _tell(ctx, workspace, outcomes)
    added = []
    for path, outcome in zip(usable, outcomes, strict=True):
        if isinstance(outcome, HephaesError):
            refusals[path] = outcome
        else:
            added.append(outcome)
    return added, [_skip(path, refusals[path]) for path in paths if path in refusals]


def _tell(ctx: RequestContext, workspace: OpenWorkspace, outcomes: Iterable[Asset | HephaesError]) -> None:
    created: list[str] = []
    updated: list[str] = []
    for outcome in outcomes:
        if isinstance(outcome, Asset):
            (created if outcome.last_indexed_time is None else updated).append(outcome.id)
        elif outcome.data.get("has_changed"):
            updated.append(outcome.data["asset_id"])
    ctx.app.notify.changed("assets", workspace.id, created, "created")
    ctx.app.notify.changed("assets", workspace.id, updated, "updated")


def _skip(path: Path | str, error: HephaesError) -> RegistrationSkip:
    reason: Literal["duplicate", "invalid_path"]
    reason = "duplicate" if error.kind == "asset_already_registered" else "invalid_path"
    return RegistrationSkip(file_path=printable(path), reason=reason, detail=error.message)

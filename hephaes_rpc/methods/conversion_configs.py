"""Saved conversion configs: kept under a name, with every document they ever had."""

import re
from typing import Any, Literal

import attrs
from attrs import field, frozen
from attrs.validators import ge, le, optional

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.specs import written
from hephaes_rpc.engine.specs.document import VERSION, SpecDocument, dump, load
from hephaes_rpc.engine.specs.issues import pointer
from hephaes_rpc.engine.specs.patches import Operation, difference
from hephaes_rpc.engine.specs.values import plain, untagged
from hephaes_rpc.errors import ParamsError
from hephaes_rpc.methods.common import (
    WORKSPACE_ERRORS,
    InWorkspace,
    WorkspacePaging,
    given,
    not_blank,
    page_of,
    refused,
    require,
    trimmed,
)
from hephaes_rpc.model.conversions import ConfigSummary
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.configs import ConfigChange, ConfigDetail
from hephaes_rpc.store.pages import DEFAULT_LIMIT, MAX_LIMIT

IDENTITY = "hephaes_config"
"""The member of the metadata of an exported document that has name and description of the config."""

Sort = Literal["updated_at", "-updated_at", "name", "-name"]
Form = Literal["yaml", "json"]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w.-]+")


def _no_id(_instance: object, _attribute: Any, name: str) -> None:
    if _UUID.fullmatch(name.strip()):
        raise ValueError(f"'name' must not have the form of an id: {name!r}")


def _metadata(_instance: object, attribute: Any, value: dict[str, Any]) -> None:
    plain(None, attribute, value)
    written.bounded(value)
    if IDENTITY in value:
        raise ValueError(f"'metadata' must not have the member {IDENTITY}, which exported documents keep the name in")


_NOTES = optional(_metadata)
SPEC_DOC = "a spec or a spec document, in any form and version that can be read"


def _selector() -> Any:
    return field(converter=trimmed, validator=not_blank, metadata={"doc": "id or name"})


def new_name() -> Any:
    """The name of a config to be made, as a param."""
    return field(
        converter=trimmed, validator=[not_blank, _no_id], metadata={"doc": "unique, whatever the case and the blanks"}
    )


def _other_name(doc: str) -> Any:
    return field(default=None, converter=given, validator=optional(_no_id), metadata={"doc": doc})


def _revision_limit() -> Any:
    return field(
        default=DEFAULT_LIMIT, validator=[ge(0), le(MAX_LIMIT)], metadata={"doc": "how many of the newest revisions"}
    )


def _number(doc: str) -> Any:
    return field(default=None, validator=optional(ge(1)), metadata={"doc": doc})


@frozen(kw_only=True)
class ConfigsListParams(WorkspacePaging):
    """Which configs."""

    sort: Sort | None = None


@frozen(kw_only=True)
class ConfigPage:
    """A page of configs."""

    items: list[ConfigSummary]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@frozen(kw_only=True)
class ConfigsGetParams(InWorkspace):
    """One config."""

    config_id: str = _selector()
    revision_limit: int = _revision_limit()


@frozen(kw_only=True)
class ConfigsCreateParams(InWorkspace):
    """A new config."""

    name: str = new_name()
    description: str | None = field(default=None, converter=given)
    metadata: dict[str, Any] | None = field(
        default=None,
        converter=untagged,
        validator=_NOTES,
        metadata={"doc": "without them those of the document"},
    )
    spec: dict[str, Any] = field(metadata={"doc": SPEC_DOC})


@frozen(kw_only=True)
class ConfigsUpdateParams(InWorkspace):
    """What is to become of a config; null keeps what there is."""

    config_id: str = _selector()
    name: str | None = _other_name("blank keeps it too")
    description: str | None = field(default=None, metadata={"doc": "blank takes it away"})
    metadata: dict[str, Any] | None = field(
        default=None, converter=untagged, validator=_NOTES, metadata={"doc": "replaces all of them"}
    )
    spec: dict[str, Any] | None = field(default=None, metadata={"doc": SPEC_DOC})
    restore_revision: int | None = _number("number of the revision whose spec and metadata are wanted back")
    revision_limit: int = _revision_limit()


@frozen
class ConfigUpdate(ConfigDetail):
    """A config after an update.

    Args:
        changed: Whether anything is different; without that no revision is added.
    """

    changed: bool


@frozen(kw_only=True)
class ConfigsDuplicateParams(InWorkspace):
    """Which config, and what is different in the new one."""

    config_id: str = _selector()
    name: str | None = _other_name("a copy of the other by default")
    description: str | None = field(default=None, converter=given, metadata={"doc": "that of the other by default"})
    metadata: dict[str, Any] | None = field(
        default=None, converter=untagged, validator=_NOTES, metadata={"doc": "those of the other by default"}
    )


@frozen(kw_only=True)
class ConfigsDiffParams(InWorkspace):
    """Which revisions of a config."""

    config_id: str = _selector()
    from_revision: int | None = _number("by default the one before to_revision")
    to_revision: int | None = _number("by default the newest")


@frozen(kw_only=True)
class ConfigDiff:
    """How two revisions differ.

    Args:
        patch: JSON Patch (RFC 6902): makes the one ``spec_document_json`` of the other.
        reordered: Pointers of the objects whose order says the order of columns, where that order is another: JSON
            Patch cannot tell it.
    """

    config_id: str
    from_revision: int
    to_revision: int
    patch: list[Operation]
    reordered: list[str]


@frozen(kw_only=True)
class ConfigsExportParams(InWorkspace):
    """What of a config is wanted as text.

    Args:
        format: Of the document.
    """

    config_id: str = _selector()
    revision_number: int | None = _number("by default the newest")
    format: Form = "yaml"


@frozen(kw_only=True)
class ConfigExport:
    """A config as text: a spec document, with name and description in its metadata."""

    config_id: str
    revision_number: int
    format: Form
    file_name: str
    text: str


@frozen(kw_only=True)
class ConfigsImportParams(InWorkspace):
    """A config that comes as text."""

    text: str = field(validator=not_blank, metadata={"doc": "YAML or JSON: a spec, or a spec document"})
    name: str | None = _other_name("by default the one that was exported")
    description: str | None = field(default=None, converter=given, metadata={"doc": "likewise"})


CONFIG_ERRORS = ("config_not_found", *WORKSPACE_ERRORS)


@method(
    "conversionConfigs/list",
    params=ConfigsListParams,
    result=ConfigPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def configs_list(ctx: RequestContext, params: ConfigsListParams) -> ConfigPage:
    """Saved configs, the last changed first; one that is invalid says why."""
    configs = ctx.workspace(params.workspace_id).configs
    return page_of(ConfigPage, configs.list(params.limit, params.cursor, params.sort))


@method("conversionConfigs/get", params=ConfigsGetParams, result=ConfigDetail, errors=CONFIG_ERRORS, lane=Lane.IO)
def configs_get(ctx: RequestContext, params: ConfigsGetParams) -> ConfigDetail:
    """A config with its document and its history."""
    return ctx.workspace(params.workspace_id).configs.get(params.config_id, params.revision_limit)


@method(
    "conversionConfigs/create",
    params=ConfigsCreateParams,
    result=ConfigDetail,
    errors=("config_name_taken", "invalid_spec", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def configs_create(ctx: RequestContext, params: ConfigsCreateParams) -> ConfigDetail:
    """Keep a spec under a name."""
    workspace = ctx.workspace(params.workspace_id)
    document = _own(load(params.spec))[0]
    if params.metadata is not None:
        document = SpecDocument(spec=document.spec, metadata=params.metadata)
    made = workspace.configs.create(params.name, document, params.description)
    ctx.app.notify.changed("conversionConfigs", workspace.id, [made.id], "created")
    return made


@method(
    "conversionConfigs/update",
    params=ConfigsUpdateParams,
    result=ConfigUpdate,
    errors=("config_name_taken", "config_revision_not_found", "config_invalid", "invalid_spec", *CONFIG_ERRORS),
    lane=Lane.IO,
)
def configs_update(ctx: RequestContext, params: ConfigsUpdateParams) -> ConfigUpdate:
    """Change a config, as a new revision; an update that changes nothing adds none and says so.

    A config whose document cannot be used is repaired by ``spec`` or by ``restore_revision``.
    """
    require(_wrong_update(params))
    workspace = ctx.workspace(params.workspace_id)
    metadata, spec = params.metadata, None
    if params.spec is not None:
        document = _own(load(params.spec))[0]
        spec = document.spec
        if metadata is None and params.spec.get("metadata") is not None:
            metadata = document.metadata
    change = ConfigChange(
        name=params.name,
        description=params.description,
        metadata=metadata,
        spec=spec,
        restore_revision=params.restore_revision,
    )
    detail, changed = workspace.configs.update(params.config_id, change, params.revision_limit)
    if changed:
        ctx.app.notify.changed("conversionConfigs", workspace.id, [detail.id], "updated")
    return ConfigUpdate(**attrs.asdict(detail, recurse=False), changed=changed)


def _wrong_update(params: ConfigsUpdateParams) -> list[dict[str, Any]]:
    wanted = ("name", "description", "metadata", "spec", "restore_revision")
    if all(getattr(params, name) is None for name in wanted):
        message = "an update must change something: " + ", ".join(wanted)
        return [refused("", message, "one of " + ", ".join(wanted), None)]
    if params.spec is not None and params.restore_revision is not None:
        message = "restore_revision cannot be given together with spec"
        return [refused("restore_revision", message, "nothing beside spec", params.restore_revision)]
    return []


def _own(document: SpecDocument) -> tuple[SpecDocument, dict[str, Any]]:
    """A document without what an export has added to it, and that."""
    metadata = dict(document.metadata)
    added = metadata.pop(IDENTITY, None)
    return SpecDocument(spec=document.spec, metadata=metadata), added if isinstance(added, dict) else {}


@method(
    "conversionConfigs/duplicate",
    params=ConfigsDuplicateParams,
    result=ConfigDetail,
    errors=("config_name_taken", "config_invalid", *CONFIG_ERRORS),
    lane=Lane.IO,
)
def configs_duplicate(ctx: RequestContext, params: ConfigsDuplicateParams) -> ConfigDetail:
    """A new config with the document of another; without a name it is a ``Copy of`` it, with a number if need be."""
    workspace = ctx.workspace(params.workspace_id)
    change = ConfigChange(name=params.name, description=params.description, metadata=params.metadata)
    made = workspace.configs.duplicate(params.config_id, change)
    ctx.app.notify.changed("conversionConfigs", workspace.id, [made.id], "created")
    return made


@method(
    "conversionConfigs/diff",
    params=ConfigsDiffParams,
    result=ConfigDiff,
    errors=("config_revision_not_found", "config_invalid", *CONFIG_ERRORS),
    lane=Lane.IO,
)
def configs_diff(ctx: RequestContext, params: ConfigsDiffParams) -> ConfigDiff:
    """What is different between two revisions, as they are stored."""
    configs = ctx.workspace(params.workspace_id).configs
    after = configs.state(params.config_id, params.to_revision)
    number = params.from_revision if params.from_revision is not None else max(after.revision_number - 1, 1)
    before = configs.state(after.id, number)
    old, new = before.content, after.content
    return ConfigDiff(
        config_id=after.id,
        from_revision=before.revision_number,
        to_revision=after.revision_number,
        patch=difference(old, new),
        reordered=[pointer(place) for place in (("spec", "features"), ("spec", "mapping")) if _moved(old, new, place)],
    )


def _moved(old: Any, new: Any, place: tuple[str, ...]) -> bool:
    """Whether the members that two objects have in common stand in another order."""
    for name in place:
        old, new = (value.get(name) if isinstance(value, dict) else None for value in (old, new))
    if not isinstance(old, dict) or not isinstance(new, dict):
        return False
    return [name for name in old if name in new] != [name for name in new if name in old]


@method(
    "conversionConfigs/export",
    params=ConfigsExportParams,
    result=ConfigExport,
    errors=("config_revision_not_found", "config_invalid", *CONFIG_ERRORS),
    lane=Lane.IO,
)
def configs_export(ctx: RequestContext, params: ConfigsExportParams) -> ConfigExport:
    """A config as a spec document that ``conversionConfigs/import`` and ``hephaes-rpc convert`` read."""
    state = ctx.workspace(params.workspace_id).configs.state(params.config_id, params.revision_number)
    identity = {"name": state.name, "description": state.description}
    document = SpecDocument(spec=state.document.spec, metadata=state.document.metadata | {IDENTITY: identity})
    return ConfigExport(
        config_id=state.id,
        revision_number=state.revision_number,
        format=params.format,
        file_name=f"{_UNSAFE.sub('_', state.name).strip('._') or 'config'}.{params.format}",
        text=dump(document, params.format),
    )


@method(
    "conversionConfigs/import",
    params=ConfigsImportParams,
    result=ConfigDetail,
    errors=("config_name_taken", "invalid_spec", *WORKSPACE_ERRORS),
    lane=Lane.IO,
)
def configs_import(ctx: RequestContext, params: ConfigsImportParams) -> ConfigDetail:
    """A new config from a spec document, of any version, in YAML or JSON."""
    workspace = ctx.workspace(params.workspace_id)
    document, identity = _own(load(params.text))
    name = params.name or _said(identity, "name")
    if name is None or _UUID.fullmatch(name):
        message = "the text does not name the config" if name is None else "the text names the config like an id"
        raise ParamsError([refused("name", message, "the name of the config", name)])
    version = written.parse(params.text).get("spec_version", VERSION)
    made = workspace.configs.create(
        name,
        document,
        params.description or _said(identity, "description"),
        kind="import",
        summary=None if version == VERSION else f"imported from a document of version {version}",
    )
    ctx.app.notify.changed("conversionConfigs", workspace.id, [made.id], "created")
    return made


def _said(identity: dict[str, Any], name: str) -> str | None:
    value = identity.get(name)
    return given(value) if isinstance(value, str) else None

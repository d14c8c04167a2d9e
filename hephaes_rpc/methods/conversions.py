"""Conversions: ask for one, follow it, find it again; what conversions there can be."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from attrs import evolve, field, frozen

from hephaes_rpc.context import RequestContext
from hephaes_rpc.engine.authoring.authored import TEMPLATES
from hephaes_rpc.engine.specs.document import SpecDocument, load, to_dict
from hephaes_rpc.engine.specs.names import check_logs
from hephaes_rpc.engine.specs.rules import check_spec
from hephaes_rpc.engine.specs.spec import (
    CLOCKS,
    FIELD_CLOCK,
    ConversionSpec,
    DType,
    FailurePolicy,
    FeatureSource,
    Layout,
    Missing,
    Output,
    ParquetCompression,
    ParquetOutput,
    Resample,
    ResampleMethod,
    RowStrategy,
    SplitStrategy,
    SyncPolicy,
    TFRecordCompression,
    TFRecordOutput,
)
from hephaes_rpc.engine.specs.transform_params import Transform
from hephaes_rpc.engine.timeline.rowtopics import row_clocks
from hephaes_rpc.errors import HephaesError, SpecError
from hephaes_rpc.methods.common import (
    WORKSPACE_ERRORS,
    InWorkspace,
    WorkspacePaging,
    filters_of,
    given,
    page_of,
    refused,
    require,
)
from hephaes_rpc.methods.indexing import active_or_new
from hephaes_rpc.methods.previews import dry_run, ready
from hephaes_rpc.model.assets import Asset, AssetDetail, TopicSummary
from hephaes_rpc.model.conversions import ConversionDetail, ConversionSummary, MappingMode
from hephaes_rpc.model.jobs import RepresentationPolicy
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.serde import closest, unstructure
from hephaes_rpc.store.configs import ConfigInUse
from hephaes_rpc.store.conversions import ConversionFilters
from hephaes_rpc.store.values import new_id
from hephaes_rpc.store.workspace import OpenWorkspace

POLICY_VERSION = 1
SPEC_VERSION = 2
LEGACY_MARKER = "legacy_list_image_payload"
LEGACY_WARNING = "image data is written as lists of integers, as older readers expect it"

Sort = Literal["created_at", "-created_at"]


@frozen(kw_only=True)
class ConversionsCreateParams(InWorkspace):
    """What is to be converted, and into what: by ``mapping``, by ``spec`` or by a saved config."""

    asset_ids: list[str] = field(metadata={"doc": "at least one, none twice"})
    mapping: dict[str, list[str]] | None = field(
        default=None,
        metadata={"doc": "field -> topics, the first that a log has is taken; without it every topic is a field"},
    )
    output: Output | None = field(default=None, metadata={"doc": "Parquet without compression by default"})
    resample: Resample | None = field(default=None, metadata={"doc": "without it the messages keep their times"})
    write_manifest: bool | None = field(default=None, metadata={"doc": "true by default"})
    spec: dict[str, Any] | None = field(default=None, metadata={"doc": "a spec document, or the spec in it"})
    saved_config_id: str | None = field(default=None, converter=given, metadata={"doc": "id or name"})
    index_first: bool = field(
        default=False,
        metadata={"doc": "index what never was, and have the conversion wait for it, instead of refusing it"},
    )
    reuse: bool = field(
        default=True,
        metadata={"doc": "link files of an earlier conversion of the same log that would come out the same"},
    )


@frozen(kw_only=True)
class ConversionsListParams(WorkspacePaging):
    """Which conversions."""

    sort: Sort | None = None
    image_payload_contract: str | None = None
    legacy_compatible: bool | None = None


@frozen(kw_only=True)
class ConversionPage:
    """A page of conversions."""

    items: list[ConversionSummary]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@frozen(kw_only=True)
class ConversionParams(InWorkspace):
    """One conversion."""

    conversion_id: str


@method(
    "conversions/create",
    params=ConversionsCreateParams,
    result=ConversionDetail,
    errors=(
        "unknown_asset",
        "asset_not_indexed",
        "unknown_config",
        "config_invalid",
        "invalid_spec",
        "script_failed",
        "script_not_enabled",
        "script_not_found",
        "unsupported",
        *WORKSPACE_ERRORS,
    ),
    lane=Lane.IO,
    progress=True,
)
def conversions_create(ctx: RequestContext, params: ConversionsCreateParams) -> ConversionDetail:
    """Queue a conversion; answers at once, ``jobs/didChange`` tells how it ends."""
    asset_ids = [asset_id.strip() for asset_id in params.asset_ids]
    require([*_wrong_ids(asset_ids), *_wrong_mapping(params.mapping), *_excluded(params)])
    workspace = ctx.workspace(params.workspace_id)
    assets = _known(workspace, asset_ids)
    missing = [each.asset for each in assets if each.metadata is None or each.asset.last_indexed_time is None]
    if missing and not params.index_first:
        raise _not_indexed(missing)
    saved = _saved(workspace, params.saved_config_id)
    if saved is not None:
        ctx.app.notify.changed("conversionConfigs", workspace.id, [saved.id], "updated")
    document = _document(params, len(assets), saved)
    _try_scripts(ctx, workspace, assets, document)
    needs = [active_or_new(ctx.app, workspace, asset.id, "convert")[0].id for asset in missing]
    detail = _create(workspace, assets, params, document, saved, needs)
    ctx.app.jobs.submit(workspace, detail.job)
    return detail


def _try_scripts(
    ctx: RequestContext, workspace: OpenWorkspace, assets: Sequence[AssetDetail], document: SpecDocument
) -> None:
    """Run the scripts of a spec over the first rows of the first indexed log; raises the ``script_*`` errors."""
    scripts = ready(ctx, workspace, document)
    first = next((each.asset for each in assets if each.metadata is not None), None)
    if scripts is not None and first is not None:
        dry_run(ctx, first.file_path, document, scripts)


def _wrong_ids(asset_ids: Sequence[str]) -> list[dict[str, Any]]:
    expected = "ids of assets, at least one and none twice"
    if not asset_ids:
        return [refused("asset_ids", "asset_ids must name at least one asset", expected, [])]
    return [
        refused(
            f"asset_ids[{k}]", "must not be blank" if not asset_id else f"{asset_id} is given twice", expected, asset_id
        )
        for k, asset_id in enumerate(asset_ids)
        if not asset_id or asset_id in asset_ids[:k]
    ]


def _wrong_mapping(mapping: Mapping[str, Sequence[str]] | None) -> list[dict[str, Any]]:
    if mapping is None:
        return []
    expected = "field names, each with at least one topic"
    if not mapping:
        return [refused("mapping", "mapping must not be empty", expected, {})]
    errors = []
    for name, topics in mapping.items():
        if not name.strip():
            errors.append(refused("mapping", "the name of a field must not be blank", expected, name))
        if not topics:
            errors.append(refused(f"mapping.{name}", f"the field {name!r} must list at least one topic", expected, []))
        errors += [
            refused(f"mapping.{name}[{k}]", f"the field {name!r} lists a blank topic", expected, topic)
            for k, topic in enumerate(topics)
            if not topic.strip()
        ]
    return errors


def _excluded(params: ConversionsCreateParams) -> list[dict[str, Any]]:
    """What is given beside a spec or a saved config that says it already."""
    for owner in ("saved_config_id", "spec"):
        if getattr(params, owner) is not None:
            others = [name for name in ("spec", "mapping", "output", "resample") if name != owner]
            return [
                refused(
                    name, f"{name} cannot be given together with {owner}", f"nothing beside {owner}", unstructure(value)
                )
                for name in others
                if (value := getattr(params, name)) is not None
            ]
    return []


def _saved(workspace: OpenWorkspace, selector: str | None) -> ConfigInUse | None:
    """The saved config that is asked for; raises ``unknown_config``, ``config_invalid``."""
    if selector is None:
        return None
    try:
        return workspace.configs.use(selector)
    except HephaesError as error:
        if error.kind != "config_not_found":
            raise
        raise HephaesError("unknown_config", error.message, saved_config_id=selector) from None


def _document(params: ConversionsCreateParams, n_assets: int, saved: ConfigInUse | None) -> SpecDocument:
    """The spec that is asked for; raises SpecError."""
    if saved is not None:
        document = saved.document
    elif params.spec is not None:
        document = load(params.spec)
    else:
        spec = ConversionSpec(
            mapping=params.mapping,
            resample=params.resample,
            output=params.output or ParquetOutput(),
            write_manifest=params.write_manifest is not False,
        )
        check_spec(spec)
        return SpecDocument(spec=spec)
    spec = document.spec
    if spec.input.paths:
        raise SpecError("input.paths has no effect here: the logs are chosen by asset_ids")
    check_logs(spec, n_assets)
    if params.write_manifest is None:
        return document
    output = evolve(spec.output, write_manifest=params.write_manifest)
    return evolve(document, spec=evolve(spec, output=output, write_manifest=params.write_manifest))


def _mode(params: ConversionsCreateParams) -> MappingMode:
    if params.saved_config_id is not None:
        return "saved-config"
    return "spec" if params.spec is not None else "auto" if params.mapping is None else "custom"


def _create(
    workspace: OpenWorkspace,
    assets: Sequence[AssetDetail],
    params: ConversionsCreateParams,
    document: SpecDocument,
    saved: ConfigInUse | None,
    needs: Sequence[str],
) -> ConversionDetail:
    """Check the request against the assets that are indexed, then store the conversion with its queued job."""
    spec = document.spec
    indexed = [each for each in assets if each.metadata is not None]
    mapping: Mapping[str, Sequence[str]] = spec.mapping or {}
    if spec.features:
        _require_topics(spec, indexed)
    elif indexed:
        mapping = _resolved(spec, indexed)
    conversion_id = new_id()
    output_path = str(workspace.outputs_dir / conversion_id)
    policy = representation_policy(spec.output)
    written = to_dict(document)
    config = {
        "mapping": mapping,
        "mapping_mode": _mode(params),
        "output": unstructure(spec.output),
        "resample": unstructure(spec.resample),
        "write_manifest": spec.write_manifest,
        "spec": written["spec"],
        "representation_policy": unstructure(policy)
        | {"effective_image_payload_contract": policy.image_payload_contract},
    }
    if saved is not None:
        config |= {
            "saved_config_id": saved.id,
            "saved_config_revision_number": saved.revision_number,
            "saved_config_spec_document_version": document.spec_version,
        }
    payload = {
        "type": "convert",
        "conversion_id": conversion_id,
        "output_dir": output_path,
        "spec": written,
        "assets": [
            {"asset_id": each.asset.id, "path": each.asset.file_path, "episode_id": f"episode_{number:04}"}
            for number, each in enumerate(assets, 1)
        ],
        "overwrite": False,
        "reuse": params.reuse,
    }
    return workspace.conversions.create(
        [each.asset.id for each in assets],
        config,
        payload,
        output_path=output_path,
        policy=policy,
        conversion_id=conversion_id,
        saved_config_id=saved.id if saved else None,
        saved_config_revision_id=saved.revision_id if saved else None,
        job_config={"execution": "worker", "output_path": output_path, **config},
        needs=needs,
    )


def _known(workspace: OpenWorkspace, asset_ids: Sequence[str]) -> list[AssetDetail]:
    """The assets with their topics; raises ``unknown_asset``."""
    assets = []
    for asset_id in asset_ids:
        try:
            assets.append(workspace.assets.detail(asset_id))
        except HephaesError as error:
            if error.kind != "asset_not_found":
                raise
            raise HephaesError("unknown_asset", error.message, asset_id=asset_id) from None
    return assets


def _not_indexed(missing: Sequence[Asset]) -> HephaesError:
    names = ", ".join(asset.file_name for asset in missing)
    return HephaesError(
        "asset_not_indexed",
        f"{names} must be indexed first",
        hint="assets/index, or index_first",
        asset_ids=[asset.id for asset in missing],
    )


@frozen
class _Topic:
    """A stream as a mapping names it."""

    topic: str
    type_name: str
    undecodable: str | None


def _topics(topics: Sequence[TopicSummary]) -> list[_Topic]:
    return [_Topic(each.name, each.message_type, each.undecodable) for each in topics]


def _require_topics(spec: ConversionSpec, assets: Sequence[AssetDetail]) -> None:
    """Raise SpecError where one of the assets lacks a topic that rows are made of."""
    for each in assets:
        known = sorted({topic.name for topic in (each.metadata.topics if each.metadata else [])})
        for topic in row_clocks(spec):
            if topic not in known:
                near = closest(topic, known)
                hint = f"; did you mean {near!r}?" if near else ""
                text = f"{each.asset.file_name}: the log has no topic {topic!r}{hint}"
                raise SpecError(text, asset_id=each.asset.id, topic=topic)


def _resolved(spec: ConversionSpec, assets: Sequence[AssetDetail]) -> Mapping[str, Sequence[str]]:
    """The mapping in effect; raises SpecError for a field that one of the assets has no topic for, ``unsupported``.

    Without a mapping each asset is mapped on its own; that of the first one is told.
    """
    from hephaes_rpc.engine.timeline.hints import hinted
    from hephaes_rpc.engine.timeline.plan import auto_mapping, resolve
    from hephaes_rpc.engine.timeline.selection import included

    streams = [
        hinted(spec.decoding, included(spec.input, _topics(each.metadata.topics if each.metadata else [])))
        for each in assets
    ]
    if spec.mapping is None:
        return auto_mapping([stream for stream in streams[0] if stream.undecodable is None])
    for each, known in zip(assets, streams, strict=True):
        name = each.asset.file_name
        try:
            chosen = resolve(spec.mapping, known)
        except SpecError as error:
            raise SpecError(f"{name}: {error.message}", asset_id=each.asset.id, **error.data) from None
        for target, (selector, stream) in chosen.items():
            if stream.undecodable is not None:
                message = f"{name}: field {target!r}: topic {selector!r} cannot be decoded: {stream.undecodable}"
                raise HephaesError("unsupported", message, asset_id=each.asset.id, field=target, topic=stream.topic)
    return spec.mapping


def representation_policy(output: Output) -> RepresentationPolicy:
    """How an output represents images and nulls."""
    if isinstance(output, ParquetOutput):
        return RepresentationPolicy(POLICY_VERSION, "parquet", None, None, None, None, [], [])
    contract = output.image_payload_contract
    legacy = contract == "legacy_list_v1"
    return RepresentationPolicy(
        policy_version=POLICY_VERSION,
        output_format="tfrecord",
        requested_image_payload_contract=contract,
        image_payload_contract=contract,
        payload_encoding=output.payload_encoding,
        null_encoding=output.null_encoding,
        compatibility_markers=[LEGACY_MARKER] if legacy else [],
        warnings=[LEGACY_WARNING] if legacy else [],
    )


@method(
    "conversions/list",
    params=ConversionsListParams,
    result=ConversionPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def conversions_list(ctx: RequestContext, params: ConversionsListParams) -> ConversionPage:
    """Conversions, the newest first."""
    conversions = ctx.workspace(params.workspace_id).conversions
    filters = filters_of(ConversionFilters, params)
    return page_of(ConversionPage, conversions.list(filters, params.limit, params.cursor, params.sort))


@method(
    "conversions/get",
    params=ConversionParams,
    result=ConversionDetail,
    errors=("conversion_not_found", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def conversions_get(ctx: RequestContext, params: ConversionParams) -> ConversionDetail:
    """A conversion with its job and the files it has published."""
    return ctx.workspace(params.workspace_id).conversions.get(params.conversion_id)


def _choices(tp: Any) -> list[str]:
    return list(get_args(tp))


def _kinds(union: Any, tag: str = "kind") -> list[str]:
    """The tags of the classes of a union."""
    return [_choices_of(cls, tag)[0] for cls in get_args(union)]


def _choices_of(cls: type, name: str) -> list[str]:
    return _choices(next(attribute.type for attribute in cls.__attrs_attrs__ if attribute.name == name))  # type: ignore[attr-defined]


@frozen(kw_only=True)
class EngineCapabilities:
    """What the engine can do."""

    spec_version: int = SPEC_VERSION
    supports_spec_documents: bool = True
    supports_inspection: bool = True
    supports_draft_generation: bool = True
    supports_preview: bool = True
    supports_migration: bool = True
    row_strategies: list[str] = field(factory=lambda: _kinds(RowStrategy))
    authoring_row_strategies: list[str] = field(factory=lambda: _kinds(RowStrategy))
    planned_row_strategies: list[str] = field(factory=list)
    feature_source_kinds: list[str] = field(factory=lambda: _kinds(FeatureSource))
    authoring_feature_source_kinds: list[str] = field(factory=lambda: _kinds(FeatureSource))
    planned_feature_source_kinds: list[str] = field(factory=list)
    feature_dtypes: list[str] = field(factory=lambda: _choices(DType))
    sync_policies: list[str] = field(factory=lambda: _choices(SyncPolicy))
    missing_data_policies: list[str] = field(factory=lambda: _choices(Missing))
    decode_failure_policies: list[str] = field(factory=lambda: _choices(FailurePolicy))
    transform_kinds: list[str] = field(factory=lambda: _kinds(Transform))
    split_strategies: list[str] = field(factory=lambda: _choices(SplitStrategy))
    clocks: list[str] = field(factory=lambda: [*CLOCKS, f"{FIELD_CLOCK}<path>"])
    templates: list[str] = field(factory=lambda: list(TEMPLATES))
    mapping_modes: list[str] = field(factory=lambda: ["auto", "custom", "spec", "saved-config"])
    resample_strategies: list[str] = field(factory=lambda: _choices(ResampleMethod))
    output_formats: list[str] = field(factory=lambda: _kinds(Output, "format"))
    layouts: list[str] = field(factory=lambda: _choices(Layout))
    parquet_compressions: list[str] = field(factory=lambda: _choices(ParquetCompression))
    parquet_payload_encodings: list[str] = field(factory=lambda: _choices_of(ParquetOutput, "payload_encoding"))
    tfrecord_compressions: list[str] = field(factory=lambda: _choices(TFRecordCompression))
    tfrecord_payload_encodings: list[str] = field(factory=lambda: _choices_of(TFRecordOutput, "payload_encoding"))
    tfrecord_null_encodings: list[str] = field(factory=lambda: _choices_of(TFRecordOutput, "null_encoding"))
    tfrecord_float64: list[str] = field(factory=lambda: _choices_of(TFRecordOutput, "float64"))
    tfrecord_absent_keys: list[str] = field(factory=lambda: _choices_of(TFRecordOutput, "absent_keys"))


@frozen(kw_only=True)
class OutputContract:
    """How image payloads may be represented."""

    policy_version: int = POLICY_VERSION
    default_image_payload_contract: str = TFRecordOutput().image_payload_contract
    supported_image_payload_contracts: list[str] = field(
        factory=lambda: _choices_of(TFRecordOutput, "image_payload_contract")
    )
    legacy_compatibility_marker: str = LEGACY_MARKER


@frozen(kw_only=True)
class Persistence:
    """What is kept of the way to a conversion."""

    mode: str = "sqlite-json"
    supports_saved_configs: bool = True
    supports_saved_config_revisions: bool = True
    supports_draft_revisions: bool = True
    supports_preview_snapshots: bool = True
    supports_migration_on_load: bool = True
    supports_execute_from_saved_config: bool = True
    spec_document_version: int = SPEC_VERSION


@frozen(kw_only=True)
class AuthoringCapabilities:
    """What conversions there can be."""

    authoring_api_version: int = 1
    hephaes: EngineCapabilities = field(factory=EngineCapabilities)
    output_contract: OutputContract = field(factory=OutputContract)
    persistence: Persistence = field(factory=Persistence)


@method(
    "conversions/capabilities",
    params=InWorkspace,
    result=AuthoringCapabilities,
    errors=WORKSPACE_ERRORS,
    lane=Lane.READ,
)
def conversions_capabilities(ctx: RequestContext, params: InWorkspace) -> AuthoringCapabilities:
    """What this version can convert, and how."""
    ctx.workspace(params.workspace_id)
    return AuthoringCapabilities()

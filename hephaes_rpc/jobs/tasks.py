"""What a worker process does with a task: index logs, convert them, analyze them.  What it finds leaves it as events.

Events are JSON objects with the member ``event``: ``progress`` (asset, phase, done, total, unit, message), ``indexed``
(asset_id, metadata, file_size, mtime_ns, fingerprint, quality), ``analyzed`` (asset_id, file_size, mtime_ns, quality),
``published`` (asset_id, outputs, counts, warnings, key, and in ``kept`` why nothing was written) and ``answer``
(value).  The engine is imported once it is known which part of it is needed.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from hephaes_rpc.imports import importing
from hephaes_rpc.jobs import authoring
from hephaes_rpc.jobs.taskcontext import Context, registered_file

MAX_NOTES = 100
IDLE = 19
"""How nice a worker is that nobody waits for."""


def perform(context: Context) -> None:
    """Do the task; raises what the engine raises."""
    if context.task["type"] in authoring.ACTIONS:
        authoring.answer(context)
        return
    action = {"index": _index, "convert": _convert, "analyze": _analyze}[context.task["type"]]
    assets = context.task["assets"]
    for number, asset in enumerate(assets):
        context.check()
        context.asset = number
        action(context, asset)
    if context.kept:
        said = f"{context.kept} of {len(assets)} logs are unchanged: nothing was converted"
        if context.kept < len(assets):
            said = f"{context.kept} of {len(assets)} logs were finished already: only the rest was converted"
        context.tell("publish", 1, 1, "rows", said)


def _index(context: Context, asset: dict[str, Any]) -> None:
    from hephaes_rpc.engine.identity import identify
    from hephaes_rpc.engine.logs import open_log
    from hephaes_rpc.engine.logs.describe import describe
    from hephaes_rpc.engine.memory import keep_freed
    from hephaes_rpc.engine.quality.indexed import quality_by_index

    def swept(done: int, total: int) -> None:
        context.check()
        context.progress("index", done, total, "bytes")

    keep_freed()
    registered_file(asset["path"])
    identity = identify(Path(asset["path"]))  # before: what is appended from here on makes it another log
    with open_log(asset["path"], swept) as log:
        info = describe(log)
        quality = quality_by_index(log)
        summary = log.summary
        log.require_unchanged(may_grow=True)
    topics = [
        {
            "name": stream.topic,
            "message_type": stream.type_name,
            "message_count": stream.message_count,
            "rate_hz": stream.rate_hz,
            "modality": stream.modality,
            "encoding": stream.encoding,
            "schema_encoding": stream.schema_encoding,
            "start_ns": stream.start_ns,
            "end_ns": stream.end_ns,
            "max_gap_ns": stream.max_gap_ns,
            "out_of_order": stream.out_of_order,
            "undecodable": stream.undecodable,
        }
        for stream in info.streams
    ]
    used = [name or "none" for name in summary.compression]
    sensors: list[str] = [*info.sensor_types] or ["other"] * bool(topics)
    metadata = {
        "duration": info.duration_s,
        "start_ns": summary.start_ns,
        "end_ns": summary.end_ns,
        "message_count": summary.message_count,
        "topic_count": len(topics),
        "sensor_types": sensors,
        "topics": topics,
        "default_episode": {
            "episode_id": f"{asset['asset_id']}:default",
            "label": "Episode 1",
            "duration": info.duration_s,
        },
        "raw_metadata": {
            "path": summary.path,
            "file_path": summary.path,
            "file_size_bytes": summary.size_bytes,
            "ros_version": summary.ros_version,
            "storage_format": summary.storage_format,
            "compression_format": used[0] if len(used) == 1 else "mixed" if used else "none",
            "compression": {name or "none": attrs.asdict(use) for name, use in summary.compression.items()},
            "profile": summary.profile,
            "library": summary.library,
            "outcome": summary.outcome,
            "recovered": summary.recovered,
            "reason": summary.reason,
            "lost_ranges": [attrs.asdict(lost) for lost in summary.lost_ranges[:MAX_NOTES]],
            "files": [os.path.basename(path) for path in summary.files[:MAX_NOTES]],  # noqa: PTH119
            "gaps": _first(summary.gaps),
            "warnings": _first(summary.warnings),
        },
    }
    context.check()
    context.emit(
        {
            "event": "indexed",
            "asset_id": asset["asset_id"],
            "metadata": metadata,
            "file_size": identity.size_bytes,
            "mtime_ns": identity.mtime_ns,
            "fingerprint": identity.fingerprint,
            "quality": attrs.asdict(quality),
        }
    )


def _analyze(context: Context, asset: dict[str, Any]) -> None:
    """Read all messages of a log, behind whatever else the machine has to do."""
    from hephaes_rpc.engine.identity import identify
    from hephaes_rpc.engine.logs import open_log
    from hephaes_rpc.engine.quality.analysis import quality_by_messages

    def told(phase: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            context.check()
            context.progress(phase, done, total, "bytes")

        return tell

    if hasattr(os, "nice"):
        os.nice(IDLE)
    registered_file(asset["path"])
    identity = identify(Path(asset["path"]))
    with open_log(asset["path"], told("index")) as log:
        quality = quality_by_messages(log, told("analyze"))
    context.check()
    context.emit(
        {
            "event": "analyzed",
            "asset_id": asset["asset_id"],
            "file_size": identity.size_bytes,
            "mtime_ns": identity.mtime_ns,
            "quality": attrs.asdict(quality),
        }
    )


def _convert(context: Context, asset: dict[str, Any]) -> None:
    with importing():
        from hephaes_rpc.engine.datasets import reuse
        from hephaes_rpc.engine.datasets.manifest import file_name
        from hephaes_rpc.engine.identity import identify
        from hephaes_rpc.engine.pipeline import ConvertTask, convert
        from hephaes_rpc.engine.specs.document import load, to_dict

    task = context.task
    document = load(task["spec"])
    registered_file(asset["path"])
    scripts = authoring.scripts_of(task)
    digests: list[str] = []
    if document.spec.computations:
        from hephaes_rpc.engine.computations.computed import digests_of

        digests = digests_of(document.spec, scripts)
    key = reuse.key_of(
        identify(Path(asset["path"])),
        file_name(asset["path"]),
        to_dict(document),
        asset["episode_id"],
        digests,
    )
    if (kept := _kept(context, asset, key)) is not None:
        context.kept += 1
        context.emit(kept)
        context.progress("publish", 1, 1, "rows", kept["kept"])
        return
    result = convert(
        ConvertTask(
            log_path=asset["path"],
            spec=document.spec,
            metadata=document.metadata,
            output_dir=task["output_dir"],
            episode_id=asset["episode_id"],
            stem=asset["episode_id"],
            overwrite=task["overwrite"],
            scripts=scripts,
        ),
        context,
    )
    context.emit(
        {
            "event": "published",
            "asset_id": asset["asset_id"],
            "outputs": [attrs.asdict(output) for output in result.outputs],
            "counts": dict(result.counts),
            "warnings": _first(result.warnings),
            "key": key,
            "kept": None,
        }
    )


def _kept(context: Context, asset: dict[str, Any], key: str) -> dict[str, Any] | None:
    """The event of a log whose files are finished already, by an earlier attempt or by another conversion."""
    from hephaes_rpc.engine.datasets import reuse

    told = {"event": "published", "asset_id": asset["asset_id"], "counts": {}, "warnings": [], "key": key}
    name = asset["episode_id"]
    own = asset.get("finished")
    if own is not None and own[0] == key and reuse.are_intact(own[1]):
        return {**told, "outputs": own[1], "kept": f"{name} is finished and unchanged: kept, nothing was written"}
    for other_key, files in asset.get("elsewhere", ()):
        context.check()
        if other_key != key or not reuse.are_intact(files):
            continue
        made = reuse.linked(files, Path(context.task["output_dir"]), context.temp_tag)
        if made is not None:
            where = Path(files[0]["path"]).parent.name
            return {**told, "outputs": made, "kept": f"{name} is unchanged since {where}: linked, nothing was copied"}
    return None


def _first(notes: list[str] | tuple[str, ...]) -> list[str]:
    """A list short enough to be stored and shown."""
    more = len(notes) - MAX_NOTES
    return [*notes[:MAX_NOTES], f"and {more} more"] if more > 0 else list(notes)

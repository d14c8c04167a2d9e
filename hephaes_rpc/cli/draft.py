"""``hephaes-rpc draft``: a spec for a log, as YAML for ``convert --spec``; what was assumed stands in comments."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hephaes_rpc.cli.convert import RunContext, Stop, stopping
from hephaes_rpc.cli.terminal import display, printable, say
from hephaes_rpc.engine.authoring.authored import TEMPLATES, DraftRequest, DraftResult, InspectRequest
from hephaes_rpc.errors import CancelledByClient

if TYPE_CHECKING:
    from hephaes_rpc.engine.specs.document import SpecDocument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``draft``."""
    defaults = DraftRequest()
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or the folder of a recording")
    parser.add_argument("--template", choices=TEMPLATES, help="what the dataset is for")
    parser.add_argument("--format", choices=("parquet", "tfrecord"), default="parquet", help="default: parquet")
    parser.add_argument("--compression", default=defaults.output_compression, help="default: none")
    parser.add_argument("--topic", action="append", metavar="NAME", default=[], help="only this; may be repeated")
    parser.add_argument("--trigger", metavar="NAME", help="the topic whose messages make the rows")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--action-topic", metavar="NAME", help="where actions come from (imitation-learning)")
    action.add_argument("--next-state", action="store_true", help="the action is the state of the next row")
    parser.add_argument("--label", metavar="FEATURE", help="the feature that is to be learnt")
    parser.add_argument("--max-features", type=_count, metavar="N", help="per topic, vectors count once (default: 2)")
    parser.add_argument("--schema-name", default=defaults.schema_name, metavar="NAME", help="of the dataset")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of features")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print the spec."""
    request = DraftRequest(
        trigger_topic=arguments.trigger,
        selected_topics=arguments.topic,
        schema_name=arguments.schema_name,
        output_format=arguments.format,
        output_compression=arguments.compression,
        max_features_per_topic=arguments.max_features or DraftRequest().max_features_per_topic,
        label_feature=arguments.label,
        template=arguments.template,
        action_topic=arguments.action_topic,
        next_state=arguments.next_state,
    )
    stop = Stop()
    with stopping(stop), display() as shown:
        from hephaes_rpc.engine.authoring.workbench import draft_log

        context = RunContext(Path(arguments.log).name, shown, stop)
        try:
            _, found = draft_log(arguments.log, InspectRequest(), request, context, time.perf_counter)
        except CancelledByClient:
            return 128 + stop.signal
    print(draft_text(arguments.log, found), end="")
    for warning in found.warnings:
        say(f"{arguments.log}: warning: {warning}")
    return 0


def draft_document(found: DraftResult) -> "SpecDocument":
    """The draft as it is saved."""
    from hephaes_rpc.engine.specs.document import SpecDocument, load

    return SpecDocument(spec=load(found.spec).spec, metadata={"names": found.names} if found.names else {})


def draft_text(log: str, found: DraftResult) -> str:
    """The document in YAML, with what was thought about it above."""
    from hephaes_rpc.engine.specs.document import dump

    notes = [f"drafted for {Path(log).name}", *found.assumptions]
    notes += [f"to be looked at: {text}" for text in found.unresolved_fields]
    if found.preview is not None:
        estimate = found.preview.estimate
        notes.append(f"about {estimate.rows:,} rows and {estimate.size_bytes:,} bytes")
    return "".join(f"# {printable(note)}\n" for note in notes) + dump(draft_document(found), "yaml")

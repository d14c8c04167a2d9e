"""``hephaes-rpc wizard``: questions in the terminal, from a log that nobody has seen to a spec and a dataset.

Nothing is written before the last question is answered; the spec is complete when its name appears, and so is the
dataset.  A spec goes to a file, YAML or by its name JSON, or, through a sidecar, to the configs of a workspace.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from attrs import evolve, frozen

from hephaes_rpc.cli.call import sidecar
from hephaes_rpc.cli.convert import Asked, RunContext, Stop, convert_all, ready_display, stopping
from hephaes_rpc.cli.draft import draft_document, draft_text
from hephaes_rpc.cli.preview import cell, costs
from hephaes_rpc.cli.serve import add_arguments as add_serve_arguments
from hephaes_rpc.cli.terminal import printable, say
from hephaes_rpc.client import RpcError
from hephaes_rpc.engine.authoring.authored import (
    DraftRequest,
    DraftResult,
    Inspection,
    InspectRequest,
    PreviewRequest,
    TopicInspection,
)
from hephaes_rpc.engine.specs.spec import ConversionSpec, ParquetCompression, ResampleRows, TFRecordCompression
from hephaes_rpc.errors import HephaesError

SHOWN_ROWS = 3
PURPOSES = {
    None: "rows at one topic, the others joined to it",
    "imitation-learning": "imitation learning: observations and actions",
    "time-series": "time series: every number on a regular grid",
    "detection": "detection: images with boxes",
}
NEXT_STATE = "the state of the next row"
CONVERT, SAVE, CONFIG = "save the spec and convert", "save the spec", "save it as a config of the workspace"
AGAIN, LEAVE = "answer again", "leave"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``wizard``."""
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or the folder of a recording")
    add_serve_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, show, save and convert; exit code 130 where Ctrl-C ends it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        hint = "in a script use draft, preview and convert"
        raise HephaesError("unsupported", "wizard asks questions, so stdin and stdout must be a terminal", hint=hint)
    return _Wizard(arguments).run()


@frozen
class _Drafted:
    """A draft with its first rows, and the spec that was made of it."""

    draft: DraftResult
    spec: ConversionSpec
    names: dict[str, Any]


class _Wizard:
    """One dialogue over one log."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from rich.console import Console

        self.arguments = arguments
        self.log, self.stem = arguments.log, Path(arguments.log).stem or "log"
        self.console = Console(highlight=False)

    def run(self) -> int:
        """The dialogue; its exit code."""
        inspection, first = self.drafted(DraftRequest(include_preview=False))
        self.show_topics(inspection)
        while True:
            try:
                found = self.made(self.ask(inspection, first))
            except HephaesError as error:
                if error.kind not in ("unsupported", "invalid_spec"):
                    raise
                say(error.message)
                continue
            self.show(found)
            code = self.act(found)
            if code is not None:
                return code

    def act(self, found: _Drafted) -> int | None:
        """Do what is wished with a draft; the exit code, None to answer again."""
        while True:
            wish = _choice("What now?", {each: each for each in (CONVERT, SAVE, CONFIG, AGAIN, LEAVE)})
            if wish == LEAVE:
                return 0
            if wish == AGAIN:
                return None
            if wish != CONFIG:
                return self.keep(found, convert=wish == CONVERT)
            if self.keep_as_config(found):
                return 0

    # Questions --------------------------------------------------------------------------------------------------------

    def ask(self, inspection: Inspection, first: DraftResult) -> tuple[DraftRequest, float | None]:
        """What is wanted, and the rate of a grid."""
        purposes = {PURPOSES[template]: template for template in (None, *first.templates)}
        template = _choice("What is the dataset for?", purposes)
        topics = {_topic_line(topic): name for name, topic in inspection.topics.items() if topic.undecodable is None}
        wanted = _choices("Which topics?", topics, first.selected_topics)
        request = DraftRequest(template=template, selected_topics=wanted, include_preview=False)
        if template == "imitation-learning":
            request = self.ask_for_action(request, wanted)
        _, rough = self.drafted(request)
        rate = None
        if rough.trigger_topic is not None:
            trigger = _choice(
                "A row for each message of which topic?", {name: name for name in wanted}, rough.trigger_topic
            )
            request = evolve(request, trigger_topic=trigger)
        elif isinstance(rows := _spec(rough).row_strategy, ResampleRows):
            rate = float(_text("How many rows per second?", f"{rows.freq_hz:g}", _rate))
        output_format = _choice("Which format?", {"Parquet": "parquet", "TFRecord": "tfrecord"})
        known = get_args(ParquetCompression if output_format == "parquet" else TFRecordCompression)
        compression = _choice("Which compression?", {name: name for name in known})
        return evolve(request, output_format=output_format, output_compression=compression, include_preview=True), rate

    def ask_for_action(self, request: DraftRequest, topics: Sequence[str]) -> DraftRequest:
        """Where actions come from."""
        _, rough = self.drafted(request)
        action = _spec(rough).features["action"]
        suggested = NEXT_STATE if action.shift else next(iter(_topics_of(action)))
        chosen = _choice("What is the action?", {name: name for name in (NEXT_STATE, *topics)}, suggested)
        if chosen == NEXT_STATE:
            return evolve(request, next_state=True)
        return evolve(request, action_topic=chosen)

    # Engine -----------------------------------------------------------------------------------------------------------

    def drafted(self, request: DraftRequest) -> tuple[Inspection, DraftResult]:
        """What the log holds, and a draft."""
        stop = Stop()
        with stopping(stop), ready_display() as shown:
            from hephaes_rpc.engine.authoring.workbench import draft_log

            context = RunContext(Path(self.log).name, shown, stop)
            return draft_log(self.log, InspectRequest(), request, context, time.perf_counter)

    def made(self, wanted: tuple[DraftRequest, float | None]) -> _Drafted:
        """The draft that is asked for, with rows."""
        from hephaes_rpc.engine.specs.document import SpecDocument, to_dict

        request, rate = wanted
        _, draft = self.drafted(request)
        spec = _spec(draft)
        if rate is not None and isinstance(spec.row_strategy, ResampleRows) and rate != spec.row_strategy.freq_hz:
            spec = evolve(spec, row_strategy=evolve(spec.row_strategy, freq_hz=rate))
            stop = Stop()
            with stopping(stop), ready_display() as shown:
                from hephaes_rpc.engine.authoring.workbench import preview_log

                context = RunContext(Path(self.log).name, shown, stop)
                rows = preview_log(self.log, spec, PreviewRequest(), context, time.perf_counter).result
            notes = [note for note in draft.assumptions if not note.startswith("rows every ")]
            draft = evolve(draft, spec=to_dict(SpecDocument(spec=spec))["spec"], preview=rows, assumptions=notes)
        return _Drafted(draft, spec, {"names": draft.names} if draft.names else {})

    # What is shown ----------------------------------------------------------------------------------------------------

    def show_topics(self, inspection: Inspection) -> None:
        """The topics of the log."""
        from rich.table import Table
        from rich.text import Text

        table = Table("topic", "type", "messages", "rate", title=printable(self.log), title_justify="left")
        for name, topic in inspection.topics.items():
            cells = (name, topic.message_type or "", f"{topic.message_count:,}", _hertz(topic))
            table.add_row(*(Text(printable(text)) for text in cells))
        self.console.print(table)

    def show(self, found: _Drafted) -> None:
        """The first rows, what they cost, and what was assumed."""
        from rich.table import Table
        from rich.text import Text

        draft = found.draft
        for note in draft.assumptions:
            self.console.print(f"- {printable(note)}", markup=False)
        for note in draft.unresolved_fields:
            self.console.print(f"- to be looked at: {printable(note)}", markup=False)
        if draft.preview is not None:
            rows = draft.preview.rows[:SHOWN_ROWS]
            table = Table("column", "type", *(f"row {draft.preview.first_row + k}" for k in range(len(rows))))
            for name, kind in draft.preview.columns.items():
                values = [row.field_data.get(name, row.timestamp_ns) for row in rows]
                table.add_row(*(Text(printable(text)) for text in (name, kind, *map(cell, values))))
            self.console.print(table)
            self.console.print(printable(costs(draft.preview)), markup=False)
        for warning in (*draft.warnings, *(draft.preview.warnings if draft.preview else ())):
            say(f"{self.log}: warning: {warning}")

    # What is kept -----------------------------------------------------------------------------------------------------

    def keep(self, found: _Drafted, *, convert: bool) -> int:
        """Ask where, then save the spec and convert."""
        path = Path(_text("Where does the spec go?", f"{self.stem}.yaml", _file))
        if path.exists() and not _yes(f"{path} exists. Replace it?"):
            return self.keep(found, convert=convert)
        folder, overwrite = Path(), False
        if convert:
            folder = Path(_text("Where does the dataset go?", f"{self.stem}-dataset", _folder))
            if folder.exists() and any(folder.iterdir()):
                overwrite = _yes(f"{folder} is not empty. Replace files that have the names of outputs?")
        _write(path, self.text_for(path, found.draft))
        self.console.print(f"the spec is {printable(str(path))}", markup=False)
        if not convert:
            return 0
        return convert_all(Asked([self.log], found.spec, found.names), folder, overwrite=overwrite)

    def text_for(self, path: Path, draft: DraftResult) -> str:
        """The spec as a file of that name holds it."""
        from hephaes_rpc.engine.specs.document import dump

        if path.suffix.lower() == ".json":
            return dump(draft_document(draft), "json")
        return draft_text(self.log, draft)

    def keep_as_config(self, found: _Drafted) -> bool:
        """Ask for a name, then save the spec in the active workspace; whether that was taken."""
        from hephaes_rpc.engine.specs.document import to_dict

        name = _text("What is the config called?", self.stem, _name)
        try:
            with sidecar(self.arguments) as client:
                params = {"name": name, "spec": to_dict(draft_document(found.draft))}
                made = client.request("conversionConfigs/create", params)
        except RpcError as error:
            say(error.message)
            return False
        self.console.print(f"the config is {printable(made['name'])} ({made['id']})", markup=False)
        return True


def _spec(draft: DraftResult) -> ConversionSpec:
    from hephaes_rpc.engine.specs.document import load

    return load(draft.spec).spec


def _topics_of(feature: Any) -> list[str]:
    from hephaes_rpc.engine.specs.spec import leaves

    return [topic for _, leaf in leaves(feature.source) if (topic := getattr(leaf, "topic", None)) is not None]


def _topic_line(topic: TopicInspection) -> str:
    return printable(f"{topic.topic}  {topic.message_type}  {topic.message_count:,} messages  {_hertz(topic)}")


def _hertz(topic: TopicInspection) -> str:
    return f"{topic.rate_hz:.4g} Hz" if topic.rate_hz else ""


def _write(path: Path, text: str) -> None:
    """A file that is whole or not there."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder, path.name)
        made.write_text(text, encoding="utf-8")
        made.replace(path)


# -- questions; each raises KeyboardInterrupt on Ctrl-C ----------------------------------------------------------------


def _choice(question: str, choices: dict[str, Any], default: Any = None) -> Any:
    import questionary

    titles = {value: title for title, value in choices.items()}
    made = [questionary.Choice(title, value=title) for title in choices]
    return choices[questionary.select(question, made, default=titles.get(default)).unsafe_ask()]


def _choices(question: str, choices: dict[str, str], checked: Sequence[str]) -> list[str]:
    import questionary

    made = [questionary.Choice(title, value=name, checked=name in checked) for title, name in choices.items()]
    found: list[str] = questionary.checkbox(
        question, made, validate=lambda names: bool(names) or "at least one topic"
    ).unsafe_ask()
    return found


def _text(question: str, default: str, check: Any) -> str:
    import questionary

    return str(questionary.text(question, default=default, validate=check).unsafe_ask()).strip()


def _yes(question: str) -> bool:
    import questionary

    return bool(questionary.confirm(question, default=False).unsafe_ask())


def _rate(text: str) -> bool | str:
    try:
        rate = float(text)
    except ValueError:
        return "a number"
    return 0 < rate <= 1e9 or "a number greater than 0"


def _name(text: str) -> bool | str:
    return bool(text.strip()) or "a name"


def _file(text: str) -> bool | str:
    path = Path(text.strip())
    if not text.strip() or path.is_dir():
        return "the name of a file"
    return path.parent.is_dir() or f"there is no folder {path.parent}"


def _folder(text: str) -> bool | str:
    path = Path(text.strip())
    return (bool(text.strip()) and (path.is_dir() or not path.exists())) or "the name of a folder"

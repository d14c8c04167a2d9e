"""What the commands that tell of a log's quality share, and ``hephaes-rpc check``: is it good enough?

Exit codes of ``check``: 0 every log is, 3 one is not, 2 one could not be read.
"""

import argparse
import json
from typing import TYPE_CHECKING

import attrs

from hephaes_rpc.cli.terminal import display, printable, say
from hephaes_rpc.engine.logs.opening import open_log
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.quality import Quality

if TYPE_CHECKING:
    from hephaes_rpc.engine.quality.gates import Verdict

NOT_GOOD_ENOUGH = 3
BAD_INPUT = 2
_SEVERITIES = ("info", "warning", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``check``."""
    parser.add_argument("logs", metavar="LOG", nargs="+", help="a .bag, .mcap or .db3 file, or a recording's folder")
    parser.add_argument(
        "--gate",
        metavar="GATE",
        action="append",
        default=[],
        help="such as 'camera >= 28 Hz, gap < 200 ms'; repeatable",
    )
    parser.add_argument("--min-score", metavar="N", type=int, default=0, help="the least score, of 100 (default: any)")
    parser.add_argument(
        "--fail-on",
        choices=(*_SEVERITIES, "never"),
        help="a finding so severe fails a log (default: error; never, where --gate or --min-score are given)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line per log")


def run(arguments: argparse.Namespace) -> int:
    """Judge each log by all its messages; print what was found."""
    from hephaes_rpc.engine.specs.gates import GateError, parse_gate

    for gate in arguments.gate:
        try:
            parse_gate(gate)
        except GateError as error:
            raise HephaesError("invalid_spec", f"--gate {error}") from None
    codes = [_check(log, arguments) for log in arguments.logs]
    return BAD_INPUT if BAD_INPUT in codes else max(codes)


def _check(path: str, arguments: argparse.Namespace) -> int:
    from hephaes_rpc.engine.quality.analysis import quality_of, read
    from hephaes_rpc.engine.quality.gates import judge
    from hephaes_rpc.engine.timeline.window import WHOLE

    try:
        with display() as shown, open_log(path) as log:

            def told(done: int, total: int) -> None:
                shown.update(path, "analyze", done, total, "bytes")

            found = read(log, told)
            quality = quality_of(found)
            gates = judge(arguments.gate, log, WHOLE, told, found)
    except HephaesError as error:
        if arguments.json:
            print(json.dumps({"log": path, "error": {"kind": error.kind, "message": error.message}}), flush=True)
        else:
            say(f"{path}: {error.message}")
        return BAD_INPUT
    reasons = _reasons(quality, gates, arguments)
    if arguments.json:
        document = {"log": path, "passed": not reasons, "reasons": reasons, **attrs.asdict(quality)}
        print(json.dumps({**document, "gates": [attrs.asdict(gate) for gate in gates]}), flush=True)
    else:
        print(printable(f"{path}: {quality.score.value} of 100, {'FAILED' if reasons else 'passed'}"))
        for line in (*lines(quality), *(_gate(gate) for gate in gates)):
            print(printable(f"  {line}"), flush=True)
    return NOT_GOOD_ENOUGH if reasons else 0


def _reasons(quality: Quality, gates: "list[Verdict]", arguments: argparse.Namespace) -> list[str]:
    """Why a log is not good enough."""
    asked = bool(arguments.gate) or arguments.min_score > 0
    least = arguments.fail_on or ("never" if asked else "error")
    found = [gate.message for gate in gates if not gate.passed]
    if quality.score.value < arguments.min_score:
        found.append(f"its score is {quality.score.value}, at least {arguments.min_score} is demanded")
    if least in _SEVERITIES:
        severe = _SEVERITIES[_SEVERITIES.index(least) :]
        found += [finding.message for finding in quality.findings if finding.severity in severe]
    return found


def lines(quality: Quality) -> list[str]:
    """The findings, a line each."""
    return [f"{finding.severity:7}  {finding.message}" for finding in quality.findings]


def _gate(gate: "Verdict") -> str:
    return f"{'passed' if gate.passed else 'FAILED':7}  {gate.message}"

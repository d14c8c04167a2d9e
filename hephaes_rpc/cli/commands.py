"""The commands, their options, and what becomes of errors.

Exit codes: 0 done; 1 a request, a disk or a worker failed; 2 bad input or bad usage; 3 a log is not good enough; 130
stopped by Ctrl-C, 143 by SIGTERM; 141 the reader of our output has gone.
"""

import importlib
import os
import sys
from typing import NamedTuple, NoReturn

from hephaes_rpc.cli.parsing import BAD_USAGE, Parser
from hephaes_rpc.errors import CancelledByClient, HephaesError
from hephaes_rpc.imports import importing

OUR_FAILURES = frozenset(("disk_full", "io_error", "worker_died", "bug"))
FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, BAD_USAGE, 130, 141


class Command(NamedTuple):
    """A subcommand: ``module`` has ``add_arguments(parser)`` and ``run(arguments) -> exit code``.

    That of ``serve`` shows its help only; what serves begins in ``__main__``.
    """

    module: str
    summary: str


COMMANDS = {
    "serve": Command("serve", "be the sidecar: JSON-RPC on stdin and stdout"),
    "convert": Command("convert", "convert logs to Parquet or TFRecord"),
    "plan": Command("plan", "show what a conversion would write, without writing it"),
    "inspect": Command("inspect", "show what a log holds"),
    "report": Command("report", "write an HTML page that shows a log"),
    "check": Command("quality", "tell whether logs are good enough, by all their messages"),
    "draft": Command("draft", "write a conversion spec for a log"),
    "preview": Command("preview", "show rows of a conversion, without making it"),
    "wizard": Command("wizard", "make a spec and a dataset by answering questions"),
    "cat": Command("cat", "print decoded messages as JSON lines"),
    "salvage": Command("salvage", "write what can be read of a log to a new MCAP file"),
    "call": Command("call", "start a sidecar, make one call, print the result"),
    "openrpc": Command("openrpc", "print the OpenRPC document of the sidecar"),
    "schema": Command("schema", "print the JSON Schema of conversion specs"),
    "demo": Command("demo", "drive the sidecar over a small log of the repository"),
    "version": Command("version", "print the version"),
}


def run(argv: list[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        return _run(argv)
    except CancelledByClient as error:
        _complain(error.message)
        return INTERRUPTED
    except HephaesError as error:
        _complain(error.message if error.hint is None else f"{error.message} ({error.hint})")
        return FAILED if error.kind in OUR_FAILURES else BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered goes nowhere when Python exits
        return BROKEN_PIPE


def _run(argv: list[str]) -> int:
    name = argv[0] if argv else ""
    if name not in COMMANDS:
        _tell_usage(argv)
    command = COMMANDS[name]
    with importing():
        module = importlib.import_module(f"hephaes_rpc.cli.{command.module}")
    described = f"{command.summary[0].upper()}{command.summary[1:]}."
    parser = Parser(prog=f"hephaes-rpc {name}", description=described, allow_abbrev=False)
    module.add_arguments(parser)
    arguments = parser.parse_args(argv[1:])
    code: int = module.run(arguments)
    sys.stdout.flush()
    return code


def _tell_usage(argv: list[str]) -> NoReturn:
    """Print the help or what is wrong, and exit."""
    parser = Parser(prog="hephaes-rpc", description="Robot logs in, training datasets out.", allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary)
    parser.parse_args(argv)
    parser.error("the command comes first")


def _complain(message: str) -> None:
    from hephaes_rpc.cli.terminal import say

    say(f"hephaes-rpc: {message}")

"""The commands, their options, and what becomes of errors.

Exit codes: 0 done; 1 a request, a disk or a worker failed; 2 bad input or bad usage; 130 stopped by Ctrl-C, 143 by
SIGTERM; 141 the reader of our output has gone.
"""

import argparse
import difflib
import importlib
import os
import re
import sys
from typing import NamedTuple, NoReturn

from hephaes_rpc.cli import serve
from hephaes_rpc.errors import CancelledByClient, HephaesError

OUR_FAILURES = frozenset(("disk_full", "io_error", "worker_died", "bug"))
FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from ([^)]*)\)")


class Command(NamedTuple):
    """A subcommand: ``module`` has ``add_arguments(parser)`` and ``run(arguments) -> exit code``."""

    module: str
    summary: str


COMMANDS = {
    "convert": Command("convert", "convert logs to Parquet or TFRecord"),
    "inspect": Command("inspect", "show what a log holds"),
    "cat": Command("cat", "print decoded messages as JSON lines"),
    "call": Command("call", "start a sidecar, make one call, print the result"),
    "openrpc": Command("openrpc", "print the OpenRPC document of the sidecar"),
    "demo": Command("demo", "drive the sidecar over a small log of the repository"),
    "version": Command("version", "print the version"),
}


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose error is one sentence, with the nearest name where a choice is unknown."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with code 2."""
        if match := _CHOICE.search(message):
            choices = [choice.strip(" '") for choice in match[2].split(",")]
            near = difflib.get_close_matches(match[1], choices, n=1)
            if near:
                message += f"; did you mean {near[0]!r}?"
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


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
    parser = Parser(prog="hephaes-rpc", description="Robot logs in, training datasets out.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    serve.add_arguments(commands.add_parser("serve", help="be the sidecar: JSON-RPC on stdin and stdout"))
    module = None
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=command.summary, description=f"{command.summary[0].upper()}{command.summary[1:]}."
        )
        if argv and argv[0] == name:  # the others' options need no import
            module = importlib.import_module(f"hephaes_rpc.cli.{command.module}")
            module.add_arguments(subparser)
    arguments = parser.parse_args(argv)
    if module is None:
        parser.error("the command comes first")
    code: int = module.run(arguments)
    sys.stdout.flush()
    return code


def _complain(message: str) -> None:
    from hephaes_rpc.cli.terminal import say

    say(f"hephaes-rpc: {message}")

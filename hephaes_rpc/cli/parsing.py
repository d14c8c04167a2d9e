"""The parser of every command line of ours."""

import argparse
import re
from typing import NoReturn

BAD_USAGE = 2
_CHOICE = r"invalid choice: '([^']*)' \(choose from ([^)]*)\)"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose error is one sentence, with the nearest name where a choice is unknown."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with code 2."""
        if match := re.search(_CHOICE, message):
            import difflib

            choices = [choice.strip(" '") for choice in match[2].split(",")]
            near = difflib.get_close_matches(match[1], choices, n=1)
            if near:
                message += f"; did you mean {near[0]!r}?"
        self.exit(BAD_USAGE, f"{self.prog}: {message}\n")

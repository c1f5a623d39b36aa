"""What all commands have in common: a fault is one line, a closed pipe ends them quietly, help names them as called.

`adapter/__main__.py`, `workers/__main__.py` and `freshgate_cli/` use it; it knows none of their commands.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO, cast

from redis.exceptions import RedisError

from freshgate.errors import FreshgateError, SettingsError
from freshgate.printable import EscapingStream
from freshgate.state.store import unavailable

PROGRAM = "freshgate"
LONG_FORM = re.compile(r"python -m (adapter|workers)\b")
FAILED = 1
SETTINGS_WRONG = 2
# A shell's code for a program that wrote into a closed pipe: 128 + SIGPIPE.
PIPE_CLOSED = 141


def run_command(name: str, command: Callable[[], int]) -> int:
    """Run a command and return its exit code: 2 for a setting that must be corrected, 1 for every other fault.

    A fault is printed as one line on stderr, which begins with `name`. Nothing that is printed acts on the terminal.
    """
    output, errors = EscapingStream(sys.stdout), EscapingStream(sys.stderr)
    with redirect_stdout(cast(TextIO, output)), redirect_stderr(cast(TextIO, errors)):
        return _run(name, command)


def _run(name: str, command: Callable[[], int]) -> int:
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # `freshgate events | head -1` has what it wanted. Python flushes once more at its end, and must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except RedisError as error:
        text, code = str(unavailable(error)), FAILED
    except SettingsError as error:
        text, code = str(error), SETTINGS_WRONG
    except (FreshgateError, OSError) as error:
        text, code = str(error), FAILED
    print(f"{name}: {text}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """A parser whose help is written with `python -m …` and shows `freshgate …` to those who called that."""

    def format_help(self) -> str:
        text = super().format_help()
        words = self.prog.split()
        # `freshgate workers deliver` is the only short form of a process; it takes the operator's commands, too.
        short = f"{PROGRAM} workers" if words[:2] == [PROGRAM, "workers"] else PROGRAM
        return LONG_FORM.sub(short, text) if words[0] == PROGRAM else text

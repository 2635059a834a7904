"""Where a command's text goes: a file, written whole or not at all, or the terminal, in colour."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

import click

from ..ir.errors import CovectorError, UsageError
from ..ir.writing import write_whole
from .progress import quiet

BAD_PROGRAM: Final = 1
BAD_USAGE: Final = 2


def write(text: str, output: str | None, *, highlight: bool = False) -> None:
    """Write text, ending in one newline, to a file or to standard output."""
    quiet()
    text = text.rstrip("\n") + "\n"
    if output is None or output == "-":
        if highlight and use_colour():
            from .highlight import in_terminal

            click.echo(in_terminal(text), nl=False, color=True)
        else:
            click.echo(text, nl=False)
        return
    write_file(output, text.encode())


def write_file(path: str | Path, content: bytes) -> None:
    """Replace a file in one step, so that nobody ever sees a part of it. Raises UsageError."""
    try:
        write_whole(path, [content])
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def use_colour() -> bool:
    """Colour only on a terminal, and not where NO_COLOR asks for none."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def report(error: CovectorError, *, as_json: bool = False) -> None:
    """One error on standard error: its kind, unless it is about the command, and all it says."""
    quiet()
    if as_json:
        click.echo(json.dumps(error.as_json(), indent=1), err=True)
        return
    kind = "error" if isinstance(error, UsageError) else type(error).__name__
    click.echo(f"{kind}: {error}", err=True)


def exit_status(error: CovectorError) -> int:
    """1 for a program that is wrong, 2 for a command that is."""
    return BAD_USAGE if isinstance(error, UsageError) else BAD_PROGRAM

"""What watches a pipeline: hooks before and after each pass, and the printers that use them."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..ir.equality import modules_equal
from ..ir.errors import UsageError
from ..ir.module import Module
from ..ir.printer import module_sections, write_elided, write_inline

if TYPE_CHECKING:
    from ..ir.graph import Constant
    from .base import Pass
    from .settings import Settings

SHOWN: Final = 64
"""Elements of a constant that prints to the terminal show, if not told otherwise."""


class Observer:
    """Sees the steps of a pipeline. Every hook may be left out."""

    def start(self, module: Module) -> None:
        """Before the first pass."""

    def before(self, step: Pass, module: Module) -> None:
        """Before a pass."""

    def after(self, step: Pass, before: Module, after: Module) -> None:
        """After a pass whose result was verified."""

    def skipped(self, step: Pass) -> None:
        """In place of a pass that is left out."""

    def failed(self, step: Pass, before: Module, after: Module | None, error: Exception) -> None:
        """After a pass that failed; `after` is what it made, if that was found wrong."""


def banner(when: str, step: Pass | str) -> str:
    """The line above a print, as MLIR writes it: viewers of its dumps read ours."""
    return f"// -----// IR Dump {when} {step} //----- //"


def program_text(module: Module, *, locations: bool = True, elide_larger: int | None = None) -> str:
    """A module as text, without the contents of constants larger than that."""

    def write(constant: Constant) -> str:
        large = elide_larger is not None and constant.type.size > elide_larger
        return write_elided(constant) if large else write_inline(constant)

    return "\n".join([*module_sections(module, write, locations), ""])


class Printer(Observer):
    """Prints programs, or what changed in them, to standard error."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def before(self, step: Pass, module: Module) -> None:
        if self.settings.print_before_all or step.name in self.settings.print_before:
            self.show(banner("Before", step), module)

    def after(self, step: Pass, before: Module, after: Module) -> None:
        if self.settings.print_after_change and not modules_equal(before, after):
            print(banner("After", step), file=sys.stderr)
            print(self.difference(before, after), end="", file=sys.stderr)
        elif self.settings.print_after_all or step.name in self.settings.print_after:
            self.show(banner("After", step), after)

    def failed(self, step: Pass, before: Module, after: Module | None, error: Exception) -> None:
        if self.settings.print_after_failure:
            self.show(banner("After", f"{step} Failed"), before if after is None else after)

    def show(self, title: str, module: Module) -> None:
        print(f"{title}\n{self.text(module)}", file=sys.stderr)

    def text(self, module: Module) -> str:
        limit = self.settings.elide_larger
        return program_text(
            module,
            locations=self.settings.print_locations,
            elide_larger=SHOWN if limit is None else limit,
        )

    def difference(self, before: Module, after: Module) -> str:
        """The lines that changed, as `diff -u` shows them; in colour on a terminal."""
        old, new = self.text(before).splitlines(), self.text(after).splitlines()
        lines = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
        if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
            lines = [_coloured(line) for line in lines]
        return "".join(f"{line}\n" for line in lines)


def _coloured(line: str) -> str:
    code = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
    return f"\x1b[{code}m{line}\x1b[0m" if code else line


class FileWriter(Observer):
    """Writes a numbered file for each step into a folder, after those of earlier pipelines."""

    _numbers: dict[str, int] = {}  # noqa: RUF012 - shared on purpose: one count for each folder

    def __init__(self, folder: str, settings: Settings) -> None:
        self.folder = Path(folder)
        self.settings = settings

    def start(self, module: Module) -> None:
        self.write("input", module)

    def after(self, step: Pass, before: Module, after: Module) -> None:
        self.write(step.name, after)

    def failed(self, step: Pass, before: Module, after: Module | None, error: Exception) -> None:
        if after is not None:
            self.write(f"{step.name}.failed", after)

    def write(self, name: str, module: Module) -> None:
        key = os.path.realpath(self.folder)
        number = self._numbers.get(key, 0)
        self._numbers[key] = number + 1
        text = program_text(
            module,
            locations=self.settings.print_locations,
            elide_larger=self.settings.elide_larger,
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{number:03}_{name}.cvir").write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write to {self.folder}: {error.strerror}") from None

"""What can be wrong with a program under a pipeline, as tests that smaller programs are put to."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from ..ir.errors import CovectorError, UsageError
from ..ir.interpret import evaluate
from ..ir.module import Module
from ..ir.reproducer import explain
from ..passes.base import Pass
from ..passes.observers import program_text
from .checking import Compare, Run, check_pipeline, further_inputs
from .data import filled, finite_inputs

Arrays = Sequence[Any]


class Symptom(Protocol):
    """Something that is wrong. `arrays` are inputs of the entry; without, random ones are drawn."""

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes under which it shows."""

    def shows(self, module: Module, arrays: Arrays | None = None) -> bool:
        """Whether the program has it. A program that fails in another way has it not."""

    def describe(self) -> str:
        """What is wrong, in one line."""


@dataclass(frozen=True)
class Failure:
    """A pass raises, or what it returns is no program."""

    passes: tuple[Pass, ...]
    kind: str
    claim: str

    @classmethod
    def of(cls, passes: tuple[Pass, ...], error: CovectorError) -> Failure:
        return cls(passes, type(error).__name__, error.claim)

    def shows(self, module: Module, arrays: Arrays | None = None) -> bool:
        error = failure(self.passes, module)
        if error is None or type(error).__name__ != self.kind:
            return False
        return signature(error.claim) == signature(self.claim)

    def describe(self) -> str:
        return f"{self.kind}: {self.claim}"


def failure(passes: Sequence[Pass], module: Module) -> CovectorError | None:
    """The error that a pipeline raises on a program, if it does."""
    name = "the program"
    try:
        module.verify()
        for step in passes:
            name = step.name
            module = step.run(module).verify()
    except Exception as error:
        return explain(name, error)
    return None


def signature(claim: str) -> str:
    """A claim without names, numbers and types, which change as a program shrinks."""
    claim = re.sub(r"'[^']*'|`[^`]*`|\"[^\"]*\"", "_", claim)
    claim = re.sub(r"~?\b\w+\[[\d, ]*\]|@[\w.]+|\b[a-z]\b|\b\w*\d\w*\b", "_", claim)
    return re.sub(r"[\[(][_, ]*[\])]|\b_\b[,\s]*", "_", claim)


SEEDS: Final = 3
"""How many random inputs a program is tried on where none are given."""


@dataclass(frozen=True)
class WrongNumbers:
    """A pass breaks its law, XLA computes something else than NumPy, or JAX has another result."""

    passes: tuple[Pass, ...]
    seed: int = 0
    xla: Run | None = None
    jax: Compare | None = None
    at: str | None = None

    def shows(self, module: Module, arrays: Arrays | None = None) -> bool:
        return _for_some_inputs(
            module, arrays, self.seed, self.at, lambda given: self._on(module, given)
        )

    def _on(self, module: Module, arrays: Arrays) -> bool:
        ways: Any = {"xla": self.xla, "jax": self.jax}
        reports = check_pipeline(self.passes, module, arrays, seed=self.seed, **ways)
        return any(not report.ok for report in reports)

    def describe(self) -> str:
        return "wrong numbers"


@dataclass(frozen=True)
class NotANumber:
    """Outputs are NaN on finite inputs."""

    passes: tuple[Pass, ...]
    seed: int = 0
    at: str | None = None

    def shows(self, module: Module, arrays: Arrays | None = None) -> bool:
        return _for_some_inputs(
            module, arrays, self.seed, self.at, lambda given: self._on(module, given)
        )

    def _on(self, module: Module, arrays: Arrays) -> bool:
        types = module.main.input_types
        for step in self.passes:
            module = step.run(module).verify()
        if module.main.input_types != types:
            arrays = further_inputs(module.main, arrays, self.seed)
        return any(has_nan(y) for y in evaluate(module.main, arrays))

    def describe(self) -> str:
        return "NaN"


def _for_some_inputs(
    module: Module,
    arrays: Arrays | None,
    seed: int,
    at: str | None,
    test: Callable[[Arrays], bool],
) -> bool:
    """Whether a test holds on these arrays, or on some random ones of which `at` fills those that
    the program still has. Errors are another symptom."""
    main = module.main
    try:
        module.verify()
        if arrays is not None:
            return test(arrays)
        drawn = (finite_inputs(main, seed + i, evaluate) for i in range(SEEDS))
        return any(test(filled(main, x, at, lenient=True) if at else x) for x in drawn)
    except Exception:
        return False


def has_nan(x: Any) -> bool:
    array = np.asarray(x)
    if array.dtype.kind == "V" and array.dtype.names is None:  # small floats
        array = array.astype(np.float32)
    return array.dtype.kind in "fc" and bool(np.isnan(array).any())


@dataclass(frozen=True)
class Predicate:
    """A command of the user's exits with 0 when it is given a file with the program."""

    command: str
    passes: tuple[Pass, ...] = ()

    def shows(self, module: Module, arrays: Arrays | None = None) -> bool:
        try:
            for step in self.passes:
                module = step.run(module).verify()
        except Exception:
            return False
        return self.accepts(module)

    def accepts(self, module: Module) -> bool:
        """Whether the command exits with 0 for the program as it is."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "program.cvir"
            file.write_text(program_text(module), encoding="utf-8")
            words = shlex.split(self.command)
            command = [word.replace("%s", str(file)) for word in words]
            if "%s" not in self.command:
                command.append(str(file))
            try:
                return subprocess.run(command, capture_output=True, check=False).returncode == 0
            except OSError as error:
                raise UsageError(f"cannot run {words[0]}: {error.strerror}") from None

    def describe(self) -> str:
        return f"{self.command} exits with 0"


def diagnose(
    passes: tuple[Pass, ...],
    module: Module,
    *,
    seed: int = 0,
    xla: Run | None = None,
    at: str | None = None,
) -> Symptom | None:
    """The first of: a failure, NaN, wrong numbers."""
    error = failure(passes, module)
    if error is not None:
        return Failure.of(passes, error)
    found: Symptom
    for found in (NotANumber(passes, seed, at), WrongNumbers(passes, seed, xla, None, at)):
        if found.shows(module):
            return found
    return None

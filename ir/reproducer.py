"""Files from which a failure can be repeated: the program, what was done to it, and versions.

    // RUN: covector opt --run-reproducer %s
    // passes: linearize,cse
    // load: --load my_passes.py
    // settings: verify_roundtrip=true
    // versions: covector 0.1.0, python 3.13.1, numpy 2.4.0, jax 0.12.0
    // error: VerifyError: y is made twice
    module @main { ... }

The program is the one that the failing pass was given, and `passes` what was still to be run.
`load` names the files that define passes of the user's own; reading a reproducer runs none of them.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .errors import CovectorError, PassError, UsageError
from .graph import Equation, Thunk
from .module import Module
from .printer import module_sections, write_elided, write_inline
from .writing import write_whole

RUN_LINE: Final = "// RUN: covector opt --run-reproducer %s"
LARGEST: Final = 64 << 20
"""Bytes of constants beyond which their contents are left out."""

_FIELD: Final = re.compile(r"// (passes|load|lower|settings|versions|error): ?(.*)")


@dataclass(frozen=True)
class Reproducer:
    """A program, what was done to it (`lower`: platforms to lower it for), and how that failed."""

    module: Module
    passes: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    lower: str = ""
    load: str = ""

    def text(self) -> str:
        """The contents of the file."""
        size = sum(c.type.nbytes for c in self.module.constants())
        write = write_inline if size <= LARGEST else write_elided
        settings = " ".join(f"{k}={v}" for k, v in self.settings.items())
        header = {
            "passes": self.passes,
            "load": self.load,
            "lower": self.lower,
            "settings": settings,
            "versions": _versions(),
            "error": self.error.partition("\n")[0],
        }
        lines = [RUN_LINE, *(f"// {k}: {v}" for k, v in header.items() if v)]
        return "\n".join([*lines, *module_sections(self.module, write), ""])

    def save(self, path: str | Path | None = None) -> Path:
        """Write the file, whole or not at all; without a path, or where there it cannot be
        written, into the temporary folder.

        The name there follows from the contents: a failure that repeats fills one file.
        """
        text = self.text().encode()
        if path is not None:
            with suppress(OSError):
                write_whole(path, [text])
                return Path(path)
        import hashlib
        import tempfile

        digest = hashlib.blake2b(text, digest_size=4).hexdigest()
        path = Path(tempfile.gettempdir()) / f"covector-reproducer-{digest}.cvir"
        write_whole(path, [text], follow=False)  # others can make links there
        return path


def read_reproducer(text: str, file: str) -> Reproducer:
    """A reproducer from its text. Raises UsageError for text that is none."""
    if not text.startswith(RUN_LINE):
        raise UsageError(
            f"{file} is not a reproducer",
            hint="reproducers are written where a pass or lowering fails",
        )
    from .parser import parse

    found: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            break
        found[match.group(1)] = match.group(2)
    settings = dict(part.split("=", 1) for part in found.get("settings", "").split())
    return Reproducer(
        parse(text, file=file, verify=False),
        found.get("passes", ""),
        settings,
        found.get("error", ""),
        found.get("lower", ""),
        found.get("load", ""),
    )


def keep(
    error: CovectorError,
    module: Module,
    *,
    passes: str = "",
    settings: Mapping[str, str] | None = None,
    lower: str = "",
    path: str | None = None,
    files: Iterable[str] = (),
) -> None:
    """Write a reproducer and have the error name it. `files` define passes of the user's own.

    `path` says where, or the environment variable COVECTOR_REPRODUCER; `off` writes none. If the
    file cannot be written there is none: the error itself matters more.
    """
    path = path or os.environ.get("COVECTOR_REPRODUCER")
    if path == "off" or error.reproducer is not None:
        return
    claim = f"{type(error).__name__}: {error.claim}"
    try:
        load = " ".join(f"--load {shlex.quote(file)}" for file in files)
        found = Reproducer(module, passes, settings or {}, claim, lower, load)
        error.reproducer = str(found.save(path))
        error.load = f" {load}" if load else ""
    except Exception:
        return


def explain(what: str, error: Exception) -> CovectorError:
    """An error of ours as it is; for any other, a PassError that says where it was raised, and at
    which equation."""
    if isinstance(error, CovectorError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    said = f": {error}" if str(error) else ""
    hint = f"raised at {place}" if place else None
    claim = f"{what} failed with {type(error).__name__}{said}"
    return PassError(claim, _equation_at(error), hint=hint)


def _equation_at(error: Exception) -> Equation | None:
    """The equation that was at work: the `eqn` of the innermost frame that has one."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        eqn = frame.f_locals.get("eqn")
        found = eqn if isinstance(eqn, Equation) else found
    return found


def runs_rules_of_users(error: Exception) -> bool:
    """Whether an error was raised while a rule that is Python was asked for its graph."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is Thunk.__call__.__code__ for frame, _ in frames)


def _versions() -> str:
    """The versions of what may matter."""
    import importlib.metadata

    found = [f"python {platform.python_version()}"]
    for name in ("covector", "numpy", "ml_dtypes", "jax", "jaxlib"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)

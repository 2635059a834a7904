"""Where in the user's source an operation came from, and the variable that it was assigned to.

Recording asks once for each operation, so everything is remembered: for a code object, whether it
is the user's; for an instruction of it, its `Site`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from ..ir.graph import Location, Value
from .jax_compat import exclude_from_tracebacks, is_library_file, raw_frames
from .source_names import RETURNED, Names, assigned_names, returns_variable


class Site:
    """A place in the user's source: its location, and the targets of a value assigned there."""

    __slots__ = ("location", "names")

    def __init__(self, location: Location, names: Names | None) -> None:
        self.location = location
        self.names = names


class _UserCode:
    """A code object of the user's, with the sites known so far, by instruction offset."""

    __slots__ = ("_assigned", "_positions", "code", "file", "sites")

    def __init__(self, code: CodeType) -> None:
        self.code = code  # keeps its id from being reused
        self.file = shown_path(code.co_filename)
        self.sites: dict[int, Site] = {}
        self._positions = list(code.co_positions())
        self._assigned = assigned_names(code.co_filename)

    def site(self, offset: int) -> Site:
        line, end_line, column, end_column = self._positions[offset // 2]
        location = Location(
            self.file,
            line if line is not None else self.code.co_firstlineno,
            column + 1 if column is not None else 0,
        )
        names = self._assigned.get((line, end_line, column, end_column))  # type: ignore[arg-type]
        site = self.sites[offset] = Site(location, names)
        return site


_CODES: Final[dict[int, _UserCode | CodeType]] = {}
"""By id of a code object: what is known of the user's, or the code object itself if it is not."""

_LIBRARIES: Final[list[str]] = []


def register_library(directory: str | Path) -> None:
    """Treat the files below a directory as a library's: locations name the line that called it."""
    prefix = os.path.join(os.path.abspath(directory), "")
    _LIBRARIES.append(prefix)
    exclude_from_tracebacks(prefix)
    _CODES.clear()


def shown_path(file: str) -> str:
    """Relative to the working directory for files below it, else as it is."""
    here = os.path.join(os.getcwd(), "")
    return file[len(here) :] if file.startswith(here) else file


def find_site(frame: FrameType | None) -> tuple[Site | None, FrameType | None]:
    """The innermost place of the user's at or above a frame, and the frame called from there."""
    known = _CODES
    inner = None
    while frame is not None:
        code = frame.f_code
        found = known.get(id(code))
        if found is None:
            found = _classify(code)
        if found.__class__ is _UserCode:
            offset = frame.f_lasti
            return found.sites.get(offset) or found.site(offset), inner
        inner = frame
        frame = frame.f_back
    return None, None


def place_of(site: Site | None, name_stack: Any) -> Location | None:
    """The location of an operation, with JAX's name stack there."""
    if site is None:
        return None
    location, stack = site.location, name_stack.stack
    return _scoped(location, stack) if stack else location


@lru_cache(maxsize=4096)
def _scoped(location: Location, stack: tuple[Any, ...]) -> Location:
    """With the named scopes of a name stack, which names transformations too."""
    names = [part.name for part in stack if type(part).__name__ == "Scope"]
    return location._replace(scope="/".join(names))


def find_user_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's at or above a frame."""
    while frame is not None:
        if _classify(frame.f_code).__class__ is _UserCode:
            return frame
        frame = frame.f_back
    return None


def _classify(code: CodeType) -> _UserCode | CodeType:
    found = _CODES.get(id(code))
    if found is None:
        file = code.co_filename
        library = file.startswith("<frozen ") or is_library_file(file)
        found = _CODES[id(code)] = code if library else _UserCode(code)
    return found


def find_named_site(site: Site, inner: FrameType | None) -> tuple[Site, FrameType | None]:
    """The place whose assignment names a value: that of the call, if a function returns the value
    straight to the user's code.

    `inner` is the frame called from the place, as find_site gives it; so is what comes with the
    answer.
    """
    while site.names is RETURNED and inner is not None:
        returning = inner.f_back
        assert returning is not None
        caller, called = find_site(returning.f_back)
        if caller is None or called is not None:  # called by a library, tracing perhaps
            break
        site, inner = caller, returning
    return site, inner


Variable = tuple[str, Location, FrameType | None]
"""A variable, the place of the assignment to it, and the call in which it was made."""


@dataclass
class Assignments:
    """Where values were assigned to variables, while someone collects that.

    places: of each named value. calls: the call of a function of the user's that made a value.
    passed_on: for each call that returned a variable, the value that it had last, and the variables
    that callers assigned it to, with the calls of these. frames: the calls of the user's functions.
    """

    places: dict[Value, Location] = field(default_factory=dict)
    calls: dict[Any, FrameType | None] = field(default_factory=dict)
    passed_on: dict[FrameType, tuple[Any, list[Variable]]] = field(default_factory=dict)
    frames: dict[FrameType, None] = field(default_factory=dict)
    _seen: set[FrameType] = field(default_factory=set)

    def see(self, frame: FrameType | None) -> None:
        """Remember the calls that an operation was recorded in."""
        while frame is not None and frame not in self._seen:
            self._seen.add(frame)
            if _classify(frame.f_code).__class__ is _UserCode:
                self.frames[frame] = None
            frame = frame.f_back

    def follow(self, site: Site, inner: FrameType | None, outputs: tuple[Any, ...]) -> None:
        """Note the variables of callers that an assigned value becomes: `z = f(x)`, where f ends
        with `return h`, is a name of the value of h in f."""
        found: list[Variable] = []
        first = inner.f_back if inner is not None else None
        self.calls.update(dict.fromkeys(outputs, first))
        frame, names = first, site.names or ()
        while frame is not None and len(names) == 1 and names[0]:
            if not returns_variable(frame.f_code.co_filename, site.location.line, names[0]):
                break
            caller, called = find_site(frame.f_back)
            if caller is None or called is not None:  # called by a library
                break
            site, below = find_named_site(caller, frame)
            frame, names = below.f_back if below is not None else None, site.names or ()
            if len(names) == 1 and names[0]:
                found.append((names[0], site.location, frame))
        if found and first is not None and len(outputs) == 1:
            self.passed_on[first] = (outputs[0], found)


_NAMED: ContextVar[Assignments | None] = ContextVar("named", default=None)


@contextmanager
def collecting_names() -> Iterator[Assignments]:
    """What is assigned to variables inside of the block."""
    named = Assignments()
    token = _NAMED.set(named)
    try:
        yield named
    finally:
        _NAMED.reset(token)


def collected_names() -> Assignments | None:
    """Where assignments are noted, if someone collects them."""
    return _NAMED.get()


@dataclass(slots=True)
class Naming:
    """What one evaluation of an expression that is assigned has recorded so far.

    `operations` are the outputs of each operation; the last are the value. As long as the function
    called from there has the same frame, the expression is still being computed.
    """

    site: Site
    frame: FrameType | None
    operations: list[tuple[Any, ...]]

    def apply(self) -> None:
        """Name the value, where the targets fit what was recorded."""
        names = self.site.names or ()
        values = self.operations[-1]
        if len(values) != len(names) and len(self.operations) == len(names):
            values = tuple(value for outputs in self.operations for value in outputs)
        if len(values) != len(names):
            return
        for name, value in zip(names, values, strict=True):
            if value.__class__ is Value and value.name is None:
                value.name = name
                if name is not None and (named := _NAMED.get()) is not None:
                    named.places[value] = self.site.location


@lru_cache(maxsize=4096)
def site_of_traceback(traceback: Any) -> Site | None:
    """The user's place in a traceback of JAX's; None for one inside of library functions only."""
    if traceback is None:
        return None
    for code, offset in zip(*raw_frames(traceback), strict=True):
        found = _classify(code)
        if isinstance(found, _UserCode):
            return found.sites.get(offset) or found.site(offset)
    return None


def _register_own_files() -> None:
    """Our own frames are nobody's source; what lies beside the package (tests, examples) is."""
    here = Path(__file__)
    for root in dict.fromkeys((here.parent.parent, here.resolve().parent.parent)):
        for directory in ("frontend", "ir", "passes", "lowering", "tools"):
            register_library(root / directory)


_register_own_files()

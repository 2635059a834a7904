"""MLIR contexts, with the types, attributes and locations made in them, lent to lowerings.

A new context loads every dialect, which takes longer than lowering a small program does. One that
a lowering is done with serves the next; while a module lives, no other is made in its context, so
that threads that lower and compile do not meet in one.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any, Final

from . import jax_compat
from .mlir_types import Attributes, Locations, MlirTypes


class Workshop:
    """A context and what has been made in it."""

    def __init__(self) -> None:
        self.context = jax_compat.make_ir_context()
        with self.context:
            self.types = MlirTypes(self.context)
            self.attributes = Attributes(self.context, self.types)
            self.locations = Locations(self.context)
        self.n_read = 0

    @property
    def size(self) -> int:
        """About how many things are kept: those that were made, and those of modules read."""
        made = len(self.locations) + len(self.attributes) + len(self.types)
        return made + self.n_read // BYTES_OF_ONE


BYTES_OF_ONE: Final = 64
"""About how many bytes of a module hold one thing."""

LARGE: Final = 20_000
"""A context with more than so many things in it is let go: nothing in one is ever freed."""

KEPT: Final = 2
"""So many contexts wait for a lowering."""

_idle: Final[list[Workshop]] = []


def take() -> Workshop:
    """One that nobody works in."""
    try:
        return _idle.pop()
    except IndexError:
        return Workshop()


@contextlib.contextmanager
def scratch(n_bytes: int) -> Iterator[Any]:
    """A context that nobody works in, to read a module of so many bytes that is gone by the end."""
    workshop = take()
    workshop.n_read += n_bytes
    try:
        yield workshop.context
    finally:
        _give_back(workshop)


def give_back_after(owner: Any, workshop: Workshop) -> None:
    """Let others work there once `owner`, who has the module that was made there, is gone."""
    weakref.finalize(owner, _give_back, workshop).atexit = False


def _give_back(workshop: Workshop) -> None:
    if len(_idle) < KEPT and workshop.size <= LARGE:
        _idle.append(workshop)

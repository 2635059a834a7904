"""Where in a derivative program a rule that is still Python is asked for.

Python may branch on values in a backward rule, on the cotangent too. Whoever differentiates with
values at hand says so (`values`); the pass says which operands the rule is asked for (`asked`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from ..ir.builder import Builder
from ..ir.graph import Graph, Thunk
from ..ir.ops.call import Flags, bwd_rule_graph


@dataclass(frozen=True)
class Asked:
    """A rule, and the operands that its graph is going to be called with, made by `builder`."""

    rule: Thunk
    builder: Builder
    operands: Sequence[Any]


asked: Final[ContextVar[Asked | None]] = ContextVar("asked", default=None)

values: Final[ContextVar[Any]] = ContextVar("values", default=None)
"""What knows the values of the program that is being transposed; None if nothing does."""


@contextmanager
def having(known: Any) -> Iterator[None]:
    """Transpose with these values at hand."""
    token = values.set(known)
    try:
        yield
    finally:
        values.reset(token)


def ask_backward(
    b: Builder, rule: Thunk | Graph, operands: Sequence[Any], nonzero: Flags, ct_nonzero: Flags
) -> tuple[Graph, Flags]:
    """The graph of a backward rule; with values at hand one for these operands alone."""
    if isinstance(rule, Graph) or values.get() is None:
        return bwd_rule_graph(rule, nonzero, ct_nonzero)
    token = asked.set(Asked(rule, b, operands))
    try:
        made: tuple[Graph, Flags] = rule.make(nonzero, ct_nonzero)
        return made
    finally:
        asked.reset(token)

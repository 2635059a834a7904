"""Where in a derivative program a rule that is still Python is asked for.

Python may branch on values in a backward rule, on the cotangent too. Whoever differentiates with
values at hand says so (`values`); the pass says which operands the rule is asked for (`asked`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..ir.builder import Builder
from ..ir.graph import Graph, Thunk
from ..ir.ops.call import Flags, bwd_rule_graph


@dataclass(frozen=True)
class Asked:
    """A rule, and the operands that its graph is going to be called with, made by `builder`."""

    rule: Thunk
    builder: Builder
    operands: Sequence[Any]


class Known(Protocol):
    """What knows the values of a program that is being transposed."""

    def tells(self, builder: Builder, operands: Sequence[Any]) -> bool:
        """Whether rules for these operands, made by `builder`, can differ from those for others."""


asked: Final[ContextVar[Asked | None]] = ContextVar("asked", default=None)

values: Final[ContextVar[Known | None]] = ContextVar("values", default=None)
"""What knows the values of the program that is being transposed; None if nothing does."""


@contextmanager
def having(known: Known | None) -> Iterator[None]:
    """Transpose with these values at hand."""
    token = values.set(known)
    try:
        yield
    finally:
        values.reset(token)


def ask_backward(
    b: Builder, rule: Thunk | Graph, operands: Sequence[Any], nonzero: Flags, ct_nonzero: Flags
) -> tuple[Graph, Flags]:
    """The graph of a backward rule; where values of these operands are at hand, for them alone."""
    known = values.get()
    if isinstance(rule, Graph) or known is None or not known.tells(b, operands):
        return bwd_rule_graph(rule, nonzero, ct_nonzero)
    token = asked.set(Asked(rule, b, operands))
    try:
        made: tuple[Graph, Flags] = rule.make(nonzero, ct_nonzero)
        return made
    finally:
        asked.reset(token)

"""Which values of a recording are being differentiated, while it is recorded.

A function with a rule of its own that is called on one of these is not run: JAX runs its rule, and
so do we, and have what the function returns from there. Derivatives nest: a value may move in the
one that the recording is made for, level 0, or only in one of those around it, levels 1 and up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..ir.graph import Atom, Literal, Value
from ..ir.types import has_tangent
from .jax_compat import Tracer, current_trace
from .tracers import GraphTracer

if TYPE_CHECKING:
    from .graph_trace import GraphTrace

Source = tuple[Any, Atom, int]
"""A value of a recording around: its trace, its atom, and how many levels further out it moves."""

STILL: Final[Source | None] = None


class Moving:
    """What is known of one recording.

    sources: for its inputs, in order, where they come from.
    active: by which of them the derivative is taken that the recording is made for; None if it is
      made for none, and then its level 0 is that of the recording around it.
    depth: how many levels there are.
    """

    __slots__ = ("_active", "_inputs", "_memo", "_origins", "_sources", "depth", "is_derivative")

    def __init__(
        self, sources: Sequence[Source | None], active: Sequence[bool] | None, depth: int
    ) -> None:
        self._sources, self._active, self.depth = sources, active, depth
        self.is_derivative = active is not None
        self._inputs: Sequence[Value] = ()
        self._origins: dict[Value, Source | None] = {}
        self._memo: dict[tuple[int, Value], bool] = {}

    def bind(self, inputs: Sequence[Value]) -> None:
        """Say what the inputs are; after those that have sources, a rule has tangents."""
        self._inputs = inputs

    def _look(self) -> None:
        """Sort the inputs by what they are; for most recordings, nobody asks."""
        self._origins = dict(zip(self._inputs, self._sources, strict=False))
        if self._active is not None:
            self._memo = {(0, v): m for v, m in zip(self._inputs, self._active, strict=False)}
        self._inputs = ()

    def level_of(self, trace: GraphTrace, atoms: Sequence[Atom]) -> int | None:
        """The innermost level at which one of the atoms moves; None where none does."""
        if self._inputs:
            self._look()
        for level in range(self.depth):
            if any([self.moves(trace, x, level) for x in atoms]):
                return level
        return None

    def moves(self, trace: GraphTrace, atom: Atom, level: int) -> bool:
        """Whether an atom of the recording moves at this level."""
        if self._inputs:
            self._look()
        if isinstance(atom, Literal):
            return False
        memo = self._memo
        stack: list[Value] = [atom]
        while stack:
            x = stack[-1]
            if (level, x) in memo:
                stack.pop()
                continue
            made = trace.builder.definition(x)
            if not has_tangent(x.type):
                memo[level, x] = False
            elif made is None:
                memo[level, x] = self._input_moves(trace, x, level)
            elif made.primitive.not_differentiable is not None:
                memo[level, x] = False
            else:
                read = [v for v in made.inputs if isinstance(v, Value)]
                ahead = [v for v in read if (level, v) not in memo]
                if not ahead:
                    memo[level, x] = any([memo[level, v] for v in read])
                stack += ahead
        return memo[level, atom]

    def note_still(self, atoms: Sequence[Atom], level: int) -> None:
        """Say that these do not move at this level: a rule gave no tangents for them."""
        self._memo.update({(level, x): False for x in atoms if isinstance(x, Value)})

    def _input_moves(self, trace: GraphTrace, value: Value, level: int) -> bool:
        if self.is_derivative:
            if level == 0:  # something captured
                return False
            level -= 1
        source = self._origins.get(value) or _captured(trace.captured, value)
        if source is None or source[0].moving is None:
            return False
        around, atom, further = source
        level += further
        return level < around.moving.depth and bool(around.moving.moves(around, atom, level))


def moving_leaves(leaves: Sequence[Any], active: Sequence[bool] | None) -> Moving | None:
    """For a recording of a function of these leaves; None if nothing in it can move."""
    around = getattr(current_trace(), "moving", None)
    depth = (0 if around is None else around.depth) + (active is not None)
    return Moving([_source(x) for x in leaves], active, depth) if depth else None


def moving_operands(trace: GraphTrace, atoms: Sequence[Atom], level: int) -> Moving | None:
    """For a recording of the rule of a call on these atoms, which move at `level`: the rule itself
    is not differentiated there, but further out."""
    depth = 0 if trace.moving is None else trace.moving.depth - level - 1
    return Moving([(trace, x, level + 1) for x in atoms], None, depth) if depth > 0 else None


def _source(x: Any) -> Source | None:
    return (x._trace, x.atom, 0) if x.__class__ is GraphTracer else STILL


def _captured(captured: Mapping[int, tuple[Any, Value]], value: Value) -> Source | None:
    for tracer, found in captured.values():
        if found is value and isinstance(tracer, Tracer):
            return _source(tracer)
    return STILL

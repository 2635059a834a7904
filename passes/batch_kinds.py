"""Batched equations, derived once for each kind of equation.

What a batch rule writes depends on the primitive, its parameters, and the types of the operands
with and without the batch axis: it is recorded for the first equation of a kind and made again for
the others. Equations with regions, effects or a user's rules have no kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..ir.builder import Builder, Operand
from ..ir.errors import CovectorError
from ..ir.graph import Atom, Equation, Value
from ..ir.primitive import Primitive, forget_on_change
from .kinds import OncePerKind, complete_kind, has_kinds, is_ours
from .replay import Recorder, literals_of, replay
from .tables import batch


class Batched:
    """What the equations of one kind become.

    steps: what makes their batched form. outputs: the positions of its outputs. flags: which of
    them have a batch axis.
    """

    __slots__ = ("_literals", "_outputs", "_steps", "flags")

    def __init__(
        self,
        inputs: Sequence[Value],
        equations: Sequence[Equation],
        outputs: Sequence[Any],
        flags: Sequence[bool],
    ) -> None:
        self._literals = tuple(literals_of(equations, outputs))
        recorder = Recorder((*inputs, *self._literals))
        self._steps = tuple([recorder.step(eqn) for eqn in equations])
        self._outputs = tuple([recorder.position[x] for x in outputs])
        self.flags = tuple(flags)

    def make(self, b: Builder, inputs: Sequence[Atom]) -> list[Any]:
        """The outputs of the batched form, on these operands."""
        values = [*inputs, *self._literals]
        replay(b, self._steps, values)
        return [values[i] for i in self._outputs]


_BATCHED: Final[OncePerKind[Batched | None]] = OncePerKind()
_have_kinds: Final[dict[Primitive, bool]] = {}
forget_on_change(_have_kinds.clear)


def batch_by_kind(
    b: Builder, eqn: Equation, inputs: Sequence[Operand], flags: Sequence[bool], size: int
) -> tuple[Sequence[Any], Sequence[bool]]:
    """What the batch rule of an equation returns, given its operands, some with a batch axis."""
    primitive = eqn.primitive
    of_kinds = _have_kinds.get(primitive)
    if of_kinds is None:
        rule = batch.get(primitive)
        of_kinds = _have_kinds[primitive] = is_ours(rule) and has_kinds(primitive)
    if not of_kinds:
        return batch.find(eqn)(b, eqn, inputs, flags, size)
    start: list[Any] = [primitive, size]
    start += [x.type for x in eqn.inputs]
    start += [x.type for x in inputs]
    kind = complete_kind(start, eqn)
    found = _BATCHED.get(kind, _BATCHED)
    if found is _BATCHED:
        found = _BATCHED.keep(kind, _derive(eqn, inputs, flags, size))
    if found is None:
        return batch.find(eqn)(b, eqn, inputs, flags, size)
    return found.make(b, inputs), found.flags  # type: ignore[union-attr]  # nor is it _BATCHED


def _derive(
    eqn: Equation, inputs: Sequence[Operand], flags: Sequence[bool], size: int
) -> Batched | None:
    """None where the rule refuses: asked for the equation itself, it will say what and where."""
    own = {x: Value(x.type) for x in eqn.inputs}
    new = {
        x: Value(y.type) if flag else own[x]
        for x, y, flag in zip(eqn.inputs, inputs, flags, strict=True)
    }
    operands = tuple([new[x] for x in eqn.inputs])
    outputs = tuple([Value(y.type) for y in eqn.outputs])
    model = Equation(eqn.primitive, tuple([own[x] for x in eqn.inputs]), outputs, eqn.params)
    b = Builder()
    try:
        made, out_batched = batch.find(eqn)(b, model, operands, flags, size)
    except CovectorError:
        return None
    return Batched(operands, b.equations, made, out_batched)

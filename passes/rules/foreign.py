"""How someone else's primitives transform: calls of the graphs that their author's rules give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.errors import CovectorError
from ...ir.graph import Equation, Graph, Opaque
from ...ir.ops.call import call
from ...ir.ops.foreign import foreign
from .. import tables
from ..regions import nonzero, reject, select, spread
from ..tables import Operands
from .call import define_joint_call

tables.restates_primal.add(foreign)


def ask(eqn: Equation, rule: str, *signature: Any) -> tuple[Any, Sequence[bool]]:
    """The graph that a rule of the author's gives, and the flags that come with it."""
    target: Opaque = eqn.params["target"]
    if rule not in target.rules:  # it was read from text
        target()
    try:
        made: tuple[Any, Sequence[bool]] = target.rules[rule](*signature)
    except CovectorError as error:
        raise type(error)(error.claim, eqn, stage=rule, hint=error.hint) from error
    return made


@tables.jvp.rule(foreign)
def jvp_foreign(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    flags = nonzero(tangents)
    forward, out_nonzero = ask(eqn, "jvp", flags)
    given = select(tangents, flags)
    if eqn.effects or not _is_entangled(forward, len(eqn.inputs), len(eqn.outputs)):
        return define_joint_call(b, eqn, forward, given, out_nonzero)
    b.append(eqn)
    made = b.emit(call, *eqn.inputs, *given, graph=forward)
    return spread(made[len(eqn.outputs) :], out_nonzero, eqn.outputs)


def _is_entangled(forward: Graph, n_inputs: int, n_outputs: int) -> bool:
    """Whether an operation that reads tangents makes primal outputs too, as one Pallas kernel may.

    To linearize, primal outputs must be known without tangents: the primitive itself makes them.
    """
    moved = set(forward.inputs[n_inputs:])
    for eqn in forward.equations:
        if not moved.isdisjoint(eqn.inputs):
            moved.update(eqn.outputs)
    return not moved.isdisjoint(forward.outputs[:n_outputs])


@tables.transpose.rule(foreign)
def transpose_foreign(b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]) -> Operands:
    given = nonzero(cts)
    backward, in_nonzero = ask(eqn, "transpose", tuple(linear), given)
    found = b.emit(call, *reject(eqn.inputs, linear), *select(cts, given), graph=backward)
    return spread(found, in_nonzero, eqn.inputs)


@tables.batch.rule(foreign)
def batch_foreign(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    graph, out_batched = ask(eqn, "batch", tuple(batched), size)
    return b.emit(call, *inputs, graph=graph), out_batched

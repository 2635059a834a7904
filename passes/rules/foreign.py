"""How someone else's primitives transform: calls of the graphs that their author's rules give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder
from ...ir.errors import CovectorError
from ...ir.graph import Equation, Opaque
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
    return define_joint_call(b, eqn, forward, select(tangents, flags), out_nonzero)


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

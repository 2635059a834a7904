"""The table of lowerings, and the helpers that make a family of them a table.

A lowering is `(ctx, eqn, operands) -> values`: it appends StableHLO operations through `ctx` and
returns one MLIR value for each output of the equation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value
from ..ir.ops import annotation
from ..ir.ops.call import call
from ..ir.primitive import Primitive, RuleTable
from .context import Context, MlirValue
from .families import load_lowerings

Lower = Callable[[Context, Equation, Sequence[MlirValue]], Sequence[MlirValue]]

lower: RuleTable[Lower] = RuleTable("lowering", load=load_lowerings)

Callees = Callable[[Equation], Iterable[Graph]]

callees: RuleTable[Callees] = RuleTable(
    "callees", lambda primitive: Equation.running, load=load_lowerings
)
"""Which graphs of an equation its lowering emits; those that run, unless a rule says otherwise."""

called: Final = frozenset({call, annotation.xla_metadata_call})
"""Primitives whose graphs become functions: `call` and its kin. Other graphs are inlined."""

referred: Final = frozenset({annotation.composite})
"""Primitives whose operation names a function: their graphs are one, however deep they stand."""


def unary(name: str) -> Lower:
    """One operation of one operand; an `accuracy` asked for goes with it."""

    def lower_unary(
        ctx: Context, eqn: Equation, operands: Sequence[MlirValue]
    ) -> Sequence[MlirValue]:
        if eqn.params and eqn.params.get("accuracy") is not None:
            accuracy = ctx.accuracy(eqn.params["accuracy"])
            return [ctx.op(name, eqn.outputs[0].type, *operands, **accuracy)]
        return [ctx.op(name, eqn.outputs[0].type, *operands)]

    return lower_unary


def nary(name: str) -> Lower:
    """One operation of operands of one shape; smaller ones are broadcast to the output's."""

    def lower_nary(
        ctx: Context, eqn: Equation, operands: Sequence[MlirValue]
    ) -> Sequence[MlirValue]:
        out = eqn.outputs[0].type
        return [ctx.op(name, out, *ctx.spread(eqn.inputs, operands, out.shape))]

    return lower_nary


def expansion(*primitives: Primitive) -> Callable[[Callable[..., Any]], Lower]:
    """Lower primitives by writing them with others: `(b, *inputs, **params) -> output(s)`.

    The expansion is built once for each signature, and lowered where it is used.
    """

    def enter(expand: Callable[..., Any]) -> Lower:
        rule = expanded(expand)
        for primitive in primitives:
            lower.define(primitive, rule)
        return rule

    return enter


def expanded(expand: Callable[..., Any]) -> Lower:
    """The lowering that an expansion gives."""

    def lower_expansion(
        ctx: Context, eqn: Equation, operands: Sequence[MlirValue]
    ) -> Sequence[MlirValue]:
        key = (expand, tuple([x.type.strong for x in eqn.inputs]), repr(eqn.params))
        graph = ctx.expansions.get(key)
        if graph is None:
            graph = ctx.expansions[key] = _expand(expand, eqn)
        return ctx.write(graph, operands, is_expansion=True)

    return lower_expansion


def _expand(expand: Callable[..., Any], eqn: Equation) -> Graph:
    b = Builder()
    inputs = [Value(x.type.strong) for x in eqn.inputs]
    outputs = expand(b, *inputs, **eqn.params)
    several = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return b.graph(inputs, several, eqn.primitive.name)

"""Forward-mode differentiation: a program becomes the program with tangents.

    func @f(x: f32[3]) -> (f32[3]) {          func @f(x: f32[3], dx: f32[3]) -> (f32[3], f32[3]) {
      y: f32[3] = sin x                         y: f32[3] = sin x
      return y                        =>        a: f32[3] = cos x
    }                                           dy: f32[3] = mul dx a
                                                return y, dy
                                              }

The primal equations are kept as they are, values included; only tangent equations are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder, Operand, Zero
from ..ir.graph import Atom, Equation, Graph, Value, memoised_with_forced
from ..ir.module import Module
from ..ir.ops.elementwise import convert_element_type
from ..ir.types import has_tangent
from .base import Pass
from .counting import new_equations
from .tables import jvp as rules
from .tables import restates_primal
from .wrt import derived_module, select_inputs


def jvp_graph(
    graph: Graph, nonzero: Sequence[bool], force: Sequence[bool] | None = None
) -> tuple[Graph, tuple[bool, ...]]:
    """Push tangents through a graph.

    `nonzero[i]` says whether input i has a tangent. The result takes the primals, then the tangents
    that there are, and returns the primal outputs, then the nonzero tangents; second comes which
    outputs have one. `force` marks outputs that get a tangent even if it is zero.
    """
    active = tuple(
        bool(nz) and has_tangent(v.type) for nz, v in zip(nonzero, graph.inputs, strict=True)
    )

    def push_forced(forced: tuple[bool, ...]) -> tuple[Graph, tuple[bool, ...]]:
        return _jvp(graph, active, forced)

    can = [f and has_tangent(v.type) for f, v in zip(force or (), graph.outputs, strict=False)]
    return memoised_with_forced(graph, ("jvp", active), push_forced, can)


def _jvp(
    graph: Graph, active: tuple[bool, ...], forced: tuple[bool, ...]
) -> tuple[Graph, tuple[bool, ...]]:
    b = Builder()
    tangents: dict[Any, Any] = {}
    tangent_inputs = []
    for value, is_active in zip(graph.inputs, active, strict=True):
        if is_active:
            dv = Value(value.type, tangent_name(value.name))
            tangents[value] = dv
            tangent_inputs.append(dv)
    for eqn in graph.equations:
        push(b, eqn, tangents)
    outs = [
        tangents.get(v) or (Zero(v.type) if forced and forced[i] else None)
        for i, v in enumerate(graph.outputs)
    ]
    out_nonzero = tuple(t is not None for t in outs)
    primals = _as_returned(b, graph)
    outputs = (*primals, *(t for t in outs if t is not None))
    result = b.graph((*graph.inputs, *tangent_inputs), outputs, f"{graph.name}.jvp")
    return result, out_nonzero


def _as_returned(b: Builder, graph: Graph) -> list[Atom]:
    """The primal outputs, strongly typed where the rule of a custom function returned them so,
    though the function returns them weakly typed: as JAX returns them. (Others read them as weak as
    they were.)"""
    own = {*map(id, graph.equations)} if any(v.type.weak for v in graph.outputs) else ()
    primals: list[Atom] = []
    for primal in graph.outputs:
        made = b.definition(primal) if primal.type.weak else None
        if made and made.primitive is convert_element_type and id(made) not in own:
            returned = made.inputs[0]
            primal = returned if returned.type is primal.type.strong else primal
        primals.append(primal)
    return primals


def push(b: Builder, eqn: Equation, tangents: dict[Any, Any]) -> None:
    """Append one equation and the equations of its tangents; enter the nonzero ones."""
    b.derive("jvp", eqn)
    for x in eqn.inputs:
        if x in tangents:
            break
    else:
        b.append(eqn)
        return
    dxs = [tangents.get(x) or Zero(x.type) for x in eqn.inputs]
    for y, dy in zip(eqn.outputs, push_through(b, eqn, dxs), strict=True):
        if dy.__class__ is not Zero and y.type.has_tangent:
            tangents[y] = dy
            if dy.__class__ is Value and dy.name is None:
                dy.name = tangent_name(y.name)


def push_through(b: Builder, eqn: Equation, dxs: Sequence[Operand]) -> Sequence[Operand]:
    """Append an equation and those of its tangents; the tangents of its outputs."""
    rule = rules.find(eqn)
    if not eqn.primitive.has_regions and eqn.primitive not in restates_primal:
        b.append(eqn)  # the others' rules make the primal outputs themselves
    return rule(b, eqn, dxs)


def tangent_name(name: str | None) -> str | None:
    return None if name is None else f"d{name}"


@dataclass(frozen=True)
class Jvp(Pass):
    """Replace the entry @f by @f.jvp: (inputs, tangents) -> (outputs, tangents).

    Option wrt: the inputs that have tangents; all that can, by default.
    """

    name: ClassVar[str] = "jvp"
    law: ClassVar[str] = "tangents agree with finite differences"

    wrt: tuple[int | str, ...] | None = None

    def run(self, module: Module) -> Module:
        flags = select_inputs(module, self.wrt, self.name)
        return derived_module(module, jvp_graph(module.main, flags)[0])

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return new_equations(before, after, "tangent equations")

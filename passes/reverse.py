"""Reverse mode: vjp and grad as compositions of linearize and transpose.

vjp   (x, ct_y) -> (y, ct_x)
grad  x         -> ct_x            for a scalar y, with cotangent 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir.builder import Builder, Operand, Zero
from ..ir.errors import PassError
from ..ir.graph import Atom, Graph, Value, memoised
from ..ir.module import Module
from ..ir.types import has_tangent, is_complex
from .base import Pass
from .counting import new_equations
from .tape import Tape
from .transpose import cotangent_name
from .wrt import derived_module, select_inputs


def vjp_graph(graph: Graph, active: Sequence[bool]) -> Graph:
    """(inputs, cotangents of the outputs that have one) -> (outputs, cotangents of active inputs).

    Outputs that do not depend on the active inputs still take a cotangent, which is not read.
    """
    key = ("vjp", tuple(active))
    made: Graph = memoised(graph, key, lambda: _vjp(graph, active))
    return made


def _vjp(graph: Graph, active: Sequence[bool]) -> Graph:
    out_cts: list[Operand] = [
        Value(y.type, cotangent_name(y.name)) if has_tangent(y.type) else Zero(y.type)
        for y in graph.outputs
    ]
    tape, cts = pull_back(graph, active, out_cts)
    inputs = [*graph.inputs, *(ct for ct in out_cts if isinstance(ct, Value))]
    return tape.graph_of(inputs, (*graph.outputs, *cts), f"{graph.name}.vjp")


def grad_graph(
    graph: Graph,
    active: Sequence[bool],
    n_aux: int = 0,
    with_value: bool = True,
    seeds: Sequence[tuple[int, Atom]] = (),
) -> Graph:
    """inputs -> (outputs, cotangents of active inputs), for a graph whose first output is scalar.

    Only the first output is differentiated; the rest (`n_aux` of them) are auxiliary. Without
    `with_value` the first output is left out. `seeds` are cotangents of others, by position: inputs
    or outputs of the graph.
    """
    key = ("grad", tuple(active), n_aux, with_value, tuple(seeds))
    made: Graph = memoised(graph, key, lambda: _grad(graph, active, with_value, seeds))
    return made


def _grad(
    graph: Graph, active: Sequence[bool], with_value: bool, seeds: Sequence[tuple[int, Atom]]
) -> Graph:
    y = graph.outputs[0]
    out_cts: list[Operand] = [Zero(v.type) for v in graph.outputs]
    out_cts[0] = Builder().literal(1, y.type)
    for i, ct in seeds:
        out_cts[i] = ct
    tape, cts = pull_back(graph, active, out_cts)
    kept = graph.outputs if with_value else graph.outputs[1:]
    return tape.graph_of(graph.inputs, (*kept, *cts), f"{graph.name}.grad")


def pull_back(
    graph: Graph, active: Sequence[bool], out_cts: Sequence[Operand]
) -> tuple[Tape, list[Operand]]:
    """The primal program and its pull-back of these cotangents, and what they become."""
    tape = Tape(graph, active, out_cts)
    tape.forward()
    return tape, tape.backward()


@dataclass(frozen=True)
class Vjp(Pass):
    """Replace the entry @f by @f.vjp: (inputs, cotangents) -> (outputs, input cotangents).

    Option wrt: the inputs to differentiate; all that can be, by default.
    """

    name: ClassVar[str] = "vjp"
    law: ClassVar[str] = "<jvp(t), c> = <t, vjp(c)>"

    wrt: tuple[int | str, ...] | None = None

    def run(self, module: Module) -> Module:
        flags = select_inputs(module, self.wrt, self.name)
        return derived_module(module, vjp_graph(module.main, flags))

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return new_equations(before, after, "pullback equations")


@dataclass(frozen=True)
class Grad(Pass):
    """Replace the entry @f, whose first output is a real scalar, by @f.grad.

    Options: wrt selects the inputs (all that can be, by default); value returns the outputs too.
    """

    name: ClassVar[str] = "grad"
    law: ClassVar[str] = "<grad, t> = jvp(t)"

    wrt: tuple[int | str, ...] | None = None
    value: bool = False

    def run(self, module: Module) -> Module:
        graph = module.main
        y = graph.outputs[0].type if graph.outputs else None
        if y is None or y.shape != () or not has_tangent(y) or is_complex(y.dtype):
            raise PassError(
                f"grad needs a first output that is a real scalar; @{graph.name} returns "
                f"{y if y is not None else 'nothing'}",
                hint="use the pass vjp, or reduce the output to a scalar",
            )
        flags = select_inputs(module, self.wrt, self.name)
        grad = grad_graph(graph, flags, len(graph.outputs) - 1, self.value)
        return derived_module(module, grad)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        return new_equations(before, after, "pullback equations")

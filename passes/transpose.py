"""Reverse a linear function: f32[n] -o f32[m] becomes f32[m] -o f32[n].

    func @f.linear(c: f32[3] | dx: f32[3]) -> (f32[3]) {
      dy: f32[3] = mul c dx
      return dy
    }                                   =>
    func @f.transpose(c: f32[3] | ct_y: f32[3]) -> (f32[3]) {
      ct_x: f32[3] = mul c ct_y
      return ct_x
    }

Law: <f(t), c> = <t, f^T(c)>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir.builder import Builder, Operand, Zero
from ..ir.errors import CovectorError, PassError
from ..ir.graph import Equation, Graph, Value, memoised_with_forced
from ..ir.module import Module
from ..ir.types import TensorType, has_tangent
from .base import Pass
from .linearity import check_linear, check_reads
from .tables import transpose as rules
from .transpose_kinds import pull_by_kind
from .wrt import derived_module, select_inputs


def transpose_graph(
    graph: Graph,
    linear: Sequence[bool],
    nonzero: Sequence[bool] | None = None,
    force: Sequence[bool] | None = None,
    weak: Sequence[bool] | None = None,
) -> tuple[Graph, tuple[bool, ...]]:
    """Transpose a graph with respect to the inputs marked linear.

    `nonzero[i]` says whether output i has a cotangent (if not given: all that can have one; a
    function that is linear in integers is asked for with its outputs marked). The result takes the
    inputs that are not linear, then the cotangents that there are, and returns the nonzero
    cotangents of the linear inputs; second comes which of those inputs have one. `force` marks the
    inputs (of all) whose cotangent is returned even if it is zero. `weak[i]` says whether the
    cotangent of output i is weakly typed (if not given: as the output is).

    Raises MissingRule for an operation that is not linear.
    """
    having = (has_tangent(y.type) for y in graph.outputs)
    given = tuple(having if nonzero is None else nonzero)
    types = [y.type for y in graph.outputs]
    if weak is not None:
        types = [TensorType(t.shape, t.dtype, w) for t, w in zip(types, weak, strict=True)]

    def pull_forced(forced: tuple[bool, ...]) -> tuple[Graph, tuple[bool, ...]]:
        out_cts: list[Operand] = [
            Value(t, cotangent_name(y.name)) if is_given else Zero(t)
            for y, t, is_given in zip(graph.outputs, types, given, strict=True)
        ]
        return pulled_by(graph, linear, out_cts, forced)

    wanted = [f for f, is_linear in zip(force or (), linear, strict=False) if is_linear]
    key = ("transpose", tuple(linear), given, tuple([t.weak for t in types]))
    return memoised_with_forced(graph, key, pull_forced, wanted)


def pulled_by(
    graph: Graph,
    linear: Sequence[bool],
    out_cts: Sequence[Operand],
    forced: Sequence[bool] = (),
) -> tuple[Graph, tuple[bool, ...]]:
    """`transpose_graph` for these cotangents, which become inputs where they are not Zero."""
    b = Builder()
    in_cts = transpose_into(b, graph, linear, out_cts)
    if forced:
        in_cts = [b.instantiate(ct) if f else ct for ct, f in zip(in_cts, forced, strict=True)]
    others = [v for v, is_linear in zip(graph.inputs, linear, strict=True) if not is_linear]
    inputs = [*others, *(ct for ct in out_cts if isinstance(ct, Value))]
    outputs = [ct for ct in in_cts if not isinstance(ct, Zero)]
    name = f"{graph.name.removesuffix('.linear')}.transpose"
    result = Graph(inputs, b.equations, outputs, name, len(others))
    return result, tuple(not isinstance(ct, Zero) for ct in in_cts)


def transpose_into(
    b: Builder, graph: Graph, linear: Sequence[bool], out_cts: Sequence[Operand]
) -> list[Operand]:
    """Emit the transpose; the cotangents of the linear inputs, Zero where there is none.

    Residuals are read as they are: b must already hold the equations that make them, or the
    resulting graph take them as inputs.
    """
    linear_inputs = [v for v, is_linear in zip(graph.inputs, linear, strict=True) if is_linear]
    linear_values: set[Any] = set(linear_inputs)
    backward = split_linear(b, graph, linear_values)
    cts: dict[Any, list[Any]] = {}
    for y, ct in zip(graph.outputs, out_cts, strict=True):
        if y in linear_values and not isinstance(ct, Zero):
            cts.setdefault(y, []).append(ct)
    for eqn in reversed(backward):
        pull(b, eqn, cts, linear_values)
    return [collect(b, v, cts) for v in linear_inputs]


def split_linear(b: Builder, graph: Graph, linear: set[Any]) -> list[Equation]:
    """Emit what does not depend on linear values; return the rest, marking its outputs linear."""
    backward = []
    for eqn in graph.equations:
        if linear.isdisjoint(eqn.inputs):
            if not eqn.outputs or b.definition(eqn.outputs[0]) is not eqn:  # of a primal half
                b.append(eqn)
        else:
            backward.append(eqn)
            linear.update(eqn.outputs)
    return backward


def pull(b: Builder, eqn: Equation, cts: dict[Any, list[Any]], linear: set[Any]) -> None:
    """Add the cotangents of one equation's inputs, given those of its outputs."""
    b.derive("transpose", eqn)
    out_cts = [collect(b, y, cts) for y in eqn.outputs]
    for ct in out_cts:
        if ct.__class__ is not Zero:
            break
    else:
        if not eqn.effects:
            return
    is_linear = [x in linear for x in eqn.inputs]
    check_linear(b, eqn, is_linear)
    found = pull_by_kind(b, eqn, out_cts, is_linear)
    in_cts = _pull_by_rule(b, eqn, out_cts, is_linear, linear) if found is None else found
    for x, lin, ct in zip(eqn.inputs, is_linear, in_cts, strict=True):
        if lin and ct.__class__ is not Zero:
            others = cts.get(x)
            if others is None:
                cts[x] = [ct]
            else:
                others.append(ct)


def _pull_by_rule(
    b: Builder,
    eqn: Equation,
    out_cts: Sequence[Operand],
    is_linear: Sequence[bool],
    linear: set[Any],
) -> Sequence[Operand]:
    """What the transpose rule returns, checked."""
    before = len(b.equations)
    try:
        in_cts = rules.find(eqn)(b, eqn, out_cts, is_linear)
    except CovectorError as error:
        locate(error, eqn)
        raise
    check_reads(eqn, is_linear, b.equations[before:], linear)
    if len(in_cts) != len(eqn.inputs):
        raise PassError(
            f"the transpose rule of {eqn.primitive.name} returned {len(in_cts)} cotangents "
            f"for {len(eqn.inputs)} inputs",
            eqn,
        )
    return in_cts


def locate(error: CovectorError, eqn: Equation) -> None:
    """What fails in a callee of no known place (a library's function) fails where it is called."""
    if error.location is None:
        error.location = eqn.location


def collect(b: Builder, value: Any, cts: dict[Any, list[Any]]) -> Any:
    """The whole cotangent of a value: the sum of what its readers sent back."""
    terms = cts.pop(value, None)
    if terms is None:
        return Zero(value.type)
    ct = terms[0] if len(terms) == 1 else b.sum_of(terms, value.type)
    if ct.__class__ is Value and ct.name is None:
        ct.name = cotangent_name(value.name)
    return ct


def cotangent_name(name: str | None) -> str | None:
    """`ct_y` for the tangent `dy`, and for any other value."""
    return None if name is None else f"ct_{name.removeprefix('d') or name}"


@dataclass(frozen=True)
class Transpose(Pass):
    """Replace each linear half @f.linear by @f.transpose; without one, transpose the entry.

    Option wrt: of an entry that is not a linear half, the inputs in which it is linear.
    """

    name: ClassVar[str] = "transpose"
    law: ClassVar[str] = "<f(t), c> = <t, transpose(f)(c)>"

    wrt: tuple[int | str, ...] | None = None

    def run(self, module: Module) -> Module:
        halves = {n: g for n, g in module.graphs.items() if g.linear_from is not None}
        if not halves or self.wrt is not None:
            flags = select_inputs(module, self.wrt, self.name)
            return derived_module(module, transpose_graph(module.main, flags)[0])
        replaced = {n: transpose_graph(g, linear_flags(g))[0] for n, g in halves.items()}
        graphs = [replaced.get(n, g) for n, g in module.graphs.items()]
        entry = replaced[module.entry].name if module.entry in replaced else module.entry
        return module.replace(graphs={g.name: g for g in graphs}, entry=entry)

    def counters(self, before: Module, after: Module) -> dict[str, int]:
        made = [g for n, g in after.graphs.items() if n not in before.graphs]
        return {"functions transposed": len(made), "equations": sum(map(len, made))}


def linear_flags(graph: Graph) -> list[bool]:
    """Which inputs of a linear half are its linear ones."""
    assert graph.linear_from is not None
    return [i >= graph.linear_from for i in range(len(graph.inputs))]

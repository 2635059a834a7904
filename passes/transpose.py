"""Reverse a linear function: f32[n] -o f32[m] becomes f32[m] -o f32[n].

    func @f.linear(c: f32[3], dx: f32[3]) -> (f32[3]) {
      dy: f32[3] = mul c dx
      return dy
    }                                   =>
    func @f.transpose(c: f32[3], ct_dy: f32[3]) -> (f32[3]) {
      ct_dx: f32[3] = mul c ct_dy
      return ct_dx
    }

Law: <f(t), c> = <t, f^T(c)>.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.builder import Builder, Zero
from ..ir.errors import PassError
from ..ir.graph import Equation, Graph, Value, memoised
from ..ir.types import has_tangent
from .tables import transpose as rules


def transpose_graph(
    graph: Graph, linear: Sequence[bool], nonzero: Sequence[bool] | None = None
) -> tuple[Graph, tuple[bool, ...]]:
    """Transpose a graph with respect to the inputs marked linear.

    `nonzero[i]` says whether output i has a cotangent (all, if not given). The result takes the
    inputs that are not linear, then the cotangents that there are, and returns the nonzero
    cotangents of the linear inputs; second comes which of those inputs have one.

    Raises PassError when an output is not linear in them, MissingRule for an operation that is not.
    """
    given = tuple(nonzero) if nonzero is not None else (True,) * len(graph.outputs)
    key = ("transpose", tuple(linear), given)
    made: tuple[Graph, tuple[bool, ...]] = memoised(
        graph, key, lambda: _transpose(graph, tuple(linear), given)
    )
    return made


def _transpose(
    graph: Graph, linear: tuple[bool, ...], nonzero: tuple[bool, ...]
) -> tuple[Graph, tuple[bool, ...]]:
    b = Builder()
    linear_inputs = [v for v, is_linear in zip(graph.inputs, linear, strict=True) if is_linear]
    linear_values: set[Any] = set(linear_inputs)
    backward = split_linear(b, graph, linear_values)
    cts: dict[Any, list[Any]] = {}
    ct_inputs = []
    for y, given in zip(graph.outputs, nonzero, strict=True):
        if given and has_tangent(y.type):
            ct = Value(y.type, cotangent_name(y.name))
            ct_inputs.append(ct)
            if y in linear_values:
                cts.setdefault(y, []).append(ct)
    for eqn in reversed(backward):
        pull(b, eqn, cts, linear_values)
    results = [collect(b, v, cts) for v in linear_inputs]
    has_ct = tuple(not isinstance(ct, Zero) for ct in results)
    others = [v for v, is_linear in zip(graph.inputs, linear, strict=True) if not is_linear]
    outputs = [ct for ct in results if not isinstance(ct, Zero)]
    name = f"{graph.name.removesuffix('.linear')}.transpose"
    return b.graph((*others, *ct_inputs), outputs, name), has_ct


def split_linear(b: Builder, graph: Graph, linear: set[Any]) -> list[Equation]:
    """Run forward what does not depend on linear values; return the rest, marking its outputs."""
    backward = []
    for eqn in graph.equations:
        if linear.isdisjoint(eqn.inputs):
            b.append(eqn)
        else:
            backward.append(eqn)
            linear.update(eqn.outputs)
    return backward


def pull(b: Builder, eqn: Equation, cts: dict[Any, list[Any]], linear: set[Any]) -> None:
    """Add the cotangents of one equation's inputs, given those of its outputs."""
    b.location = eqn.location
    out_cts = [collect(b, y, cts) for y in eqn.outputs]
    if all([ct.__class__ is Zero for ct in out_cts]) and not eqn.effects:
        return
    is_linear = [x in linear for x in eqn.inputs]
    in_cts = rules.find(eqn)(b, eqn, out_cts, is_linear)
    if len(in_cts) != len(eqn.inputs):
        raise PassError(f"the transpose rule of {eqn.primitive.name} returned "
                        f"{len(in_cts)} cotangents for {len(eqn.inputs)} inputs", eqn)
    for x, lin, ct in zip(eqn.inputs, is_linear, in_cts, strict=True):
        if lin and ct.__class__ is not Zero:
            cts.setdefault(x, []).append(ct)


def collect(b: Builder, value: Any, cts: dict[Any, list[Any]]) -> Any:
    """The whole cotangent of a value: the sum of what its readers sent back."""
    ct = b.sum_of(cts.pop(value, ()), value.type)
    if ct.__class__ is Value and ct.name is None:
        ct.name = cotangent_name(value.name)
    return ct


def cotangent_name(name: str | None) -> str | None:
    """`ct_y` for the tangent `dy`, and for any other value."""
    return None if name is None else f"ct_{name.removeprefix('d') or name}"

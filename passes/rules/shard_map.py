"""How shard_map transforms: its graph does, on each device, and specs go along.

A batch has an axis in front that is not cut. What the second half of a split needs of the first
stays on its device: residuals are stacked along an axis that is cut along all manual axes.

Transposed, an output that is the same on several devices sends to each of them its part of the
cotangent, and an input that is the same on several gets the sum of what they send back:

    whole --copy--> parts --graph--> parts --mean--> whole       and back
    sum   <-------  cts   <-graph^T-  cts  <--  1/n of the whole

With check_vma the graph itself says where values become different (`pvary`) and the same again
(`psum_invariant`), and these are each other's transpose: then nothing is to be done at its ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ir.builder import Builder, Operand
from ...ir.graph import Atom, Equation, Graph, Value, memoised, remembered, transformed
from ...ir.ops.collective import psum
from ...ir.ops.shape import reshape
from ...ir.ops.shard_map import Spec, missing_axes, psum_invariant, pvary, shard_map, whole_type
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..effects import guard, guarded
from ..jvp import jvp_graph
from ..partial_eval import Split, split_graph
from ..regions import (
    Flags,
    define_joint,
    equation,
    nonzero,
    reject,
    select,
    spread,
    widened,
    with_regions,
)
from ..tables import Operands, unary_transpose
from ..transpose import transpose_graph
from .call import forwarded
from .collective import batch_psum
from .scan_split import Halves

Specs = Sequence[Spec]


def changed(eqn: Equation, graph: Graph, in_specs: Specs, out_specs: Specs) -> dict[str, Any]:
    """The parameters for another graph."""
    specs = {"in_specs": tuple(in_specs), "out_specs": tuple(out_specs)}
    return {**eqn.params, "graph": graph, **specs}


# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(shard_map)
def jvp_shard_map(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A tangent is cut as its primal value is."""
    p, flags = eqn.params, nonzero(tangents)
    forward, out_nonzero = jvp_graph(p["graph"], flags)
    if not any(out_nonzero):
        b.append(eqn)
        return spread((), out_nonzero, eqn.outputs)
    if p["check_vma"]:
        forward = _with_invariant_sums(forward)
    in_specs = (*p["in_specs"], *select(p["in_specs"], flags))
    out_specs = (*p["out_specs"], *select(p["out_specs"], out_nonzero))
    inputs: Any = (*eqn.inputs, *select(tangents, flags))
    return define_joint(b, eqn, inputs, changed(eqn, forward, in_specs, out_specs), out_nonzero)


def _with_invariant_sums(graph: Graph) -> Graph:
    """With check_vma a plain sum is of the derivative of a maximum, which is the same on all."""

    def change(inner: Graph) -> Graph:
        made = []
        for eqn in inner.equations:
            if eqn.primitive is psum:
                params = {"axes": eqn.params["axes"]}
                eqn = eqn.replace(primitive=psum_invariant, params=params)
            elif eqn.primitive.has_regions:
                eqn = with_regions(eqn, lambda region: remembered(region, "invariant sums"))
            made.append(eqn)
        same = all(a is b for a, b in zip(made, inner.equations, strict=True))
        return inner if same else inner.with_equations(made)

    return transformed(graph, "invariant sums", change)


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(shard_map)
def transpose_shard_map(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """The transposed graph on each device, between the specs of the cotangents."""
    p, flags, given = eqn.params, tuple(linear), nonzero(cts)
    backward, active = transpose_graph(p["graph"], flags, given)
    in_active = widened(active, flags)
    ct_specs, out_specs = select(p["out_specs"], given), select(p["in_specs"], in_active)
    if not p["check_vma"]:
        whole = (
            [missing_axes(spec, p) for spec in ct_specs],
            [missing_axes(spec, p) for spec in out_specs],
        )
        if any(whole[0]) or any(whole[1]):
            backward = _between_means_and_sums(backward, *whole, dict(p["mesh"]))
    in_specs = (*reject(p["in_specs"], flags), *ct_specs)
    operands: Any = (*reject(eqn.inputs, flags), *select(cts, given))
    found = b.emit(shard_map, *operands, **changed(eqn, backward, in_specs, out_specs))
    return spread(found, in_active, eqn.inputs)


def _between_means_and_sums(
    graph: Graph,
    means: Sequence[tuple[str, ...]],
    sums: Sequence[tuple[str, ...]],
    sizes: dict[str, int],
) -> Graph:
    """others | cts -> cts: each given cotangent divided by how many devices have it, each found one
    summed over those that have its input."""
    b = Builder()
    inputs = [Value(v.type, v.name) for v in graph.inputs]
    n_others = len(inputs) - len(means)
    parts: list[Any] = [*inputs[:n_others]]
    for ct, axes in zip(inputs[n_others:], means, strict=True):
        n = math.prod(sizes[axis] for axis in axes)
        parts.append(ct if n == 1 else b.mul(ct, b.literal(1 / n, ct.type)))
    found = b.inline(graph, parts)
    outputs = [b.psum(ct, axes=axes) if axes else ct for ct, axes in zip(found, sums, strict=True)]
    return b.graph(inputs, outputs, graph.name)


@unary_transpose(pvary)
def transpose_pvary(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.emit(psum_invariant, ct, **eqn.params)[0]


@unary_transpose(psum_invariant)
def transpose_psum_invariant(b: Builder, eqn: Equation, ct: Operand) -> Operand:
    return b.emit(pvary, ct, **eqn.params)[0]


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(shard_map)
def batch_shard_map(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """All examples on every device."""
    p = eqn.params
    graph, out_batched = batch_graph(p["graph"], batched, size)
    in_specs = _behind_batch(p["in_specs"], batched)
    params = changed(eqn, graph, in_specs, _behind_batch(p["out_specs"], out_batched))
    return b.emit(shard_map, *inputs, **params), out_batched


def _behind_batch(specs: Specs, batched: Sequence[bool]) -> list[Spec]:
    return [((), *spec) if flag else spec for spec, flag in zip(specs, batched, strict=True)]


tables.batch.define(psum_invariant, batch_psum)


@tables.batch.rule(pvary)
def batch_pvary(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """The examples of a batch are on one device."""
    axes = tuple(axis for axis in eqn.params["axes"] if axis is not None)
    return (b.emit(pvary, *inputs, axes=axes) if axes else inputs), batched


# -- partial evaluation --------------------------------------------------------------------------


@tables.split.rule(shard_map)
def split_shard_map(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    """Two programs for each device; what the second needs of the first stays where it is."""
    p, split = eqn.params, split_graph(eqn.params["graph"], unknown)
    inner = reject(p["graph"].inputs, unknown)
    operands, outputs = reject(eqn.inputs, unknown), reject(eqn.outputs, split.unknown_out)
    known_specs = reject(p["in_specs"], unknown), reject(p["out_specs"], split.unknown_out)
    kept = [p["check_vma"] or not missing_axes(spec, p) for spec in known_specs[1]]
    n_kept = next((i for i, is_kept in enumerate(kept) if not is_kept), len(kept))
    sources = forwarded(split, inner, operands, outputs[:n_kept])
    specs = dict(zip(inner, known_specs[0], strict=True))
    for v, spec in zip(split.known.outputs, known_specs[1][:n_kept], strict=False):
        if isinstance(v, Value):
            specs.setdefault(v, spec)
    computed = [r for r in split.residuals if r not in sources]
    known, rest = _with_stacks(eqn, split, computed)
    stacked = [_stack_spec(r, p) for r in computed]
    sizes = dict(p["mesh"])
    residuals = [
        Value(whole_type(v.type, spec, sizes), r.name)
        for r, v, spec in zip(computed, known.outputs[len(outputs) :], stacked, strict=True)
    ]
    sources.update(zip(computed, residuals, strict=True))
    specs.update(zip(computed, stacked, strict=True))
    first: list[Equation] = []
    if outputs or computed or known.effects:
        params = changed(eqn, known, known_specs[0], (*known_specs[1], *stacked))
        first = [equation(shard_map, operands, (*outputs, *residuals), params, eqn)]
    made = select(eqn.outputs, split.unknown_out)
    in_specs = (*(specs[r] for r in split.residuals), *select(p["in_specs"], unknown))
    params = changed(eqn, rest, in_specs, select(p["out_specs"], split.unknown_out))
    inputs: tuple[Atom, ...] = (
        *(sources[r] for r in split.residuals),
        *select(eqn.inputs, unknown),
    )
    second = [equation(shard_map, inputs, made, params, eqn)] if made else []
    return first, second, split.unknown_out


def _stack_spec(residual: Value, params: dict[str, Any]) -> Spec:
    """Cut along all manual axes in front; a scalar gets an axis for that."""
    return (tuple(params["manual_axes"]), *((),) * max(len(residual.type.shape) - 1, 0))


def _with_stacks(eqn: Equation, split: Split, computed: Sequence[Value]) -> tuple[Graph, Graph]:
    """The halves of the graph, with scalar residuals as arrays of one number."""
    key = ("stacks", split, tuple(computed))
    made: tuple[Graph, Graph] = memoised(
        split.known, key, lambda: _make_stacks(eqn, split, computed)
    )
    return made


def _make_stacks(eqn: Equation, split: Split, computed: Sequence[Value]) -> tuple[Graph, Graph]:
    known, rest = split.known, split.unknown
    n_known = len(known.outputs) - len(split.residuals)
    before, after, taken, given = [], [], {}, []
    for r in computed:
        if r.type.shape:
            given.append(r)
            continue
        row = r.type.with_shape((1,))
        given.append(Value(row, r.name))
        taken[r] = Value(row, r.name)
        before.append(equation(reshape, (r,), given[-1:], {"new_sizes": (1,)}, eqn))
        after.append(equation(reshape, (taken[r],), (r,), {"new_sizes": ()}, eqn))
    outputs = (*known.outputs[:n_known], *given)
    first = Graph(known.inputs, (*known.equations, *before), outputs, known.name)
    inputs = [taken.get(v, v) for v in rest.inputs]
    return first, Graph(inputs, (*after, *rest.equations), rest.outputs, rest.name)


# -- effects -------------------------------------------------------------------------------------


@guard.rule(shard_map)
def guard_shard_map(b: Builder, eqn: Equation, here: Value) -> Equation:
    """All devices are told."""
    p = eqn.params
    params = changed(eqn, guarded(p["graph"]), ((), *p["in_specs"]), p["out_specs"])
    return eqn.replace(inputs=(here, *eqn.inputs), params=params)


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(shard_map)
def prune_shard_map(eqn: Equation, used: Flags) -> Equation:
    p = eqn.params
    kept = dce_graph(p["graph"], used)[1]
    graph = region_of(p["graph"], used, kept)
    params = changed(eqn, graph, select(p["in_specs"], kept), select(p["out_specs"], used))
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, kept)),
        outputs=tuple(select(eqn.outputs, used)),
        params=params,
    )

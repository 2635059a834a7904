"""Solves of differential equations in JAX: one primitive, with the rules that our passes give.

So a solve may stand inside `jax.lax.scan`, `jax.jit` and every other function that JAX traces by
itself, is found again there by covector, and is differentiated by `jax.grad` and `jax.jvp` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.interpreters import ad, batching, mlir

from ..ir.builder import Builder
from ..ir.graph import Equation, Graph, Value, memoised
from ..ir.primitive import Primitive
from ..ir.types import TensorType, has_tangent
from ..passes.batch import batch_graph
from ..passes.jvp import jvp_graph
from ..passes.partial_eval import split_graph
from ..passes.transpose import transpose_graph
from .avals import to_aval, to_type
from .export import eval_graph, jitted
from .export_rules import binds
from .importer import Params, records
from .jax_compat import Primitive as JaxPrimitive
from .raising import refuse_export

solve_p = JaxPrimitive("covector_ode")
solve_p.multiple_results = True


class Solve:
    """What is solved: one of our primitives with its parameters. Equal if these are."""

    def __init__(self, primitive: Primitive, params: dict[str, Any]) -> None:
        self.primitive, self.params = primitive, params
        self._key = (primitive, *params.values(), repr(params))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Solve) and self._key == other._key

    def __repr__(self) -> str:
        return f"{self.primitive.name}(@{self.params['graph'].name})"

    def graph(self, types: Sequence[TensorType]) -> Graph:
        """The graph that holds nothing but this solve, of operands of these types."""

        def make() -> Graph:
            b = Builder()
            inputs = [Value(t.strong) for t in types]
            outputs = b.emit(self.primitive, *inputs, **self.params)
            return b.graph(inputs, outputs, self.primitive.name)

        key = ("solve", self, tuple([t.strong for t in types]))
        made: Graph = memoised(self.params["graph"], key, make)
        return made

    def expansion(self, types: Sequence[TensorType]) -> Graph:
        from ..ir.solvers.expansion import expand  # the solvers are loaded when they are asked for

        (eqn,) = self.graph(types).equations
        return expand(eqn)


def _types(operands: Sequence[Any]) -> list[TensorType]:
    return [to_type(jax.typeof(x)) for x in operands]


@binds("ode", "linear_ode", "linear_ode_back")
def _bind(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    return list(solve_p.bind(*arrays, solve=Solve(eqn.primitive, eqn.params)))


@records("covector_ode")
def _record(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
    solve: Solve = params["solve"]
    return b.emit(solve.primitive, *inputs, **solve.params)


def _abstract(*avals: Any, solve: Solve) -> list[Any]:
    graph = solve.graph([to_type(x) for x in avals])
    return [to_aval(t) for t in graph.output_types]


def _run(*arrays: Any, solve: Solve) -> list[Any]:
    return list(jitted(solve.expansion(_types(arrays)))(*arrays))


solve_p.def_abstract_eval(_abstract)
solve_p.def_impl(_run)


def _loops(*arrays: Any, solve: Solve) -> list[Any]:
    return eval_graph(solve.expansion(_types(arrays)), arrays)


def _lower(ctx: Any, *operands: Any, solve: Solve) -> Any:
    if solve.params["throw"]:
        refuse_export(
            ctx, f"the solve of {solve.params['graph'].name.partition('.')[0]} has failed"
        )
    return mlir.lower_fun(_loops, multiple_results=True)(ctx, *operands, solve=solve)


mlir.register_lowering(solve_p, _lower)

# -- transformations -------------------------------------------------------------------------------


def _push(
    primals: Sequence[Any], tangents: Sequence[Any], solve: Solve
) -> tuple[list[Any], list[Any]]:
    """The primal, then the linear solve of the tangents, so that JAX can take the two apart."""
    active = [not isinstance(dx, ad.Zero) for dx in tangents]
    graph = solve.graph(_types(primals))
    forward, nonzero = jvp_graph(graph, active)
    n_in, n_out = len(graph.inputs), len(graph.outputs)
    unknown = [i >= n_in for i in range(len(forward.inputs))]
    split = split_graph(forward, unknown, [i >= n_out for i in range(len(forward.outputs))])
    found = eval_graph(split.known, primals)
    dxs = [dx for dx, is_active in zip(tangents, active, strict=True) if is_active]
    pushed = iter(eval_graph(split.unknown, (*found[n_out:], *dxs)))
    dys = [
        next(pushed) if nz else ad.Zero(to_aval(v.type).to_tangent_aval())
        for nz, v in zip(nonzero, graph.outputs, strict=True)
    ]
    return found[:n_out], dys


ad.primitive_jvps[solve_p] = _push


def _pull(cts: Sequence[Any], *operands: Any, solve: Solve) -> list[Any]:
    linear = [ad.is_undefined_primal(x) for x in operands]
    avals = [x.aval if lin else jax.typeof(x) for x, lin in zip(operands, linear, strict=True)]
    graph = solve.graph([to_type(aval) for aval in avals])
    given = [not isinstance(ct, ad.Zero) and has_tangent(to_type(jax.typeof(ct))) for ct in cts]
    backward, found_for = transpose_graph(graph, linear, given)
    fixed = [x for x, lin in zip(operands, linear, strict=True) if not lin]
    some = [ct for ct, g in zip(cts, given, strict=True) if g]
    found = iter(eval_graph(backward, (*fixed, *some)))
    flags = iter(found_for)
    return [
        (next(found) if next(flags) else ad.Zero(aval)) if lin else None
        for lin, aval in zip(linear, avals, strict=True)
    ]


ad.primitive_transposes[solve_p] = _pull


def _map(operands: Sequence[Any], axes: Sequence[Any], solve: Solve) -> tuple[list[Any], list[Any]]:
    batched = [axis is not None for axis in axes]
    first = [
        jax.numpy.moveaxis(x, axis, 0) if flag else x
        for x, axis, flag in zip(operands, axes, batched, strict=True)
    ]
    (size,) = {x.shape[0] for x, flag in zip(first, batched, strict=True) if flag}
    types = [
        t.with_shape(t.shape[1:]) if flag else t
        for t, flag in zip(_types(first), batched, strict=True)
    ]
    graph, out_batched = batch_graph(solve.graph(types), batched, size)
    outputs = eval_graph(graph, first)
    return outputs, [0 if flag else None for flag in out_batched]


batching.primitive_batchers[solve_p] = _map

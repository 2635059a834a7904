"""Primitives with regions, back in JAX: through its public functions, which check and hoist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from ..ir.graph import Equation, Graph
from ..ir.ops.call import (
    bwd_rule_graph,
    fwd_rule_graph,
    inexact_flags,
    jvp_rule_graph,
)
from ..ir.ops.control import split_sizes
from .avals import to_aval
from .export import eval_graph, jitted
from .export_rules import binds
from .jax_compat_rules import SymbolicZero
from .policies import policy_to_jax
from .varying import carried_alike, returned_alike, varying_as

Arrays = Sequence[Any]
Tuple = tuple[Any, ...]


@binds("call")
def _call(eqn: Equation, arrays: Arrays) -> Arrays:
    return list(jitted(eqn.params["graph"])(*arrays))


# -- control flow --------------------------------------------------------------------------------


@binds("scan")
def _scan(eqn: Equation, arrays: Arrays) -> Arrays:
    p = eqn.params
    n_carry = p["num_carry"]
    consts, carry, xs = split_sizes(arrays, (p["num_consts"], n_carry))
    graph: Graph = p["graph"]

    def step(carry: Tuple, x: Tuple) -> tuple[Tuple, Tuple]:
        outputs = eval_graph(graph, (*consts, *carry, *x))
        return tuple(varying_as(outputs[:n_carry], carry)), tuple(outputs[n_carry:])

    if p["length"]:
        carry = carried_alike(lambda *carry: step(carry, tuple(x[0] for x in xs))[0], carry)
    last, ys = lax.scan(
        step, carry, xs, length=p["length"], reverse=p["reverse"], unroll=p["unroll"]
    )
    return [*last, *ys]


@binds("while")
def _while(eqn: Equation, arrays: Arrays) -> Arrays:
    p = eqn.params
    lengths = p["cond_nconsts"], p["body_nconsts"]
    cond_consts, body_consts, carry = split_sizes(arrays, lengths)

    def proceed(carry: Tuple) -> Any:
        return eval_graph(p["cond_graph"], (*cond_consts, *carry))[0]

    def body(carry: Tuple) -> Tuple:
        return tuple(varying_as(eval_graph(p["body_graph"], (*body_consts, *carry)), carry))

    carry = carried_alike(lambda *carry: body(carry), carry)
    last: Tuple = lax.while_loop(proceed, body, carry)
    return last


@binds("replay", "rewind")
def _found_again(eqn: Equation, arrays: Arrays) -> Arrays:
    from ..ir.rewinding import expand  # loaded when it is asked for: few programs have such loops

    return eval_graph(expand(eqn), arrays)


@binds("cond")
def _cond(eqn: Equation, arrays: Arrays) -> Arrays:
    index, *operands = arrays
    branches = returned_alike(list(map(_function, eqn.params["branches"])), operands)
    if eqn.inputs[0].type.dtype == np.bool_:
        return list(lax.cond(index, branches[1], branches[0], *operands))
    return list(lax.switch(index, branches, *operands))


@binds("custom_linear_solve")
def _linear_solve(eqn: Equation, arrays: Arrays) -> Arrays:
    p = eqn.params
    *consts, b = split_sizes(arrays, p["const_lengths"])
    n = len(b)

    def applied(name: str, values: Arrays) -> Any:
        graph = p[name]
        if graph is None:
            return None

        def solve(*arguments: Any) -> Any:
            outputs = tuple(eval_graph(graph, (*values, *arguments[-1])))
            return (outputs[:n], outputs[n:]) if has_aux and "solve" in name else outputs

        return solve

    has_aux = len(eqn.outputs) > n
    matvec, _, solve, transpose_solve = (
        applied(name, values)
        for name, values in zip(
            ("matvec", "vecmat", "solve", "transpose_solve"), consts, strict=True
        )
    )
    result = lax.custom_linear_solve(matvec, tuple(b), solve, transpose_solve, has_aux=has_aux)
    return [*result[0], *result[1]] if has_aux else list(result)


def _function(graph: Graph) -> Callable[..., Any]:
    def run(*arrays: Any) -> tuple[Any, ...]:
        return tuple(eval_graph(graph, arrays))

    run.__name__ = run.__qualname__ = graph.name
    return run


# -- checkpoint ----------------------------------------------------------------------------------


@binds("checkpoint")
def _checkpoint(eqn: Equation, arrays: Arrays) -> Arrays:
    p = eqn.params
    policy = policy_to_jax(p["policy"])
    run = jax.checkpoint(_function(p["graph"]), prevent_cse=p["prevent_cse"], policy=policy)
    return list(run(*arrays))


# -- custom rules --------------------------------------------------------------------------------


@jax.tree_util.register_static
class _Flags(tuple[bool, ...]):
    """Which inputs of a forward rule were perturbed, carried among its residuals."""


@binds("custom_jvp_call")
def _custom_jvp(eqn: Equation, arrays: Arrays) -> Arrays:
    p = eqn.params
    graph: Graph = p["graph"]
    symbolic: bool = p["symbolic_zeros"]
    run = jax.custom_jvp(_function(graph))

    def rule(primals: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        flags = inexact_flags(graph.input_types, p["num_consts"])
        if symbolic:
            flags = tuple(f and not _is_zero(t) for f, t in zip(flags, tangents, strict=True))
        made, out_nonzero = jvp_rule_graph(p["jvp"], graph, flags)
        given = [t for t, f in zip(tangents, flags, strict=True) if f]
        outputs = eval_graph(made, (*primals, *given))
        results = iter(outputs[len(graph.outputs) :])
        dys = tuple(
            next(results) if nonzero else _zero_tangent(y.type, symbolic)
            for y, nonzero in zip(graph.outputs, out_nonzero, strict=True)
        )
        return tuple(outputs[: len(graph.outputs)]), dys

    run.defjvp(rule, symbolic_zeros=symbolic)
    return list(run(*arrays))


@binds("custom_vjp_call")
def _custom_vjp(eqn: Equation, arrays: Arrays) -> Arrays:
    p = eqn.params
    graph: Graph = p["graph"]
    symbolic: bool = p["symbolic_zeros"]
    run = jax.custom_vjp(_function(graph))
    n_out = len(graph.outputs)

    def forward(*primals: Any) -> tuple[Arrays, Any]:
        flags = _without_last(inexact_flags(graph.input_types, p["num_consts"]), p["carried"])
        values = primals
        if symbolic:
            flags = tuple(f and x.perturbed for f, x in zip(flags, primals, strict=True))
            values = tuple(x.value for x in primals)
        outputs = eval_graph(fwd_rule_graph(p["fwd"], flags), values)
        return tuple(outputs[:n_out]), (_Flags(flags), outputs[n_out:])

    def backward(kept: Any, cts: Arrays) -> Tuple:
        flags, residuals = kept
        out_flags = _without_last(inexact_flags(graph.output_types), p["carried"])
        if symbolic:
            out_flags = tuple(f and not _is_zero(c) for f, c in zip(out_flags, cts, strict=True))
        made, in_nonzero = bwd_rule_graph(p["bwd"], tuple(flags), out_flags)
        given = [c for c, f in zip(cts, out_flags, strict=True) if f]
        results = iter(eval_graph(made, (*residuals, *given)))
        return tuple(next(results) if nonzero else None for nonzero in in_nonzero)

    run.defvjp(forward, backward, symbolic_zeros=symbolic)
    return list(run(*arrays))


def _without_last(flags: Sequence[bool], n: int) -> tuple[bool, ...]:
    """Flags of inputs or outputs of which the last n have no derivative: to JAX, second values of
    mutable arrays (carried) are nothing."""
    return (*flags[: len(flags) - n], *[False] * n)


def _is_zero(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


def _zero_tangent(type: Any, symbolic: bool) -> Any:
    aval = to_aval(type).to_tangent_aval()
    if symbolic:
        return SymbolicZero(aval)
    if aval.dtype == jax.dtypes.float0:
        return np.zeros(type.shape, jax.dtypes.float0)
    return jax.numpy.zeros(type.shape, aval.dtype)

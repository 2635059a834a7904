"""Roots that JAX keeps as operations of another kind, with rules that only its own transformations
read (`jax.lax.custom_root`, from JAX 0.12 on): written as functions with a forward rule.

f(c, x) = 0  defines x as a function of c:   f_x dx = -f_c dc
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.errors import UsageError
from ..ir.graph import Location
from .hidden_rules import Params, jaxprs_in
from .jax_compat import JaxprLiteral


def is_root(called: Any) -> bool:
    """Whether an operation of that kind is a root."""
    return all(hasattr(called, part) for part in ("f", "solve", "tangent_solve", "has_aux"))


def as_custom_jvp(called: Any) -> Any:
    """The same root as a function of its flat operands, with its derivative as a forward rule."""

    @jax.custom_jvp
    def root(solve_consts: Any, guess: Any, f_consts: Any, tangent_consts: Any) -> Any:
        return called.solve(solve_consts, guess)

    @root.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        found = root(*primals)
        x, aux = found if called.has_aux else (found, ())
        _, rhs = jax.jvp(lambda c: called.f(c, x), (primals[2],), (tangents[2],))
        moved = jax.tree.map(jnp.negative, called.tangent_solve(primals[3], x, rhs))
        return found, (moved, jax.tree.map(_no_tangent, aux)) if called.has_aux else moved

    def flat(*operands: Any) -> list[Any]:
        return jax.tree.leaves(root(*jax.tree.unflatten(called.in_tree, operands)))

    return flat


def _no_tangent(x: Any) -> Any:
    return jnp.zeros(jnp.shape(x), jax.dtypes.float0 if not _is_inexact(x) else jnp.result_type(x))


def _is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))


def with_roots_told(closed_jaxpr: Any, location_of: Callable[[Any], Location | None]) -> Any:
    """The jaxpr with each root in it as a function that has its rule.

    Raises UsageError for a root in a jaxpr in it, whose rule would get lost.
    """
    for eqn in closed_jaxpr.eqns:
        refuse_inner_roots(eqn.params, location_of(eqn))
    if not _has_root(closed_jaxpr.jaxpr):
        return closed_jaxpr

    def run(*arguments: Any) -> list[Any]:
        return _evaluate(closed_jaxpr, arguments)

    return jax.make_jaxpr(run)(*closed_jaxpr.in_avals)


def refuse_inner_roots(params: Params, location: Location | None) -> None:
    """Raise UsageError if there is a root in the jaxprs that an operation holds."""
    if any(map(_has_root, jaxprs_in(params))):
        raise UsageError(
            "this release of JAX keeps the derivative rule of jax.lax.custom_root where covector "
            "cannot read it, inside of functions that JAX has traced (jit, scan, checkpoint, ...)",
            location=location,
            hint="use covector.custom_root, which takes the same arguments",
        )


def _has_root(jaxpr: Any) -> bool:
    return any(
        is_root(eqn.params.get("_prim")) or any(map(_has_root, jaxprs_in(eqn.params)))
        for eqn in jaxpr.eqns
    )


def _evaluate(closed_jaxpr: Any, arguments: Sequence[Any]) -> list[Any]:
    jaxpr = closed_jaxpr.jaxpr
    env = dict(zip(jaxpr.constvars, closed_jaxpr.consts, strict=True))
    env.update(zip(jaxpr.invars, arguments, strict=True))

    def read(x: Any) -> Any:
        return x.val if isinstance(x, JaxprLiteral) else env[x]

    for eqn in jaxpr.eqns:
        operands = [read(x) for x in eqn.invars]
        called = eqn.params.get("_prim")
        if is_root(called):
            outputs = as_custom_jvp(called)(*operands)
        else:
            outputs = eqn.primitive.bind(*operands, **eqn.params)
            outputs = outputs if eqn.primitive.multiple_results else [outputs]
        env.update(zip(eqn.outvars, outputs, strict=True))
    return [read(x) for x in jaxpr.outvars]

"""Roots that JAX keeps as operations of another kind, with rules that only its own transformations
read (`jax.lax.custom_root`, from JAX 0.12 on): written as functions with a forward rule.

f(c, x) = 0  defines x as a function of c:   f_x dx = -f_c dc
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def is_root(called: Any) -> bool:
    """Whether an operation of that kind is a root."""
    return all(hasattr(called, part) for part in ("f", "solve", "tangent_solve", "has_aux"))


def is_derivative(called: Any) -> bool:
    """Whether an operation of that kind is the derivative of a root's function along a vector, or
    its transpose: what it expands to has the same derivatives."""
    return hasattr(called, "f") and hasattr(called, "transposed")


def as_custom_jvp(called: Any) -> Any:
    """The same root as a function with its derivative as a forward rule."""

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

    return root


def _no_tangent(x: Any) -> Any:
    return jnp.zeros(jnp.shape(x), jax.dtypes.float0 if not _is_inexact(x) else jnp.result_type(x))


def _is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))

"""What JAX's tutorials on automatic differentiation time: products with Jacobians and Hessians."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from .program import Normal, Program


def predict(w: Any, inputs: Any, directions: Any = None) -> Any:
    """A logistic regression; `directions` are those of what is derived of it."""
    return 0.5 * (jnp.tanh(inputs @ w) + 1)


def cubic(x: Any) -> Any:
    return jnp.sum(jnp.tanh(x) ** 2)


def matrix_jacobian(library: Any, fun: Any) -> Any:
    """Rows of a matrix pulled back, all at once."""

    def product(w: Any, inputs: Any, rows: Any) -> Any:
        _, pull = library.vjp(lambda w: fun(w, inputs), w)
        return library.vmap(pull)(rows)

    return product


def jacobian_matrix(library: Any, fun: Any) -> Any:
    """Columns of a matrix pushed forward, all at once."""

    def product(w: Any, inputs: Any, columns: Any) -> Any:
        push = lambda s: library.jvp(lambda w: fun(w, inputs), (w,), (s,))[1]
        return library.vmap(push)(columns)

    return product


def hvp_reverse_over_reverse(library: Any, fun: Any) -> Any:
    return lambda x: library.grad(lambda y: jnp.vdot(library.grad(fun)(y), x))(x)


def hvp_forward_over_reverse(library: Any, fun: Any) -> Any:
    return lambda x: library.jvp(library.grad(fun), (x,), (x,))[1]


def programs(quick: bool) -> list[Program]:
    normal = Normal()
    w, inputs, x = normal(32), normal(128, 32), normal(30, 40)
    return [
        Program("tutorial, vmapped vjp", predict, (w, inputs, jnp.eye(8, 128)), matrix_jacobian),
        Program("tutorial, vmapped jvp", predict, (w, inputs, jnp.eye(8, 32)), jacobian_matrix),
        Program(
            "tutorial, hvp forward over reverse", cubic, (x,), hvp_forward_over_reverse, "higher"
        ),
        Program(
            "tutorial, hvp reverse over reverse", cubic, (x,), hvp_reverse_over_reverse, "higher"
        ),
    ]

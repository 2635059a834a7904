"""What rules with `symbolic_zeros=True` are told, un-jitted and jitted: the same as by JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_derivatives import SymbolicZero

import covector

Function = Callable[..., Any]
Told = set[tuple[Any, ...]]
X, N = jnp.asarray([0.3, -0.7, 1.1]), jnp.asarray(2)
Y = X + 1.0


def is_zero(x: Any) -> bool:
    return isinstance(x, SymbolicZero)


# Slopes depend on what the rules are told: equal derivatives were told the same.


def with_jvp(told: Told) -> Function:
    @jax.custom_jvp
    def f(x: Any, y: Any, n: Any) -> Any:
        return x * y, jnp.sin(x)

    def rule(primals: Any, tangents: Any) -> Any:
        (x, y, n), (dx, dy, _) = primals, tangents
        told.add(("jvp", *map(is_zero, tangents)))
        of_x = jnp.zeros_like(x) if is_zero(dx) else (7.0 if is_zero(dy) else 2.0) * dx * y
        of_y = jnp.zeros_like(x) if is_zero(dy) else (9.0 if is_zero(dx) else 5.0) * dy * x
        return f(x, y, n), (of_x + of_y, SymbolicZero(jax.typeof(x)) if is_zero(dx) else 4.0 * dx)

    f.defjvp(rule, symbolic_zeros=True)
    return f


def with_vjp(told: Told) -> Function:
    @jax.custom_vjp
    def f(x: Any, y: Any, n: Any) -> Any:
        return x * y, jnp.sin(x)

    def fwd(*inputs: Any) -> Any:
        moves = tuple(x.perturbed for x in inputs)
        told.add(("fwd", *moves))
        x, y, n = (x.value for x in inputs)
        return f(x, y, n), (x, y * 7.0 if moves == (True, False, False) else y)

    def bwd(residuals: Any, cts: Any) -> Any:
        (x, y), (ct, ct_sin) = residuals, cts
        told.add(("bwd", *map(is_zero, cts)))
        ct_x = jnp.zeros_like(x) if is_zero(ct) else ct * y * (9.0 if is_zero(ct_sin) else 2.0)
        ct_x = ct_x if is_zero(ct_sin) else ct_x + 3.0 * ct_sin
        return ct_x, None if is_zero(ct) else ct * x * 6.0, None

    f.defvjp(fwd, bwd, symbolic_zeros=True)
    return f


# -- where the function is called ------------------------------------------------------------------


def called(f: Function) -> Function:
    return f


def in_scan(f: Function) -> Function:
    def step(c: Any, y: Any, n: Any) -> Any:
        product, sine = f(c, y, n)
        return product * 0.5, sine

    return lambda x, y, n: lax.scan(lambda c, _: step(c, y, n), x, None, length=2)


def in_scan_late(f: Function) -> Function:
    """The first argument has no tangent in the first two steps: a loop has one body for all."""

    def step(c: Any, n: Any) -> Any:
        product, sine = f(c[0], c[1], n)
        return (c[1], c[2], product), sine

    return lambda x, y, n: lax.scan(lambda c, _: step(c, n), (X, Y, x + y), None, length=4)


def in_cond(f: Function) -> Function:
    return lambda x, y, n: lax.cond(n > 1, f, lambda x, y, _: (x, y), x, y, n)


def in_jit(f: Function) -> Function:
    return jax.jit(f)


def in_checkpoint(f: Function) -> Function:
    return jax.checkpoint(f)


def in_vmap(f: Function) -> Function:
    return lambda x, y, n: jax.vmap(f, (0, None, None))(jnp.stack([x, x * 2.0]), y, n)


PLACES = [called, in_scan, in_scan_late, in_cond, in_jit, in_checkpoint, in_vmap]

# -- how it is transformed -------------------------------------------------------------------------


def total(f: Function) -> Function:
    return lambda *args: sum(y.sum() for y in jax.tree.leaves(f(*args)))


def last(f: Function) -> Function:
    """Of one output alone: the others have no cotangent."""
    return lambda *args: f(*args)[1].sum()


def pulled(lib: Any, f: Function) -> Any:
    out, pull = lib.vjp(lambda x: f(x, Y, N), X)
    return pull(jax.tree.map(jnp.ones_like, out))


REVERSE: dict[str, Callable[[Any, Function], Any]] = {
    "grad by x": lambda lib, f: lib.grad(lambda x: total(f)(x, Y, N))(X),
    "grad by y": lambda lib, f: lib.grad(lambda y: total(f)(X, y, N))(Y),
    "grad by argument 1": lambda lib, f: lib.grad(total(f), 1)(X, Y, N),
    "grad of one output": lambda lib, f: lib.grad(last(f), (0, 1))(X, Y, N),
    "vjp": pulled,
    "vmap of grad": lambda lib, f: lib.vmap(lib.grad(total(f)), (0, None, None))(
        jnp.stack([X, Y]), Y, N
    ),
    "grad of vmap": lambda lib, f: lib.grad(total(lib.vmap(lambda x: f(x, Y, N))))(
        jnp.stack([X, Y])
    ),
    "grad of grad": lambda lib, f: lib.grad(
        lambda x: lib.grad(lambda x: total(f)(x, Y, N))(x).sum()
    )(X),
    "jit of grad": lambda lib, f: lib.jit(lib.grad(total(f), 1))(X, Y, N),
}
FORWARD: dict[str, Callable[[Any, Function], Any]] = {
    "jvp by x": lambda lib, f: lib.jvp(lambda x: f(x, Y, N), (X,), (Y,)),
    "jvp by y": lambda lib, f: lib.jvp(lambda y: f(X, y, N), (Y,), (X,)),
    "linearize": lambda lib, f: lib.linearize(lambda y: f(X, y, N), Y)[1](X),
}


@pytest.mark.parametrize("place", PLACES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("make", [with_jvp, with_vjp], ids=lambda f: f.__name__)
def test_rules_are_told_what_jax_tells_them(make: Function, place: Function) -> None:
    ways = {**REVERSE, **FORWARD} if make is with_jvp else REVERSE
    for name, transformed in ways.items():
        found: list[tuple[Any, Told]] = []
        for lib in (covector, jax):
            told: Told = set()
            found.append((transformed(lib, place(make(told))), told))
        (got, told), (want, told_by_jax) = found
        # the way to a loop's fixpoint leads past signatures that it does not end at
        assert told >= told_by_jax if place in (in_scan, in_scan_late) else told == told_by_jax
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)

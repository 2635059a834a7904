"""What functions with rules of their own may be in JAX: each under nests of all transformations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.custom_derivatives import SymbolicZero

import covector
from covector.ir.errors import CovectorError

X = jnp.asarray([0.3, -0.7, 1.1])
Y = X + 1.0
Function = Callable[..., Any]

# -- forward rules ---------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def applied(f: Function, x: Any, n: float) -> Any:
    return f(x) * n


@applied.defjvp
def _(f: Function, n: float, primals: Any, tangents: Any) -> Any:
    return applied(f, *primals, n), 3.0 * n * jnp.cos(primals[0]) * tangents[0]


@partial(jax.custom_jvp, nondiff_argnames=("n",))
def times(x: Any, n: float = 2.0) -> Any:
    return jnp.sin(x) * n


@times.defjvp
def _(n: float, primals: Any, tangents: Any) -> Any:
    return times(*primals, n), 5.0 * n * jnp.cos(primals[0]) * tangents[0]


@jax.custom_jvp
def product(x: Any, y: Any, z: Any) -> Any:
    return x * y * z


product.defjvps(
    lambda dx, _, x, y, z: 2.0 * dx * y * z, None, lambda dz, ans, x, y, z: ans / z * dz
)


class Pair(NamedTuple):
    a: Any
    b: Any


@jax.custom_jvp
def of_pairs(p: Pair, scale: float = 2.0) -> Any:
    return Pair(jnp.sin(p.a) * scale, {"u": (p.b, p.a * p.b)})


@of_pairs.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (p, s), (dp, _) = primals, tangents
    return of_pairs(p, s), Pair(3.0 * jnp.cos(p.a) * s * dp.a, {"u": (dp.b, dp.a * p.b)})


@jax.custom_jvp
def told_of_zeros(x: Any, y: Any) -> Any:
    return x * y, jnp.sin(x)


def _told_of_zeros(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    zero = jnp.zeros_like(x)
    first = zero if isinstance(dx, SymbolicZero) else 2.0 * dx * y
    second = zero if isinstance(dy, SymbolicZero) else 5.0 * dy * x
    other = SymbolicZero(jax.typeof(x)) if isinstance(dx, SymbolicZero) else 4.0 * dx
    return told_of_zeros(x, y), (first + second, other)


told_of_zeros.defjvp(_told_of_zeros, symbolic_zeros=True)

FORWARD: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "nondiff_argnums": (lambda x: applied(jnp.sin, x, 2.0), (X,)),
    "nondiff_argnames and defaults": (lambda x: times(x, n=4.0) + times(x), (X,)),
    "defjvps with None": (product, (X, Y, Y + 1.0)),
    "namedtuples": (lambda a, b: of_pairs(Pair(a, b)), (X, Y)),
    "keywords": (lambda a, b: of_pairs(p=Pair(a, b), scale=3.0), (X, Y)),
    "symbolic zeros": (told_of_zeros, (X, Y)),
    "symbolic zeros of one": (lambda y: told_of_zeros(X, y), (Y,)),
}

# -- reverse rules ---------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def pulled(f: Function, x: Any, y: Any) -> Any:
    return f(x) * y


pulled.defvjp(
    lambda f, x, y: (f(x) * y, (x, y)), lambda f, r, ct: (f(r[0]) * ct * r[1] * 2.0, None)
)


@partial(jax.custom_vjp, nondiff_argnames=("n",))
def pulled_times(x: Any, n: float = 2.0) -> Any:
    return jnp.sin(x) * n


pulled_times.defvjp(lambda x, n: (jnp.sin(x) * n, x), lambda n, x, ct: (jnp.cos(x) * ct * n * 7.0,))


@jax.custom_vjp
def pulled_pairs(p: Pair, scale: float = 2.0) -> Any:
    return Pair(jnp.sin(p.a) * scale, {"u": (p.b, p.a * p.b)})


pulled_pairs.defvjp(
    lambda p, s: (pulled_pairs(p, s), p), lambda p, ct: (Pair(ct.a * p.b * 3.0, None), None)
)


@jax.custom_vjp
def pulled_with_zeros(x: Any, y: Any) -> Any:
    return x * y, jnp.sin(x)


def _pull_with_zeros(residuals: Any, cts: Any) -> Any:
    x, y = residuals
    ct = jnp.zeros_like(x)
    for c, slope in zip(cts, (y * 2.0, 3.0), strict=True):
        ct = ct if isinstance(c, SymbolicZero) else ct + c * slope
    return ct, None


pulled_with_zeros.defvjp(
    lambda x, y: ((x.value * y.value, jnp.sin(x.value)), (x.value, y.value)),
    _pull_with_zeros,
    symbolic_zeros=True,
)


def forgetful(optimize_remat: bool) -> Function:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(
        lambda x: (jnp.sin(x), jnp.cos(x)),
        lambda cos, ct: (ct * cos * 9.0,),
        optimize_remat=optimize_remat,
    )
    return f


@jax.custom_gradient
def with_gradient(x: Any) -> Any:
    return x**2, lambda ct: (ct * 7.0 * x,)


def closing_over(x: Any) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x * Y

    f.defvjp(lambda x: (x * Y, x), lambda x, ct: (ct * Y * x,))
    return f(x)


REVERSE: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "nondiff_argnums": (lambda x, y: pulled(jnp.cos, x, y), (X, Y)),
    "nondiff_argnames and defaults": (lambda x: pulled_times(x, n=3.0) + pulled_times(x), (X,)),
    "None in namedtuples": (lambda a, b: pulled_pairs(Pair(a, b)), (X, Y)),
    "keywords": (lambda a, b: pulled_pairs(p=Pair(a, b), scale=3.0), (X, Y)),
    "symbolic zeros": (pulled_with_zeros, (X, Y)),
    "symbolic zeros of one": (lambda x: pulled_with_zeros(x, Y)[0], (X,)),
    "optimize_remat": (forgetful(True), (X,)),
    "custom_gradient": (with_gradient, (X,)),
    "closures": (closing_over, (X,)),
}

# -- under transformations -------------------------------------------------------------------------


def total(f: Function, *args: Any) -> Any:
    return sum(y.sum() for y in jax.tree.leaves(f(*args)))


def nested(lib: Any, f: Function) -> Function:
    """In a branch of a checkpointed step of a loop of a jitted batch."""

    def step(x: Any, rest: Any) -> Any:
        y = lax.cond(x[0] > -9.0, lambda x: total(f, x, *rest), lambda x: x[0], x)
        return x * 0.9, y

    def loop(x: Any, *rest: Any) -> Any:
        return lax.scan(lib.checkpoint(lambda c, _: step(c, rest)), x, None, length=2)

    def batch(x: Any, *rest: Any) -> Any:
        rows = lib.vmap(loop, in_axes=(0, *(None for _ in rest)))(jnp.stack([x, x * 0.5]), *rest)
        return total(lambda: rows)

    return lib.jit(batch)


def transformed(lib: Any, f: Function, args: tuple[Any, ...]) -> dict[str, Function]:
    every = tuple(range(len(args)))
    loss = nested(lib, f)

    def gradient(*args: Any) -> Any:
        return lib.grad(partial(total, f), every)(*args)

    return {
        "grad": lambda: lib.jit(lib.grad(loss, every))(*args),
        "vmap": lambda: lib.vmap(gradient)(*(jnp.stack([x, x * 0.5]) for x in args)),
        "grad of grad": lambda: lib.grad(partial(total, gradient), every)(*args),
        "grad of nested grad": lambda: lib.grad(partial(total, lib.grad(loss, every)), every)(
            *args
        ),
        "jvp of grad": lambda: lib.jvp(lib.grad(loss, every), args, args),
    }


def assert_as_jax(
    f: Function, args: tuple[Any, ...], names: list[str], as_in: Function | None = None
) -> None:
    """As JAX has it, of another function if one is given."""
    got, want = transformed(covector, f, args), transformed(jax, as_in or f, args)
    for name in names:
        ours, theirs = got[name](), want[name]()
        assert jax.tree.structure(ours) == jax.tree.structure(theirs), name
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", FORWARD)
def test_forward_rules(name: str) -> None:
    f, args = FORWARD[name]
    assert_as_jax(f, args, ["vmap", "grad of grad", "jvp of grad"])


@pytest.mark.parametrize("name", REVERSE)
def test_reverse_rules(name: str) -> None:
    f, args = REVERSE[name]
    assert_as_jax(f, args, ["grad", "vmap"])
    # JAX itself cannot differentiate a rule with optimize_remat again
    as_in = forgetful(False) if name == "optimize_remat" else None
    assert_as_jax(f, args, ["grad of grad", "grad of nested grad"], as_in)


def _with_rule(tangent: Function) -> Function:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defjvp(lambda p, t: (jnp.sin(p[0]), tangent(*t)))
    return f


NOT_LINEAR: dict[str, Function] = {
    "integer_pow": lambda t: t**2,
    "mul": lambda t: lax.scan(lambda c, _: (c * t, None), t, None, length=2)[0],
    "select_n": lambda t: jnp.where(t > 0, t, 0.0),
    "add": lambda t: t + 1.0,
    "concatenate": lambda t: jnp.concatenate([t[:2], jnp.ones(1)]),
    "convert_element_type": lambda t: t.astype(int).astype(float),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_makes_a_rule_not_linear_is_named(name: str) -> None:
    loss = nested(covector, _with_rule(NOT_LINEAR[name]))
    with pytest.raises(CovectorError, match="linear") as raised:
        covector.grad(loss)(X)
    assert raised.value.claim.startswith(name)
    assert raised.value.location is not None
    assert raised.value.location.file.endswith("test_custom_clauses.py")


def test_zeros_may_be_added_to_tangents() -> None:
    f = _with_rule(lambda t: jnp.zeros(3) + jnp.where(X > 0, t, 0.0) + jnp.zeros(3).at[1].add(t[0]))
    np.testing.assert_allclose(covector.grad(lambda x: f(x).sum())(X), [2.0, 0.0, 1.0])

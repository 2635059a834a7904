"""Operations of other people's that JAX expands to others, with derivative rules of their own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import hijax

import covector
from covector.ir.errors import PassError

Operation: Any = getattr(hijax, "HiPrim", None) or getattr(hijax, "VJPHiPrimitive")  # noqa: B009


class Product(Operation):  # type: ignore[misc]
    """sin(x) * y; subclasses have rules that are wrong, so that it shows which of them is taken."""

    def __init__(self, *avals: Any) -> None:
        self.in_avals, self.out_aval, self.params = avals, avals[0], {}
        super().__init__()

    def expand(self, x: Any, y: Any) -> Any:
        return jnp.sin(x) * y


class Forward(Product):
    def jvp(self, primals: Any, tangents: Any) -> Any:
        (x, y), (dx, dy) = primals, tangents
        return self(x, y), 3 * jnp.cos(x) * y * dx + jnp.sin(x) * dy


class Reverse(Product):
    def vjp_fwd(self, nonzero: Any, x: Any, y: Any) -> Any:
        return self(x, y), (jnp.cos(x), jnp.sin(x), y)

    def vjp_bwd_retval(self, residuals: Any, ct: Any) -> Any:
        cos_x, sin_x, y = residuals
        return 5 * cos_x * y * ct, sin_x * ct


class Both(Forward, Reverse):
    pass


def calling(kind: Any) -> Any:
    return lambda x, y: kind(jax.typeof(x), jax.typeof(y))(x, y)


X, Y = jnp.float32(0.7), jnp.float32(3.0)
BATCH = jnp.arange(3, dtype=jnp.float32)
FORWARD = [
    lambda m, f: m.jvp(f, (X, Y), (Y, X)),
    lambda m, f: m.jit(f)(X, Y),
]
REVERSE = [
    lambda m, f: m.grad(f, (0, 1))(X, Y),
    lambda m, f: m.grad(m.jit(f))(X, Y),
    lambda m, f: m.jit(m.grad(f))(X, Y),
]


@pytest.mark.parametrize(
    ("kind", "run"),
    [(kind, run) for kind in (Forward, Both) for run in FORWARD]
    + [(kind, run) for kind in (Reverse, Both) for run in REVERSE],
)
def test_rules_are_those_that_jax_takes(kind: Any, run: Any) -> None:
    f = calling(kind)
    jax.tree.map(np.testing.assert_allclose, run(covector, f), run(jax, f))


@pytest.mark.parametrize("kind", [Forward, Reverse, Both])
def test_batches_are_loops(kind: Any) -> None:
    slope = covector.grad(calling(kind))
    looped = jnp.stack([slope(x, x) for x in BATCH])
    np.testing.assert_allclose(covector.vmap(slope)(BATCH, BATCH), looped, rtol=1e-6)
    total = covector.grad(lambda x, y: covector.vmap(calling(kind))(x, y).sum())
    np.testing.assert_allclose(total(BATCH, BATCH), looped, rtol=1e-6)


def test_a_forward_rule_alone_is_transposed() -> None:
    f = calling(Forward)
    dx, dy = covector.grad(f, (0, 1))(X, Y)
    np.testing.assert_allclose(dx, 3 * jnp.cos(X) * Y, rtol=1e-6)
    np.testing.assert_allclose(dy, jnp.sin(X), rtol=1e-6)
    np.testing.assert_allclose(
        covector.vmap(lambda x: covector.jvp(f, (x, Y), (Y, X))[1])(BATCH),
        3 * jnp.cos(BATCH) * Y * Y + jnp.sin(BATCH) * X,
        rtol=1e-6,
    )


def test_a_reverse_rule_beside_a_forward_rule_is_not_differentiated() -> None:
    with pytest.raises(PassError, match="differentiated in a residual of linear_call"):
        covector.grad(covector.grad(calling(Both)))(X, Y)


class Floored(Operation):  # type: ignore[misc]
    """sin(x), or only the integer below 5 x, or both: with rules for both modes."""

    def __init__(self, aval: Any, wanted: str) -> None:
        integer = jax.typeof(jnp.int32(0))
        self.in_avals, self.params = (aval,), {"wanted": wanted}
        self.out_aval = {"both": (aval, integer), "integer": (integer,)}[wanted]
        super().__init__()

    def expand(self, x: Any) -> Any:
        values = jnp.sin(x), jnp.int32(jnp.floor(5 * x))
        return values[-len(self.out_aval) :]

    def jvp(self, primals: Any, tangents: Any) -> Any:
        dys = jnp.cos(primals[0]) * tangents[0], np.zeros((), jax.dtypes.float0)
        return self(*primals), dys[-len(self.out_aval) :]

    def vjp_fwd(self, nonzero: Any, x: Any) -> Any:
        return self(x), x

    def vjp_bwd_retval(self, residuals: Any, ct: Any) -> Any:
        return (jnp.cos(residuals) * ct[0] if len(ct) == 2 else jnp.zeros(()),)


@pytest.mark.parametrize("wanted", ["both", "integer"])
def test_integers_among_results(wanted: str) -> None:
    f = lambda x: x * sum(Floored(jax.typeof(x), wanted)(x))
    for run in (
        lambda m: m.grad(f)(X), lambda m: m.jvp(f, (X,), (Y,)), lambda m: m.jit(m.grad(f))(X),
    ):  # fmt: skip
        jax.tree.map(np.testing.assert_allclose, run(covector), run(jax))

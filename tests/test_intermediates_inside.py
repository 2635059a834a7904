"""Values inside of loops, branches and checkpointed parts: derivatives by them, and monitoring."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness_laws import assert_close

import covector
from covector.frontend.between import NoPathWarning
from covector.ir.errors import UsageError

W = np.random.default_rng(0).standard_normal((3, 5, 5)).astype(np.float32) / 2
X = np.random.default_rng(1).standard_normal(5).astype(np.float32)


def looped(x: Any, ws: Any) -> Any:
    def body(c: Any, w: Any) -> Any:
        q = jnp.tanh(c @ w)
        return q, covector.tap(jnp.sum(q), "total")

    last, totals = jax.lax.scan(body, x, ws)

    def yes(t: Any) -> Any:
        inside = jnp.sin(t)
        return inside * 2

    branch = jax.lax.cond(x[0] > -100, yes, lambda t: t, last)

    def part(t: Any) -> Any:
        kept = jnp.exp(t)
        return kept * t

    return jnp.sum(jax.checkpoint(part)(branch) * last) + jnp.sum(totals**2)


def perturbed(p: dict[str, Any], x: Any, ws: Any) -> Any:
    """`looped`, with something added to each value."""

    def body(c: Any, wp: Any) -> Any:
        q = jnp.tanh(c @ wp[0]) + wp[1]
        return q, jnp.sum(q) + wp[2]

    last, totals = jax.lax.scan(body, x, (ws, p["q"], p["total"]))
    branch = (jnp.sin(last) + p["inside"]) * 2
    kept = jnp.exp(branch) + p["kept"]
    return jnp.sum(kept * branch * last) + jnp.sum(totals**2)


ZEROS = {
    name: np.zeros(shape, np.float32)
    for name, shape in (("q", (3, 5)), ("total", (3,)), ("inside", (5,)), ("kept", (5,)))
}
inner = pytest.mark.parametrize("name", ZEROS)


def by_hand(name: str, x: Any = X) -> Callable[[Any], Any]:
    """`looped` of what is added to the value of a name."""
    return lambda p: perturbed({**ZEROS, name: p}, x, W)


def draw(name: str, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(ZEROS[name].shape).astype(np.float32)


@inner
def test_derivatives_by_values_inside(name: str) -> None:
    """Of a value inside of a scan, the stack over its iterations, each moved by itself."""
    d = covector.derivative(looped, wrt=name)(X, W)
    f = by_hand(name)
    assert_close(d.value, looped(X, W))
    assert_close(d.vjp(np.float32(1)), jax.grad(f)(ZEROS[name]))
    v = draw(name, 1)
    assert_close(d.jvp(v), jax.jvp(f, (ZEROS[name],), (v,))[1])
    listed = {i.name.rpartition(".")[2]: i for i in covector.intermediates(looped)(X, W)}
    assert listed[name].type.shape == ZEROS[name].shape
    values = covector.derivative(looped, of=name, wrt="x")(X, W).value
    assert_close(d.at, values)


def test_steps_of_a_recurrence_by_each_other() -> None:
    """Block lower triangular: a step moves itself and those after it, as in the unrolled loop."""
    d = covector.derivative(looped, of="q", wrt="q")(X, W)
    blocks = d.jacobian()
    q = np.asarray(d.at)
    for i in range(3):
        assert_close(blocks[i, :, i], np.eye(5, dtype=np.float32))
        assert not np.any(blocks[i, :, i + 1 :])
    for i in (1, 2):
        assert_close(blocks[i, :, i - 1], (1 - q[i] ** 2)[:, None] * W[i].T)
    assert_close(blocks[2, :, 0], blocks[2, :, 1] @ blocks[1, :, 0])


def test_several_values_at_once() -> None:
    d = covector.derivative(looped, wrt=["q", "kept", "last"])(X, W)
    cts = d.vjp(np.float32(1))
    assert [c.shape for c in cts] == [(3, 5), (5,), (5,)]
    assert_close(cts[1], jax.grad(by_hand("kept"))(ZEROS["kept"]))


def test_scans_of_one_body_have_names_of_their_own() -> None:
    """A jitted function that is called twice is one program with one body."""

    @jax.jit
    def recur(x: Any) -> Any:
        def body(c: Any, w: Any) -> Any:
            h = jnp.sin(c * w)
            return h, h

        return jax.lax.scan(body, x, jnp.arange(1.0, 4.0))[0]

    def twice(x: Any) -> Any:
        return recur(recur(x))

    listed = [i.name for i in covector.intermediates(twice)(np.float32(1))]
    assert listed == ["body[1].h", "body[2].h"]
    d = covector.derivative(twice, of="body[2].h", wrt="body[1].h")(np.float32(1))
    chain = lambda x: jax.lax.scan(lambda c, w: (jnp.sin(c * w),) * 2, x, jnp.arange(1.0, 4.0))[1]
    first = chain(np.float32(1))
    assert_close(d.at, first)
    assert_close(d.jacobian()[:, 2], jax.jacobian(chain)(first[2]))
    with pytest.warns(NoPathWarning, match=r"body\[1\].h does not depend on body\[2\].h"):
        d = covector.derivative(twice, of="body[1].h", wrt="body[2].h")(np.float32(1))
    assert not np.any(d.jacobian())


def test_no_path_through_a_loop() -> None:
    """What a loop returns need not depend on all that enters it."""

    def two(x: Any, y: Any) -> Any:
        a = jnp.sin(x)
        b = jnp.cos(y)
        c, d = jax.lax.fori_loop(0, 3, lambda i, s: (s[0] * 2, s[1] * 3), (a, b))
        return c, d

    with pytest.warns(NoPathWarning, match=r"output\[1\] does not depend on a"):
        d = covector.derivative(two, of="output[1]", wrt="a")(1.0, 2.0)
    assert d.vjp(1.0) == 0 and not d.dependent
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(
            covector.derivative(two, of="output[0]", wrt="a")(1.0, 2.0).jvp(1.0), np.float32(8)
        )


UNDER = ("covector.jit", "jax.jit", "vmap", "scan", "checkpoint", "grad")


@pytest.mark.parametrize(
    ("name", "under"),
    [*(("q", under) for under in UNDER), *((name, "vmap") for name in ("total", "inside", "kept"))],
)
def test_under_transformations(name: str, under: str) -> None:
    def pulled(x: Any) -> Any:
        return covector.derivative(looped, wrt=name)(x, W).vjp(np.float32(1))

    def want(x: Any) -> Any:
        return jax.grad(by_hand(name, x))(ZEROS[name])

    xs = np.stack([X, 2 * X])
    if under in ("covector.jit", "jax.jit"):
        assert_close((covector.jit if under[0] == "c" else jax.jit)(pulled)(X), want(X))
    elif under == "vmap":
        assert_close(covector.vmap(pulled)(xs), jax.vmap(want)(xs))
    elif under == "scan":
        assert_close(jax.lax.map(pulled, xs), jax.vmap(want)(xs))
    elif under == "checkpoint":
        assert_close(covector.jit(jax.checkpoint(pulled))(X), want(X))
    else:
        total = covector.grad(lambda x: jnp.sum(jnp.sin(pulled(x))))(X)
        assert_close(total, jax.grad(lambda x: jnp.sum(jnp.sin(want(x))))(X), tol=10)


@pytest.mark.parametrize("under", UNDER)
def test_monitor_under_transformations(under: str) -> None:
    watch = covector.monitor(looped, stats={"all": lambda x: x}, of=["q", "kept"])

    def found(x: Any) -> Any:
        y, rows = watch(x, W)
        assert list(rows) == ["body.q", "part.kept"]
        return y, rows["body.q"]["cotangent"]["all"], rows["part.kept"]["value"]["all"]

    def want(x: Any) -> Any:
        last = jax.lax.scan(lambda c, w: (jnp.tanh(c @ w),) * 2, x, W)[0]
        ct = jax.grad(by_hand("q", x))(ZEROS["q"])
        return looped(x, W), ct, jnp.exp(2 * jnp.sin(last))

    xs = np.stack([X, 2 * X])
    if under in ("covector.jit", "jax.jit"):
        jax.tree.map(
            assert_close, (covector.jit if under[0] == "c" else jax.jit)(found)(X), want(X)
        )
    elif under == "vmap":
        jax.tree.map(assert_close, covector.vmap(found)(xs), jax.vmap(want)(xs))
    elif under == "scan":
        jax.tree.map(assert_close, jax.lax.map(found, xs), jax.vmap(want)(xs))
    elif under == "checkpoint":
        jax.tree.map(assert_close, covector.jit(jax.checkpoint(found))(X), want(X))
    else:
        got = covector.grad(lambda x: jnp.sum(jnp.sin(found(x)[1])))(X)
        assert_close(got, jax.grad(lambda x: jnp.sum(jnp.sin(want(x)[1])))(X), tol=10)


# -- what cannot be followed -----------------------------------------------------------------------


def unbounded(x: Any) -> Any:
    def body(x: Any) -> Any:
        grown = 2 * x
        return grown  # noqa: RET504 - the name is what is asked for

    return jax.lax.while_loop(lambda x: x < 10, body, x)


@jax.custom_jvp
def ruled(x: Any) -> Any:
    square = x * x
    return square + 1


ruled.defjvp(lambda primals, tangents: (ruled(*primals), 2 * primals[0] * tangents[0]))


def solved(x: Any) -> Any:
    def decay(y: Any, t: Any) -> Any:
        slope = -x * y
        return slope  # noqa: RET504

    return covector.odeint(decay, 1.0, jnp.array([0.0, 1.0]))[-1]


@pytest.mark.parametrize(
    ("f", "name", "claim"),
    [
        (unbounded, "grown", "body.grown is made inside of a while loop, and nobody knows"),
        (ruled, "square", "ruled.square is made inside of a function with a derivative rule"),
        (solved, "slope", "decay.slope is made inside of ode, which is one operation"),
    ],
)
def test_refusals_say_why(f: Any, name: str, claim: str) -> None:
    for ask in (
        lambda: covector.derivative(f, of=name, wrt="x")(1.5),
        lambda: covector.derivative(f, wrt=name)(1.5),
        lambda: covector.monitor(f, of=name)(1.5),
    ):
        with pytest.raises(UsageError, match=claim) as error:
            ask()
        assert "take what" in str(error.value)
    assert not covector.intermediates(f)(1.5) or f is solved

"""The recipes of docs/recipes.md, and others that users write: against formulas and JAX."""

from __future__ import annotations

import io
import pdb
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from docs_pages import ROOT, blocks

import covector

close = np.testing.assert_allclose


@pytest.fixture(scope="module")
def recipes() -> dict[str, Any]:
    """What docs/recipes.md defines."""
    made: dict[str, Any] = {"print": lambda *_: None}
    for code in blocks(ROOT / "docs" / "recipes.md"):
        exec(code, made)
    return made


def both(run: Callable[[Any], Any], rtol: float = 1e-5) -> None:
    """The same numbers with JAX's transformations and with covector's."""
    theirs, ours = jax.tree.leaves(run(jax)), jax.tree.leaves(run(covector))
    for want, got in zip(theirs, ours, strict=True):
        close(got, want, rtol=rtol, atol=1e-6)


def test_gauss_newton(recipes: Any) -> None:
    f = lambda w: jnp.sin(w[0] * jnp.arange(1.0, 4.0)) * w[1]
    loss = lambda y: jnp.sum(y**4)
    w = jnp.array([0.3, -1.2])
    runs: list[Any] = []

    def counted(w: Any) -> Any:
        runs.append(w)
        return f(w)

    product = recipes["gauss_newton"](counted, loss, w)
    jacobian, curvature = jax.jacobian(f)(w), jax.hessian(loss)(f(w))
    for v in jnp.eye(2):
        close(product(v), jacobian.T @ (curvature @ (jacobian @ v)), rtol=1e-5)
    close(covector.vmap(product)(jnp.eye(2)), jacobian.T @ curvature @ jacobian, rtol=1e-5)
    assert len(runs) == 1


def test_hessian_trace(recipes: Any) -> None:
    """Exact for a diagonal Hessian, whatever the signs; else within its standard deviation."""
    x, key = jnp.linspace(-1, 1, 8), jax.random.key(3)
    close(recipes["hessian_trace"](lambda x: jnp.sum(x**3), x, key, 2), 6 * jnp.sum(x), atol=1e-4)
    m = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    m = m + m.T
    found = recipes["hessian_trace"](lambda x: x @ m @ x / 2, x, key, 4000)
    deviation = np.sqrt(2 * (np.sum(m**2) - np.sum(np.diag(m) ** 2)) / 4000)
    assert abs(found - np.trace(m)) < 4 * deviation


def test_forward_from_reverse(recipes: Any) -> None:
    f = lambda x: jnp.cumsum(x**2) * jnp.sin(x[0])
    x, v = jnp.array([0.5, 1.0, 2.0]), jnp.array([1.0, -1.0, 0.5])
    close(recipes["push_forward"](f, x, v), jax.jvp(f, (x,), (v,))[1], rtol=1e-6)

    def twice(f: Any) -> Any:
        """The pull-back of the pull-back, as another way to the same."""
        y, pull = covector.vjp(f, x)
        _, again = covector.vjp(lambda ct: pull(ct)[0], jnp.ones_like(y))
        return again(v)[0]

    close(twice(f), jax.jvp(f, (x,), (v,))[1], rtol=1e-6)


def test_fixed_points(recipes: Any) -> None:
    root = recipes["root"]
    for a in (1.0, 2.0, 9.0):
        close(root(a), a**0.5, rtol=1e-5)
        close(covector.grad(root)(a), 0.5 * a**-0.5, rtol=1e-4)
        close(covector.jvp(root, (a,), (1.0,))[1], 0.5 * a**-0.5, rtol=1e-4)
        close(covector.grad(covector.grad(root))(a), -0.25 * a**-1.5, rtol=1e-3)
    many = jnp.array([1.0, 4.0])
    close(covector.jit(covector.vmap(covector.grad(root)))(many), 0.5 * many**-0.5, rtol=1e-4)


def test_per_example_gradients(recipes: Any) -> None:
    w, xs, ys = recipes["w"], recipes["xs"], recipes["ys"]
    want = jnp.stack([jax.grad(recipes["error"])(w, x, y) for x, y in zip(xs, ys, strict=True)])
    close(recipes["each"], want, rtol=1e-6)


def test_maml(recipes: Any) -> None:
    w, (target, *_) = jnp.array([0.5, 0.5]), recipes["targets"]
    distance = recipes["distance"]

    def by_jax(w: Any) -> Any:
        step = w - 0.1 * jax.grad(distance)(w, target)
        return distance(step, target)

    got = covector.grad(recipes["meta_loss"])(w, target[None])
    close(got, jax.grad(by_jax)(w), rtol=1e-5)


def test_straight_through(recipes: Any) -> None:
    for x in (-1.7, 0.2, 3.5):
        close(recipes["rounded"](x), np.round(x))
        assert covector.grad(recipes["rounded"])(x) == 1.0
        assert covector.grad(lambda x: recipes["rounded"](x) ** 2)(x) == 2 * np.round(x)


def test_td(recipes: Any) -> None:
    theta, before, after = recipes["theta"], recipes["before"], recipes["after"]
    error = 1.0 + theta @ after - theta @ before
    close(covector.grad(recipes["td_loss"])(theta, before, 1.0, after), error * before, rtol=1e-6)
    rewards = jnp.array([1.0, -2.0])
    each = covector.vmap(covector.grad(recipes["td_loss"]), (None, None, 0, None))
    both_errors = rewards + theta @ after - theta @ before
    close(each(theta, before, rewards, after), both_errors[:, None] * before, rtol=1e-6)


def test_clipped_gradients(recipes: Any) -> None:
    clip = recipes["clip_gradient"]
    for factor in (-3.0, 0.5, 3.0):
        got = covector.grad(lambda x, factor=factor: factor * clip(-1.0, 1.0, x))(2.0)
        assert got == np.clip(factor, -1, 1)
    xs = jnp.linspace(0, 3, 7)
    slopes = covector.vmap(covector.grad(lambda x: jnp.sin(clip(-0.75, 0.75, x))))(xs)
    close(slopes, np.clip(np.cos(xs), -0.75, 0.75), rtol=1e-6)


@pytest.mark.parametrize("decorate", [covector.custom_vjp, jax.custom_vjp])
def test_a_debugger_in_a_backward_rule(decorate: Any) -> None:
    """What pdb prints in the rule are the values of this call."""
    commands, printed = io.StringIO("p x\np float(ct) * 2\nc\n"), io.StringIO()

    def backward(x: Any, ct: Any) -> tuple[Any]:
        pdb.Pdb(stdin=commands, stdout=printed).set_trace()
        return (ct,)

    look = decorate(lambda x: x)
    look.defvjp(lambda x: (x, x), backward)
    assert covector.grad(lambda x: look(x**2) ** 3)(3.0) == 6 * 3.0**5
    text = printed.getvalue()
    assert "(9.0)" in text and "486.0" in text, text


def test_backward_rules_know_their_cotangents() -> None:
    """Each pull-back asks the rule again; nestings agree with JAX."""

    def ways(m: Any) -> Any:
        f = m.custom_vjp(jnp.sin)
        slope = lambda x, ct: (ct * jnp.cos(x) if ct > 0.1 else -100 * ct,)
        f.defvjp(lambda x: (jnp.sin(x), x), slope)
        _, pull = m.vjp(lambda x: f(2 * x), 1.0)
        yield [pull(1.0), pull(-1.0), pull(1.0)]
        yield m.grad(lambda x: f(x**2) ** 3)(1.0), m.grad(lambda x: -f(f(x)))(1.0)
        yield m.grad(m.grad(lambda x: f(x**2) ** 3))(1.0)
        yield m.grad(lambda ct: pull(ct)[0])(2.0)
        yield m.grad(lambda x: m.vjp(f, x)[1](x)[0])(0.7)
        yield m.vmap(lambda x: pull(1.0)[0] * x)(jnp.ones(2))

    both(lambda m: list(ways(m)))


def test_a_backward_rule_may_branch_and_raise() -> None:
    @covector.custom_vjp
    def guarded(x: Any) -> Any:
        return jnp.sin(x)

    def backward(x: Any, ct: Any) -> tuple[Any]:
        if abs(ct) > 10:
            raise FloatingPointError("the cotangent exploded")
        return (ct * jnp.cos(x) if x > 0 else 0.0 * ct,)

    guarded.defvjp(lambda x: (jnp.sin(x), x), backward)
    close(covector.grad(guarded)(0.5), np.cos(0.5), rtol=1e-6)
    assert covector.grad(guarded)(-0.5) == 0
    with pytest.raises(FloatingPointError, match="exploded"):
        covector.grad(lambda x: 100 * guarded(x))(0.5)


def test_an_exception_chooses_the_branch_and_jit_keeps_it() -> None:
    def f(x: Any) -> Any:
        try:
            if x < 3:
                return 2 * x**3
            raise ValueError("large")
        except ValueError:
            return jnp.pi * x

    for x, slope in ((4.0, np.pi), (2.0, 24.0)):
        y, pull = covector.vjp(f, x)
        close(y, f(x), rtol=1e-6)
        for way in (pull, covector.jit(pull), jax.jit(pull)):
            close(way(1.0)[0], slope, rtol=1e-6)


def test_hessian_products_in_every_order() -> None:
    """Forward and reverse over each other: all the same product."""
    f = lambda x: jnp.sum(jnp.tanh(x) ** 2)
    rng = np.random.default_rng(1)
    x, v = (jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for _ in range(2))
    ways: dict[str, Callable[[ModuleType], Any]] = {
        "forward over reverse": lambda m: m.jvp(m.grad(f), (x,), (v,))[1],
        "reverse over forward": lambda m: m.grad(lambda x: m.jvp(f, (x,), (v,))[1])(x),
        "reverse over reverse": lambda m: m.grad(lambda x: jnp.vdot(m.grad(f)(x), v))(x),
    }
    want = jnp.tensordot(jax.hessian(f)(x), v, 2)
    for way in ways.values():
        close(way(covector), want, rtol=1e-4, atol=1e-5)
        both(way)
    close(covector.hvp(f, (x,), (v,))[1], want, rtol=1e-4, atol=1e-5)


def test_jacobians_by_batched_products() -> None:
    """Rows pulled back and columns pushed forward in one batch, from one linearisation."""
    f = lambda w: jnp.tanh(jnp.arange(12.0).reshape(4, 3) @ w)
    w = jnp.array([0.1, -0.3, 0.2])
    want = jax.jacobian(f)(w)
    _, pull = covector.vjp(f, w)
    close(covector.vmap(pull)(jnp.eye(4))[0], want, rtol=1e-5)
    _, push = covector.linearize(f, w)
    close(covector.vmap(push, out_axes=1)(jnp.eye(3)), want, rtol=1e-5)
    both(lambda m: (m.jacfwd(f)(w), m.jacrev(f)(w)))


def test_complex_derivatives() -> None:
    """C to C as R^2 to R^2, holomorphic or not, and a decomposition of a Hermitian matrix."""
    pair = lambda z: (jnp.real(z), jnp.imag(z))
    f = lambda z: jnp.conj(z) * jnp.sin(z)
    z, t = 0.7 + 0.4j, -0.3 + 1.1j
    as_real = lambda x, y: pair(f(jax.lax.complex(x, y)))
    want = jax.jvp(as_real, pair(z), pair(t))[1]
    got = covector.jvp(f, (z,), (t,))[1]
    close([got.real, got.imag], want, rtol=1e-5)
    both(lambda m: m.vjp(f, z)[1](t))
    both(lambda m: m.grad(jnp.sin, holomorphic=True)(z))
    a = jnp.array([[5.0, 2 + 3j, 5j], [2 - 3j, 7.0, 1 + 7j], [-5j, 1 - 7j, 12.0]])
    hermitian = a @ a.conj().T + jnp.eye(3)
    way = lambda x: jnp.sum(jnp.cosh(jnp.linalg.cholesky(x).real / 20))
    both(lambda m: m.grad(way)(hermitian), rtol=1e-3)


def test_functions_of_residuals_leave_jit() -> None:
    """A compiled forward pass hands its pull-back to a compiled backward pass."""
    for jit, vjp in ((covector.jit, covector.vjp), (jax.jit, covector.vjp)):
        y, pull = jit(lambda x, vjp=vjp: vjp(jnp.sin, x))(1.0)
        close(y, np.sin(1), rtol=1e-6)
        close(jit(lambda pull, ct: pull(ct))(pull, 2.0)[0], 2 * np.cos(1), rtol=1e-6)

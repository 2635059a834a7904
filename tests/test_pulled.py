"""The parts of a pull-back: residuals that are arguments, and where cotangents go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.errors import ArgumentError, UsageError

X = jnp.arange(1.0, 4.0)
W = jnp.arange(6.0).reshape(3, 2)


def affine(params, x):
    return x @ params["w"] + params["b"]


def test_arguments_among_the_residuals_may_be_taken_out_and_put_back():
    params = {"w": W, "b": jnp.ones(2)}
    y, f_vjp = covector.vjp(affine, params, X)
    _, theirs = jax.vjp(affine, params, X)
    assert len(f_vjp.args_res) == 2 and not f_vjp.opaque_residuals
    f_vjp.args_res[0] = None
    with pytest.raises(ArgumentError, match="put what was taken out"):
        f_vjp(jnp.ones_like(y))
    f_vjp.args_res[0] = params
    jax.tree.map(np.testing.assert_allclose, f_vjp(jnp.ones_like(y)), theirs(jnp.ones_like(y)))


def test_what_is_not_needed_is_not_kept():
    _, f_vjp = covector.vjp(jnp.sin, 3.0)
    assert jax.tree.leaves(f_vjp.args_res) == [] and len(f_vjp.opaque_residuals) == 1


@pytest.mark.parametrize("jit", [jax.jit, covector.jit])
def test_the_arguments_need_not_leave_a_jitted_function(jit):
    @jit
    def forward(w, x):
        y, f_vjp = covector.vjp(lambda w, x: x @ w, w, x)
        f_vjp.args_res[0] = None
        return y, f_vjp

    @jit
    def backward(f_vjp, w, ct):
        f_vjp.args_res[0] = w
        return f_vjp(ct)

    y, f_vjp = forward(W, X)
    assert [x.shape for x in jax.tree.leaves(f_vjp)] == [X.shape]
    dw, dx = backward(f_vjp, W, jnp.ones_like(y))
    np.testing.assert_allclose(dw, jnp.outer(X, jnp.ones(2)))
    np.testing.assert_allclose(dx, W.sum(1))


def test_a_changed_numpy_argument_does_not_change_the_pull_back():
    x = np.arange(3.0)
    _, f_vjp = covector.vjp(lambda x: x * x, x)
    x[:] = 7
    np.testing.assert_allclose(f_vjp(jnp.ones(3))[0], 2 * np.arange(3.0))


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit])
def test_cotangents_are_added_to_refs(jit):
    @jit
    def f():
        total = jax.new_ref(jnp.ones(3))
        y, f_vjp = covector.vjp(lambda x, n, w: (x * n) @ w, X, 2, W)
        into = f_vjp.with_refs(total, jax.ad.DontWant(), jax.ad.GradValue())
        into(jnp.ones_like(y))
        _, _, dw = into(jnp.ones_like(y))
        return total[...], dw

    total, dw = f()
    np.testing.assert_allclose(total, 1 + 2 * 2 * W.sum(1))
    np.testing.assert_allclose(dw, jnp.outer(2 * X, jnp.ones(2)))


def test_what_stands_for_cotangents_that_are_elsewhere():
    _, f_vjp = covector.vjp(jnp.multiply, X, X)
    ref = jax.new_ref(jnp.zeros(3))
    dx, dy = f_vjp.with_refs(ref, jax.ad.DontWant())(X)
    assert isinstance(dx, jax.ad.GradRef) and isinstance(dy, jax.ad.DidntWant)
    np.testing.assert_allclose(ref[...], X * X)


def test_cotangents_that_nobody_wants_are_not_computed():
    @covector.make_ir
    def f(x, w, ct):
        return covector.vjp(lambda x, w: x @ w, x, w)[1].with_refs(
            jax.ad.GradValue(), jax.ad.DontWant()
        )(ct)[0]

    program = covector.run_passes(f(X, W, jnp.ones(2)), "dce")
    made = [e.primitive.name for e in program.main.equations]
    assert made.count("dot_general") == 1


def test_refs_must_fit():
    _, f_vjp = covector.vjp(jnp.sin, X)
    with pytest.raises(UsageError, match="cannot hold a cotangent"):
        f_vjp.with_refs(jax.new_ref(jnp.zeros(2)))(X)
    with pytest.raises(ArgumentError, match="nested as the primals"):
        f_vjp.with_refs()


def test_a_linearized_function_shows_its_jaxpr():
    _, f_lin = covector.linearize(lambda x: jnp.sin(jnp.sin(x)), 1.0)
    assert [e.primitive.name for e in f_lin.func.args[0].eqns] == ["mul", "mul"]


def test_residuals_that_are_arguments_or_outputs_are_not_copies():
    x, y = jnp.arange(4.0), jnp.ones(4)
    out, pull = covector.vjp(lambda x, y: (jnp.exp(x) * y, y), x, y)
    assert pull.args_res[1] is y
    assert out[1] is y
    out, pull = covector.vjp(jnp.exp, x)
    assert pull.opaque_residuals[0] is out
    np.testing.assert_allclose(pull(y)[0], jnp.exp(x))

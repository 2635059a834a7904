"""Models and solvers of other libraries, unmodified, transformed by covector as by JAX.

The libraries are in the extra `ecosystem`; a test of one that is not installed is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def agree(run: Callable[[Any], Any]) -> None:
    """The same result, computed with JAX's transformations and with covector's."""
    theirs, ours = jax.tree.leaves(run(jax)), jax.tree.leaves(run(covector))
    for want, got in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def library(name: str) -> ModuleType:
    module: ModuleType = pytest.importorskip(name, reason=f"{name} is in the extra `ecosystem`")
    return module


def test_an_equinox_model_trained_with_optax() -> None:
    eqx, optax = library("equinox"), library("optax")
    params, static = eqx.partition(eqx.nn.MLP(3, 2, 8, 2, key=jax.random.key(0)), eqx.is_array)

    def train(m: Any) -> Any:
        optimizer = optax.adam(1e-2)

        @m.jit
        def step(p: Any, state: Any) -> Any:
            loss = lambda p: jnp.mean(m.vmap(eqx.combine(p, static))(X) ** 2)
            value, gradient = m.value_and_grad(loss)(p)
            updates, state = optimizer.update(gradient, state, p)
            return optax.apply_updates(p, updates), state, value

        p, state = params, optimizer.init(params)
        for _ in range(5):
            p, state, value = step(p, state)
        return p, value

    agree(train)


def test_a_flax_linen_model() -> None:
    nn = library("flax.linen")
    model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
    variables = model.init(jax.random.key(0), X)
    agree(lambda m: m.grad(lambda v: jnp.sum(model.apply(v, X) ** 2))(variables))


def test_a_flax_nnx_model() -> None:
    nnx = library("flax.nnx")
    graph, state = nnx.split(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    agree(lambda m: m.grad(lambda s: jnp.sum(jnp.tanh(nnx.merge(graph, s)(X))))(state))


def test_a_haiku_model() -> None:
    hk = library("haiku")
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([8, 2])(x)))
    params = model.init(jax.random.key(0), X)
    agree(lambda m: m.jit(m.grad(lambda p: jnp.sum(model.apply(p, X) ** 2)))(params))


def test_a_lineax_solve() -> None:
    lx = library("lineax")
    matrix = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    solve = lambda a: lx.linear_solve(lx.MatrixLinearOperator(a), jnp.ones(2)).value
    agree(lambda m: m.grad(lambda a: jnp.sum(solve(a) ** 2))(matrix))
    agree(lambda m: m.vmap(m.jacrev(solve))(jnp.stack([matrix, 2 * matrix])))


def test_an_optimistix_root() -> None:
    optx = library("optimistix")
    method = optx.Newton(rtol=1e-6, atol=1e-6)
    root = lambda a: optx.root_find(lambda y, a: y**2 - a, method, jnp.array(1.0), a).value
    agree(lambda m: m.grad(root)(2.0))


def test_a_jaxopt_solver() -> None:
    jaxopt = library("jaxopt")
    loss = lambda w, a: jnp.sum((w - a) ** 2) + jnp.sum(w**2)
    solve = lambda a: jaxopt.GradientDescent(loss, maxiter=50).run(jnp.zeros(2), a).params
    agree(lambda m: m.jacrev(solve)(jnp.array([1.0, 2.0])))


def test_a_numpyro_density() -> None:
    numpyro = library("numpyro")
    log_density = library("numpyro.infer.util").log_density

    def model(y: Any) -> None:
        mean = numpyro.sample("mean", numpyro.distributions.Normal(0, 1))
        numpyro.sample("y", numpyro.distributions.Normal(mean, 1), obs=y)

    density = lambda mean: log_density(model, (X[0],), {}, {"mean": mean})[0]
    agree(lambda m: m.grad(density)(0.3))

"""Where fused operations end on CPUs: what is deep and read by several is computed once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.lowering.barriers import barrier_options
from covector.lowering.borders import AGAIN, borders_of

X = jnp.linspace(-1.0, 1.0, 64 * 32, dtype=jnp.float32).reshape(64, 32)


def residual(x: Any, blocks: int) -> Any:
    """A residual stream: each block reads it, and adds to it."""
    for i in range(blocks):
        w = jnp.full((32, 32), 0.01 * (i + 1), x.dtype)
        centred = x - x.mean(axis=1, keepdims=True)
        x = x + jnp.tanh(centred * (1.0 + 0.1 * i)) @ w
    return (x**2).sum()


def barriers(fun: Any, *args: Any) -> int:
    text = covector.jit(fun).lower(*args).as_text()
    return int(text.count("stablehlo.optimization_barrier"))


def recurrence(x: Any, steps: int) -> Any:
    """Numbers that each follow from the two before, and not cheaply."""
    y = x
    for i in range(steps):
        x, y = y, 0.3 * x + jnp.tanh(y * (1.0 + 0.1 * i)) / (1.5 + x * x)
    return x * y


def hlo_size(fun: Any, size: int, x: Any) -> int:
    compiled = covector.jit(covector.grad(lambda x: fun(x, size))).lower(x).compile()
    return int(compiled.as_text().count(" = "))


@pytest.mark.smoke
@pytest.mark.parametrize(("fun", "x"), [(residual, X), (recurrence, jnp.float32(0.3))])
def test_code_of_chains_grows_as_their_depth(fun: Any, x: Any) -> None:
    sizes = [hlo_size(fun, n, x) for n in (8, 16, 32)]
    assert (sizes[2] - sizes[1]) < 2.3 * (sizes[1] - sizes[0])


def test_results_of_recurrences_are_those_of_jax() -> None:
    f = lambda x: recurrence(x, 40)  # noqa: E731
    x = jnp.float32(0.3)
    assert barriers(covector.grad(f), x) > 0
    got, want = covector.jit(covector.grad(f))(x), jax.jit(jax.grad(f))(x)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_results_are_those_of_jax(dtype: Any) -> None:
    with jax.enable_x64(dtype == jnp.float64):
        x = jnp.asarray(np.asarray(X), dtype)
        f = lambda x: residual(x, 12)  # noqa: E731
        assert barriers(covector.grad(f), x) > 0
        got, want = covector.jit(covector.grad(f))(x), jax.jit(jax.grad(f))(x)
        rtol = float(64 * jnp.finfo(dtype).eps)
        scale = float(abs(want).max())
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


def chain(x: Any, n: int) -> Any:
    for i in range(n):
        x = jnp.sin(x) * x + 0.1 * i
    return x


def test_what_ends_up_in_one_operation_is_not_cut() -> None:
    assert barriers(lambda x: chain(x, 3 * AGAIN), X) == 0


def test_what_several_read_is_cut_where_it_is_deep() -> None:
    both = lambda x, n: (jnp.cos(chain(x, n)), chain(x, n).sum())  # noqa: E731
    assert barriers(lambda x: both(x, AGAIN), X) == 1
    assert barriers(lambda x: both(x, 2), X) == 0
    graph = covector.make_ir(lambda x: both(x, AGAIN))(X).main
    assert borders_of(graph) <= {v for eqn in graph.equations for v in eqn.outputs}


def test_what_is_costly_is_not_cut_for_xla_computes_it_once() -> None:
    both = lambda x, f: (jnp.cos(f(chain(x, AGAIN))), f(chain(x, AGAIN)).sum())  # noqa: E731
    assert barriers(lambda x: both(x, jnp.negative), X) == 1
    assert barriers(lambda x: both(x, jnp.tanh), X) == 0


def test_programs_with_barriers_of_their_own_get_no_others() -> None:
    f = jax.checkpoint(lambda x: residual(x, 12))
    plain = barriers(covector.grad(lambda x: residual(x, 12)), X)
    program = covector.jit(covector.grad(f)).lower(X)
    assert program._lowering.has_barriers and not program._lowering.has_borders
    assert plain > 0


def test_small_loops_beside_borders_run() -> None:
    def f(x: Any) -> Any:
        small, _ = jax.lax.scan(lambda c, _: (jnp.sin(c) + 1.0, None), x[0, :4], None, length=5)
        return residual(x, 12) + small.sum()

    assert barriers(covector.grad(f), X) > 0
    got, want = covector.jit(covector.grad(f))(X), jax.grad(f)(X)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_only_barriers_in_loops_keep_loops_from_being_kernels() -> None:
    options = barrier_options("cpu", {}, "0.10.2", in_loops=False)
    assert options == {"xla_disable_hlo_passes": "cse_barrier_expander"}
    assert barrier_options("cpu", {}, "0.11.1", in_loops=False) == {}


def test_other_platforms_fuse_as_they_like() -> None:
    f = covector.grad(lambda x: residual(x, 12))
    text = covector.jit(f).trace(X).lower(platforms=["cuda"]).as_text()
    assert "optimization_barrier" not in text

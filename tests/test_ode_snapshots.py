"""Reverse mode through the steps of a solve, when not all states are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ode_systems import assert_close, lorenz, random_like, van_der_pol

import covector
from covector.ir.builder import Builder
from covector.ir.errors import SolveError
from covector.ir.graph import Value
from covector.ir.interpret import evaluate
from covector.ir.solvers.snapshots import Snapshots
from covector.ir.types import TensorType


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


Y0 = np.array([5.0, 5.0, 5.0])


def pulled(snapshots: int | None, y0: Any = Y0, beta: Any = 8 / 3) -> Any:
    """Gradients of Lorenz' trajectory, of about 30 steps."""

    def solve(y0: Any, beta: Any) -> Any:
        ts = jnp.linspace(0.0, 0.7, 9)
        options = {"rtol": 1e-7, "atol": 1e-7, "max_steps": 200, "snapshots": snapshots}
        return covector.odeint(lorenz, y0, ts, 28.0, 10.0, beta, **options)

    ys, pull = covector.vjp(solve, y0, beta)
    return pull(random_like(ys, 0))


@pytest.mark.parametrize("kept", [1, 2, 4, 16])
def test_which_states_are_kept(kept: int) -> None:
    """After each step, by what was written so far, the states at multiples of the stride are where
    they are looked for."""
    snapshots = Snapshots(10_000, kept, ())
    i, running = Value(TensorType((), np.int32)), Value(TensorType((), bool))
    b = Builder()
    bits = snapshots.stride_bits(b, i)
    outputs = [snapshots.row_to_write(b, i, running), bits]
    graph = b.graph((i, running), outputs)
    n, width = 40 * kept, kept.bit_length() - 1
    rows: dict[int, int] = {}
    for step in range(n):
        row, bits_now = (int(x) for x in evaluate(graph, [np.int32(step), np.bool_(True)]))
        rows[row] = step
        stride = 1 << bits_now
        assert step < kept * stride and (stride == 1 or step >= kept * stride // 2)
        for at in range(0, step + 1, stride):
            turned = at // stride
            for _ in range(bits_now):
                turned = (turned << 1 | turned >> max(width - 1, 0)) & (kept - 1)
            assert rows[turned] == at
        assert int(evaluate(graph, [np.int32(step), np.bool_(False)])[0]) == kept


@pytest.mark.parametrize("snapshots", [1, 2, 16])
def test_gradients_do_not_depend_on_what_is_kept(snapshots: int) -> None:
    assert_close(pulled(snapshots), pulled(None), rtol=1e-12)


def test_long_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are longer than the memory for states computed again."""
    monkeypatch.setattr("covector.ir.solvers.replay.SEGMENT", 4)

    def gradient(snapshots: int | None) -> Any:
        options = {"rtol": 1e-9, "atol": 1e-9, "max_steps": 300, "snapshots": snapshots}
        ts, args = jnp.array([0.0, 0.9]), (28.0, 10.0, 2.5)
        return covector.grad(lambda y0: covector.odeint(lorenz, y0, ts, *args, **options).sum())(Y0)

    assert_close(gradient(4), gradient(None), rtol=1e-11)


def test_batches() -> None:
    """Lanes take different numbers of steps, so their strides differ."""
    y0s = np.stack([Y0, 0.01 * Y0, -3 * Y0])
    some, every = (covector.vmap(lambda y0, n=n: pulled(n, y0)) for n in (4, None))
    assert_close(some(y0s), every(y0s), rtol=1e-11)


@pytest.mark.slow
def test_second_derivatives() -> None:
    some, every = (lambda beta, n=n: pulled(n, Y0, beta)[1] for n in (4, None))
    assert_close(covector.jacfwd(some)(8 / 3), covector.jacfwd(every)(8 / 3), rtol=1e-10)


@pytest.mark.slow
def test_stiff() -> None:
    def gradient(snapshots: int | None) -> Any:
        options = {"t0": 0.0, "t1": 2.0, "method": "kvaerno5", "snapshots": snapshots}
        y0 = jnp.array([2.0, 0.0])
        loss = lambda mu: covector.solve_ode(van_der_pol, y0, mu, **options).ys.sum()
        return covector.grad(loss)(50.0)

    assert_close(gradient(4), gradient(None), rtol=1e-9)


def test_memory_is_that_of_the_snapshots() -> None:
    """A large state: the solve has room for 4096 steps, and keeps few of them."""

    def loss(y0: Any, snapshots: int | None) -> Any:
        options = {"t0": 0.0, "t1": 1.0, "snapshots": snapshots}
        return jnp.sum(covector.solve_ode(lambda y, t: -y * y, y0, **options).ys)

    y0 = jnp.ones(1000)
    sizes = []
    for snapshots in (8, 512):
        step = covector.jit(covector.grad(lambda y0, n=snapshots: loss(y0, n)))
        sizes.append(step.lower(y0).compile().memory_analysis().temp_size_in_bytes)
    assert sizes[0] < 40 * 8 * y0.size + 100_000 < 400 * 8 * y0.size < sizes[1]


def test_no_limit_without_derivatives() -> None:
    """The room for steps limits what is differentiated only."""

    def solve(y0: Any) -> Any:
        return covector.odeint(lambda y, t: -y, y0, jnp.array([0.0, 20.0]), hmax=1e-3)[-1]

    assert_close(covector.jit(solve)(1.0), np.exp(-20.0), rtol=1e-6)
    with pytest.raises(SolveError, match="more than 16384 steps were needed"):
        covector.grad(solve)(1.0)

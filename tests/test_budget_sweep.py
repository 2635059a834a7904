"""Every budget from the whole down to the smallest feasible, over programs of several kinds.

At each: the compiled program needs no more, within 5 %; smaller budgets cost no less and do not
need more; gradients stay to the last bit, each being a product, and so do the masks of dropout.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.passes.budget.errors import BudgetError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import memory_programs

Made = tuple[Callable[..., Any], Any, Any]
"""A function of (params, x) that returns its loss and arrays that must stay the same."""


def of_benchmark(program: memory_programs.Program, rows: int | None = None) -> Made:
    loss = program.loss()
    x = program.x if rows is None else program.x[:rows]
    return lambda params, x: (loss(params, x), ()), program.params, x


def normal(seed: int, *shape: int) -> jax.Array:
    return memory_programs.normal(seed, *shape, scale=shape[-1] ** -0.5)


def dropout() -> Made:
    """The masks are results."""

    def run(ws: Any, x: Any) -> Any:
        masks = []
        for i, w in enumerate(ws):
            keep = jax.random.bernoulli(jax.random.fold_in(jax.random.key(7), i), 0.8, x.shape)
            masks.append(keep)
            x = jnp.where(keep, jnp.tanh(x @ w) / 0.8, 0)
        return jnp.sum(x * x), masks

    return run, [normal(i, 64, 64) for i in range(8)], normal(9, 512, 64)


PROGRAMS: dict[str, Callable[[], Made]] = {
    "MLP": lambda: of_benchmark(memory_programs.mlp("MLP", jnp.tanh, 12, 64), 1024),
    "dropout": dropout,
    **{
        f"random DAG {i}": lambda i=i: of_benchmark(memory_programs.random_dag(i, 10, 64), 512)
        for i in range(4)
    },
}


def sweep(name: str, shares: Any) -> None:
    run, params, x = PROGRAMS[name]()
    gradient = covector.value_and_grad(run, has_aux=True)
    plain = covector.compile(gradient, params, x)
    (_, kept), want = plain(params, x)
    whole = plain.report().actual
    with pytest.raises(BudgetError) as caught:
        covector.compile(gradient, params, x, memory_budget=1)
    smallest = caught.value.smallest
    assert smallest < 0.8 * whole
    found = []
    for share in shares:
        budget = int(smallest + share * (whole - smallest))
        compiled = covector.compile(gradient, params, x, memory_budget=budget)
        report = compiled.report()
        assert report.actual <= 1.05 * budget, (name, share)
        found.append((report.plan.after.cost, report.actual))
        (_, kept_now), got = compiled(params, x)
        for a, b in zip(jax.tree.leaves(kept_now), jax.tree.leaves(kept), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_array_equal(a, b)
    for (cost, actual), (dearer, smaller) in itertools.pairwise(found):
        assert cost <= dearer * (1 + 1e-9), (name, found)
        assert smaller <= 1.05 * actual, (name, found)
    assert found[0][0] < found[-1][0]


@pytest.mark.parametrize("name", ["random DAG 0", "dropout"])
def test_some_budgets(name: str) -> None:
    sweep(name, (1.0, 0.5, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_all_budgets(name: str) -> None:
    sweep(name, np.linspace(1, 0, 13))

"""How long a plan takes, and what it costs beside an optimum.

    python benchmarks/planner.py [--equations 10000 100000] [--programs 40]

Times: gradients of nets of tanh layers with long skips, of so many equations, planned to half and a
quarter of their peak. Costs: small random chains and graphs, the scalable planner (eviction) beside
the exact one (A* over what is held), as the least, the mean and the greatest extra cost; it is
below zero where a step is better put off, which the exact planner does not do.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import covector
from covector.ir.graph import Graph
from covector.ir.liveness import usage
from covector.passes.budget.errors import BudgetError
from covector.passes.budget.exact import exact_order
from covector.passes.budget.orders import cheapest_eviction
from covector.passes.budget.plan import plan_memory, without_plan

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from test_budget_solvers import chain, dag


def net(w: Any, x: Any, layers: int) -> Any:
    kept = [x]
    for i in range(layers):
        x = jnp.tanh(x @ w) + kept[max(i - 40, 0)]
        kept.append(x)
    return jnp.sum(x * x)


def gradient(equations: int) -> Graph:
    """A derivative program of about so many equations."""
    w, x = jax.ShapeDtypeStruct((64, 64), jnp.float32), jax.ShapeDtypeStruct((256, 64), jnp.float32)

    def made(layers: int) -> Graph:
        def loss(w: Any, x: Any) -> Any:
            return net(w, x, layers)

        return covector.make_ir(covector.grad(loss))(w, x).main

    each = (len(made(40).equations) - len(made(20).equations)) / 20
    return made(round(equations / each))


def times(sizes: list[int]) -> None:
    for equations in sizes:
        graph = gradient(equations)
        start = time.perf_counter()
        peak = without_plan(graph, 1).before.peak
        modelled = time.perf_counter() - start
        print(f"{len(graph.equations)} equations: modelled in {modelled:.1f} s", flush=True)
        for share in (0.5, 0.25):
            start = time.perf_counter()
            try:
                plan = plan_memory(graph, int(share * peak))
                found = f"{100 * (plan.after.cost / plan.before.cost - 1):.1f} % more work"
            except BudgetError as error:
                found = f"no plan; the smallest is {error.smallest / peak:.2f} of the peak"
            seconds = time.perf_counter() - start
            print(f"  {share:.0%} of the peak: {seconds:.1f} s, {found}", flush=True)


def gaps(programs: int) -> None:
    for make, n in ((chain, 5), (chain, 7), (dag, 10), (dag, 14)):
        found, missed = [], 0
        for seed in range(programs):
            rng = random.Random(seed)
            p = make(n, lambda most, rng=rng: rng.randint(1, most))
            peak = usage(p, range(len(p.steps))).peak
            for share in (0.9, 0.75, 0.6):
                budget = int(share * peak)
                best = exact_order(p, budget)
                order = cheapest_eviction(p, budget, frozenset())
                if best is not None and order is not None:
                    found.append(usage(p, order).cost / usage(p, best).cost - 1)
                missed += best is not None and order is None
        shown = ", ".join(f"{100 * f(found):.1f}" for f in (min, statistics.mean, max))
        print(
            f"{make.__name__} of {n} steps: {len(found)} plans, extra cost {shown} %; "
            f"{missed} with an exact plan only"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--equations", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--programs", type=int, default=40)
    options = parser.parse_args()
    gaps(options.programs)
    times(options.equations)


if __name__ == "__main__":
    main()

"""Gradients of loops, ours beside JAX's, in one process: bytes of stacked residuals and run time.

    python benchmarks/scan_gradients.py [--rounds 20] [--lengths 64,256,1024]

An LSTM, a decoder that attends to the last 32 positions, and a Kalman filter, over so many steps.
Residual bytes are those that the forward loops stack for the backward loops (the stacked outputs of
the forward scans that are not outputs of the program). The gradients are compared before anything
is timed. Times are medians; the ratio is the median of the ratios within a round, and after it
stands how uncertain that is: twice the standard error of a median, from the quartiles. What time
grows by is told by the time of all cores, which other programs of the machine hardly change.

The script fails where more is stacked than JAX stacks, where a ratio of times is above 1.03 by more
than its uncertainty, where bytes grow faster than the number of steps, and where time grows faster
by a quarter than that, and than JAX's does: whose arrays outgrow the same caches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import covector
from covector.ir.graph import Graph
from covector.passes.stacks import WORTH

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from programs.recurrent import BATCH, WIDTH, lstm
from results import environment, where

CONTEXT: Final = 32
"""Positions that a step of the decoder attends to."""

TIME_MARGIN: Final = 1.03
GROWTH_MARGIN: Final = 1.25


def decoder(params: Any, xs: Any) -> Any:
    """Each step attends to a ring buffer of the keys and values of the last steps."""
    wq, wk, wv = params

    def step(carry: Any, x: Any) -> Any:
        keys, values, t = carry
        keys = lax.dynamic_update_slice_in_dim(keys, (x @ wk)[None], t % CONTEXT, 0)
        values = lax.dynamic_update_slice_in_dim(values, (x @ wv)[None], t % CONTEXT, 0)
        scores = jnp.einsum("bd,tbd->bt", x @ wq, keys) / WIDTH**0.5
        weights = jax.nn.softmax(jnp.where(jnp.arange(CONTEXT) <= t, scores, -jnp.inf))
        return (keys, values, t + 1), jnp.einsum("bt,tbd->bd", weights, values)

    empty = jnp.zeros((CONTEXT, BATCH, WIDTH))
    _, ys = lax.scan(step, (empty, empty, 0), xs)
    return jnp.mean(ys**2)


def kalman(params: Any, ys: Any) -> Any:
    """Negative log-likelihood of observations under a linear Gaussian model of 8 dimensions."""
    a, log_q = params
    n = a.shape[0]
    q, r = jnp.exp(log_q) * jnp.eye(n), 0.1 * jnp.eye(n)

    def step(carry: Any, y: Any) -> Any:
        m, p = carry
        m, p = a @ m, a @ p @ a.T + q
        s = p + r
        gain = jnp.linalg.solve(s, p).T
        residual = y - m
        loss = 0.5 * (residual @ jnp.linalg.solve(s, residual) + jnp.linalg.slogdet(s)[1])
        return (m + gain @ residual, p - gain @ s @ gain.T), loss

    _, losses = lax.scan(step, (jnp.zeros(n), jnp.eye(n)), ys)
    return losses.sum()


def programs(length: int) -> dict[str, tuple[Callable[..., Any], tuple[Any, Any]]]:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 0.1) -> Any:
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    xs = normal(length, BATCH, WIDTH, scale=1.0)
    gates = (normal(WIDTH, 4 * WIDTH), normal(WIDTH, 4 * WIDTH), normal(4 * WIDTH))
    heads = tuple(normal(WIDTH, WIDTH) for _ in range(3))
    model = (0.9 * jnp.eye(8) + normal(8, 8, scale=0.02), jnp.float32(-2.0))
    return {
        "LSTM": (lstm, (gates, xs)),
        "attention decoder": (decoder, (heads, xs)),
        "Kalman filter": (kalman, (model, normal(length, 8, scale=1.0))),
    }


def our_residual_bytes(fun: Callable[..., Any], args: tuple[Any, ...]) -> int:
    """Bytes that the forward loops of our gradient stack and its backward loops read."""
    module = covector.make_ir(covector.grad(fun))(*args)
    graph = covector.run_passes(module, f"cse,dce,stacks{{least={WORTH}}}").main
    loops = [eqn for eqn in graph.equations if eqn.primitive.name == "scan"]
    read = {x for eqn in loops for x in eqn.inputs}
    return sum(v.type.nbytes for v in _scan_stacks(graph) if v in read)


def _scan_stacks(graph: Graph) -> set[Any]:
    found: set[Any] = set()
    for eqn in graph.equations:
        if eqn.primitive.name == "scan":
            found.update(eqn.outputs[eqn.params["num_carry"] :])
    return found


def jax_residual_bytes(fun: Callable[..., Any], args: tuple[Any, ...]) -> int:
    """Bytes that JAX's forward scans stack and its backward scans read."""
    jaxpr = jax.make_jaxpr(jax.grad(fun))(*args).jaxpr
    stacked: set[Any] = set()
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name != "scan":
            continue
        for v in {v for v in eqn.invars if not hasattr(v, "val")} & stacked:
            total += v.aval.size * v.aval.dtype.itemsize
            stacked.discard(v)
        stacked.update(eqn.outvars[eqn.params["num_carry"] :])
    return total


@dataclass(frozen=True)
class Measured:
    """Of one program and one length: bytes and seconds of ours and of JAX's, the median of the
    ratios of the times with its uncertainty, and what both take on all cores."""

    residuals: int
    jax_residuals: int
    seconds: float
    jax_seconds: float
    ratio: float
    uncertainty: float
    on_cores: float
    jax_on_cores: float

    def faults(self) -> Iterator[str]:
        if self.residuals > self.jax_residuals:
            yield f"stacks {self.residuals} bytes, JAX {self.jax_residuals}"
        if self.ratio - self.uncertainty > TIME_MARGIN:
            yield f"takes {self.ratio:.3f} times as long as JAX's, +-{self.uncertainty:.3f}"

    def __str__(self) -> str:
        share = self.residuals / max(self.jax_residuals, 1)
        return (
            f"{self.residuals / 1e6:9.2f} MB{self.jax_residuals / 1e6:9.2f} MB{share:8.2f}"
            f"{self.seconds * 1e3:12.2f} ms{self.jax_seconds * 1e3:9.2f} ms"
            f"{self.ratio:8.2f} +-{self.uncertainty:.2f}{self.on_cores * 1e3:12.2f} ms"
        )


def measure(fun: Callable[..., Any], args: tuple[Any, ...], rounds: int) -> Measured:
    ours, theirs = covector.jit(covector.grad(fun)), jax.jit(jax.grad(fun))
    for a, b in zip(jax.tree.leaves(ours(*args)), jax.tree.leaves(theirs(*args)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)
    times: tuple[list[float], list[float]] = ([], [])
    on_cores: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        sides = list(zip((ours, theirs), times, on_cores, strict=True))
        for run, kept, kept_on_cores in sides if i % 2 else reversed(sides):
            start, before = time.perf_counter(), time.process_time()
            jax.block_until_ready(run(*args))
            kept.append(time.perf_counter() - start)
            kept_on_cores.append(time.process_time() - before)
    ratios = [ours / jax for ours, jax in zip(*times, strict=True)]
    return Measured(
        our_residual_bytes(fun, args),
        jax_residual_bytes(fun, args),
        *(statistics.median(kept) for kept in times),
        statistics.median(ratios),
        2 * error_of_median(ratios),
        *(statistics.median(kept) for kept in on_cores),
    )


def error_of_median(values: list[float]) -> float:
    """The standard error, of values that are normal but for some far out."""
    first, _, third = statistics.quantiles(values, n=4)
    return float(1.253 * (third - first) / 1.349 / len(values) ** 0.5)


def growth_faults(measured: dict[int, Measured]) -> Iterator[str]:
    """Where bytes or time grow faster than the number of steps."""
    for (n, a), (m, b) in pairwise(sorted(measured.items())):
        if b.residuals * n > a.residuals * m:
            yield f"from {n} to {m} steps {a.residuals} bytes become {b.residuals}"
        grown, jax_grown = b.on_cores / a.on_cores, b.jax_on_cores / a.jax_on_cores
        if grown > max(m / n, jax_grown) * GROWTH_MARGIN:
            yield f"from {n} to {m} steps {a.on_cores:.4f} s of all cores become {b.on_cores:.4f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--lengths", default="64,256,1024")
    options = parser.parse_args()
    lengths = [int(n) for n in options.lengths.split(",")]
    print(where(environment()))
    print(
        f"{'':25}{'residuals':>12}{'jax':>12}{'ratio':>8}{'run':>15}{'jax':>12}{'ratio':>8}"
        f"{'all cores':>21}"
    )
    faults = []
    for name in programs(1):
        measured = {}
        for n in lengths:
            fun, args = programs(n)[name]
            measured[n] = measure(fun, args, options.rounds)
            print(f"{name:20}{n:5}{measured[n]}", flush=True)
            faults += [f"{name}, {n} steps: {fault}" for fault in measured[n].faults()]
        faults += [f"{name}: {fault}" for fault in growth_faults(measured)]
    sys.exit("\n".join(faults) or None)


if __name__ == "__main__":
    main()

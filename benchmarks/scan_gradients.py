"""Gradients of loops, ours beside JAX's, in one process: bytes of stacked residuals and run time.

    python benchmarks/scan_gradients.py [--rounds 20]

An LSTM, a decoder that attends to what it has written so far, and a Kalman filter. Residual bytes
are those that the forward loops stack for the backward loops (the stacked outputs of the forward
scans that are not outputs of the program). The gradients are compared before anything is timed.
Times are medians; the ratio is the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import covector
from covector.ir.graph import Graph
from covector.passes.stacks import WORTH

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from programs.recurrent import BATCH, LENGTH, WIDTH, lstm
from results import environment, where


def decoder(params: Any, xs: Any) -> Any:
    """Each step attends to a buffer of the keys and values of all steps before it."""
    wq, wk, wv = params

    def step(carry: Any, x: Any) -> Any:
        keys, values, t = carry
        keys = lax.dynamic_update_slice_in_dim(keys, (x @ wk)[None], t, 0)
        values = lax.dynamic_update_slice_in_dim(values, (x @ wv)[None], t, 0)
        scores = jnp.einsum("bd,tbd->bt", x @ wq, keys) / WIDTH**0.5
        weights = jax.nn.softmax(jnp.where(jnp.arange(LENGTH) <= t, scores, -jnp.inf))
        return (keys, values, t + 1), jnp.einsum("bt,tbd->bd", weights, values)

    empty = jnp.zeros((LENGTH, BATCH, WIDTH))
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


def programs() -> dict[str, tuple[Callable[..., Any], tuple[Any, Any]]]:
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 0.1) -> Any:
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    xs = normal(LENGTH, BATCH, WIDTH, scale=1.0)
    gates = (normal(WIDTH, 4 * WIDTH), normal(WIDTH, 4 * WIDTH), normal(4 * WIDTH))
    heads = tuple(normal(WIDTH, WIDTH) for _ in range(3))
    model = (0.9 * jnp.eye(8) + normal(8, 8, scale=0.02), jnp.float32(-2.0))
    return {
        "LSTM": (lstm, (gates, xs)),
        "attention decoder": (decoder, (heads, xs)),
        "Kalman filter": (kalman, (model, normal(LENGTH, 8, scale=1.0))),
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


def compare(name: str, fun: Callable[..., Any], args: tuple[Any, ...], rounds: int) -> None:
    ours, theirs = covector.jit(covector.grad(fun)), jax.jit(jax.grad(fun))
    for a, b in zip(jax.tree.leaves(ours(*args)), jax.tree.leaves(theirs(*args)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds):
        sides = [(ours, times[0]), (theirs, times[1])]
        for run, kept in sides if i % 2 else reversed(sides):
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            kept.append(time.perf_counter() - start)
    a, b = (statistics.median(kept) for kept in times)
    ratio = statistics.median(ours / jax for ours, jax in zip(*times, strict=True))
    bytes_ours, bytes_jax = our_residual_bytes(fun, args), jax_residual_bytes(fun, args)
    print(
        f"{name:20}{bytes_ours / 1e6:9.2f} MB{bytes_jax / 1e6:9.2f} MB"
        f"{bytes_ours / max(bytes_jax, 1):8.2f}"
        f"{a * 1e3:12.2f} ms{b * 1e3:9.2f} ms{ratio:8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(where(environment()))
    print(f"{'':20}{'residuals':>12}{'jax':>12}{'ratio':>8}{'run':>15}{'jax':>12}{'ratio':>8}")
    for name, (fun, args) in programs().items():
        compare(name, fun, args, options.rounds)


if __name__ == "__main__":
    main()

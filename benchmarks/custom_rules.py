"""Staging of gradients through functions with derivative rules of their own, beside JAX's.

    python benchmarks/custom_rules.py [--layers 40] [--rounds 9]

From Python function to StableHLO, processor time of the thread, rounds interleaved; medians, with
the ratio covector / JAX. Each layer is a matrix product and a call of a function with a rule: the
same function for all layers, or one made for each, or one that is given a number for each. Before
anything is timed the gradients are compared.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector

Layer = Callable[[int], Callable[[Any], Any]]
"""The function of the layer of that number."""


def with_vjp(factor: float) -> Callable[[Any], Any]:
    f = jax.custom_vjp(lambda x: factor * jnp.tanh(x))

    def backward(y: Any, ct: Any) -> tuple[Any]:
        return (ct * (factor - y * y / factor),)

    f.defvjp(lambda x: (factor * jnp.tanh(x),) * 2, backward)
    return f


def with_jvp(factor: float) -> Callable[[Any], Any]:
    f = jax.custom_jvp(lambda x: factor * jnp.tanh(x))

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        y = f(*primals)
        return y, (factor - y * y / factor) * tangents[0]

    return f


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def clipped(bound: float, x: Any) -> Any:
    return jnp.tanh(x)


def clipped_backward(bound: float, y: Any, ct: Any) -> tuple[Any]:
    return (jnp.clip(ct * (1 - y * y), -bound, bound),)


clipped.defvjp(lambda bound, x: (jnp.tanh(x),) * 2, clipped_backward)

ONE_VJP, ONE_JVP = with_vjp(1.0), with_jvp(1.0)
LAYERS: dict[str, Layer] = {
    "custom_vjp, one function": lambda i: ONE_VJP,
    "custom_vjp, one a layer": lambda i: with_vjp(1.0 + i / 100),
    "custom_vjp, a number a layer": lambda i: partial(clipped, 1.0 + i / 100),
    "custom_jvp, one function": lambda i: ONE_JVP,
    "custom_jvp, one a layer": lambda i: with_jvp(1.0 + i / 100),
}


def network(layer: Layer) -> Callable[..., Any]:
    """A new function each time, so that no cache knows it."""

    def loss(weights: Any, x: Any) -> Any:
        for i, w in enumerate(weights):
            x = layer(i)(x @ w)
        return jnp.sum(x * x)

    return loss


def seconds(library: Any, layer: Layer, args: tuple[Any, ...]) -> float:
    gc.collect()
    start = time.thread_time()
    library.jit(library.grad(network(layer))).lower(*args)
    return time.thread_time() - start


def compare(layer: Layer, args: tuple[Any, ...]) -> None:
    ours, theirs = (api.jit(api.grad(network(layer)))(*args) for api in (covector, jax))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    normal = np.random.default_rng(0).standard_normal
    weights = [0.2 * normal((32, 32)).astype(np.float32) for _ in range(options.layers)]
    args = weights, normal((16, 32)).astype(np.float32)
    print(f"jax {jax.__version__}, gradients of {options.layers} layers")
    print(f"{'':30}{'covector ms':>12}{'jax ms':>10}{'ratio':>8}")
    for name, layer in LAYERS.items():
        compare(layer, args)
        times: dict[Any, list[float]] = {covector: [], jax: []}
        for _ in range(options.rounds):
            for library, kept in times.items():
                kept.append(seconds(library, layer, args))
        ours, theirs = (1e3 * statistics.median(kept) for kept in times.values())
        print(f"{name:30}{ours:12.1f}{theirs:10.1f}{ours / theirs:8.2f}")


if __name__ == "__main__":
    main()

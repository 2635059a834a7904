"""Un-jitted calls, ours beside JAX's: the first, the second and later ones, closures anew.

    python benchmarks/unjitted.py [--rounds 20] [--gpt]

Each call makes new lambdas, as a script does. The first two calls of each side run in a process of
their own, so that neither finds what the other has compiled; later ones run in one process.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))


def mlp(params: Any, x: Any) -> Any:
    for w, b in params:
        x = jnp.tanh(x @ w + b)
    return jnp.mean(x**2)


def mlp_args() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    sizes = (16, 32, 32, 8)
    params = [
        (jnp.asarray(rng.normal(size=(m, n)), jnp.float32), jnp.zeros(n))
        for m, n in itertools.pairwise(sizes)
    ]
    return params, jnp.asarray(rng.normal(size=(64, 16)), jnp.float32)


def hvp(library: Any) -> Any:
    """Hessian-vector product as grad of a dot product of grad: three nestings with vmap."""
    params, x = mlp_args()
    f = lambda y: mlp(params, y)
    vs = jnp.ones((4, *x.shape))
    return library.vmap(lambda v: library.grad(lambda y: jnp.vdot(library.grad(f)(y), v))(x))(vs)


def per_example(library: Any) -> Any:
    params, x = mlp_args()
    return library.vmap(library.grad(lambda p, y: mlp(p, y)), (None, 0))(params, x)


def jacobian_products(library: Any) -> Any:
    params, x = mlp_args()
    f = lambda y: mlp(params, y)
    _, push = library.linearize(f, x)
    return library.vmap(push)(jnp.ones((8, *x.shape)))


def deep_gradient(library: Any) -> Any:
    """The same few operations in many layers: what is first run operation by operation."""
    params = [(jnp.full((24, 24), 0.1), jnp.zeros(24)) for _ in range(8)]
    return library.grad(lambda p, y: mlp(p, y))(params, jnp.ones((16, 24)))


def gpt_gradient(library: Any) -> Any:
    import gpt

    config = gpt.Config(blocks=12)
    args = (gpt.init(config), next(iter(gpt.batches(config, 1))))
    return library.grad(lambda p, t: gpt.loss(p, t))(*args)


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "hvp": hvp,
    "per_example": per_example,
    "jacobian_products": jacobian_products,
    "deep_gradient": deep_gradient,
    "gpt_gradient": gpt_gradient,
}


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def first_calls(name: str, library: str) -> list[float]:
    """Seconds of the first two calls in a fresh process, after their inputs' own operations."""
    command = [sys.executable, __file__, "--first", name, library]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in told.split()]


def compare(name: str, rounds: int) -> None:
    program = PROGRAMS[name]
    for a, b in zip(jax.tree.leaves(program(covector)), jax.tree.leaves(program(jax)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)
    first, second = zip(*(first_calls(name, m) for m in ("covector", "jax")), strict=True)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for library, kept in zip((covector, jax), times, strict=True):
            kept.append(seconds(lambda library=library: program(library)))
    later = [statistics.median(kept) for kept in times]
    for label, (ours, theirs) in (("first", first), ("second", second), ("later", later)):
        print(
            f"{name:20}{label:8}{ours * 1e3:10.1f} ms{theirs * 1e3:10.1f} ms{ours / theirs:8.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--gpt", action="store_true", help="also the gradient of a 12-block GPT")
    parser.add_argument("--first", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first:
        name, library = options.first
        jax.block_until_ready(mlp_args())
        chosen = covector if library == "covector" else jax
        _ = chosen.grad, chosen.vmap, chosen.linearize  # covector's modules are loaded when used
        print(*(seconds(lambda: PROGRAMS[name](chosen)) for _ in range(2)))
        return
    print(f"{'':28}{'covector':>13}{'jax':>13}{'ratio':>8}")
    for name in PROGRAMS:
        if name != "gpt_gradient" or options.gpt:
            compare(name, options.rounds if name != "gpt_gradient" else 5)


if __name__ == "__main__":
    main()

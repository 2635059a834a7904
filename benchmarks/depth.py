"""Gradients of deep programs on CPUs, beside JAX's: what fused operations compute again.

    python benchmarks/depth.py [--steps 12] [--rounds 20] [--only NAME]

Blocks of several kinds of model, steps of recurrences and of solvers, unrolled; blocks that are
compiled functions, checkpointed, in a loop or in a branch; an ODE with a third of the blocks as its
field, solved by each library's `odeint`. Results are compared before anything is
timed. Compile times are of XLA alone, in processor time; run times are wall times; medians of
rounds in which both take turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from beside_jax import beside_jax, header, show
from jax.experimental.ode import odeint

import covector

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from programs.program import Normal

WIDTH, ROWS = 32, 16
Array = Any
Loss = Callable[..., Array]
Problem = tuple[Loss | tuple[Loss, Loss], tuple[Any, ...]]
"""A loss, or that of covector and that of JAX; its arguments."""

normal = Normal()


def weights(n: int, *shape: int) -> list[Array]:
    return [normal(*(shape or (WIDTH, WIDTH)), scale=0.15) for _ in range(n)]


def rows() -> Array:
    return normal(ROWS, WIDTH)


def norm(x: Array) -> Array:
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


def block(w: Array, x: Array) -> Array:
    return norm(x + jax.nn.gelu(x @ w))


# -- layers ----------------------------------------------------------------------------------------


def layers(step: Callable[[Any, Array], Array]) -> Callable[[list[Any], Array], Array]:
    def loss(parameters: list[Any], x: Array) -> Array:
        for p in parameters:
            x = step(p, x)
        return (x**3).sum()

    return loss


def in_a_loop(parameters: list[Any], x: Array) -> Array:
    def body(x: Array, _: None) -> tuple[Array, None]:
        for w in parameters:
            x = block(w, x)
        return x, None

    return (jax.lax.scan(body, x, None, length=3)[0] ** 3).sum()


def in_a_branch(parameters: list[Any], x: Array) -> Array:
    def blocks(x: Array) -> Array:
        for w in parameters:
            x = block(w, x)
        return x

    return (jax.lax.cond(x[0, 0] > -10, blocks, jnp.sin, x) ** 3).sum()


def attention(p: Any, x: Array) -> Array:
    scores = jax.nn.softmax((x @ p[0]) @ (x @ p[1]).T / 5.0)
    return norm(x + (scores @ (x @ p[2])) @ p[3])


def gated(p: Any, x: Array) -> Array:
    h = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
    return x + (jax.nn.silu(h @ p[0]) * (h @ p[1])) @ p[2]


def mixing(p: Any, x: Array) -> Array:
    x = x + jax.nn.gelu((norm(x).T @ p[0]).T)
    return x + jax.nn.gelu(norm(x) @ p[1])


def convolution(w: Array, x: Array) -> Array:
    axes = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=axes)
    return jax.nn.relu(x + (y - y.mean((0, 1, 2))) / jnp.sqrt(y.var((0, 1, 2)) + 1e-5))


def coupling(p: Any, x: Array) -> Array:
    u, v = jnp.split(x, 2, -1)
    return jnp.concatenate([v * jnp.exp(jnp.tanh(u @ p[0])) + u @ p[1], u], -1)


# -- recurrences and solvers -----------------------------------------------------------------------


def gru(n: int) -> Problem:
    def loss(w: list[Array], xs: Array) -> Array:
        h = xs[0]
        for x in xs:
            z, r = jax.nn.sigmoid(x @ w[0] + h @ w[1]), jax.nn.sigmoid(x @ w[2] + h @ w[3])
            h = (1 - z) * h + z * jnp.tanh(x @ w[4] + (r * h) @ w[5])
        return (h**2).sum()

    return loss, (weights(6), normal(n, 8, WIDTH))


def runge_kutta(n: int) -> Problem:
    def loss(w: Array, x: Array) -> Array:
        f = lambda y: jnp.tanh(y @ w)
        for _ in range(n):
            a = f(x)
            b = f(x + 0.05 * a)
            c = f(x + 0.05 * b)
            x = x + 0.1 / 6 * (a + 2 * b + 2 * c + f(x + 0.1 * c))
        return (x**2).sum()

    return loss, (weights(1)[0], rows())


def solved(n: int) -> Problem:
    """Trajectories along a field of normalised residual blocks."""

    def field(y: Array, t: Array, ws: list[Array]) -> Array:
        for w in ws:
            y = norm(y + 0.1 * jnp.tanh(y @ w))
        return 0.1 * y

    def ours(ws: list[Array], y: Array, ts: Array) -> Array:
        return (covector.odeint(field, y, ts, ws) ** 2).sum()

    def theirs(ws: list[Array], y: Array, ts: Array) -> Array:
        return (odeint(field, y, ts, ws) ** 2).sum()

    return (ours, theirs), (weights(max(n // 3, 1)), rows(), jnp.linspace(0.0, 1.0, 3))


def lorenz(n: int) -> Problem:
    def loss(p: Array, y: Array) -> Array:
        def f(y: Array) -> Array:
            return jnp.stack(
                [p[0] * (y[1] - y[0]), y[0] * (p[1] - y[2]) - y[1], y[0] * y[1] - p[2] * y[2]]
            )

        for _ in range(n):
            y = y + 0.01 * f(y + 0.005 * f(y))
        return (y**2).sum()

    return loss, (normal(3), normal(3))


def leapfrog(n: int) -> Problem:
    def loss(q: Array, p: Array) -> Array:
        for _ in range(n):
            p = p - 0.1 * (jnp.sin(q) + q * jnp.cos(q))
            p = p.at[1:].add(-0.1 * q[:-1]).at[:-1].add(-0.1 * q[1:])
            q = q + 0.1 * p
        return (q**2).sum()

    return loss, (normal(64), normal(64))


def heat(n: int) -> Problem:
    def loss(u: Array, k: Array) -> Array:
        for _ in range(n):
            u = u + k * (jnp.roll(u, 1) - 2 * u + jnp.roll(u, -1))
        return (u**2).sum()

    return loss, (normal(128), jnp.float32(0.1))


def kalman(n: int) -> Problem:
    transition = 0.9 * np.eye(4, dtype=np.float32)

    def loss(noise: Array, ys: Array) -> Array:
        mean, cov, total = jnp.zeros(4), jnp.eye(4), jnp.float32(0)
        for y in ys:
            mean, cov = transition @ mean, transition @ cov @ transition.T + noise @ noise.T
            variance, error, gain = cov[0, 0] + 1.0, y - mean[0], cov[:, 0] / (cov[0, 0] + 1.0)
            mean, cov = mean + gain * error, cov - jnp.outer(gain, cov[0])
            total = total + error * error / variance + jnp.log(variance)
        return total

    return loss, (normal(4, 4), normal(n))


def adam(n: int) -> Problem:
    def loss(w: Array, x: Array) -> Array:
        slope = jax.grad(lambda w: ((jnp.tanh(x @ w) - x) ** 2).mean())
        m, v = jnp.zeros_like(w), jnp.full_like(w, 1e-6)
        for _ in range(n):
            g = slope(w)
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            w = w - 0.01 * m / jnp.sqrt(v)
        return ((x @ w) ** 2).mean()

    return loss, (weights(1)[0], rows())


def problems(n: int) -> dict[str, Problem]:
    """By what they are called: functions of parameters and data, of n steps, and arguments."""
    quads = list(zip(*[weights(n) for _ in range(4)], strict=True))
    mixers = list(zip(weights(n, ROWS, ROWS), weights(n), strict=True))
    halves = weights(n, WIDTH // 2, WIDTH // 2), weights(n, WIDTH // 2, WIDTH // 2)
    images = normal(2, 8, 8, 8)
    return {
        "post-norm": (layers(block), (weights(n), rows())),
        "  compiled blocks": (layers(jax.jit(block)), (weights(n), rows())),
        "  checkpointed": (layers(jax.checkpoint(block)), (weights(n), rows())),
        "  in a loop": (in_a_loop, (weights(n), rows())),
        "  in a branch": (in_a_branch, (weights(n), rows())),
        "attention": (layers(attention), (quads, rows())),
        "gated, pre-norm": (layers(gated), (quads, rows())),
        "mixer": (layers(mixing), (mixers, rows())),
        "residual convolutions": (layers(convolution), (weights(n, 3, 3, 8, 8), images)),
        "coupling layers": (layers(coupling), (list(zip(*halves, strict=True)), rows())),
        "GRU": gru(n),
        "Runge-Kutta": runge_kutta(n),
        "ODE of a deep field": solved(n),
        "Lorenz": lorenz(n),
        "leapfrog": leapfrog(n),
        "heat equation": heat(n),
        "Kalman filter": kalman(n),
        "Adam": adam(n),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    header()
    for name, (loss, args) in problems(options.steps).items():
        if options.only in name:
            losses = loss if isinstance(loss, tuple) else (loss, loss)
            ours, theirs = (
                library.jit(library.value_and_grad(f))
                for library, f in zip((covector, jax), losses, strict=True)
            )
            show(name, beside_jax(ours, theirs, args, options.rounds))


if __name__ == "__main__":
    main()

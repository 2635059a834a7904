"""Loops for benchmarks/memory.py: an LSTM, attention blocks, a scanned GPT, a neural ODE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from memory_programs import POLICIES, embedded, gpt, normal, scored, square

SNAPSHOTS = (2, 4, 8, 16, 32, 64)
"""States that equinox's loop is asked to keep."""


@dataclass(frozen=True)
class Looped:
    """loss = end(params, the carry after `steps` of step, from start(params, x)).

    over: what the steps read one after the other, stacked.
    """

    name: str
    params: Any
    x: Any
    steps: int
    start: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any], Any]
    over: Callable[[Any, Any], Any]
    end: Callable[[Any, Any], Any]
    is_loop: ClassVar[bool] = True

    def ways(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """How JAX's users would save memory: a name, and the loss written so."""
        yield "no checkpoint", self.loss()
        n = self.steps
        sizes = {2**k for k in range(n.bit_length()) if 2**k < n} | {math.isqrt(n)}
        for k in sorted(sizes):
            yield f"every {k}", self.loss(k)
        for name in POLICIES[:-1]:
            yield name, self.loss(policy=getattr(jax.checkpoint_policies, name))
        for s in [s for s in SNAPSHOTS if s < n]:
            yield f"equinox, {s} states", self.by_equinox(s)

    def loss(self, group: int = 0, policy: Any = None) -> Callable[..., Any]:
        """A scan of checkpointed scans of `group` steps each (0: one scan of all steps).

        policy: what is saved of each step.
        """

        def run(params: Any, x: Any) -> Any:
            plain = partial(self.step, params)
            step = plain if policy is None else jax.checkpoint(plain, policy=policy)
            carry, xs = self.start(params, x), self.over(params, x)
            if group:
                step_of_group = jax.checkpoint(partial(scanned, step))
                whole = self.steps - self.steps % group
                parts = jax.tree.map(lambda a: a[:whole].reshape(-1, group, *a.shape[1:]), xs)
                carry = scanned(step_of_group, carry, parts)
                xs = jax.tree.map(lambda a: a[whole:], xs)
            return self.end(params, scanned(step, carry, xs))

        return run

    def by_equinox(self, snapshots: int) -> Callable[..., Any]:
        """The loop by equinox, which keeps so many states."""

        def run(params: Any, x: Any) -> Any:
            def step(carry: Any, part: Any) -> Any:
                return self.step(params, carry, part), None

            carry, xs = self.start(params, x), self.over(params, x)
            kind = {"kind": "checkpointed", "checkpoints": snapshots}
            carry, _ = eqxi.scan(step, carry, xs, length=self.steps, **kind)
            return self.end(params, carry)

        return run


def scanned(step: Callable[[Any, Any], Any], carry: Any, xs: Any) -> Any:
    return lax.scan(lambda c, part: (step(c, part), None), carry, xs)[0]


def lstm(steps: int = 100, width: int = 96, batch: int = 64) -> Looped:
    def start(_: Any, x: Any) -> Any:
        return jnp.zeros((batch, width)), jnp.zeros((batch, width))

    def step(p: Any, carry: Any, x: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(x @ p["x"] + h @ p["h"] + p["b"], 4, axis=-1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    params = {
        "x": normal(0, width, 4 * width, scale=width**-0.5),
        "h": normal(1, width, 4 * width, scale=width**-0.5),
        "b": jnp.zeros(4 * width),
    }
    x = normal(95, steps, batch, width)
    end = lambda _, carry: jnp.mean(carry[0] ** 2)
    return Looped("LSTM", params, x, steps, start, step, lambda _, x: x, end)


def attention(blocks: int = 24, width: int = 64, batch: int = 4) -> Looped:
    """Blocks of a transformer, scanned over their stacked weights."""
    config = gpt.Config(blocks=blocks, width=width, batch=batch)
    every = gpt.init(config)["blocks"]
    params = jax.tree.map(lambda *each: jnp.stack(each), *every)

    def step(_: Any, h: Any, block: Any) -> Any:
        return gpt.block(block, h, config.heads)

    x = normal(94, batch, config.context, width)
    return Looped("attention", params, x, blocks, lambda _, x: x, step, lambda p, _: p, square)


def scanned_gpt(blocks: int = 48, width: int = 96, batch: int = 8) -> Looped:
    """A transformer that scans its blocks; the targets are carried along."""
    config = gpt.Config(blocks=blocks, width=width, batch=batch)
    params = gpt.init(config)
    params["blocks"] = jax.tree.map(lambda *each: jnp.stack(each), *params["blocks"])
    tokens = jax.random.randint(jax.random.key(1), (batch, config.context + 1), 0, 128)

    def step(_: Any, state: Any, block: Any) -> Any:
        return gpt.block(block, state[0], config.heads), state[1]

    name = f"GPT of {blocks}, scanned"
    return Looped(name, params, tokens, blocks, embedded, step, lambda p, _: p["blocks"], scored)


def neural_ode(steps: int = 512, width: int = 64, batch: int = 64) -> Looped:
    """Euler's method on x' = tanh(x W) V."""

    def step(p: Any, x: Any, _: Any) -> Any:
        return x + 2 / steps * jnp.tanh(x @ p["w"]) @ p["v"]

    params = {k: normal(i, width, width, scale=width**-0.5) for i, k in enumerate("wv")}
    x = normal(93, batch, width)
    over = lambda _, x: jnp.arange(steps)
    return Looped("neural ODE", params, x, steps, lambda _, x: x, step, over, square)

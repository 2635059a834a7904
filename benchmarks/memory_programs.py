"""Programs for benchmarks/memory.py: chains of blocks, so that every grouping can be checkpointed.

Skips are part of the state that goes from block to block. The blocks of memory_loops.py are the
steps of a scan. Sizes are chosen for a laptop's CPU.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import gpt

Block = Callable[[Any, Any], Any]

POLICIES: Final = ("dots_saveable", "dots_with_no_batch_dims_saveable", "nothing_saveable")


@dataclass(frozen=True)
class Program:
    """loss = end(params, block_n(... block_1(start(params, x))))."""

    name: str
    params: Any
    x: Any
    blocks: Sequence[Block]
    start: Callable[[Any, Any], Any]
    end: Callable[[Any, Any], Any]
    is_loop: ClassVar[bool] = False

    def ways(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """How JAX's users would save memory: a name, and the loss written so."""
        yield "no checkpoint", self.loss()
        n = len(self.blocks)
        for k in [k for k in range(1, n) if -(-n // k) != -(-n // (k + 1)) or k == 1]:
            yield f"every {k}", self.loss(k)
        for name in POLICIES:
            policy = getattr(jax.checkpoint_policies, name)
            yield name, jax.checkpoint(self.loss(), policy=policy)

    def loss(self, group: int = 0, policy: Any = None) -> Callable[..., Any]:
        """The loss, with `jax.checkpoint` around every `group` blocks (0: none)."""

        def run(params: Any, x: Any) -> Any:
            state = self.start(params, x)
            size = group or len(self.blocks)
            for i in range(0, len(self.blocks), size):
                part = self.blocks[i : i + size]

                def several(params: Any, state: Any, part: Any = part) -> Any:
                    for block in part:
                        state = block(params, state)
                    return state

                step = jax.checkpoint(several, policy=policy) if group else several
                state = step(params, state)
            return self.end(params, state)

        return run


def normal(seed: int, *shape: int, scale: float = 1.0) -> jax.Array:
    return scale * jax.random.normal(jax.random.key(seed), shape)


def square(_: Any, h: Any) -> Any:
    return jnp.mean(h**2)


def mlp(name: str, act: Callable[[Any], Any], layers: int = 12, width: int = 256) -> Program:
    def layer(i: int) -> Block:
        return lambda ws, h: act(h @ ws[i])

    ws = [normal(i, width, width, scale=width**-0.5) for i in range(layers)]
    blocks = [layer(i) for i in range(layers)]
    return Program(name, ws, normal(99, 4096, width), blocks, lambda _, x: x, square)


def transformer(layers: int, width: int = 96, batch: int = 8) -> Program:
    config = gpt.Config(blocks=layers, width=width, batch=batch)
    params = gpt.init(config)
    tokens = jax.random.randint(jax.random.key(1), (batch, config.context + 1), 0, 128)

    def run(i: int) -> Block:
        return lambda p, s: (gpt.block(p["blocks"][i], s[0], config.heads), s[1])

    return Program(
        f"GPT of {layers}", params, tokens, [run(i) for i in range(layers)], embedded, scored
    )


def embedded(p: Any, tokens: Any) -> Any:
    """What goes into a transformer's first block, with the targets."""
    return p["embedding"][tokens[:, :-1]] + p["position"], tokens[:, 1:]


def scored(p: Any, state: Any) -> Any:
    h, targets = state
    scores = gpt.layer_norm(p["norm"], h) @ p["embedding"].T
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores), targets[..., None], -1))


def dropout(layers: int = 12, width: int = 256) -> Program:
    """ReLU layers, each of which drops a tenth of its outputs."""

    def layer(i: int) -> Block:
        def run(ws: Any, state: Any) -> Any:
            h, key = state
            keep = jax.random.bernoulli(jax.random.fold_in(key, i), 0.9, h.shape)
            return jnp.where(keep, jax.nn.relu(h @ ws[i]) / 0.9, 0), key

        return run

    ws = [normal(i, width, width, scale=width**-0.5) for i in range(layers)]
    blocks = [layer(i) for i in range(layers)]
    x = normal(99, 4096, width), jax.random.key(1)
    return Program("MLP, dropout", ws, x, blocks, lambda _, x: x, lambda _, s: square(_, s[0]))


def convolve(h: Any, w: Any) -> Any:
    return jax.lax.conv_general_dilated(
        h, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def resnet(layers: int = 8, width: int = 16, size: int = 32) -> Program:
    def block(i: int) -> Block:
        def run(ws: Any, h: Any) -> Any:
            y = convolve(jax.nn.relu(h - h.mean((0, 1, 2))), ws[2 * i])
            return h + convolve(jax.nn.relu(y - y.mean((0, 1, 2))), ws[2 * i + 1])

        return run

    ws = [normal(i, 3, 3, width, width, scale=0.1) for i in range(2 * layers)]
    blocks = [block(i) for i in range(layers)]
    return Program("ResNet", ws, normal(98, 8, size, size, width), blocks, lambda _, x: x, square)


def unet(depth: int = 6, width: int = 256) -> Program:
    """The k-th block from the end reads what the k-th from the start made."""

    def down(i: int) -> Block:
        def run(ws: Any, state: Any) -> Any:
            h = jax.nn.gelu(state[-1] @ ws[i])
            return (*state[:-1], h, h)

        return run

    def up(i: int) -> Block:
        def run(ws: Any, state: Any) -> Any:
            *rest, skip, h = state
            return (*rest, jax.nn.gelu((h + skip) @ ws[i]))

        return run

    ws = [normal(i, width, width, scale=width**-0.5) for i in range(2 * depth)]
    blocks = [*(down(i) for i in range(depth)), *(up(i) for i in range(depth, 2 * depth))]
    x = normal(97, 2048, width)
    return Program("U-net", ws, x, blocks, lambda _, x: (x,), lambda _, s: square(_, s[-1]))


def random_dag(seed: int, nodes: int = 14, width: int = 192) -> Program:
    """Each node reads one or two of those before it; what is not read any more is dropped."""
    rng = random.Random(seed)
    reads = [sorted({rng.randint(max(0, i - 6), i) for _ in range(2)}) for i in range(nodes)]
    last = {j: i for i, js in enumerate(reads) for j in js}

    def block(i: int) -> Block:
        def run(ws: Any, state: Any) -> Any:
            h = jnp.tanh(sum(state[j] for j in reads[i]) @ ws[i])
            kept = {j: v for j, v in state.items() if last.get(j, -1) > i}
            return {**kept, i + 1: h}

        return run

    ws = [normal(i, width, width, scale=width**-0.5) for i in range(nodes)]
    blocks = [block(i) for i in range(nodes)]

    def end(_: Any, state: Any) -> Any:
        return sum(jnp.mean(v**2) for v in state.values())

    x = normal(96, 2048, width)
    return Program(f"random DAG {seed}", ws, x, blocks, lambda _, x: {0: x}, end)

"""Train a small character model on English text, with gradients and compilation by covector.

The model is an ordinary JAX program: plain `jax.numpy`, no covector in it. `--autodiff jax` trains
the same program with `jax.value_and_grad` and `jax.jit`, `--autodiff both` the one beside the
other.

    python examples/gpt.py                       # trains 200 steps, writes gpt-loss.png
    python examples/gpt.py --steps 50 --autodiff both
    covector trace examples/gpt.py:loss          # the program of the loss
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pydoc_data import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector

Params = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Sizes of the model and of its batches."""

    vocabulary: int = 128
    context: int = 64
    width: int = 96
    heads: int = 4
    blocks: int = 4
    batch: int = 16


# -- the model -----------------------------------------------------------------------------------


def init(config: Config, seed: int = 0) -> Params:
    """Parameters: embeddings, blocks, final layer norm; the output shares the embedding."""
    key = jax.random.key(seed)

    def weight(*shape: int, scale: float = 0.02) -> jax.Array:
        nonlocal key
        key, sub = jax.random.split(key)
        return scale * jax.random.normal(sub, shape)

    d = config.width
    residual_scale = 0.02 / np.sqrt(2 * config.blocks)
    blocks = [
        {
            "norm1": {"scale": jnp.ones(d), "shift": jnp.zeros(d)},
            "qkv": weight(d, 3 * d),
            "project": weight(d, d, scale=residual_scale),
            "norm2": {"scale": jnp.ones(d), "shift": jnp.zeros(d)},
            "up": {"w": weight(d, 4 * d), "b": jnp.zeros(4 * d)},
            "down": {"w": weight(4 * d, d, scale=residual_scale), "b": jnp.zeros(d)},
        }
        for _ in range(config.blocks)
    ]
    return {
        "embedding": weight(config.vocabulary, d),
        "position": weight(config.context, d),
        "blocks": blocks,
        "norm": {"scale": jnp.ones(d), "shift": jnp.zeros(d)},
    }


def layer_norm(p: Params, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * p["scale"] + p["shift"]


def attention(p: Params, x: jax.Array, heads: int) -> jax.Array:
    batch, length, width = x.shape
    q, k, v = jnp.split(x @ p["qkv"], 3, axis=-1)
    q, k, v = (
        a.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3) for a in (q, k, v)
    )
    scores = q @ k.transpose(0, 1, 3, 2) / jnp.sqrt(width / heads)
    causal = jnp.tril(jnp.ones((length, length), bool))
    weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, length, width)
    return mixed @ p["project"]


def block(p: Params, x: jax.Array, heads: int) -> jax.Array:
    x = x + attention(p, layer_norm(p["norm1"], x), heads)
    hidden = jax.nn.gelu(layer_norm(p["norm2"], x) @ p["up"]["w"] + p["up"]["b"])
    return x + hidden @ p["down"]["w"] + p["down"]["b"]


def logits(params: Params, tokens: jax.Array, heads: int = 4) -> jax.Array:
    """Next-character scores, f32[batch, length, vocabulary], for tokens i32[batch, length]."""
    x = params["embedding"][tokens] + params["position"][: tokens.shape[1]]
    for p in params["blocks"]:
        x = block(p, x, heads)
    return layer_norm(params["norm"], x) @ params["embedding"].T


def loss(params: Params, tokens: jax.Array) -> jax.Array:
    """Mean cross-entropy, in nats a character, of each character given those before it."""
    scores = jax.nn.log_softmax(logits(params, tokens[:, :-1]))
    picked = jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1)
    return -picked.mean()


# -- the optimiser: AdamW ------------------------------------------------------------------------


def adamw_init(params: Params) -> Params:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"step": jnp.zeros((), jnp.int32), "mean": zeros, "square": zeros}


def adamw(
    params: Params, grads: Params, state: Params, rate: float = 1e-3, decay: float = 0.01
) -> tuple[Params, Params]:
    step = state["step"] + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["mean"], grads)
    square = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g * g, state["square"], grads)
    t = step.astype(jnp.float32)

    def updated(p: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
        direction = (m / (1 - 0.9**t)) / (jnp.sqrt(s / (1 - 0.99**t)) + 1e-8)
        return p - rate * (direction + decay * p)

    params = jax.tree.map(updated, params, mean, square)
    return params, {"step": step, "mean": mean, "square": square}


def make_step(autodiff: str) -> Any:
    """The training step, differentiated and compiled by covector or by JAX."""
    library: Any = covector if autodiff == "covector" else jax

    def step(params: Params, state: Params, tokens: jax.Array) -> tuple[Params, Params, jax.Array]:
        value, grads = library.value_and_grad(loss)(params, tokens)
        params, state = adamw(params, grads, state)
        return params, state, value

    return library.jit(step)


# -- data and training ---------------------------------------------------------------------------


def text() -> np.ndarray[Any, Any]:
    """The Python manual's topics, some 700 kB of English, as ASCII codes."""
    joined = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    return np.frombuffer(joined.encode("ascii", "replace"), np.uint8).astype(np.int32)


def batches(config: Config, steps: int, seed: int = 0) -> Any:
    """`steps` batches of windows of the text, i32[batch, context + 1]."""
    data = text()
    random = np.random.default_rng(seed)
    for _ in range(steps):
        starts = random.integers(0, len(data) - config.context - 1, config.batch)
        yield np.stack([data[s : s + config.context + 1] for s in starts])


def train(config: Config, steps: int, autodiff: str, progress: bool = True) -> list[float]:
    """Train from scratch; the losses, one a step."""
    params = init(config)
    state = adamw_init(params)
    step = make_step(autodiff)
    losses: list[float] = []
    start = time.perf_counter()
    for i, tokens in enumerate(batches(config, steps)):
        params, state, value = step(params, state, tokens)
        losses.append(float(value))
        if progress:
            elapsed = time.perf_counter() - start
            print(
                f"\r{autodiff}: step {i + 1}/{steps}  loss {losses[-1]:.4f}  {elapsed:.1f} s",
                end="",
                flush=True,
            )
    if progress:
        print()
    return losses


def plot(losses: dict[str, list[float]], path: str) -> None:
    """Loss against step, one line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (name, values), style in zip(losses.items(), ("-", "--"), strict=False):
        axes.plot(range(1, len(values) + 1), values, style, label=name)
    axes.set(
        xlabel="step", ylabel="loss (nats per character)", title="A small GPT on Python's manual"
    )
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def example_args() -> dict[str, tuple[Any, ...]]:
    """Arguments for the functions of this file, by name, for the command line."""
    config = Config()
    params = init(config)
    tokens = next(iter(batches(config, 1)))
    return {"loss": (params, tokens), "logits": (params, tokens[:, :-1])}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=Config.blocks)
    parser.add_argument("--autodiff", choices=["covector", "jax", "both"], default="covector")
    parser.add_argument("--output", default="gpt-loss.png", help="where the plot goes")
    options = parser.parse_args()
    config = Config(blocks=options.blocks)
    names = ["covector", "jax"] if options.autodiff == "both" else [options.autodiff]
    losses = {name: train(config, options.steps, name) for name in names}
    if len(losses) == 2:
        worst = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
        print(f"largest difference of the losses: {worst:.1e}")
    plot(losses, options.output)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()

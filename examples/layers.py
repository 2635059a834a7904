"""Derivatives between the layers of unmodified models, and the health of their gradients.

    python examples/layers.py    # prints all numbers, writes layers.png

First the three-layer network of JAX's issue 12782: the product of dz2/dz1 with a vector. Then a
transformer of 12 blocks, which predicts the next row of its input: for every adjacent pair of
blocks the jvp and vjp of one by the other, and the norms of all activations and of their
cotangents.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector

RANDOM = np.random.default_rng(0)


def draw(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32) / np.sqrt(shape[0])


# -- the network of the issue ----------------------------------------------------------------------


def f(x: Any, params_1: Any, params_2: Any, params_3: Any) -> Any:
    W1, b1 = params_1
    z1 = jnp.tanh(jnp.dot(x, W1) + b1)

    W2, b2 = params_2
    z2 = jnp.tanh(jnp.dot(z1, W2) + b2)

    W3, b3 = params_3
    y = jnp.dot(z2, W3) + b3

    return y  # noqa: RET504 - the name is what is watched


MLP = (draw(16, 8), (draw(8, 32), draw(32)), (draw(32, 32), draw(32)), (draw(32, 4), draw(4)))
VECTOR = draw(16, 32)


def mlp_products() -> tuple[Any, Any]:
    """(dz2/dz1) v and (dz2/dz1)^T v, with f as it is."""
    d = covector.derivative(f, of="z2", wrt="z1")(*MLP)
    return d.jvp(VECTOR), d.vjp(VECTOR)


def mlp_by_hand() -> Any:
    """The same jvp with the part between written out again."""
    x, (w1, b1), (w2, b2), _ = MLP
    z1 = jnp.tanh(x @ w1 + b1)
    return jax.jvp(lambda z: jnp.tanh(z @ w2 + b2), (z1,), (VECTOR,))[1]


# -- a transformer ---------------------------------------------------------------------------------

WIDTH, HEADS, LENGTH = 64, 4, 32


def normed(x: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def attention(x: Any, p: Any) -> Any:
    q, k, v = jnp.split((x @ p["qkv"]).reshape(LENGTH, HEADS, -1), 3, axis=-1)
    scores = jnp.einsum("ihd,jhd->hij", q, k) / np.sqrt(WIDTH / HEADS)
    mask = np.tril(np.ones((LENGTH, LENGTH), bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e9))
    return jnp.einsum("hij,jhd->ihd", weights, v).reshape(LENGTH, WIDTH) @ p["out"]


def transformer_block(x: Any, p: Any) -> Any:
    mixed = x + attention(normed(x), p)
    result = mixed + jax.nn.gelu(normed(mixed) @ p["up"]) @ p["down"]
    return result  # noqa: RET504 - the name is what is watched


def loss(x: Any, params: Any) -> Any:
    """How far off each row's prediction of the next row is, squared, on average."""
    following = x[1:]
    for p in params:
        x = transformer_block(x, p)
    return jnp.mean(jnp.square(normed(x)[:-1] - following))


def parameters(blocks: int) -> list[Any]:
    shapes = {
        "qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH),
        "down": (4 * WIDTH, WIDTH),
    }  # fmt: skip
    return [{name: draw(*shape) for name, shape in shapes.items()} for _ in range(blocks)]


def adjacent_blocks(blocks: int = 12) -> list[tuple[float, float]]:
    """For each pair of adjacent blocks, |J v| and |J^T v| for a unit vector v."""
    x, params = draw(LENGTH, WIDTH), parameters(blocks)
    outputs = [f"transformer_block[{i}].result" for i in range(1, blocks + 1)]
    pairs = list(zip(outputs[1:], outputs[:-1], strict=True))
    v = draw(LENGTH, WIDTH)
    v /= np.linalg.norm(v)
    derivatives = covector.derivative(loss, pairs=pairs)(x, params)
    return [
        (float(jnp.linalg.norm(d.jvp(v))), float(jnp.linalg.norm(d.vjp(v)))) for d in derivatives
    ]


def gradient_norms(blocks: int = 12) -> list[tuple[float, float]]:
    """The norms of each block's output and of its cotangent, by one gradient's work."""
    x, params = draw(LENGTH, WIDTH), parameters(blocks)
    watch = covector.monitor(loss, stats=("norm",), of="transformer_block*.result")
    _, found = watch(x, params)
    return [
        (float(row["value"]["norm"]), float(row["cotangent"]["norm"])) for row in found.values()
    ]


def plot(products: list[Any], norms: list[Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    pairs = np.arange(2, len(products) + 2)
    left.plot(pairs, [p for p, _ in products], "o-", label="$|J v|$, jvp")
    left.plot(pairs, [p for _, p in products], "s-", label="$|J^T v|$, vjp")
    left.set(title="each block by the block before it", ylabel="norm, for a unit vector v")
    blocks = np.arange(1, len(norms) + 1)
    right.semilogy(blocks, [n for n, _ in norms], "o-", label="output")
    right.semilogy(blocks, [n for _, n in norms], "s-", label="cotangent: the loss by it")
    right.set(title="outputs of the blocks", ylabel="norm")
    for axes in (left, right):
        axes.set_xlabel("block")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plot", nargs="?", default="layers.png", help="where the picture goes")
    options = parser.parse_args()

    pushed, pulled = mlp_products()
    print(f"z1 -> z2: |J v| = {np.linalg.norm(pushed):.4f}, |v J| = {np.linalg.norm(pulled):.4f}")
    products, norms = adjacent_blocks(), gradient_norms()
    for i, (forward, backward) in enumerate(products, 2):
        print(f"block {i:2} by block {i - 1:2}: |J v| = {forward:.3f}, |v J| = {backward:.3f}")
    for i, (output, cotangent) in enumerate(norms, 1):
        print(f"block {i:2}: |output| = {output:.1f}, |cotangent| = {cotangent:.2e}")
    plot(products, norms, Path(options.plot))
    print(f"wrote {options.plot}")


if __name__ == "__main__":
    main()

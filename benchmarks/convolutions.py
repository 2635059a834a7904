"""Gradients of convolutions and of reductions over windows on CPUs, beside JAX's.

    python benchmarks/convolutions.py [--rounds 20]

Residual blocks: a 3x3 convolution (5 in one dimension) of 16 features on 8 images, normalised over
the batch. They are scanned, in several layouts; behind a branch; unrolled; and unrolled as
functions, which the pass outline makes of them. Then one depthwise convolution of 64 features,
3x3 and 7x7, one of four groups, the convolution of each image with a kernel of its own, a mean
over 3x3 windows, and a maximum over 2x2 ones. The gradients are compared before anything is timed.
Compile times are of XLA alone, in processor time; run times are wall times; medians of rounds in
which both take turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from beside_jax import beside_jax, header, show
from jax import lax

import covector

sys.path.insert(0, str(Path(__file__).resolve().parent / "suite"))
from programs.program import Normal

BLOCKS, BATCH, SIDE, FEATURES = 12, 8, 16, 16
Loss = Callable[[Any, Any], Any]


def block(layout: str, x: Any, w: Any) -> Any:
    """A residual block, images and kernels in a layout as JAX writes it: NHWC-HWIO."""
    images, kernel = layout.split("-")
    strides, order = (1,) * (len(images) - 2), (images, kernel, images)
    h = lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=order)
    others = tuple(i for i, axis in enumerate(images) if axis != "C")
    h = (h - h.mean(others, keepdims=True)) / jnp.sqrt(h.var(others, keepdims=True) + 1e-5)
    return jax.nn.relu(x + h)


def scanned(layout: str) -> Loss:
    def loss(ws: Any, x: Any) -> Any:
        return (lax.scan(lambda x, w: (block(layout, x, w), None), x, ws)[0] ** 2).sum()

    return loss


def unrolled(ws: Any, x: Any) -> Any:
    for w in ws:
        x = block("NHWC-HWIO", x, w)
    return (x**2).sum()


def branched(ws: Any, x: Any) -> Any:
    return lax.cond(x[0, 0, 0, 0] < 9, unrolled, lambda ws, x: (x * ws[0, 0, 0, 0]).sum(), ws, x)


def grouped(groups: int) -> Loss:
    def loss(w: Any, x: Any) -> Any:
        order = ("NHWC", "HWIO", "NHWC")
        how: Any = {"dimension_numbers": order, "feature_group_count": groups}
        return (lax.conv_general_dilated(x, w, (1, 1), "SAME", **how) ** 2).sum()

    return loss


def by_image(ws: Any, x: Any) -> Any:
    return jax.vmap(lambda w, x: grouped(1)(w, x[None]))(ws, x).sum()


def pooled(ws: Any, x: Any) -> Any:
    means = lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME") / 9
    return ((ws * means) ** 2).sum()


def best(ws: Any, x: Any) -> Any:
    maxima = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return ((ws * maxima) ** 2).sum()


def cases() -> dict[str, tuple[Loss, Any, Any, str]]:
    """By name: a loss, its weights and images, and the passes that its gradient goes through."""
    normal = Normal()

    def weights(*shape: int) -> Any:
        return normal(BLOCKS, *shape, scale=0.1)

    n, side, features = BATCH, SIDE, FEATURES
    images, ws = normal(n, side, side, features), weights(3, 3, features, features)
    first, last = normal(n, features, side, side), weights(features, features, 3, 3)
    volumes, cubic = normal(2, 8, 8, 8, 8), weights(3, 3, 3, 8, 8)
    many = normal(n, side, side, 64)
    rows, kernels = normal(n, side**2, features), weights(5, features, features)
    return {
        "scan, NHWC": (scanned("NHWC-HWIO"), ws, images, ""),
        "scan, NCHW": (scanned("NCHW-OIHW"), last, first, ""),
        "scan, NWC": (scanned("NWC-WIO"), kernels, rows, ""),
        "scan, NDHWC of 8x8x8": (scanned("NDHWC-DHWIO"), cubic, volumes, ""),
        "branch": (branched, ws, images, ""),
        "unrolled": (unrolled, ws, images, ""),
        "unrolled, in functions": (unrolled, ws, images, "outline"),
        "depthwise 3x3": (grouped(64), normal(3, 3, 1, 64, scale=0.1), many, ""),
        "depthwise 7x7": (grouped(64), normal(7, 7, 1, 64, scale=0.1), many, ""),
        "four groups": (grouped(4), normal(3, 3, 16, 64, scale=0.1), many, ""),
        "a kernel for each image": (by_image, normal(n, 3, 3, 64, 64, scale=0.1), many, ""),
        "mean over 3x3": (pooled, normal(64), many, ""),
        "maximum over 2x2": (best, normal(64), many, ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    header()
    for name, (loss, ws, x, passes) in cases().items():
        ours = covector.jit(covector.grad(loss, (0, 1)), passes=passes)
        show(name, beside_jax(ours, jax.jit(jax.grad(loss, (0, 1))), (ws, x), rounds))


if __name__ == "__main__":
    main()

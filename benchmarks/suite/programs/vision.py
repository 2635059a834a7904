"""A residual network of 18 layers on small images, group norm in place of batch norm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .program import Normal, Program

WIDTHS = (16, 32, 64, 128)


def convolve(x: Any, w: Any, stride: int = 1) -> Any:
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def normalise(p: Any, x: Any) -> Any:
    grouped = x.reshape(*x.shape[:3], 4, -1)
    mean = grouped.mean((1, 2, 4), keepdims=True)
    variance = grouped.var((1, 2, 4), keepdims=True)
    scaled = (grouped - mean) * jax.lax.rsqrt(variance + 1e-5)
    return scaled.reshape(x.shape) * p["scale"] + p["shift"]


def residual_block(p: Any, x: Any, stride: int) -> Any:
    y = jax.nn.relu(normalise(p["norm1"], convolve(x, p["conv1"], stride)))
    y = normalise(p["norm2"], convolve(y, p["conv2"]))
    short = convolve(x, p["short"], stride) if "short" in p else x
    return jax.nn.relu(y + short)


def loss(params: Any, images: Any, labels: Any) -> Any:
    x = jax.nn.relu(normalise(params["norm"], convolve(images, params["stem"])))
    for i, p in enumerate(params["blocks"]):
        x = residual_block(p, x, stride=2 if i in (2, 4, 6) else 1)
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")
    scores = jax.nn.log_softmax(x.mean((1, 2)) @ params["head"])
    return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()


def arguments() -> tuple[Any, Any, Any]:
    normal = Normal()

    def norm(width: int) -> Any:
        return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}

    blocks: list[dict[str, Any]] = []
    last = WIDTHS[0]
    for width in (w for w in WIDTHS for _ in range(2)):
        block = {
            "conv1": normal(3, 3, last, width, scale=(9 * last) ** -0.5),
            "conv2": normal(3, 3, width, width, scale=(9 * width) ** -0.5),
            "norm1": norm(width),
            "norm2": norm(width),
        }
        if width != last:
            block["short"] = normal(1, 1, last, width, scale=last**-0.5)
        blocks.append(block)
        last = width
    params = {
        "stem": normal(3, 3, 3, WIDTHS[0], scale=0.2),
        "norm": norm(WIDTHS[0]),
        "blocks": blocks,
        "head": normal(last, 10, scale=0.1),
    }
    return params, normal(8, 32, 32, 3), jnp.arange(8) % 10


def programs(quick: bool) -> list[Program]:
    return [Program("ResNet-18, small images", loss, arguments(), rtol=5e-3)]

"""The model of these pages: two layers and a loss."""

import jax.numpy as jnp
import numpy as np


def layer(x, w):  # type: ignore[no-untyped-def]
    return jnp.tanh(x @ w)


def loss(w1, w2, x, target):  # type: ignore[no-untyped-def]
    z = layer(x, w1)
    error = z @ w2 - target
    return jnp.sum(error * error)


def example_args():  # type: ignore[no-untyped-def]
    w1, w2, x, target = (
        np.random.default_rng(i).standard_normal(shape).astype(np.float32)
        for i, shape in enumerate(((8, 8), (8, 3), (4, 8), (4, 3)))
    )
    return {"loss": (w1, w2, x, target)}

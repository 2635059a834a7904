"""Programs of the corpus: layers and losses of networks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from corpus import integers, program
from jax import lax

MLP = {"w1": (4, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)}


def _mlp(params: Any, x: Any) -> Any:
    h = jnp.tanh(x @ params["w1"] + params["b1"])
    return h @ params["w2"] + params["b2"]


@program(MLP, (5, 4))
def mlp(params, x):
    return _mlp(params, x)


@program(MLP, (5, 4), (5, 3))
def mlp_loss(params, x, y):
    return jnp.mean((_mlp(params, x) - y) ** 2)


@program(MLP, (5, 4), integers(3, 5))
def cross_entropy(params, x, labels):
    logits = _mlp(params, x)
    logp = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(logp, labels[:, None], axis=1))


@program(MLP, (5, 4), integers(3, 5))
def cross_entropy_one_hot(params, x, labels):
    logp = jax.nn.log_softmax(_mlp(params, x))
    return -jnp.sum(jax.nn.one_hot(labels, 3) * logp) / labels.shape[0]


@program({"wq": (6, 6), "wk": (6, 6), "wv": (6, 6), "wo": (6, 6)}, (5, 6))
def attention(params, x):
    q, k, v = x @ params["wq"], x @ params["wk"], x @ params["wv"]
    q, k, v = (a.reshape(5, 2, 3).transpose(1, 0, 2) for a in (q, k, v))
    scores = jnp.einsum("hqd,hkd->hqk", q, k) / np.sqrt(3)
    mask = jnp.tril(jnp.ones((5, 5), bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e9), axis=-1)
    heads = jnp.einsum("hqk,hkd->hqd", weights, v)
    return heads.transpose(1, 0, 2).reshape(5, 6) @ params["wo"]


@program((4, 6), (6,), (6,))
def layer_norm(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    var = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * scale + bias


@program((4, 6), (6,))
def rms_norm(x, scale):
    return x / jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6) * scale


@program((7,))
def gelu(x):
    return jax.nn.gelu(x)


@program((7,))
def gelu_exact(x):
    return jax.nn.gelu(x, approximate=False)


@program((7,))
def activations(x):
    return jax.nn.silu(x), jax.nn.softplus(x), jax.nn.sigmoid(x), jax.nn.log_sigmoid(x)


@program((7,), tags="nonsmooth")
def activations_with_kinks(x):
    return jax.nn.relu(x), jax.nn.elu(x), jax.nn.leaky_relu(x), jax.nn.relu6(x), jax.nn.selu(x)


@program((10, 4), integers(10, 3, 2))
def embedding(table, tokens):
    return table[tokens].sum(1)


@program((4, 5))
def softmax(x):
    return jax.nn.softmax(x, axis=-1)


@program((4, 5))
def logsumexp(x):
    return jax.nn.logsumexp(x, axis=-1), jax.scipy.special.logsumexp(x)


@program((2, 3, 8, 8), (4, 3, 3, 3))
def convolution(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME")


@program((2, 8, 8, 3), (3, 3, 3, 4))
def convolution_strided(x, w):
    return lax.conv_general_dilated(
        x, w, (2, 2), "VALID", rhs_dilation=(1, 1), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@program((1, 6, 6, 2), tags="nonsmooth")
def pooling(x):
    window, strides = (1, 2, 2, 1), (1, 2, 2, 1)
    top = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")
    average = lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID") / 4
    return top, average


@program({"layers": [{"w": (4, 4), "b": (4,)}, {"w": (4, 4), "b": (4,)}]}, (4,))
def nested_params(params, x):
    for layer in params["layers"]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return {"out": x, "norm": jnp.linalg.norm(x)}


@program({"w": (4, 4, 4)}, (4,))
def scanned_layers(params, x):
    def layer(h, w):
        return jnp.tanh(h @ w), h.sum()

    return lax.scan(layer, x, params["w"])

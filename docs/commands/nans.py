"""Functions with derivatives that are not finite somewhere."""

import jax
import jax.numpy as jnp


def ratio(x):  # type: ignore[no-untyped-def]
    return x / (1 + jnp.sqrt(x))


def log1pexp(x):  # type: ignore[no-untyped-def]
    return jnp.log(1 + jnp.exp(x))


def safe(x):  # type: ignore[no-untyped-def]
    return jnp.where(x > 0, jnp.sqrt(x), 0.0)


def masked(logits, mask):  # type: ignore[no-untyped-def]
    return jnp.sum(jax.nn.softmax(jnp.where(mask, logits, -jnp.inf)) ** 2)

"""Functions that are not finite somewhere, or whose derivatives are not: targets of `why-nan`."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def log1pexp(x):  # type: ignore[no-untyped-def]
    return jnp.log(1.0 + jnp.exp(x))


def log1pexp_remedied(x):  # type: ignore[no-untyped-def]
    return jnp.logaddexp(x, 0.0)


def ratio(x):  # type: ignore[no-untyped-def]
    return x / (1 + jnp.sqrt(x))


def ratio_remedied(x):  # type: ignore[no-untyped-def]
    return x / (1 + jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0))


def masked_softmax(logits, mask):  # type: ignore[no-untyped-def]
    p = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
    return jnp.sum(p * p)


def masked_softmax_remedied(logits, mask):  # type: ignore[no-untyped-def]
    p = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min), axis=-1)
    return jnp.sum(p * p)


def norm(x):  # type: ignore[no-untyped-def]
    return jnp.linalg.norm(x)


def norm_remedied(x):  # type: ignore[no-untyped-def]
    s = jnp.sum(x * x)
    return jnp.where(s > 0, jnp.sqrt(jnp.where(s > 0, s, 1.0)), 0.0)


def safe_log(x):  # type: ignore[no-untyped-def]
    return jnp.sum(jnp.where(x > 0, jnp.log(x), 0.0))


def safe_log_remedied(x):  # type: ignore[no-untyped-def]
    x_safe = jnp.where(x > 0, x, 1.0)
    return jnp.sum(jnp.where(x > 0, jnp.log(x_safe), 0.0))


def looped(x):  # type: ignore[no-untyped-def]
    def step(c, a):  # type: ignore[no-untyped-def]
        y = jnp.where(a > 0, jnp.sqrt(a * c), 0.0)
        return c + y, y

    return jax.lax.scan(step, 1.0, x)[0]


def harmless(x):  # type: ignore[no-untyped-def]
    """log(0) is -inf, but nobody reads it; and no derivative goes there."""
    return jnp.sum(jnp.where(x > 0, jax.lax.stop_gradient(jnp.log(x)), x))


def example_args():  # type: ignore[no-untyped-def]
    logits, mask = jnp.ones((2, 3)), jnp.array([[True, False, True], [False, False, False]])
    x = jnp.array([1.0, 0.0, 2.0])
    examples = {
        "log1pexp": (100.0,),
        "ratio": (0.0,),
        "masked_softmax": (logits, mask),
        "norm": (jnp.zeros(3),),
        "safe_log": (x,),
        "looped": (x,),
        "harmless": (x,),
    }
    remedied = {f"{name}_remedied": args for name, args in examples.items()}
    return {**examples, **remedied}

"""The policies of JAX's checkpoint regions: nested, under other transformations, and wrong ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

import covector

_JAX = jax.checkpoint_policies
POLICIES: dict[str, Any] = {
    "none": None,
    "everything": _JAX.everything_saveable,
    "nothing": _JAX.nothing_saveable,
    "dots": _JAX.dots_saveable,
    "dots without batch": _JAX.dots_with_no_batch_dims_saveable,
    "names": _JAX.save_only_these_names("h"),
    "but names": _JAX.save_any_names_but_these("h"),
    "anything but": _JAX.save_anything_except_these_names("h"),
    "both": _JAX.save_from_both_policies(_JAX.dots_saveable, _JAX.save_only_these_names("h")),
}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_nested_and_under_other_transformations(policy: str) -> None:
    """A checkpoint region within another, with each of JAX's policies: values stay."""
    chosen = POLICIES[policy]

    def inner(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.tanh(checkpoint_name(jnp.sin(x @ w), "h"))

    def outer(x: jax.Array, w: jax.Array) -> jax.Array:
        y = jax.checkpoint(inner, policy=chosen)(x, w)
        return jax.checkpoint(inner, policy=chosen)(y, w) + y

    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(covector.checkpoint(outer, policy=chosen)(x, w) ** 2)

    x, w = jnp.linspace(0, 1, 6).reshape(2, 3), jnp.linspace(-1, 1, 9).reshape(3, 3)
    for transform in (covector.grad, covector.hessian, covector.jacfwd):
        reference = getattr(jax, transform.__name__)
        want = reference(lambda x, w: jnp.sum(nested_plain(x, w)), argnums=1)(x, w)
        np.testing.assert_allclose(transform(loss, 1)(x, w), want, rtol=2e-4, atol=1e-5)
    xs = jnp.stack([x, 2 * x])
    got = covector.jit(covector.vmap(covector.grad(loss, 1), (0, None)))(xs, w)
    want = jax.vmap(jax.grad(lambda x, w: jnp.sum(nested_plain(x, w)), 1), (0, None))(xs, w)
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-5)


def nested_plain(x: jax.Array, w: jax.Array) -> jax.Array:
    y = jnp.tanh(jnp.sin(x @ w))
    return (jnp.tanh(jnp.sin(y @ w)) + y) ** 2


WRONG: dict[str, tuple[Any, str]] = {
    "unknown name": ("dots_saveabel", "did you mean dots_saveable"),
    "no policy": (3, "those of jax.checkpoint_policies serve"),
    "what makes policies": (_JAX.save_only_these_names, r'call it.*save_only_these_names\("a"'),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_policy_that_is_no_policy_is_an_error(wrong: str) -> None:
    policy, hint = WRONG[wrong]
    with pytest.raises(covector.CovectorError, match=hint):
        covector.checkpoint(jnp.sin, policy=policy)
    with pytest.raises(covector.CovectorError, match=hint):
        covector.grad(jax.checkpoint(jnp.sin, policy=policy))(1.0)


def test_a_policy_has_a_name_and_jax_differentiates_its_region() -> None:
    region = covector.checkpoint(
        lambda x: jnp.sin(checkpoint_name(jnp.sin(x), "h")), policy="save_only_these_names(h)"
    )
    assert 'policy="save_only_these_names(h)"' in str(covector.make_ir(region)(1.0))
    for grad in (jax.grad, covector.grad):
        np.testing.assert_allclose(grad(region)(1.0), jax.grad(lambda x: jnp.sin(jnp.sin(x)))(1.0))
    assert covector.remat is covector.checkpoint

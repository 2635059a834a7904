"""The log-density of a hierarchical model: negative binomial counts in groups."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln, log_ndtr

from .program import Normal, Program

GROUPS, EACH = 20, 30


def log_density(params: Any, x: Any, counts: Any) -> Any:
    """Parameters are unconstrained; scales and dispersions are exp and sigmoid of them."""
    mean, log_scale, effects, slopes, log_dispersion, logit_zero = (
        params[k] for k in ("mean", "log_scale", "effects", "slopes", "log_dispersion", "logit")
    )
    scale, dispersion = jnp.exp(log_scale), jnp.exp(log_dispersion)
    zero = jax.nn.sigmoid(logit_zero)
    rate = jnp.exp(mean + scale * effects[:, None] + slopes[:, None] * x)
    p = dispersion / (dispersion + rate)
    negative_binomial = (
        gammaln(counts + dispersion)
        - gammaln(dispersion)
        - gammaln(counts + 1)
        + dispersion * jnp.log(p)
        + counts * jnp.log1p(-p)
    )
    inflated = jnp.logaddexp(jnp.log(zero), jnp.log1p(-zero) + negative_binomial)
    likelihood = jnp.where(counts == 0, inflated, jnp.log1p(-zero) + negative_binomial).sum()
    priors = (
        -0.5 * (effects**2).sum()
        - 0.5 * (slopes**2).sum()
        + 2 * log_scale - scale
        + 3 * log_dispersion - dispersion
        + jnp.log(zero) + 2 * jnp.log1p(-zero) - betaln(2.0, 1.0 + scale)
        + log_ndtr(mean)
    )  # fmt: skip
    return likelihood + priors


def programs(quick: bool) -> list[Program]:
    normal = Normal()
    params = {
        "mean": normal(),
        "log_scale": normal(scale=0.1),
        "effects": normal(GROUPS),
        "slopes": normal(GROUPS, scale=0.1),
        "log_dispersion": normal(scale=0.1),
        "logit": normal(),
    }
    counts = jnp.asarray(np.random.default_rng(1).poisson(2.0, (GROUPS, EACH)), jnp.float32)
    args = (params, normal(GROUPS, EACH), counts)
    return [Program("hierarchical log-density", log_density, args)]

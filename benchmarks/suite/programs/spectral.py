"""An FFT-based loss, and the likelihood of a Gaussian process (Cholesky, solves)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from .program import Normal, Program


def deconvolution(params: Any, observed: Any) -> Any:
    """Fit of an image blurred by a kernel, in the frequency domain, with a smoothness penalty."""
    image, kernel = params
    spectrum = jnp.fft.rfft2(image) * jnp.fft.rfft2(kernel, image.shape)
    blurred = jnp.fft.irfft2(spectrum, image.shape)
    power = jnp.abs(jnp.fft.fft(image, axis=0)) ** 2
    weights = jnp.arange(image.shape[0], dtype=jnp.float32)[:, None]
    return jnp.mean((blurred - observed) ** 2) + 1e-6 * jnp.mean(weights * power)


def likelihood(params: Any, x: Any, y: Any) -> Any:
    """Negative log marginal likelihood of a Gaussian process with a sum of two kernels."""
    squared = jnp.sum((x[:, None] - x[None]) ** 2, axis=-1)
    smooth = jnp.exp(params["log_a"] - 0.5 * squared * jnp.exp(-2 * params["log_l"]))
    rough = jnp.exp(params["log_b"]) / (1.0 + squared * jnp.exp(params["log_m"]))
    covariance = smooth + rough + jnp.exp(params["log_noise"]) * jnp.eye(x.shape[0])
    factor = jnp.linalg.cholesky(covariance)
    weights = cho_solve((factor, True), y)
    white = solve_triangular(factor, y, lower=True)
    penalty = jnp.sum(white**2) / (1 + jnp.sum(weights**2))
    return 0.5 * y @ weights + jnp.sum(jnp.log(jnp.diagonal(factor))) + 1e-3 * penalty


def programs(quick: bool) -> list[Program]:
    normal = Normal()
    names = ("log_a", "log_l", "log_b", "log_m", "log_noise")
    params = {name: jnp.float32(0.1 * i - 0.2) for i, name in enumerate(names)}
    return [
        Program(
            "FFT deconvolution",
            deconvolution,
            ((normal(64, 64), normal(9, 9, scale=0.1)), normal(64, 64)),
        ),
        Program(
            "GP likelihood, Cholesky", likelihood, (params, normal(96, 3), normal(96)), rtol=2e-2
        ),
    ]

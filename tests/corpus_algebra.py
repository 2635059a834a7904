"""Programs of the corpus: linear algebra, Fourier transforms, random numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from corpus import key, program, raw_key

# -- linear algebra and transforms -----------------------------------------------------------------


def _spd(rng: np.random.Generator) -> Any:
    a = rng.normal(size=(4, 4))
    return jnp.asarray(a @ a.T + 4 * np.eye(4), jnp.float32)


@program(_spd, (4,))
def linear_solve(a, b):
    return jnp.linalg.solve(a, b)


@program(_spd, (4, 2))
def cholesky(a, b):
    factor = jnp.linalg.cholesky(a)
    return factor, jax.scipy.linalg.solve_triangular(factor, b, lower=True)


@program(_spd)
def determinants(a):
    return jnp.linalg.det(a), jnp.linalg.slogdet(a), jnp.linalg.inv(a)


@program(_spd)
def eigenvalues(a):
    return jnp.linalg.eigvalsh(a)


@program((4, 3))
def decompositions(a):
    return jnp.linalg.svd(a, compute_uv=False), jnp.abs(jnp.linalg.qr(a)[1])


@program((8,))
def fourier(x):
    spectrum = jnp.fft.fft(x)
    return jnp.abs(spectrum) ** 2, jnp.fft.rfft(x).real, jnp.fft.ifft(spectrum).real


# -- random numbers --------------------------------------------------------------------------------


@program(key, (3,), tags="random")
def random_typed(k, x):
    k1, k2 = jax.random.split(k)
    return x + jax.random.normal(k1, (3,)), jax.random.uniform(k2, (2,))


@program(raw_key, (3,), tags="random")
def random_raw(k, x):
    k = jax.random.fold_in(k, 3)
    return x * jax.random.bernoulli(k, 0.5, (3,)), jax.random.randint(k, (2,), 0, 10)


@program(key, (4, 3), tags="random")
def dropout(k, x):
    keep = jax.random.bernoulli(k, 0.8, x.shape)
    return jnp.where(keep, x / 0.8, 0.0)


@program(key, (5,), tags="random")
def random_choices(k, logits):
    return jax.random.categorical(k, logits), jax.random.permutation(k, 5)

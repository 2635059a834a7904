"""One call each of many library functions: the breadth of `jax.numpy`, `jax.lax`, `jax.scipy`, ...

`CALLS` maps a name to a function of one argument and that argument. tests/programs.py has programs
as people write them; here each entry is there for the primitives that its one function reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.image
import jax.numpy as jnp
import jax.scipy as jsp
import jax.scipy.optimize
import numpy as np
from jax import lax
from jax.experimental.ode import odeint

Call = tuple[Callable[[Any], Any], Any]

_rng = np.random.default_rng(0)
MATRIX = _rng.normal(size=(4, 5)).astype(np.float32)
SQUARE = _rng.normal(size=(4, 4)).astype(np.float32)
VECTOR = MATRIX[0]
POSITIVE = np.abs(MATRIX) + np.float32(0.1)
INDICES = np.arange(4, dtype=np.int32)

NUMPY: dict[str, Call] = {
    "argpartition": (lambda v: jnp.sort(jnp.argpartition(v, 2)[:2]), VECTOR),
    "bitwise_count": (jnp.bitwise_count, INDICES),
    "convolve": (lambda v: jnp.convolve(v, v, "same"), VECTOR),
    "corrcoef": (jnp.corrcoef, MATRIX),
    "cov": (jnp.cov, MATRIX),
    "cross": (lambda v: jnp.cross(v[:3], v[1:4]), VECTOR),
    "diff": (jnp.diff, MATRIX),
    "digitize": (lambda v: jnp.digitize(v, jnp.arange(3.0)), VECTOR),
    "einsum_of_three": (lambda a: jnp.einsum("ij,kj,kl->il", a, a, a), MATRIX),
    "empty_reduction": (lambda a: jnp.zeros((0, 3)).sum(0) + a.sum(), MATRIX),
    "frexp": (jnp.frexp, VECTOR),
    "gcd": (lambda i: jnp.gcd(i, 6), INDICES),
    "gradient": (jnp.gradient, VECTOR),
    "heaviside": (lambda v: jnp.heaviside(v, 0.5), VECTOR),
    "histogram": (lambda a: jnp.histogram(a, bins=4), MATRIX),
    "isin": (lambda i: jnp.isin(i, jnp.array([1, 2])), INDICES),
    "ldexp": (lambda v: jnp.ldexp(v, 2), VECTOR),
    "lexsort": (lambda v: jnp.lexsort((v, -v)), VECTOR),
    "modf": (jnp.modf, VECTOR),
    "moveaxis": (lambda a: jnp.moveaxis(a, 0, 1), MATRIX),
    "nan_to_num": (jnp.nan_to_num, VECTOR),
    "nanmean": (jnp.nanmean, MATRIX),
    "packbits": (lambda v: jnp.packbits(v > 0), VECTOR),
    "pad_reflect": (lambda a: jnp.pad(a, ((1, 2), (0, 1)), mode="reflect"), MATRIX),
    "pad_wrap": (lambda a: jnp.pad(a, 1, mode="wrap"), MATRIX),
    "percentile": (lambda a: jnp.percentile(a, 30), MATRIX),
    "piecewise": (
        lambda v: jnp.piecewise(v, [v < 0, v >= 0], [lambda q: -q, lambda q: q * 2]),
        VECTOR,
    ),
    "polyval": (lambda v: jnp.polyval(v, 2.0), VECTOR),
    "select": (lambda a: jnp.select([a > 1, a > 0], [a, a * 2], 0), MATRIX),
    "sinc": (jnp.sinc, VECTOR),
    "take_along_axis": (lambda a: jnp.take_along_axis(a, jnp.argsort(a, 1), 1), MATRIX),
    "unique": (lambda i: jnp.unique(i, size=4), INDICES),
    "unwrap": (jnp.unwrap, VECTOR),
    "vander": (lambda v: jnp.vander(v, 3), VECTOR),
}

LAX: dict[str, Call] = {
    "accuracy": (lambda a: lax.exp(a, accuracy=lax.AccuracyMode.HIGHEST), MATRIX),
    "associative_scan": (lambda v: lax.associative_scan(jnp.maximum, v), VECTOR),
    "bfloat16_product": (lambda v: v.astype(jnp.bfloat16) @ v.astype(jnp.bfloat16), VECTOR),
    "bitcast": (lambda v: lax.bitcast_convert_type(v, jnp.int32), VECTOR),
    "broadcasted_iota": (lambda _: lax.broadcasted_iota(jnp.int32, (2, 3), 1), VECTOR),
    "clamp": (lambda v: lax.clamp(0.0, v, 1.0), VECTOR),
    "complex": (lambda v: lax.complex(v, v) * 1j, VECTOR),
    "cond_closures": (lambda v: lax.cond(v.sum() > 0, lambda: v, lambda: -v), VECTOR),
    "conv_patches": (
        lambda a: lax.conv_general_dilated_patches(a.reshape(1, 1, 4, 5), (2, 2), (1, 1), "VALID"),
        MATRIX,
    ),
    "conv_transpose": (
        lambda a: lax.conv_transpose(a.reshape(1, 4, 5, 1), jnp.ones((3, 3, 1, 2)), (2, 2), "SAME"),
        MATRIX,
    ),
    "custom_root": (
        lambda p: lax.custom_root(
            lambda y: y * y - p,
            p,
            lambda f, y: lax.fori_loop(0, 20, lambda _, z: z - (z * z - p) / (2 * z), y),
            lambda g, y: y / g(jnp.ones_like(y)),
        ),
        POSITIVE,
    ),
    "dot_algorithm": (lambda a: lax.dot(a, a.T, precision="F32_F32_F32"), MATRIX),
    "dot_int8": (
        lambda v: lax.dot(v.astype(jnp.int8), v.astype(jnp.int8), preferred_element_type=jnp.int32),
        VECTOR,
    ),
    "dot_precision": (lambda a: lax.dot(a, a.T, precision=("default", "highest")), MATRIX),
    "float8": (lambda v: v.astype(jnp.float8_e4m3fn).astype(jnp.float32), VECTOR),
    "fori_loop_dynamic": (
        lambda i: lax.fori_loop(0, i[3], lambda j, c: c * 1.1, jnp.float32(1)),
        INDICES,
    ),
    "map_batched": (lambda a: lax.map(jnp.sum, a, batch_size=2), MATRIX),
    "optimization_barrier": (lax.optimization_barrier, MATRIX),
    "pooling_gradient": (
        jax.grad(lambda a: lax.reduce_window(a, -jnp.inf, lax.max, (2, 2), (1, 1), "VALID").sum()),
        MATRIX,
    ),
    "pooling_same": (
        lambda a: lax.reduce_window(a, 0.0, lax.add, (2, 2), (1, 1), "SAME"),
        MATRIX,
    ),
    "reduce": (lambda v: lax.reduce(v, 0.0, lambda p, q: p + q * q, (0,)), VECTOR),
    "reduce_precision": (lambda v: lax.reduce_precision(v, 5, 10), VECTOR),
    "rng_bit_generator": (
        lambda _: lax.rng_bit_generator(jnp.zeros(4, jnp.uint32), (3,)),
        VECTOR,
    ),
    "sort_by_two": (lambda v: lax.sort((v, v * 2), num_keys=2), VECTOR),
    "switch_closures": (lambda i: lax.switch(i[2], [lambda: i, lambda: i * 2]), INDICES),
    "tolerance": (lambda a: lax.exp(a, accuracy=lax.Tolerance(1e-5, 1e-5, 2)), MATRIX),
    "while_loop": (lambda v: lax.while_loop(lambda s: s.sum() < 10, lambda s: s + 1, v), VECTOR),
}

SPECIAL: dict[str, Call] = {
    "bessel": (lambda a: (jsp.special.i0(a), jsp.special.i1e(a)), MATRIX),
    "betainc": (lambda p: jsp.special.betainc(p, p, 0.3), POSITIVE),
    "entr": (jsp.special.entr, POSITIVE),
    "erfinv": (lambda a: jsp.special.erfinv(jnp.tanh(a)), MATRIX),
    "gammainc": (lambda p: jsp.special.gammainc(p, p), POSITIVE),
    "ndtri": (lambda a: jsp.special.ndtri(jax.nn.sigmoid(a)), MATRIX),
    "polygamma": (lambda p: jsp.special.polygamma(1, p), POSITIVE),
    "xlogy": (lambda p: jsp.special.xlogy(p, p), POSITIVE),
    "zeta": (lambda p: jsp.special.zeta(p + 1.5, 1.0), POSITIVE),
    "gamma_density": (lambda p: jsp.stats.gamma.logpdf(p, 2.0), POSITIVE),
    "normal_density": (jsp.stats.norm.logpdf, MATRIX),
    "multivariate_normal": (
        lambda a: jsp.stats.multivariate_normal.logpdf(a, jnp.zeros(5), jnp.eye(5)),
        MATRIX,
    ),
    "trapezoid": (jsp.integrate.trapezoid, VECTOR),
}

LINALG: dict[str, Call] = {
    "block_diag": (lambda a: jsp.linalg.block_diag(a, a), SQUARE),
    "cho_solve": (
        lambda a: jsp.linalg.cho_solve(jsp.linalg.cho_factor(a @ a.T + jnp.eye(4)), a),
        SQUARE,
    ),
    "cond": (jnp.linalg.cond, SQUARE),
    "eigh": (lambda a: jnp.linalg.eigvalsh(a + a.T), SQUARE),
    "eigvals": (lambda a: jnp.sort(jnp.abs(jnp.linalg.eigvals(a))), SQUARE),
    "expm": (jsp.linalg.expm, SQUARE),
    "hessenberg": (jsp.linalg.hessenberg, SQUARE),
    "lstsq": (lambda a: jnp.linalg.lstsq(a, a[:, 0])[0], SQUARE),
    "lu": (jsp.linalg.lu, SQUARE),
    "matrix_power": (lambda a: jnp.linalg.matrix_power(a, 3), SQUARE),
    "matrix_rank": (jnp.linalg.matrix_rank, SQUARE),
    "pinv": (jnp.linalg.pinv, SQUARE),
    "schur": (lambda a: jnp.abs(jsp.linalg.schur(a)[0]), SQUARE),
    "toeplitz": (jsp.linalg.toeplitz, VECTOR),
    "tridiagonal_solve": (
        lambda a: lax.linalg.tridiagonal_solve(a[0], a[1] + 4, a[2], a[:, :2]),
        SQUARE,
    ),
    "conjugate_gradient": (
        lambda a: jsp.sparse.linalg.cg(lambda q: (a @ a.T + 4 * jnp.eye(4)) @ q, a[0])[0],
        SQUARE,
    ),
}

RANDOM: dict[str, Call] = {
    "beta": (lambda k: jax.random.beta(k, 1.0, 2.0, (3,)), jax.random.key(1)),
    "bits": (lambda k: jax.random.bits(k, (3,), "uint8"), jax.random.key(1)),
    "choice": (lambda k: jax.random.choice(k, 5, (3,), replace=False), jax.random.key(1)),
    "clone": (lambda k: jax.random.key_data(jax.random.clone(k)), jax.random.key(1)),
    "dirichlet": (lambda k: jax.random.dirichlet(k, jnp.ones(3)), jax.random.key(1)),
    "gamma": (lambda k: jax.random.gamma(k, 2.0, (3,)), jax.random.key(1)),
    "gumbel": (lambda k: jax.random.gumbel(k, (3,)), jax.random.key(1)),
    "index_of_keys": (
        lambda k: jax.random.key_data(jax.random.split(k, 3)[1]),
        jax.random.key(1),
    ),
    "poisson": (lambda k: jax.random.poisson(k, 3.0, (4,)), jax.random.key(1)),
    "rbg": (lambda k: jax.random.normal(k, (3,)), jax.random.key(0, impl="rbg")),
    "scan_over_keys": (
        lambda k: lax.scan(
            lambda c, _: (jax.random.split(c)[0], jax.random.uniform(c)), k, None, length=3
        )[1],
        jax.random.key(1),
    ),
    "seed": (lambda n: jax.random.normal(jax.random.key(n), (2,)), 3),
    "truncated_normal": (
        lambda k: jax.random.truncated_normal(k, -1.0, 1.0, (3,)),
        jax.random.key(1),
    ),
    "vmap_over_keys": (
        lambda k: jax.vmap(lambda q: jax.random.normal(q, (2,)))(jax.random.split(k, 3)),
        jax.random.key(1),
    ),
    "where_of_keys": (
        lambda k: jax.random.key_data(jnp.where(True, k, jax.random.key(2))),
        jax.random.key(1),
    ),
}

OTHERS: dict[str, Call] = {
    "attention": (
        lambda a: jax.nn.dot_product_attention(*[a.reshape(1, 4, 1, 5)] * 3, is_causal=True),
        MATRIX,
    ),
    "celu": (jax.nn.celu, MATRIX),
    "fft2": (jnp.fft.fft2, MATRIX),
    "fftshift": (jnp.fft.fftshift, MATRIX),
    "glu": (lambda a: jax.nn.glu(a[:, :4]), MATRIX),
    "log_softmax_where": (lambda a: jax.nn.log_softmax(a, where=a > 0), MATRIX),
    "map_coordinates": (
        lambda a: jsp.ndimage.map_coordinates(a, [jnp.array([0.5, 1.2]), jnp.array([1.0, 2.0])], 1),
        MATRIX,
    ),
    "minimize": (
        lambda v: (
            jax.scipy.optimize.minimize(
                lambda q: jnp.sum((q - v) ** 2), jnp.zeros(5), method="BFGS"
            ).x
        ),
        VECTOR,
    ),
    "mish": (jax.nn.mish, MATRIX),
    "odeint": (
        lambda v: odeint(lambda y, t: -y, v, jnp.linspace(0, 1, 3)),
        VECTOR,
    ),
    "resize": (lambda a: jax.image.resize(a, (8, 10), "bilinear"), MATRIX),
    "standardize": (jax.nn.standardize, MATRIX),
}

CALLS: dict[str, Call] = {**NUMPY, **LAX, **SPECIAL, **LINALG, **RANDOM, **OTHERS}

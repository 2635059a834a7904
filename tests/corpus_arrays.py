"""Programs of the corpus: elementwise operations, reductions, products, shapes, indexing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from corpus import complexes, flags, integers, positive, program, unit
from jax import lax

# -- elementwise -----------------------------------------------------------------------------------


@program((6,), positive(6))
def arithmetic(x, y):
    return x + y, x - y, x * y, x / y, -x, x**2, x**3, y**-1.5, y**x, 2.0**x


@program((6,), (6,), tags="nonsmooth")
def comparisons(x, y):
    bigger = jnp.maximum(x, y)
    return bigger, jnp.minimum(x, 0.3), jnp.abs(x), jnp.sign(x), jnp.where(x > y, x * 2, y)


@program(positive(6))
def transcendental(x):
    return jnp.exp(x), jnp.log(x), jnp.sqrt(x), jnp.sin(x), jnp.cos(x), jnp.tan(x), jnp.tanh(x)


@program(unit(6))
def inverse_functions(x):
    return jnp.arcsin(x), jnp.arccos(x), jnp.arctan(x), jnp.arctanh(x), jnp.arcsinh(x)


@program(unit(6), unit(6))
def more_functions(x, y):
    return jnp.sinh(x), jnp.cosh(x), jnp.log1p(x), jnp.expm1(x), jnp.arctan2(x, y), jnp.hypot(x, y)


@program(positive(6))
def powers(x):
    return jnp.cbrt(x), lax.rsqrt(x), jnp.exp2(x), jnp.log2(x), jnp.log10(x), jnp.reciprocal(x)


@program((6,))
def error_functions(x):
    return lax.erf(x), lax.erfc(x), jax.scipy.stats.norm.cdf(x)


@program(positive(6))
def gamma_functions(x):
    return lax.lgamma(x), lax.digamma(x)


@program((6,), tags="nonsmooth")
def rounding(x):
    return jnp.floor(x), jnp.ceil(x), jnp.round(x), jnp.clip(x, -0.5, 0.5), jnp.trunc(x)


@program((6,), positive(6), tags="nonsmooth")
def remainders(x, y):
    return jnp.mod(x, y), jnp.fmod(x, y), jnp.floor_divide(x, y), jnp.remainder(x, 2.0)


@program((6,), (), (1,))
def broadcasting(x, scalar, one):
    return x * scalar + one, x + 1, scalar + jnp.ones((2, 6))


@program((2, 1, 3), (4, 1))
def broadcasting_ranks(x, y):
    return x * y, jnp.add(x, y).sum()


@program((4,), flags(4))
def selection(x, mask):
    return jnp.where(mask, x, 0.0), jnp.where(mask, 1, x), lax.select(mask, x, -x)


@program((3,))
def scalar_outputs_and_constants(x):
    return 1.0, x, x, 2, True, np.float32(3), jnp.zeros(2), None


@program(2.0, 3)
def python_scalars(x, n):
    return x * n, x + 1, n + 1, n // 2, -n


@program((3,))
def no_operations(x):
    return x


@program(tags="integer")
def no_inputs():
    return jnp.arange(4) * 2, jnp.linspace(0.0, 1.0, 3)


@program(integers(10, 5), integers(7, 5), tags="integer")
def integer_arithmetic(x, y):
    return x + y, x * y, x // (y + 1), x % (y + 1), x & y, x | y, x ^ y, ~x, x << 1, x >> 1


@program(integers(200, 5, dtype=np.uint8), flags(5), tags="integer")
def small_integers(x, b):
    return x + 1, x.astype(jnp.int32) * 2, b & (x > 3), b | ~b, b.sum(), lax.population_count(x)


@program((4,))
def dtypes(x):
    half = x.astype(jnp.bfloat16)
    return half * 2, (half + x), x.astype(jnp.float16), x.astype(int), (x > 0).astype(jnp.float32)


@program(complexes(4), complexes(4))
def complex_arithmetic(x, y):
    return x * y, x / y, jnp.conj(x), x.real, x.imag, jnp.abs(x) ** 2, jnp.exp(1j * y.real)


@program(complexes(4))
def complex_functions(z):
    return jnp.exp(z), jnp.sin(z), jnp.sqrt(z), jnp.angle(z), z**2


# -- reductions ------------------------------------------------------------------------------------


@program((3, 4))
def reductions(x):
    return x.sum(), x.mean(0), x.prod(1), x.sum(axis=(0, 1), keepdims=True)


@program((3, 4), tags="nonsmooth")
def extrema(x):
    return x.max(), x.min(1), jnp.argmax(x, 1), jnp.argmin(x), jnp.ptp(x, 0)


@program((3, 4))
def moments(x):
    return (
        jnp.var(x),
        jnp.std(x, axis=0, ddof=1),
        jnp.average(x, axis=1, weights=jnp.arange(1.0, 5.0)),
    )


@program(flags(3, 4), tags="integer")
def logical_reductions(x):
    return x.any(), x.all(1), jnp.count_nonzero(x)


@program((5,))
def norms(x):
    return jnp.linalg.norm(x), jnp.linalg.norm(x, ord=1), jnp.linalg.norm(x, ord=3)


@program((3, 4), tags="nonsmooth")
def median(x):
    return jnp.median(x, axis=1), jnp.quantile(x, 0.3)


@program((6,))
def cumulative(x):
    return jnp.cumsum(x), jnp.cumprod(x), lax.cumlogsumexp(x), lax.cumsum(x, reverse=True)


@program((3, 6), tags="nonsmooth")
def cumulative_extrema(x):
    return lax.cummax(x, axis=1), lax.cummin(x, axis=0, reverse=True)


@program((6,), tags="nonsmooth")
def sorting(x):
    return jnp.sort(x), jnp.argsort(x), lax.top_k(x, 3), jnp.sort(x, descending=True)


@program((5,), (5,), tags="nonsmooth")
def sorting_pairs(keys, values):
    return lax.sort((keys, values), num_keys=1)


# -- contractions ----------------------------------------------------------------------------------


@program((3, 4), (4, 5), (5,))
def matrix_products(a, b, c):
    return a @ b, a @ b @ c, jnp.dot(b, c), jnp.matmul(a, b, precision="highest")


@program((2, 3, 4), (2, 4, 5))
def batched_products(a, b):
    return jnp.matmul(a, b), jnp.einsum("bij,bjk->bik", a, b), jnp.einsum("bij,bjk->", a, b)


@program((3, 4), (4, 3), (3,))
def einsums(a, b, c):
    return (
        jnp.einsum("ij,ji->", a, b),
        jnp.einsum("ij,jk,k->i", a, b, c),
        jnp.einsum("ij->ji", a),
        jnp.einsum("ii->i", a @ b),
        jnp.einsum("i,j->ij", c, c),
    )


@program((3,), (4,))
def products_of_vectors(x, y):
    return jnp.outer(x, y), jnp.kron(x, y), jnp.vdot(x, x), jnp.inner(x, x), jnp.tensordot(x, y, 0)


# -- shapes and indexing ---------------------------------------------------------------------------


@program((2, 3, 4))
def reshaping(x):
    return x.reshape(6, 4), x.ravel(), x.T, jnp.swapaxes(x, 0, 1), x[:, None], jnp.squeeze(x[:1], 0)


@program((3, 4))
def moving(x):
    return (
        jnp.flip(x, 0),
        jnp.roll(x, 1, axis=1),
        jnp.rot90(x),
        jnp.tile(x, (2, 1)),
        jnp.repeat(x, 2, 0),
    )


@program((3, 4), (2, 4))
def joining(x, y):
    return jnp.concatenate([x, y]), jnp.stack([x[0], y[0]]), jnp.vstack([x, y]), jnp.pad(x, 1)


@program((4, 6))
def splitting(x):
    left, right = jnp.split(x, 2, axis=1)
    first, *others = x
    return left, right, first + others[-1], jnp.array_split(x, 3)


@program((4, 5))
def static_indexing(x):
    return x[0], x[-1, 2], x[1:3], x[::2, 1:], x[..., -1], x[::-1], x[:, None, 2]


@program((4, 5), integers(4, 3), integers(5, 3))
def array_indexing(x, i, j):
    return x[i], x[i, j], x[:, j], x[i[:, None], j], jnp.take(x, i, axis=0), x[i, 1:3]


@program((4, 5), 2)
def dynamic_indexing(x, n):
    row = lax.dynamic_index_in_dim(x, n, 0, keepdims=False)
    return (
        x[n],
        row,
        lax.dynamic_slice(x, (n, 1), (2, 2)),
        lax.dynamic_update_slice(x, x[:1], (n, 0)),
    )


@program((4, 5), (5,), integers(4, 3))
def updates(x, row, i):
    return (
        x.at[0].set(row),
        x.at[i].add(1.0),
        x.at[1, 2].mul(3.0),
        x.at[:, 1].set(0),
        x.at[i].set(row),
    )


@program((4, 5), (3,), integers(4, 3), tags="nonsmooth")
def updates_by_extrema(x, v, i):
    return x.at[i, 0].max(v), x.at[i, 1].min(v), x.at[i, 2].get(mode="fill", fill_value=0.0)


@program((4, 4))
def triangles(x):
    return jnp.tril(x), jnp.triu(x, 1), jnp.diag(x), jnp.diag(x[0]), jnp.trace(x), jnp.eye(4) * x


@program((3,), (4,))
def grids(x, y):
    xx, yy = jnp.meshgrid(x, y)
    return xx * yy, jnp.arange(3) * x, jnp.indices((2, 2)), jnp.linspace(0, x[0], 4)


@program((8,), tags="nonsmooth")
def interpolation(x):
    return jnp.interp(x, jnp.arange(5.0), jnp.arange(5.0) ** 2), jnp.searchsorted(
        jnp.arange(4.0), x
    )


@program((6,), integers(3, 6))
def segments(x, ids):
    return jax.ops.segment_sum(x, ids, num_segments=3), jnp.bincount(ids, x, length=3)

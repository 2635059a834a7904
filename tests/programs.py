"""A corpus of ordinary JAX programs, for tests that hold for all programs.

Each is a `Program`: a name, a function, example arguments. Arguments are made by a function, so
that importing this file computes nothing. `tags` say what a program is not: "integer" (nothing to
differentiate), "nonsmooth" (finite differences may straddle a kink), "random", "effects".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True)
class Program:
    """A function with example arguments."""

    name: str
    function: Callable[..., Any]
    make_arguments: Callable[[], tuple[Any, ...]]
    tags: frozenset[str]

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.make_arguments()

    @property
    def differentiable(self) -> tuple[int, ...]:
        """Positions of the arguments all of whose leaves are floats or complex."""
        return tuple(
            i
            for i, x in enumerate(self.arguments)
            if jax.tree.leaves(x)
            and all(
                jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in jax.tree.leaves(x)
            )
        )

    def __repr__(self) -> str:
        return self.name


PROGRAMS: list[Program] = []


def program(*arguments: Any, tags: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the decorated function. An argument that is a shape stands for floats of that shape."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        def make_arguments() -> tuple[Any, ...]:
            rng = np.random.default_rng(len(function.__name__))
            return tuple(
                jax.tree.map(lambda a: _make(a, rng), x, is_leaf=_is_spec) for x in arguments
            )

        PROGRAMS.append(
            Program(function.__name__, function, make_arguments, frozenset(tags.split()))
        )
        return function

    return enter


def _is_spec(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, int) for n in x)


def _make(spec: Any, rng: np.random.Generator) -> Any:
    if callable(spec):
        return spec(rng)
    if _is_spec(spec):
        return jnp.asarray(rng.normal(size=spec), jnp.float32)
    return spec


def positive(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Floats between 0.5 and 2."""
    return lambda rng: jnp.asarray(rng.uniform(0.5, 2.0, size=shape), jnp.float32)


def unit(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Floats between -0.8 and 0.8."""
    return lambda rng: jnp.asarray(rng.uniform(-0.8, 0.8, size=shape), jnp.float32)


def integers(high: int, *shape: int, dtype: Any = np.int32) -> Callable[[np.random.Generator], Any]:
    """Integers from 0 to below high."""
    return lambda rng: jnp.asarray(rng.integers(0, high, size=shape), dtype)


def flags(*shape: int) -> Callable[[np.random.Generator], Any]:
    return lambda rng: jnp.asarray(rng.integers(0, 2, size=shape), bool)


def complexes(*shape: int) -> Callable[[np.random.Generator], Any]:
    return lambda rng: jnp.asarray(
        rng.normal(size=shape) + 1j * rng.normal(size=shape), jnp.complex64
    )


def key(rng: np.random.Generator) -> Any:
    return jax.random.key(0)


def raw_key(rng: np.random.Generator) -> Any:
    return jax.random.PRNGKey(0)


# -- networks ------------------------------------------------------------------------------------

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


# -- elementwise ---------------------------------------------------------------------------------


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


# -- reductions ----------------------------------------------------------------------------------


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


# -- contractions --------------------------------------------------------------------------------


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


# -- shapes and indexing -------------------------------------------------------------------------


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


# -- control flow --------------------------------------------------------------------------------


@program((3,), (6, 3))
def scan(carry, xs):
    def step(h, x):
        h = jnp.tanh(h + x)
        return h, h * 2

    return lax.scan(step, carry, xs)


@program((3,), (6, 3), (3,))
def scan_with_capture(carry, xs, w):
    def step(h, x):
        return jnp.sin(h * w) + x, (h.sum(), x)

    return lax.scan(step, carry, xs, reverse=True)


@program((3,))
def scan_without_inputs(x):
    return lax.scan(lambda c, _: (c * 1.1, None), x, None, length=4)


@program((3,))
def fori_loop(x):
    return lax.fori_loop(0, 5, lambda i, v: v * 0.5 + i, x)


@program((3,), tags="nonsmooth")
def while_loop(x):
    return lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))


@program((3,), 1.0, tags="nonsmooth")
def cond(x, flag):
    return lax.cond(flag > 0, lambda v: jnp.sin(v), lambda v: v * 2, x)


@program((3,), 1)
def switch(x, i):
    return lax.switch(i, [jnp.sin, jnp.cos, lambda v: v * 2], x)


@program((4, 3))
def lax_map(x):
    return lax.map(lambda row: row / jnp.sum(row**2), x)


@program((5,), (5,))
def associative_scan(x, y):
    return lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (x, y))


# -- calls and transformations -------------------------------------------------------------------


@jax.jit
def _helper(x, y):
    return jnp.sin(x) * y


@program((3,), (3,))
def nested_jit(x, y):
    a = _helper(x, y)
    b = _helper(y, x)
    return _helper(a, b)


@functools.partial(jax.jit, static_argnums=1)
def _power(x, n):
    return x**n


@program((3,))
def nested_jit_static(x):
    return _power(x, 2) + _power(x, 3)


@program((3,))
def inner_grad(x):
    return jax.grad(lambda v: jnp.sum(jnp.sin(v) ** 2))(x)


@program((3,), (3,))
def inner_jvp(x, dx):
    return jax.jvp(lambda v: jnp.exp(v) * v, (x,), (dx,))


@program((4, 3), (3,))
def inner_vmap(x, y):
    return jax.vmap(lambda a: jnp.dot(a, y))(x), jax.vmap(jnp.outer, (0, None))(x, y)


@program((3,))
def inner_hessian(x):
    return jax.hessian(lambda v: jnp.sum(v**3))(x)


@program((3,))
def checkpointed(x):
    return jax.checkpoint(lambda v: jnp.sin(jnp.sin(v)))(x)


@program((3,))
def stopped_gradient(x):
    return x * lax.stop_gradient(jnp.sin(x))


@jax.custom_jvp
def _log1pexp(x):
    return jnp.log(1.0 + jnp.exp(x))


@_log1pexp.defjvp
def _log1pexp_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return _log1pexp(x), (1 - 1 / (1 + jnp.exp(x))) * dx


@program((4,))
def custom_jvp(x):
    return _log1pexp(x) * 2


@jax.custom_vjp
def _clipped(x, scale):
    return x * scale


def _clipped_fwd(x, scale):
    return x * scale, (x, scale)


def _clipped_bwd(residuals, ct):
    x, scale = residuals
    return jnp.clip(ct * scale, -1, 1), jnp.sum(ct * x)


_clipped.defvjp(_clipped_fwd, _clipped_bwd)


@program((4,), ())
def custom_vjp(x, scale):
    return _clipped(jnp.sin(x), scale)


@program((4,))
def optimisation_step(x):
    def loss(v):
        return jnp.sum((v - 1) ** 2)

    value, gradient = jax.value_and_grad(loss)(x)
    return value, x - 0.1 * gradient


# -- linear algebra and transforms ---------------------------------------------------------------


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


# -- random numbers ------------------------------------------------------------------------------


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

"""How every public function of JAX's is called: an expression in named operands.

Each table is of a module. Its keys are expressions in which `f` is the function, its values the
functions that are called so. What the operands are is in public_calls.py; jax.lax is in
public_lax.py.
"""

from __future__ import annotations

Table = dict[str, str]

NUMPY: Table = {
    "f(a)": "abs absolute acos arccos asin arcsin atan arctan sin cos tan sinh cosh tanh arcsinh "
    "asinh arctanh atanh angle argmax argmin argsort around round all any amax amin max min ceil "
    "floor trunc rint cbrt conj conjugate copy corrcoef cov count_nonzero cumprod cumsum deg2rad "
    "degrees radians rad2deg diag diagonal diff ediff1d exp exp2 expm1 fabs flip fliplr flipud "
    "frexp i0 imag real iscomplex isfinite isinf isnan isneginf isposinf isreal "
    "matrix_transpose mean median modf nan_to_num nanargmax nanargmin nancumprod nancumsum nanmax "
    "nanmean nanmedian nanmin nanprod nanstd nansum nanvar negative ones_like zeros_like "
    "empty_like positive prod ptp ravel sign signbit sinc sort sort_complex spacing square std sum "
    "trace transpose tril triu unwrap var atleast_1d atleast_2d atleast_3d array asarray average "
    "rot90 unstack diagflat gradient logical_not",
    "f(p)": "sqrt log log10 log1p log2 reciprocal",
    "f(p + 1)": "acosh arccosh",
    "f(a, b)": "add subtract multiply arctan2 atan2 copysign fmax fmin maximum minimum hypot "
    "logaddexp logaddexp2 nextafter equal not_equal greater greater_equal less less_equal isclose "
    "allclose array_equal array_equiv heaviside inner kron outer vdot append logical_and "
    "logical_or logical_xor vecdot broadcast_arrays",
    "f(a, p)": "divide true_divide floor_divide mod remainder fmod divmod",
    "f(p, a)": "power pow float_power",
    "f(i)": "invert bitwise_not bitwise_invert bitwise_count",
    "f(i, j)": "bitwise_and bitwise_or bitwise_xor left_shift right_shift bitwise_left_shift "
    "bitwise_right_shift gcd lcm",
    "f(c)": "abs angle conj real imag exp log sqrt sin tanh sum prod square isfinite iscomplex",
    "f(a, axis=1)": "sum prod max min mean std var cumsum cumprod cumulative_sum cumulative_prod "
    "sort argsort argmax all any median nanmedian",
    "f(a, b.T)": "dot matmul",
    "f(a, r @ a)": "matvec",
    "f(r, a)": "vecmat",
    "f(v, w)": "convolve correlate polyadd polysub polymul trapezoid polydiv",
    "f((a, b))": "column_stack concatenate concat dstack hstack stack vstack",
    "f([[a, b], [b, a]])": "block",
    "f(a, 0.3)": "quantile percentile nanquantile nanpercentile",
    "f(a) ": "minmax",
    "f(a, 2) ": "top_k",
    "f(a, 2)": "argpartition partition repeat",
    "f(a, (2, 1))": "tile",
    "f(a, 2, axis=1)": "split array_split roll",
    "f(jnp.arange(8) * v[0], 2)": "hsplit",
    "f(a[:2], 2)": "vsplit",
    "f(a.reshape(1, 3, 4), 2)": "dsplit",
    "f(a, 0)": "expand_dims",
    "f(a[None], 0)": "squeeze",
    "f(a, 0, 1)": "swapaxes moveaxis",
    "f(a, 1)": "rollaxis",
    "f(a, (1, 0))": "permute_dims",
    "f(a, (4, 3))": "reshape",
    "f(a, (2, 6))": "resize",
    "f(a, (2, 3, 4))": "broadcast_to",
    "f(a, jnp.bfloat16)": "astype",
    "f(jnp.sum, 1, a)": "apply_along_axis",
    "f(jnp.sum, a, [0])": "apply_over_axes",
    "f(v[0], v[1], 5)": "linspace logspace",
    "f(t[0], t[1], 5)": "geomspace",
    "f(n, length=4)": "bincount",
    "f(n % 2, [v, w], mode='clip')": "choose",
    "f(a, -0.5, 0.5)": "clip",
    "f(np.array([True, False, True]), a, axis=0, size=2)": "compress",
    "f(a[:, :3], b[:, :3])": "cross",
    "f(v, 1)": "delete",
    "f(v, 1, w[0])": "insert",
    "f(v, t)": "digitize",
    "f('ij,kj->ik', a, b)": "einsum",
    "f(z, a, size=4)": "extract",
    "f(s, 0.5, inplace=False)": "fill_diagonal",
    "f(v > 0, size=4)": "flatnonzero nonzero argwhere",
    "f((2, 3), v[0])": "full",
    "f(a, v[0])": "full_like",
    "f(lambda i, j: i + j * v[0], (2, 3))": "fromfunction",
    "f(v, bins=4, range=(-1, 1))": "histogram histogram_bin_edges",
    "f(v, w, bins=3, range=[(-1, 1), (-1, 1)])": "histogram2d",
    "f(jnp.stack([v, w], 1), bins=3, range=[(-1, 1), (-1, 1)])": "histogramdd",
    "f(v, t, w)": "interp",
    "f(n, jnp.array([1, 2]))": "isin",
    "f(n, jnp.array([1, 5]), size=3)": "intersect1d setdiff1d setxor1d union1d",
    "f((v, w))": "lexsort",
    "f(a, i)": "ldexp",
    "f(v, w, indexing='ij')": "meshgrid",
    "f(a, ((1, 0), (2, 1)))": "pad",
    "f(v, [v < 0, v >= 0], [lambda q: -q, lambda q: q * 2])": "piecewise",
    "f(a, z, 0.5, inplace=False)": "place",
    "f(v, n[:3], w[:3], inplace=False)": "put",
    "f(a, jnp.argsort(b, 1), b, axis=1, inplace=False)": "put_along_axis",
    "f(v, 2)": " vander",
    "f(v)": "polyder polyint",
    "f(t, w, 2)": "polyfit",
    "f(v, a)": "polyval",
    "f(v[:3])": "poly",
    "f(t, strip_zeros=False)": "roots",
    "f(z)": "packbits",
    "f(i.astype(jnp.uint8))": "unpackbits",
    "f((n, n), (3, 3), mode='clip')": "ravel_multi_index",
    "f(n, (2, 2))": "unravel_index",
    "f(t, v)": "searchsorted",
    "f([a > 0.5, a > 0], [a, b])": "select",
    "f(a, n, axis=1)": "take",
    "f(a, jnp.argsort(b, 1), 1)": "take_along_axis",
    "f(a, b, 2)": "tensordot",
    "f(n, size=4)": "unique unique_values unique_counts unique_inverse unique_all",
    "f(jnp.sin)(a)": "vectorize",
    "f(z, a, b)": "where",
    "f(lambda q, r: q + r, 2, 1).reduce(v)": "frompyfunc",
}

LINALG: Table = {
    "f(h)": "cholesky eigh",
    "f(s)": "eig hessenberg lu qr schur svd qdwh",
    "f(a)": "qr svd",
    "f(a, full_matrices=False)": "qr svd",
    "f(jnp.linalg.cholesky(h), r)": "cholesky_update",
    "f(s, r[:2])": "householder_product",
    "f(n[:3], 3)": "lu_pivots_to_permutation",
    "f(s, r[:2], s)": "ormqr",
    "f(a, s, alpha=2.0)": "symmetric_product",
    "f(jnp.tril(s), a, left_side=True, lower=True)": "triangular_solve",
    "f(h)  ": "tridiagonal",
    "f(r, jnp.full(3, 5.0), r, a)": "tridiagonal_solve",
}

NUMPY_LINALG: Table = {
    "f(h)": "cholesky eigh eigvalsh",
    "f(s)": "cond det eig eigvals inv matrix_norm matrix_rank norm pinv slogdet",
    "f(a)": "matrix_rank matrix_transpose norm pinv qr svdvals vector_norm trace diagonal svd",
    "f(a, full_matrices=False)": "svd",
    "f(a[:, :3], b[:, :3])": "cross",
    "f(a.T, v[:4])": "lstsq",
    "f(a, b.T)": "matmul",
    "f(s, 3)": "matrix_power",
    "f([a, b.T, a])": "multi_dot",
    "f(v, w)": "outer vecdot",
    "f(s, a)": "solve",
    "f(a, b, axes=2)": "tensordot",
    "f(s, ind=1)": "tensorinv",
    "f(s, r)": "tensorsolve",
}

FFT: Table = {
    "f(a)": "fft fft2 fftn fftshift ifftshift rfft rfft2 rfftn ihfft hfft ifft",
    "f(c)": "fft fft2 fftn hfft ifft ifft2 ifftn irfft irfft2 irfftn",
}

NN: Table = {
    "f(a)": "celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu "
    "log_sigmoid log_softmax logmeanexp logsumexp mish relu relu6 selu sigmoid silu soft_sign "
    "softmax softplus sparse_plus sparse_sigmoid squareplus standardize swish tanh",
    "f(p)": "log1mexp",
    "f(n, 4)": "one_hot",
    "f(y, y[:, :, ::-1], y * 0.5)": "dot_product_attention",
    "f(NARROW, NARROW, SCALES, SCALES) * v[0]": "scaled_matmul",
}

INITIALIZERS: Table = {
    "f()(k, (3, 4))": "glorot_normal glorot_uniform he_normal he_uniform kaiming_normal "
    "kaiming_uniform lecun_normal lecun_uniform normal orthogonal truncated_normal uniform "
    "xavier_normal xavier_uniform",
    "f()(k, (3, 3, 4, 4))": "delta_orthogonal",
    "f(2.0)(k, (3, 4))": "constant",
    "f(k, (3, 4))": "ones zeros",
    "f(1.0, 'fan_in', 'normal')(k, (3, 4))": "variance_scaling",
}

RANDOM: Table = {
    "f(k, (3,))": " bits cauchy exponential gumbel laplace "
    "logistic maxwell normal rademacher uniform",
    "f(k, u)": "bernoulli geometric",
    "f(k, p, q)": "beta f",
    "f(k, 2, shape=(3,))": "ball",
    "f(k, a, p)": "double_sided_maxwell",
    "f(k, 10, u)": "binomial",
    "f(k, a)": "categorical",
    "f(k, p)": "chisquare gamma loggamma dirichlet pareto poisson t wald",
    "f(k, v, (3,))": "choice",
    "f(k)": "clone key_data split",
    "f(k, n[1])": "fold_in",
    "f(k, 2.0, (3,))": "generalized_normal",
    "f(n[1])": "key PRNGKey Key",
    "f(k, shape=(3,))": "lognormal",
    "f(k, 5, u[0])": "multinomial",
    "f(k, r, h)": "multivariate_normal",
    "f(k, 3)": "orthogonal",
    "f(k, v)": "permutation",
    "f(k, (3,), 0, 9)": "randint",
    "f(k, scale=p)": "rayleigh",
    "f(k, 0.2, u, 2.0)": "triangular",
    "f(k, -1.0, 2.0, (3,))": "truncated_normal",
    "f(k, p, q)  ": "weibull_min",
    "f(jnp.arange(2, dtype=jnp.uint32))": "wrap_key_data",
}

SPECIAL: Table = {
    "f(a)": " dawsn erf erfc erfcx erfinv expit i0 i0e i1 i1e log_ndtr log_softmax "
    "logsumexp ndtr softmax fresnel expi sici wofz",
    "f(p)": "digamma entr exp1 gamma gammaln loggamma spence gammasgn factorial",
    "f(u)": "logit ndtri erfcinv",
    "f(p, q)": "beta betaln gammainc gammaincc kl_div poch rel_entr xlog1py xlogy boxcox boxcox1p "
    "owens_t",
    "f(p + 1, q)": "zeta",
    "f(p, q, u)": "betainc hyp1f1",
    "f(p, q, p + q + 1, u)": "hyp2f1",
    "f(5)  * v": "bernoulli",
    "f(q, v=3)": "bessel_jn",
    "f(j, i)": "comb",
    "f(2, p)": "expn",
    "f(p + 3, 2)": "multigammaln",
    "f(1, q)": "polygamma",
    "f(n[:1], n[1:2], p[0, :1], q[0, :1], n_max=3)": "sph_harm_y",
}

SCIPY_LINALG: Table = {
    "f(a, s)": "block_diag",
    "f(h)": "cho_factor cholesky eigh",
    "f(s)": "det expm hessenberg inv lu lu_factor polar qr schur sqrtm",
    "f(a)": "svd",
    "f((jnp.linalg.cholesky(h), True), r)": "cho_solve",
    "f(v)": "circulant fiedler toeplitz hankel",
    "f(t)": "companion fiedler_companion",
    "f(v, 3)": "convolution_matrix",
    "f(4) * v[0]": "dft hadamard helmert hilbert invhilbert invpascal pascal",
    "f(t, v[:5], eigvals_only=True)": "eigh_tridiagonal",
    "f(s, h)": "expm_frechet",
    "f(s, jnp.exp)": "funm",
    "f(p[0], u[0, :3])": "leslie",
    "f(jax.scipy.linalg.lu_factor(s), r)": "lu_solve",
    "f(s, a)": "solve",
    "f(s, h, a[:, :3])": "solve_sylvester",
    "f(s, r)": "solve_triangular",
    "f(s, h)  ": "qr_multiply",
    "f(jnp.triu(s), jnp.eye(3))": "rsf2csf",
}

SIGNAL: Table = {
    "f(v, w)": "convolve correlate fftconvolve csd",
    "f(a, b)": "convolve2d correlate2d",
    "f(a)": "detrend",
    "f(v)": "welch",
    "f(jnp.tile(v, 4), nperseg=8)": "stft",
    "f(c, nperseg=4)": "istft",
}

OTHERS: dict[str, Table] = {
    "jax.scipy.ndimage": {"f(a, [t / 3, t / 2], order=1)": "map_coordinates"},
    "jax.scipy.fft": {"f(a)": "dct dctn idct idctn"},
    "jax.scipy.stats": {"f(a)": "rankdata sem", "f(n)": "mode"},
    "jax.scipy.integrate": {"f(v, t)": "trapezoid"},
    "jax.scipy.optimize": {"f(lambda x: ((x - 1) ** 2).sum(), v, method='BFGS').x": "minimize"},
    "jax.scipy.sparse.linalg": {"f(h, r)[0]": "bicgstab cg gmres"},
    "jax.scipy.cluster.vq": {"f(a, b[:2])": "vq"},
    "jax.image": {
        "f(a, (6, 2), 'linear')": "resize",
        "f(a, (5, 5), (0, 1), 1 + v[:2], w[:2], 'cubic')": "scale_and_translate",
    },
    "jax.ops": {"f(v, n, 4)": "segment_max segment_min segment_prod segment_sum"},
}

DISTRIBUTIONS: dict[str, str] = {
    "bernoulli": "n % 2, u[0, 0]", "beta": "u, p, q", "betabinom": "i, 8, p, q",
    "binom": "i, 8, u", "cauchy": "a", "chi2": "p, q", "dirichlet": "jax.nn.softmax(r), p[0, :3]",
    "expon": "p", "gamma": "p, q", "gennorm": "a, q", "geom": "j, u", "gumbel_l": "a",
    "gumbel_r": "a", "laplace": "a", "logistic": "a", "multinomial": "i[0, :3], 9, u[0, :3]",
    "multivariate_normal": "r, r * 0, h", "nbinom": "i, p, u", "norm": "a, b, q",
    "pareto": "p + 1, q", "poisson": "i, p", "t": "a, p", "truncnorm": "a, -1.5, 2.0",
    "uniform": "u", "vonmises": "a, p", "wrapcauchy": "a, u",
}  # fmt: skip
QUANTILES = {"bernoulli": "u, u", "uniform": "u", "norm": "u, b, q", "pareto": "u, q"}

"""Cases of linear algebra: factorisations, eigenvalues, singular values, solves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from harness import Case, c64, c128, f32, f64, i32, program
from jax import lax

from covector.ir.builder import Builder
from covector.ir.primitive import primitive_named
from covector.ir.types import TensorType, is_complex
from covector.passes.rules import matrix as m

FIELDS = "f64 c64 c128"


def draw(rng: np.random.Generator, type: TensorType) -> Any:
    x = rng.normal(size=type.shape)
    return x + 1j * rng.normal(size=type.shape) if is_complex(type.dtype) else x


def definite(rng: np.random.Generator, type: TensorType) -> Any:
    """Hermitian, with eigenvalues well above 0 and apart from each other."""
    x = draw(rng, type)
    n = type.shape[-1]
    return x @ np.swapaxes(x.conj(), -1, -2) + np.diag(1.0 + np.arange(n))


def dominant(rng: np.random.Generator, type: TensorType) -> Any:
    """With a large diagonal, so that its triangles are well conditioned."""
    return draw(rng, type) + 4 * np.eye(type.shape[-1])


def large(rng: np.random.Generator, type: TensorType) -> Any:
    return draw(rng, type) + 5


def ends_zero(side: int) -> Callable[..., Any]:
    """Off-diagonals, whose first (0) or last (-1) element is outside of the matrix."""

    def sample(rng: np.random.Generator, type: TensorType) -> Any:
        x = draw(rng, type)
        x[..., side] = 0
        return x

    return sample


def hermitian(b: Builder, x: Any) -> Any:
    return m.scale(b, b.add(x, m.adjoint(b, x)), 0.5)


def of_hermitian(name: str, type: TensorType, finish: Any = None, **params: Any) -> Case:
    """A function of the Hermitian part of its operand: its derivatives need no convention."""

    def build(b: Builder, x: Any) -> Any:
        outputs = b.emit(primitive_named(name), hermitian(b, x), **params)
        return outputs if finish is None else [finish(b, y) for y in outputs]

    return Case(program(build, type, name=name), [type], domain=definite, tol=50, note="hermitian")


def without_phase(b: Builder, x: Any) -> Any:
    """|x|^2: what of eigenvectors does not depend on their phases."""
    return b.real(b.mul(x, m.conjugate(b, x))) if is_complex(x.type.dtype) else x


def polar(b: Builder, x: Any) -> Any:
    """The singular values, and U V^H, in which the phases of singular vectors cancel."""
    s, u, vh = b.svd(x, full_matrices=False)
    return s, m.matmul(b, u, vh)


def lower_part(name: str, *types: TensorType, **fields: Any) -> Case:
    """A factor whose upper triangle is unspecified."""

    def build(b: Builder, *xs: Any) -> Any:
        return [m.lower_triangle(b, b.emit(primitive_named(name), *xs)[0])]

    return Case(program(build, *types, name=name), types, **fields)


def triangular(*sides: TensorType, tol: float = 20, **flags: bool) -> Case:
    a, y = sides
    return Case("triangular_solve", [a, y], flags, domain=[dominant, draw], tol=tol)


TRIANGULAR = [
    triangular(f32(3, 3), f32(3, 2), left_side=True, lower=True),
    triangular(f32(3, 3), f32(3, 5), left_side=True, transpose_a=True),
    triangular(f32(3, 3), f32(5, 3), lower=True, unit_diagonal=True),
    triangular(f32(3, 3), f32(2, 3), transpose_a=True, unit_diagonal=True),
    triangular(f32(2, 3, 3), f32(2, 3, 4), left_side=True, lower=True, transpose_a=True),
    triangular(f32(2, 3, 3), f32(2, 4, 3)),
    triangular(f32(0, 0), f32(0, 2), left_side=True),
    triangular(f32(2, 2), f32(2, 0), left_side=True),
    *(
        triangular(c64(3, 3), c64(3, 2), left_side=True, lower=lower, transpose_a=t, conjugate_a=c)
        for lower, t, c in [(True, False, True), (False, True, True), (True, True, False)]
    ),
    triangular(c64(3, 3), c64(2, 3), transpose_a=True, conjugate_a=True),
    triangular(c64(3, 3), c64(4, 3), conjugate_a=True, unit_diagonal=True),
]

TRIDIAGONAL = [
    Case(
        "tridiagonal_solve",
        [vector, vector, vector, y],
        domain=[ends_zero(0), large, ends_zero(-1), draw],
        also="f64" if vector.dtype == np.float32 else "c128",
        tol=50,
    )
    for vector, y in [(f32(5), f32(5, 2)), (f32(2, 4), f32(2, 4, 3)), (c64(4), c64(4, 2))]
]

CHOLESKY = [
    lower_part("cholesky", f32(3, 3), domain=definite, wrt=(), tol=10),
    lower_part("cholesky", f64(2, 4, 4), domain=definite, wrt=(), tol=10),
    lower_part("cholesky", c64(3, 3), domain=definite, wrt=(), tol=10),
    Case("cholesky", [f32(0, 0)], also=FIELDS),
    Case("cholesky", [f32(0, 3, 3)], also=FIELDS, batch=False),
    of_hermitian("cholesky", f64(4, 4), finish=m.lower_triangle),
    of_hermitian("cholesky", f64(2, 3, 3), finish=m.lower_triangle),
    of_hermitian("cholesky", c128(3, 3), finish=m.lower_triangle),
    lower_part("cholesky", f64(3, 3), domain=definite, jax_derivative=False, tol=10),
    lower_part("cholesky", c128(3, 3), domain=definite, jax_derivative=False, tol=10),
    Case("cholesky_update", [f32(3, 3), f32(3)], domain=[dominant, draw], wrt=(), tol=20),
    Case("cholesky_update", [f32(2, 3, 3), f32(2, 3)], domain=[dominant, draw], wrt=(), jax=False),
]  # fmt: skip

LU = [
    *(
        Case("lu", [t], also=also, tol=50)
        for t, also in [
            (f32(3, 3), FIELDS), (f32(4, 2), "f64"), (f32(2, 4), "f64"), (f32(2, 3, 3), ""),
            (f32(0, 3), ""), (f32(3, 0), ""), (c64(3, 3), ""), (c64(2, 4, 3), ""),
        ]
    ),
    Case("lu_pivots_to_permutation", [i32(3)], {"permutation_size": 4},
         domain=lambda rng, t: rng.integers(np.arange(3), 4, t.shape)),
    Case("lu_pivots_to_permutation", [i32(2, 3)], {"permutation_size": 3},
         domain=lambda rng, t: rng.integers(np.arange(3), 3, t.shape)),
]  # fmt: skip


def qr(type: TensorType, tol: float = 50, **flags: bool) -> Case:
    return Case("qr", [type], flags, domain=draw, also="f64" if type.dtype == np.float32 else "",
                tol=tol)  # fmt: skip


QR = [
    qr(f32(3, 3)),
    qr(f32(4, 2), full_matrices=False),
    qr(f32(4, 2), full_matrices=True),
    qr(f32(2, 4), full_matrices=False),
    qr(f32(2, 4), full_matrices=True),
    qr(f32(2, 4, 3), full_matrices=False),
    qr(f32(2, 4, 3), full_matrices=True),
    qr(f32(4, 3), pivoting=True, full_matrices=False),
    qr(f32(3, 4), pivoting=True, full_matrices=True),
    qr(f32(0, 3)),
    qr(f32(3, 0)),
    qr(f32(3, 0), pivoting=True, full_matrices=False),
    qr(c64(3, 3)),
    qr(c64(4, 2), full_matrices=False),
    qr(c64(4, 2), full_matrices=True),
    qr(c64(2, 4), full_matrices=False),
    qr(c64(4, 3), pivoting=True),
    Case("geqrf", [f32(4, 3)], domain=draw, wrt=(), also=FIELDS, tol=20),
    Case("geqrf", [f32(2, 2, 3)], domain=draw, wrt=(), also=FIELDS, tol=20),
    Case("geqp3", [f32(4, 3), i32(3)], domain=[draw, (0, 0)], wrt=(), also=FIELDS, tol=20),
    Case("geqp3", [f32(2, 4, 5), i32(2, 5)], domain=[draw, (0, 1)], wrt=(), also=FIELDS, tol=20),
    Case("householder_product", [f32(4, 3), f32(3)], domain=draw, wrt=(), also=FIELDS, tol=20),
    Case("householder_product", [f32(2, 3, 3), f32(2, 2)], domain=draw, wrt=(), tol=20),
    *(
        Case("ormqr", [f32(4, 3), f32(3), c], {"left": left, "transpose": transpose},
             domain=[draw, lambda rng, t: np.ones(t.shape), draw], wrt=(), also="f64", tol=50)
        for c, left in [(f32(4, 2), True), (f32(2, 4), False)]
        for transpose in (False, True)
    ),
]  # fmt: skip


EIGENVECTORS_IN_JAX = "enable_eigvec_derivs" in inspect.signature(lax.linalg.eig).parameters
"""Whether JAX has their derivatives; jax 0.10.0 has not."""


def eig(type: TensorType, tol: float = 200, **flags: Any) -> Case:
    flags = {"compute_left_eigenvectors": False, "compute_right_eigenvectors": False, **flags}
    in_jax = EIGENVECTORS_IN_JAX or not flags.get("enable_eigvec_derivs")
    return Case("eig", [type], flags, domain=draw, tol=tol, jax_derivative=in_jax)


def svd(type: TensorType, tol: float = 200, **flags: Any) -> Case:
    return Case("svd", [type], flags, domain=draw, tol=tol, wrt=flags.pop("wrt", None))


SPECTRAL = [
    Case("eigh", [f32(3, 3)], domain=definite, wrt=(), also=FIELDS, tol=50),
    Case("eigh", [f32(2, 3, 3)], {"lower": False}, domain=definite, wrt=(), tol=50),
    Case("eigh", [f32(0, 0)], also=FIELDS, wrt=()),
    of_hermitian("eigh", f64(4, 4)),
    of_hermitian("eigh", f64(2, 3, 3), lower=False),
    of_hermitian("eigh", c128(3, 3), finish=without_phase),
    replace(of_hermitian("eigh", c128(2, 2, 2)), differences=False),
    Case("eig", [f32(4, 4)], domain=draw, wrt=(), also=FIELDS, tol=100),
    Case("eig", [f32(2, 3, 3)], domain=draw, wrt=(), also=FIELDS, tol=100),
    eig(f32(4, 4)),
    eig(c64(2, 3, 3)),
    eig(f32(3, 3), compute_right_eigenvectors=True, enable_eigvec_derivs=True),
    eig(c64(3, 3), compute_right_eigenvectors=True, compute_left_eigenvectors=True,
        enable_eigvec_derivs=True),
    eig(c64(3, 3), compute_left_eigenvectors=True, enable_eigvec_derivs=True),
    svd(f32(3, 3)),
    svd(f32(4, 2), full_matrices=False),
    svd(f32(2, 4), full_matrices=False),
    svd(f32(2, 3, 2), full_matrices=False),
    svd(f32(3, 4), compute_uv=False),
    svd(f32(4, 3), compute_uv=False, full_matrices=False),
    svd(f32(4, 2), wrt=()),
    svd(f32(2, 4), wrt=()),
    svd(f32(0, 3), full_matrices=False),
    svd(f32(3, 0), compute_uv=False),
    *(
        replace(svd(t, full_matrices=False), differences=False)
        for t in (c64(3, 3), c64(4, 2), c64(2, 4))
    ),
    *(Case(program(polar, t, name="polar"), [t], tol=50) for t in (c128(3, 3), c128(4, 2))),
    svd(c64(2, 3, 4), compute_uv=False),
    Case("schur", [f32(3, 3)], domain=draw, wrt=(), also=FIELDS, tol=50),
    Case("schur", [f32(2, 3, 3)], {"compute_schur_vectors": False}, domain=draw, wrt=(), tol=50),
    Case("hessenberg", [f32(4, 4)], domain=draw, wrt=(), also=FIELDS, tol=50),
    Case("hessenberg", [f32(2, 3, 3)], domain=draw, wrt=(), tol=50),
    Case("tridiagonal", [f32(4, 4)], domain=definite, wrt=(), also=FIELDS, tol=50),
    Case("tridiagonal", [f32(2, 3, 3)], {"lower": False}, domain=definite, wrt=(), tol=50),
]  # fmt: skip

PRODUCTS = [
    Case("symmetric_product", [f32(2, 3, 4), f32(2, 3, 3)], {"alpha": 0.5, "beta": 2.0},
         domain=[draw, definite], also="f64", jax_derivative=False, tol=10),
]  # fmt: skip


CASES = [*TRIANGULAR, *TRIDIAGONAL, *CHOLESKY, *LU, *QR, *SPECTRAL, *PRODUCTS]

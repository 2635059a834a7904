"""Samples of linear algebra, of random bits and of scaled products: stacks of small matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import Case, TensorType, program
from sampled import Sample, sampler

from covector.ir.builder import Builder
from covector.ir.primitive import primitive_named
from covector.ir.types import is_complex
from covector.passes.rules import matrix as m


def draw(rng: np.random.Generator, type: TensorType) -> Any:
    x = rng.normal(size=type.shape)
    return x + 1j * rng.normal(size=type.shape) if is_complex(type.dtype) else x


def definite(rng: np.random.Generator, type: TensorType) -> Any:
    """Hermitian, with eigenvalues well above 0 and apart from each other."""
    x = draw(rng, type)
    return x @ np.swapaxes(x.conj(), -1, -2) + np.diag(1.0 + np.arange(type.shape[-1]))


def dominant(rng: np.random.Generator, type: TensorType) -> Any:
    return draw(rng, type) + 4 * np.eye(*type.shape[-2:])


def square(s: Sample) -> TensorType:
    return s.type((*s.shape[:-1], s.shape[-2]))


@sampler("lu geqrf hessenberg schur", ranks=(2, 5))
def factorisation(s: Sample) -> Case:
    x = s.type() if s.name in ("lu", "geqrf") else square(s)
    wrt = None if s.name == "lu" else ()
    return s.case([x], {}, dominant, wrt=wrt, tol=100)


@sampler("qr svd", ranks=(2, 5))
def thin(s: Sample) -> Case:
    params: dict[str, Any] = {"full_matrices": False}
    if s.name == "svd":
        params["compute_uv"] = False
    return s.case([s.type()], params, dominant, tol=200)


@sampler("eig", ranks=(2, 5))
def eig(s: Sample) -> Case:
    flags = {"compute_left_eigenvectors": False, "compute_right_eigenvectors": False}
    return s.case([square(s)], flags, lambda rng, t: definite(rng, t) / 2, tol=400)


@sampler("cholesky eigh", dtype="f64", ranks=(2, 5))
@sampler("tridiagonal", ranks=(2, 5))
def hermitian(s: Sample) -> Case:
    """Of Hermitian matrices: the lower factor, and of eigenvectors what their phase leaves."""
    if s.name == "tridiagonal":
        return s.case([square(s)], {}, definite, wrt=(), tol=200)

    def build(b: Builder, x: Any) -> Any:
        outputs = b.emit(primitive_named(s.name), m.scale(b, b.add(x, m.adjoint(b, x)), 0.5))
        if s.name == "cholesky":
            return [m.lower_triangle(b, outputs[0])]
        return [b.real(b.mul(y, m.conjugate(b, y))) if is_complex(y.type.dtype) else y
                for y in outputs[1:]]  # fmt: skip

    x = square(s)
    return Case(program(build, x, name=s.name), [x], domain=definite, tol=200)


@sampler("triangular_solve", ranks=(2, 5))
def triangular_solve(s: Sample) -> Case:
    n, left = s.shape[-1], s.flag()
    other = (n, s.int(0, 2)) if left else (s.int(0, 2), n)
    flags = {
        "left_side": left, "lower": s.flag(), "transpose_a": s.flag(), "unit_diagonal": s.flag(),
        "conjugate_a": s.category == "complex" and s.flag(),
    }  # fmt: skip
    operands = [s.type((*s.shape[:-2], n, n)), s.type((*s.shape[:-2], *other))]
    return s.case(operands, flags, [dominant, draw], tol=100)


def ends_zero(side: int) -> Any:
    def draw_ends(rng: np.random.Generator, type: TensorType) -> Any:
        x = draw(rng, type) / 3
        if type.size:
            x[..., side] = 0
        return x

    return draw_ends


@sampler("tridiagonal_solve", ranks=(2, 5))
def tridiagonal_solve(s: Sample) -> Case | None:
    if s.shape[-2] < 2 and not s.is_empty:
        s.shape = (*s.shape[:-2], 3, s.shape[-1])
    diagonals = s.type(s.shape[:-1])
    domain = [ends_zero(0), lambda rng, t: draw(rng, t) / 3 + 3, ends_zero(-1), draw]
    return s.case([diagonals] * 3 + [s.type()], {}, domain, tol=100)


@sampler("householder_product", ranks=(2, 5))
def householder_product(s: Sample) -> Case:
    rows, cols = max(s.shape[-2:]), min(s.shape[-2:])
    x = s.type((*s.shape[:-2], rows, cols))
    return s.case([x, s.type((*s.shape[:-2], cols))], {}, draw, wrt=(), tol=100)


@sampler("ormqr", ranks=(2, 5))
def ormqr(s: Sample) -> Case:
    """XLA dies of some calls without reflectors as JAX lowers them."""
    rows, cols = max(s.shape[-2:]), min(s.shape[-2:])
    lead = s.shape[:-2]
    left = s.flag()
    other = (rows, s.int(1, 2)) if left else (s.int(1, 2), rows)
    operands = [s.type((*lead, rows, cols)), s.type((*lead, cols)), s.type((*lead, *other))]
    domain = [draw, lambda rng, t: np.ones(t.shape), draw]
    return s.case(operands, {"left": left, "transpose": s.flag()}, domain, wrt=(), tol=200,
                  jax=cols > 0)  # fmt: skip


@sampler("geqp3", ranks=(2, 5))
def geqp3(s: Sample) -> Case | None:
    """LAPACK's own divides by zero if there is nothing to factorise, in JAX as well."""
    if s.is_empty:
        return None
    pivots = s.type((*s.shape[:-2], s.shape[-1]), "i32")
    return s.case([s.type(), pivots], {}, [draw, (0, 0)], wrt=(), tol=100)


@sampler("cholesky_update", ranks=(2, 2))
def cholesky_update(s: Sample) -> Case:
    n = s.shape[-1]
    return s.case([s.type((n, n)), s.type((n,))], {}, [dominant, draw], wrt=(), tol=100)


@sampler("symmetric_product", ranks=(2, 5))
def symmetric_product(s: Sample) -> Case:
    n = s.shape[-2]
    params = {"alpha": 0.5, "beta": 2.0}
    domain = [draw, lambda rng, t: definite(rng, t) if t.size else draw(rng, t)]
    return s.case([s.type(), s.type((*s.shape[:-1], n))], params, domain, jax_derivative=False,
                  tol=40)  # fmt: skip


@sampler("lu_pivots_to_permutation", dtype="i32", ranks=(1, 5))
def permutation(s: Sample) -> Case:
    n = s.shape[-1]

    def pivots(rng: np.random.Generator, type: TensorType) -> Any:
        return rng.integers(np.arange(n), n + 1, type.shape)

    return s.case([s.type()], {"permutation_size": n + 1}, pivots)


# -- random bits -----------------------------------------------------------------------------------

WORDS = (0, 2**31 - 1)


@sampler("threefry2x32", dtype="u32")
def threefry(s: Sample) -> Case:
    return s.case([s.type()] * 4, {}, WORDS)


@sampler("random_bits random_split random_fold_in random_unwrap random_clone", dtype="u32",
         ranks=(0, 4))  # fmt: skip
def keys(s: Sample) -> Case | None:
    """Of typed keys, made of words and taken apart again."""
    if s.dtype != "u32":
        return None
    shape = tuple(s.int(0, 2) for _ in range(s.int(0, 1)))

    def build(b: Builder, *inputs: Any) -> Any:
        key = b.random_wrap(inputs[0], impl="fry")
        if s.name == "random_bits":
            return [b.random_bits(key, bit_width=s.among((8, 16, 32, 64)), shape=shape)]
        if s.name == "random_split":
            return [b.random_unwrap(b.random_split(key, shape=shape))]
        if s.name == "random_unwrap":
            return [b.random_unwrap(key)]
        if s.name == "random_clone":
            return [b.random_unwrap(b.random_clone(key))]
        return [b.random_unwrap(b.random_fold_in(key, inputs[1]))]

    types = [s.type((*s.shape, 2))]
    if s.name == "random_fold_in":
        types.append(s.type())
    return Case(program(build, *types, name=s.name), types, domain=WORDS)


@sampler("random_seed random_wrap", dtype="i32", ranks=(0, 5))
def seeds(s: Sample) -> Case | None:
    x = s.type() if s.name == "random_seed" else s.type((*s.shape, 2), "u32")
    if (s.name == "random_seed" and s.category not in ("int", "uint")) or s.dtype[1:] in ("2", "4"):
        return None

    def build(b: Builder, x: Any) -> Any:
        made = b.random_seed if s.name == "random_seed" else b.random_wrap
        return [b.random_unwrap(made(x, impl="fry"))]

    return Case(program(build, x, name=s.name), [x], domain=(0, 100))

"""Linear algebra: factorisations, eigenvalues, singular values, solves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import Case, c64, c128, evaluate, f32, f64, i32, laws, program
from jax import lax

from covector.ir.builder import Builder
from covector.ir.errors import CovectorError, MissingRule, TypeRuleError
from covector.ir.graph import Value
from covector.ir.primitive import primitive_named
from covector.ir.types import TensorType, is_complex
from covector.lowering.emit import lower_graph
from covector.lowering.execute import compile_module
from covector.passes.jvp import jvp_graph
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
DEMANDING = [c for c in CASES if len(c.operands[0].shape) > 2 or is_complex(c.operands[0].dtype)]


@laws([c for c in CASES if c not in DEMANDING])
def test_law(case: Case, law: Callable[[Case], None]) -> None:
    law(case)


@pytest.mark.slow
@laws(DEMANDING)
def test_law_of_stacks_and_complex_matrices(case: Case, law: Callable[[Case], None]) -> None:
    law(case)


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "types", "params", "claim"),
    [
        ("cholesky", [f32(3, 2)], {}, "takes square matrices, got one of shape"),
        ("cholesky", [f32(3)], {}, "of rank 2 or more"),
        ("cholesky", [i32(3, 3)], {}, "does not take i32"),
        ("triangular_solve", [f32(3, 3), f32(2, 3)], {"left_side": True}, "on the left"),
        ("triangular_solve", [f32(2, 3, 3), f32(3, 3)], {}, "batch axes .* differ"),
        ("svd", [f32(3, 3)], {"subset_by_index": (0, 2)}, "no subset"),
        ("qr", [f32(3, 3), f32(3, 3)], {}, "takes 1 operands, got 2"),
        ("ormqr", [f32(3, 3), f32(3), f32(2, 2)], {}, "ormqr multiplies"),
        ("householder_product", [f32(2, 3), f32(2)], {}, "reflectors in a matrix of shape"),
        ("hessenberg", [f32(0, 0)], {}, "at least one row"),
    ],
)
def test_types_refused(name: str, types: Any, params: Any, claim: str) -> None:
    with pytest.raises(TypeRuleError, match=claim):
        Builder().emit(primitive_named(name), *map(Value, types), **params)


@pytest.mark.parametrize(
    ("name", "types", "params", "reason"),
    [
        ("schur", [f64(3, 3)], {}, "not smooth"),
        ("hessenberg", [f64(3, 3)], {}, "not smooth"),
        ("geqrf", [f64(3, 3)], {}, "differentiate qr"),
        ("householder_product", [f64(3, 3), f64(3)], {}, "differentiate qr"),
        ("tridiagonal", [f64(3, 3)], {}, "differentiate eigh"),
        ("eig", [f64(3, 3)], {}, "enable_eigvec_derivs=True"),
        ("eigh", [f64(3, 3)], {"subset_by_index": (0, 2)}, "a part of the eigenvalues"),
        ("svd", [f64(3, 2)], {}, "ask for full_matrices=False"),
    ],
)
def test_derivatives_refused(name: str, types: Any, params: Any, reason: str) -> None:
    case = Case(name, types, params)
    with pytest.raises(MissingRule, match=reason):
        jvp_graph(case.graph, [True] * len(types))


# -- what differs from JAX -----------------------------------------------------------------------


def test_not_definite_is_nan() -> None:
    (factor,) = evaluate(Case("cholesky", [f64(2, 2)]).graph, [np.array([[1.0, 2.0], [2.0, 1.0]])])
    assert np.isnan(factor).all()


def test_perturbed_pivots_are_finite() -> None:
    case = Case("tridiagonal_solve", [f64(3)] * 3 + [f64(3, 1)], {"perturb_singular": True})
    singular = [np.zeros(3), np.array([1.0, 0.0, 2.0]), np.zeros(3), np.ones((3, 1))]
    (x,) = evaluate(case.graph, singular)
    assert np.isfinite(x).all() and x[0] == 1 and x[2] == 0.5


def test_second_derivative_of_eigenvalues() -> None:
    """Of a symmetric matrix, eig and eigh have the same values."""

    def by_eig(b: Builder, x: Any) -> Any:
        flags = {"compute_left_eigenvectors": False, "compute_right_eigenvectors": False}
        w = b.real(b.eig(hermitian(b, x), **flags))
        return [b.reduce_sum(b.mul(b.mul(w, w), w), axes=(0,))]

    def by_eigh(b: Builder, x: Any) -> Any:
        w = b.eigh(hermitian(b, x))[1]
        return [b.reduce_sum(b.mul(b.mul(w, w), w), axes=(0,))]

    x = definite(np.random.default_rng(0), f64(3, 3))
    t = np.random.default_rng(1).normal(size=(3, 3))
    found = []
    for build in (by_eig, by_eigh):
        once, _ = jvp_graph(program(build, f64(3, 3)), [True])
        twice, _ = jvp_graph(once, [True, False])
        found.append(evaluate(twice, [x, t, t])[-1])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


# -- lowering ------------------------------------------------------------------------------------

LOWERED = [c for c in CASES if isinstance(c.of, str)]


@pytest.mark.parametrize("case", LOWERED, ids=repr)
def test_compiled_on_cpu(case: Case) -> None:
    xs = case.sample()
    made = lower_graph(case.graph)
    executable = compile_module(
        made.mlir_module, name="f", in_types=made.in_types, out_types=made.out_types
    )
    got = executable.call(*xs)
    want = evaluate(case.graph, xs)
    for y, g, w in zip(case.graph.outputs, got, want, strict=True):
        tol = 2e-3 if y.type.dtype.name in ("float32", "complex64") else 1e-9
        if case.of == "cholesky":
            g, w = np.tril(g), np.tril(w)
        np.testing.assert_allclose(np.asarray(g), w, rtol=tol, atol=tol)


EVERYWHERE = (
    Case("cholesky", [f32(3, 3)]),
    Case("cholesky_update", [f32(3, 3), f32(3)]),
    Case("cholesky_update", [f32(2, 3, 3), f32(2, 3)]),
    Case("eigh", [c64(2, 3, 3)]),
    Case("geqrf", [f32(4, 3)]),
    Case("householder_product", [f32(4, 3), f32(3)]),
    Case("lu", [f32(4, 3)]),
    Case("lu_pivots_to_permutation", [i32(3)], {"permutation_size": 4}),
    Case("ormqr", [f32(4, 3), f32(3), f32(4, 2)]),
    Case("qr", [f32(4, 3)]),
    Case("svd", [f32(4, 3)]),
    Case("symmetric_product", [f32(3, 4), f32(3, 3)]),
    Case("triangular_solve", [c64(3, 3), c64(2, 3)], {"conjugate_a": True}),
    Case("tridiagonal_solve", [*[f32(4)] * 3, f32(4, 2)]),
)
ON_GPU = (
    Case("eig", [f32(3, 3)]),
    Case("eigh", [f32(3, 3)], {"algorithm": "JACOBI"}),
    Case("qr", [f32(4, 3)], {"pivoting": True}),
    Case("svd", [f32(3, 3)], {"algorithm": "QR"}),
    Case("tridiagonal", [f32(3, 3)]),
)


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_lowers_elsewhere(platform: str) -> None:
    """Needs none of these devices."""
    for case in EVERYWHERE + (ON_GPU if platform != "tpu" else ()):
        assert "func.func public @main" in lower_graph(case.graph, (platform,)).as_text()


@pytest.mark.parametrize(("name", "platform"), [("schur", "cuda"), ("eig", "tpu")])
def test_not_on_every_platform(name: str, platform: str) -> None:
    with pytest.raises(CovectorError, match=f"{name} is not available on {platform}"):
        lower_graph(Case(name, [f32(3, 3)]).graph, (platform,))

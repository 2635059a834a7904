"""Linear algebra: factorisations, eigenvalues, singular values, solves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import Case, c64, evaluate, f32, f64, i32, laws, program
from linalg_cases import CASES, definite, hermitian

from covector.ir.builder import Builder
from covector.ir.errors import CovectorError, MissingRule, TypeRuleError
from covector.ir.graph import Value
from covector.ir.primitive import primitive_named
from covector.ir.types import is_complex
from covector.lowering.emit import lower_graph
from covector.lowering.execute import compile_module
from covector.passes.jvp import jvp_graph

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

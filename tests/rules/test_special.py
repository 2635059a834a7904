"""Special functions."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from harness import Case, Law, f32, f64, laws

from covector.ir.builder import Builder
from covector.ir.errors import MissingRule
from covector.passes.jvp import jvp_graph

SMALL = "bf16 f16 f64"
POSITIVE = (0.3, 4.0)

UNARY = [
    Case("erf", [f32(3, 4)], also=SMALL, tol=4),
    Case("erfc", [f32(3, 4)], also=SMALL, tol=4),
    Case("erfc", [f32(5)], {"accuracy": "HIGHEST"}, tol=4)
    if jax.__version_info__ >= (0, 12)
    else Case("erfc", [f32(5)], tol=4),
    Case("erf_inv", [f32(3, 4)], domain=(-0.9, 0.9), also="f64", tol=20),
    Case("lgamma", [f32(3, 4)], domain=POSITIVE, also=SMALL, tol=50),
    Case("lgamma", [f32(9)], domain=(-2.8, -2.2), tol=100),
    Case("digamma", [f32(3, 4)], domain=POSITIVE, also=SMALL, tol=50),
    Case("bessel_i0e", [f32(3, 4)], also=SMALL, tol=20),
    Case("bessel_i1e", [f32(3, 4)], also=SMALL, tol=20),
    Case("bessel_i1e", [f32(3)], domain=np.zeros(3), differences=False, batch=False),
]

BINARY = [
    *(
        Case(name, [f32(*a), f32(*x)], domain=POSITIVE, also="f64", tol=100, second=False)
        for name in ("igamma", "igammac")
        for a, x in [((3, 4), (3, 4)), ((), (3,)), ((3, 1), (1, 4))]
    ),
    Case("igamma", [f32(3), f32(3)], domain=POSITIVE, wrt=(1,), tol=100),
    Case("igamma_grad_a", [f32(3), f32(3)], domain=POSITIVE, wrt=(), tol=2000),
    Case("igamma_grad_a", [f64(3), f64(3)], domain=POSITIVE, wrt=(1,), jax=False),
    Case("random_gamma_grad", [f32(3), f32(3)], domain=POSITIVE, wrt=(), tol=2000),
    Case("random_gamma_grad", [f64(3), f64(3)], domain=POSITIVE, wrt=(1,), jax=False),
    Case(
        "regularized_incomplete_beta",
        [f32(3), f32(3), f32(3)],
        domain=[POSITIVE, POSITIVE, (0.1, 0.9)],
        wrt=(2,),
        also="f64",
        tol=100,
    ),
    Case("zeta", [f32(3), f32(3)], domain=(1.5, 4), wrt=(), tol=100),
    Case("zeta", [f64(3), f64(3)], domain=(1.5, 4), wrt=(1,), jax_derivative=False, tol=100),
    *(
        Case("polygamma", [f32(3), f32(3)], domain=[np.full(3, m), POSITIVE], wrt=(1,), tol=200)
        for m in (0, 1, 2)
    ),
]


@laws(UNARY + BINARY)
def test_law(case: Case, law: Law) -> None:
    law(case)


@pytest.mark.parametrize(
    ("name", "operands", "which", "claim"),
    [
        ("polygamma", 2, 0, "in its order"),
        ("zeta", 2, 0, "in its exponent"),
        ("igamma_grad_a", 2, 0, "of second order in its shape parameter"),
        ("random_gamma_grad", 2, 0, "of second order in its shape parameter"),
        ("regularized_incomplete_beta", 3, 1, "in its shape parameters"),
    ],
)
def test_unknown_derivatives(name: str, operands: int, which: int, claim: str) -> None:
    """What has no closed form says so; it is not zero."""
    graph = Case(name, [f32(3)] * operands).graph
    with pytest.raises(MissingRule, match=claim):
        jvp_graph(graph, [i == which for i in range(operands)])


def test_constant_operands_need_no_derivative() -> None:
    b: Any = Builder()
    case = Case("zeta", [f32(3), f32(3)])
    _, nonzero = jvp_graph(case.graph, [False, True])
    assert nonzero == (True,) and not b.equations

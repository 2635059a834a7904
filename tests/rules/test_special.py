"""Special functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, Law, f32, f64, laws
from jax import lax

import covector
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
    Case("igamma_grad_a", [f64(3, 1), f64(1, 3)], domain=POSITIVE, jax=False, tol=1e4),
    Case("random_gamma_grad", [f32(3), f32(3)], domain=POSITIVE, wrt=(), tol=2000),
    Case("random_gamma_grad", [f64(3, 1), f64(1, 3)], domain=POSITIVE, jax=False, tol=1e4),
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
        ("regularized_incomplete_beta", 3, 1, "in its shape parameters"),
    ],
)
def test_unknown_derivatives(name: str, operands: int, which: int, claim: str) -> None:
    """What has no closed form says so; it is not zero."""
    graph = Case(name, [f32(3)] * operands).graph
    with pytest.raises(MissingRule, match=claim):
        jvp_graph(graph, [i == which for i in range(operands)])


def test_curvature_in_the_shape_of_the_incomplete_gamma_function() -> None:
    """Against second differences of what scipy computes, from small shapes to large ones, on both
    sides of the peak, and 0 at 0."""
    from scipy.special import gammainc

    a = np.array([0.01, 0.4, 0.4, 1.0, 2.5, 2.5, 40.0, 40.0, 3.0])
    x = np.array([1e-5, 1e-3, 3.0, 1.0, 0.7, 9.0, 33.0, 52.0, 0.0])
    h = 2e-3 * a
    second = [(gammainc(a + k * h, x) - 2 * gammainc(a, x) + gammainc(a - k * h, x)) / (k * h) ** 2
              for k in (1, 2)]  # fmt: skip
    want = (4 * second[0] - second[1]) / 3
    ones = np.ones_like(a)
    with jax.enable_x64(True):
        got = covector.jvp(lambda a: lax.igamma_grad_a(a, x), (a,), (ones,))[1]
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-12)
        x, a, ones = (v.astype(jnp.bfloat16) for v in (x, a, ones))
        assert covector.jvp(lambda a: lax.igamma_grad_a(a, x), (a,), (ones,))[1].dtype == a.dtype


def test_samples_of_gamma_have_second_derivatives() -> None:
    """JAX has them in forward mode only."""
    key, a = jax.random.key(3), np.array([0.3, 2.5, 30.0], np.float32)

    def f(a: Any) -> Any:
        return jnp.sum(jnp.sin(jax.random.gamma(key, a)))

    want = jax.jit(jax.jacfwd(jax.jacfwd(f)))(a)
    for outer in (covector.jacfwd, covector.jacrev):
        (got,) = covector.make_ir(outer(covector.grad(f)))(a).interpret(a)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_constant_operands_need_no_derivative() -> None:
    b: Any = Builder()
    case = Case("zeta", [f32(3), f32(3)])
    _, nonzero = jvp_graph(case.graph, [False, True])
    assert nonzero == (True,) and not b.equations

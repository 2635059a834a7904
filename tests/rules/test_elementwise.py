"""Arithmetic, transcendental functions, complex numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, Law, among, bf16, c64, f32, i8, i32, laws
from laws import assert_close, check_all

import covector

HAS_NEW_RULES = jax.__version_info__ >= (0, 12)
"""Whether JAX has the derivatives that it got late, or got wrong before."""

SMALL = "bf16 f16 f64"
ALL = "bf16 f16 f64 c64 c128"
POSITIVE = (0.2, 3.0)
INSIDE = (-0.9, 0.9)
SHAPES = [
    ((3, 4), (3, 4)),
    ((), (3, 4)),
    ((3, 4), ()),
    ((3, 1), (1, 4)),
    ((), ()),
    ((0, 4), (0, 4)),
]


def both(name: str, shapes: Any = SHAPES, **fields: Any) -> list[Case]:
    """A case for each way in which two operands may broadcast."""
    return [Case(name, [f32(*x), f32(*y)], **fields) for x, y in shapes]


def each(names: str, *types: Any, **fields: Any) -> list[Case]:
    """The same case of several primitives."""
    return [Case(name, list(types), **fields) for name in names.split()]


UNARY = [
    *each("neg square exp exp2 sin cos tanh logistic", f32(3, 4), also=ALL),
    *each("sinh cosh atan expm1 asinh abs", f32(3, 4), also=ALL),
    *each("log log1p sqrt rsqrt", f32(3, 4), also=ALL, domain=POSITIVE),
    *each("log2 cbrt", f32(3, 4), also=SMALL, domain=POSITIVE),
    *each("one_minus_square floor ceil", f32(3, 4), also=SMALL),
    *each("asin acos atanh", f32(3, 4), also=SMALL, domain=INSIDE),
    Case("tan", [f32(3, 4)], also=SMALL, domain=(-1, 1), tol=3),
    Case("acosh", [f32(3, 4)], also=SMALL, domain=(1.2, 4)),
    Case("is_finite", [f32(6)], also=SMALL, domain=among(np.inf, np.nan, 1.0, -np.inf)),
    Case(
        "sign", [f32(8)], also=SMALL, differences=False, domain=among(-2.0, -0.0, 0.0, 3.0, np.nan)
    ),
    *(
        Case(
            "round",
            [f32(7)],
            {"rounding_method": method},
            also=SMALL,
            differences=False,
            domain=among(-2.5, -0.5, 0.5, 0.49, 1.5, 2.5),
        )
        for method in ("AWAY_FROM_ZERO", "TO_NEAREST_EVEN")
    ),
    *each("neg square", i32(3), also="u8"),
    *each("abs sign", i32(3), also="i8"),
    Case("exp", [f32()]),
    Case("sin", [f32(0, 3)]),
    *(
        Case("integer_pow", [f32(3)], {"y": y}, also=ALL, domain=POSITIVE, tol=4)
        for y in (-3, -1, 0, 1, 2, 3, 4, 7)
    ),
    Case("integer_pow", [i32(3)], {"y": 3}, also="u8"),
    *(
        Case(name, [f32(5)], {"accuracy": "HIGHEST"})
        for name in ("tanh", "logistic", "exp", "expm1", "sin")
    ),
]

BINARY = [
    *(case for name in ("add", "sub", "mul", "div") for case in both(name, also=SMALL)),
    *(case for name in ("max", "min", "atan2") for case in both(name, also=SMALL)),
    *both("pow", also=SMALL, domain=POSITIVE, tol=8),
    *both("rem", domain=[(2.3, 5.0), (0.7, 1.1)], also=SMALL),
    *both("nextafter", SHAPES[:2], also="f64", differences=False, jax_derivative=HAS_NEW_RULES),
    Case("add_any", [f32(3), f32(3)]),
    Case("pow", [f32(3), i32(3)], domain=POSITIVE, tol=4),
    Case("pow", [f32(), i32(4)], domain=POSITIVE, tol=4),
    Case("mul", [bf16(3), f32(3)], {"out_dtype": np.dtype("float32")}, wrt=()),
    Case("mul", [i8(3), i8(3)], {"out_dtype": np.dtype("int32")}, domain=(-120, 120)),
    *each("add sub mul max min", i32(4), i32(4), also="i8 u8 u32"),
    *each("div rem", i32(40), i32(40), also="i8 u8 u32", domain=(-5, 5)),
    Case("div", [i8(2), i8(2)], domain=[np.array([-128, 127]), np.array([-1, 0])], batch=False),
    Case(
        "mulhi",
        [i32(9), i32(9)],
        also="i8 u8 u32" if HAS_NEW_RULES else "",
        domain=(-(2**31), 2**31 - 1),
        batch=False,
    ),
]

COMPLEX = [
    *each("neg square exp exp2 log log1p log2 expm1 sqrt rsqrt abs logistic", c64(3, 4), tol=4),
    *each("sin cos tan sinh cosh tanh asin acos atan asinh atanh", c64(3, 4), tol=4),
    Case("acosh", [c64(3, 4)], tol=4, jax_derivative=HAS_NEW_RULES),
    Case("sign", [c64(3)], tol=4, jax_derivative=HAS_NEW_RULES),
    Case("integer_pow", [c64(3)], {"y": 3}, tol=4),
    Case("integer_pow", [c64(3)], {"y": -2}, tol=4),
    *each("real imag conj", c64(3, 4), also="c128"),
    Case("conj", [f32(3)], also="f64"),
    Case("complex", [f32(3, 4), f32(3, 4)], also="f64"),
    Case("complex", [f32(3, 4), f32()]),
    *each("add sub mul div add_any", c64(3), c64(3), also="c128", tol=4),
    Case("pow", [c64(3), c64(3)], domain=(0.5, 2), tol=10),
    Case("pow", [c64(3), i32(3)], domain=(0.5, 2), tol=10),
    Case("atan2", [c64(3), c64(3)], domain=(0.5, 2), tol=10),
    Case("eq", [c64(3), c64(3)], domain=among(0.0, 1.0)),
    Case("max", [c64(5), c64(5)], wrt=(), domain=among(0.0, 1.0, 1.0 + 1j)),
]

POLYNOMIALS = [
    Case("polynomial", [f32(3, 4), f32(), f32(3, 4), f32(3, 1)], also="f64 i32"),
    Case("polynomial", [f32(3), f32(3)]),
    Case("polynomial", [f32(), f32(3), f32(1)], jax_derivative=False),  # JAX's fails
]

TIES = among(-1.0, 0.0, 1.0)
AT_ZERO = among(0.0, -0.0, 1.0, -2.0)


def edge(name: str, *types: Any, domain: Any, params: Any = None) -> Case:
    """Kinks, ties, zeros: derivatives there are conventions, JAX's."""
    fields: dict[str, Any] = {"differences": False, "adjoint": False, "note": "edge"}
    return Case(name, list(types), params or {}, domain=domain, **fields)


EDGES = [
    *(edge(name, f32(20), f32(20), domain=TIES) for name in ("max", "min")),
    *(edge(name, f32(20), f32(), domain=[TIES, np.array(0.0)]) for name in ("max", "min")),
    *(edge(name, f32(9), domain=AT_ZERO) for name in ("abs", "sign", "square", "tanh")),
    *(edge(name, f32(9), domain=among(0.0, 1.0)) for name in ("sqrt", "rsqrt", "cbrt", "log")),
    *(edge(name, f32(4), domain=among(-1.0, 1.0)) for name in ("asin", "acos", "atanh")),
    *(edge(name, f32(9), domain=among(-60.0, 60.0)) for name in ("tanh", "logistic")),
    *(edge(name, c64(9), domain=among(0.0, 1.0)) for name in ("abs", "square")),
    edge("pow", f32(30), f32(30), domain=among(0.0, 1.0, 2.0)),
    edge("pow", f32(30), f32(), domain=[TIES, np.array(2.0)]),
    edge("pow", f32(30), i32(30), domain=[TIES, (-1, 3)]),
    *(edge("integer_pow", f32(9), domain=TIES, params={"y": y}) for y in (-1, 0, 1, 2, 3)),
    edge("atan2", f32(9), f32(9), domain=TIES),
    edge("div", f32(9), f32(9), domain=TIES),
    edge("rem", f32(9), f32(9), domain=[TIES, among(-0.5, 0.5)]),
    edge("asinh", f32(3), domain=np.array([0.0, 1e3, -1e10])),
    edge("acosh", f32(9), domain=among(1.0, 2.0)),
]


@laws(UNARY + BINARY + COMPLEX + POLYNOMIALS + EDGES)
def test_law(case: Case, law: Law) -> None:
    law(case)


@pytest.mark.parametrize("function", [jax.lax.asinh, jax.lax.acosh])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_slopes_far_out(function: Any, dtype: str) -> None:
    """1/x in the end, also where x^2 is no number; the second derivative is -1/x^2."""
    with jax.enable_x64(dtype == "float64"):
        info = jax.numpy.finfo(dtype)
        root = 2.0 ** (int(info.maxexp) // 2)
        xs = np.array([root / 8, root, root * 8, float(info.max) / 2]).astype(dtype)
        x = np.array(4 * root**0.5, dtype)
        slopes = covector.vmap(covector.grad(function))(xs)
        bend = covector.grad(covector.grad(function))(x)
        assert covector.grad(function)(np.array(np.inf, dtype)) == 0
    smallest, eps = float(info.smallest_normal), float(info.eps)
    far = xs.astype(np.float64)
    np.testing.assert_allclose(np.float64(slopes), 1 / far, rtol=8 * eps, atol=smallest)
    expected = -float(x) / (float(x) ** 2 + (1 if function is jax.lax.asinh else -1)) ** 1.5
    np.testing.assert_allclose(float(bend), expected, rtol=16 * eps, atol=smallest)


def reciprocals(x: Any) -> Any:
    """1/x in the ways in which it is written: with numbers, arrays, and one shape or two."""
    ones = jnp.ones_like(x)
    return 1 / x, jnp.reciprocal(x), ones / x, ones / x.sum(), 2 / x


def test_reciprocals() -> None:
    check_all(reciprocals, np.array([0.5, -2.0, 3.0], np.float32))


def test_complex_reciprocals() -> None:
    z = np.array([0.5 + 1j, -2.0, 3j], np.complex64)
    ys, pull = jax.vjp(reciprocals, z)
    got_ys, got_pull = covector.vjp(reciprocals, z)
    assert_close((got_ys, got_pull(ys)), (ys, pull(ys)))


@pytest.mark.parametrize("x", [0.0, -0.0, np.inf, np.nan, 1e-25, 1e25])
def test_odd_reciprocals(x: float) -> None:
    """The slope -1/x^2 also where it, or x, is no ordinary number."""
    number = np.float32(x)
    expected = jax.grad(lambda x: 1 / x)(number)
    np.testing.assert_array_equal(covector.grad(lambda x: 1 / x)(number), expected)


def test_a_reciprocal_keeps_only_its_result() -> None:
    """What is kept for the backward pass is one array, and nothing is divided by there."""
    module = covector.make_ir(lambda x: 1 / x)(np.ones(3, np.float32))
    text = str(covector.run_passes(module, "linearize,cse,dce"))
    primal, linear = text.split("func @")[1:]
    assert primal.count("div") == 1 and "div" not in linear
    assert linear.split("|")[0].count("f32[3]") == 1

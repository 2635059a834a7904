"""Samples of elementwise primitives: domains, and how shapes broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import Case, among
from sampled import Sample, sampler

POSITIVE = (0.3, 3.0)
INSIDE = (-0.9, 0.9)
NUMBERS = (-2.0, 2.0)


def _for(names: str, value: Any) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


DOMAINS: dict[str, Any] = {
    **_for("log log1p sqrt rsqrt log2 cbrt", POSITIVE),
    **_for("lgamma digamma", (2.2, 4.0)),  # where neither is zero
    **_for("asin acos atanh erf_inv", INSIDE),
    **_for("igamma igammac igamma_grad_a random_gamma_grad pow", POSITIVE),
    **_for("eq ne lt le gt ge eq_to lt_to le_to", among(0.0, 1.0, -1.0)),
    "tan": (-1.0, 1.0), "acosh": (1.2, 4.0), "rem": [(2.3, 5.0), (0.7, 1.1)],
    "div": [NUMBERS, (0.6, 2.0)], "zeta": (1.5, 4.0),
}  # fmt: skip
TOLERANCES = {
    **_for("tan acosh atanh acos asin erf erfc pow rsqrt", 8.0),
    **_for("erf_inv bessel_i0e bessel_i1e", 20.0),
    **_for("lgamma digamma", 50.0),
    **_for("igamma igammac zeta", 100.0),
    **_for("igamma_grad_a random_gamma_grad", 2000.0),
}
WITHOUT: dict[str, dict[str, Any]] = {
    **_for("igamma_grad_a random_gamma_grad", {"jax_derivative": False}),
    **_for("igamma igammac", {"second": False}),
    "zeta": {"wrt": (1,), "jax_derivative": False},
    "nextafter": {"differences": False},
    "stop_gradient": {"differences": False},
}
"""Derivatives that do not exist, or not in JAX."""


def domain_of(s: Sample, count: int) -> Any:
    """Where to sample; complex functions are sampled beside their cuts, integers within range."""
    if s.category == "complex":
        return [(0.4, 1.4), (0.4, 1.4)][:count] if s.name == "pow" else NUMBERS
    if s.is_discrete:
        if s.name in ("div", "rem"):
            return [(-5, 5), (1, 1)] if s.dtype[1:] in ("2", "4") else [(-5, 5), (1, 5)]
        return (0, 1) if s.dtype[1:] in ("2", "4") else (-5, 5)
    return DOMAINS.get(s.name, NUMBERS)


def fields_of(s: Sample) -> dict[str, Any]:
    tol = TOLERANCES.get(s.name, 4.0) * (4 if s.category == "complex" else 1)
    return {"tol": tol, **WITHOUT.get(s.name, {})}


@sampler(
    "abs acos acosh asin asinh atan atanh cbrt ceil conj cos cosh exp exp2 expm1 floor is_finite "
    "log log1p log2 logistic neg one_minus_square rsqrt sign sin sinh sqrt square tan tanh "
    "bessel_i0e bessel_i1e digamma erf erf_inv erfc lgamma copy copy_p stop_gradient"
)
@sampler("real imag", dtype="c64")
@sampler("not population_count clz", dtype="i32")
def unary(s: Sample) -> Case:
    return s.case([s.type()], {}, domain_of(s, 1), **fields_of(s))


@sampler(
    "add sub mul div max min rem nextafter atan2 pow complex eq ne lt le gt ge eq_to lt_to le_to "
    "igamma igammac igamma_grad_a random_gamma_grad zeta"
)
@sampler("and or xor mulhi", dtype="i32")
def binary(s: Sample) -> Case:
    shapes = broadcasting(s)
    domain = domain_of(s, 2)
    return s.case([s.type(shape) for shape in shapes], {}, domain, **fields_of(s))


def broadcasting(s: Sample) -> list[tuple[int, ...]]:
    """Two shapes: equal, one a scalar, or with axes of length 1 against others."""
    x, how = s.shape, s.int(0, 3)
    if how == 0:
        return [x, x]
    if how == 3:
        other: tuple[int, ...] = ()
    else:
        stretched = s.axes()
        other = tuple(1 if i in stretched else n for i, n in enumerate(x))
    return [x, other] if s.flag() else [other, x]


@sampler("add_any")
def add_any(s: Sample) -> Case:
    return s.case([s.type(), s.type()], {}, domain_of(s, 2))


@sampler("shift_left shift_right_arithmetic shift_right_logical", dtype="i32")
def shift(s: Sample) -> Case:
    width = int(s.dtype[1:]) if s.dtype[1:].isdecimal() else 8
    return s.case([s.type(), s.type()], {}, [(-100, 100), (0, width)])


@sampler("regularized_incomplete_beta")
def incomplete_beta(s: Sample) -> Case:
    domain = [POSITIVE, POSITIVE, (0.1, 0.9)]
    return s.case([s.type()] * 3, {}, domain, wrt=(2,), tol=200)


@sampler("polygamma")
def polygamma(s: Sample) -> Case:
    return s.case([s.type()] * 2, {}, [among(0, 1, 2), POSITIVE], wrt=(1,), tol=400)


@sampler("integer_pow")
def integer_pow(s: Sample) -> Case:
    y = s.among((0, 1, 2, 3, 7) if s.is_discrete else (-3, -1, 0, 1, 2, 3, 7))
    domain = (-1, 1) if s.is_discrete else POSITIVE
    return s.case([s.type()], {"y": y}, domain, tol=40)


@sampler("polynomial")
def polynomial(s: Sample) -> Case:
    x, other = s.shape, broadcasting(s)[0]
    return s.case([s.type(x), s.type(other), s.type()], {}, domain_of(s, 3), jax_derivative=False,
                  tol=10)  # fmt: skip


@sampler("round")
def round_(s: Sample) -> Case:
    method = s.among(["AWAY_FROM_ZERO", "TO_NEAREST_EVEN"])
    domain = among(-1.5, -0.5, 0.5, 0.375, 1.5)
    return s.case([s.type()], {"rounding_method": method}, domain, differences=False)


@sampler("reduce_precision")
def reduce_precision(s: Sample) -> Case:
    params = {"exponent_bits": s.int(4, 8), "mantissa_bits": s.int(2, 9)}
    return s.case([s.type()], params, differences=False, adjoint=False)


@sampler("select_n")
def select_n(s: Sample) -> Case:
    cases = s.int(1, 3)
    which = s.type(s.among([s.shape, ()]), "i32" if cases > 2 else s.among(["i32", "bool"]))
    domain = [(0, cases - 1) if cases < 2 else (0, 1), *[domain_of(s, 1)] * cases]
    return s.case([which, *[s.type()] * cases], {}, domain)


@sampler("clamp")
def clamp(s: Sample) -> Case:
    ends = s.type(s.among([s.shape, ()]))
    domain: Any = [(-1.0, -0.2), NUMBERS, (0.3, 1.0)]
    if s.is_discrete:
        domain = (
            [(0, 0), (0, 1), (1, 1)] if s.dtype[1:] in ("2", "4") else [(-1, 0), (-2, 5), (1, 2)]
        )
    return s.case([ends, s.type(), ends], {}, domain)


CONVERTED = ("f32", "bf16", "f16", "f64", "i8", "i32", "u8", "u16", "i64", "bool", "c64", "c128")


@sampler("convert_element_type")
def convert(s: Sample) -> Case:
    to = s.type((), s.among(CONVERTED)).dtype
    smooth = s.category in ("float", "complex") and to.name in ("float64", "complex128")
    return s.case([s.type()], {"new_dtype": to, "weak_type": s.flag()},
                  (0.0, 2.0) if to.kind == "u" else NUMBERS, differences=smooth,
                  adjoint=smooth)  # fmt: skip


@sampler("bitcast_convert_type")
def bitcast(s: Sample) -> Case | None:
    same = {1: "uint8", 2: "int16", 4: "uint32", 8: "int64"}
    if s.category in ("bool", "complex") or s.dtype in ("i2", "u2", "i4", "u4", "f4_e2m1fn"):
        return None
    return s.case([s.type()], {"new_dtype": np.dtype(same[s.type().dtype.itemsize])})

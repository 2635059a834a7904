"""Steps of elementwise primitives, and the wrappers that keep operands in their domains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from generated import BOOL, DTYPES, F32, U32, Drawing, Step, kind

STEPS: dict[str, Step] = {}


def step(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a step `(d)` for one name, or `(d, name)` for several."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            STEPS[name] = function if len(names) == 1 else lambda d, n=name: function(d, n)
        return function

    return enter


def positive(d: Drawing, x: Any) -> Any:
    """x moved to where functions with poles and cuts are smooth."""
    return d.emit("add", x, 9.0) if kind(x) == "c" else d.emit("add", d.emit("abs", x), 0.5)


def unit(d: Drawing, x: Any) -> Any:
    return d.emit("mul", d.emit("sin", x), 0.2 if kind(x) == "c" else 0.8)


def small(d: Drawing, x: Any) -> Any:
    """Of absolute value 2 at most: what grows fast stays moderate."""
    return d.emit("mul", x, 0.25)


def above_one(d: Drawing, x: Any) -> Any:
    return d.emit("add", positive(d, x), 1.0)


def whole(d: Drawing, x: Any) -> Any:
    return x


SIGNS = "fci" if jax.__version_info__ >= (0, 12) else "fi"
"""Older JAX has a derivative of zero where complex numbers have x / |x|."""
UNARY = {
    "sin": ("fc", whole), "neg": ("fci", whole), "cos": ("fc", whole), "tanh": ("fc", small),
    "exp": ("fc", small), "log": ("fc", positive), "sqrt": ("fc", positive),
    "logistic": ("fc", small), "abs": ("fci", whole), "square": ("fci", whole),
    "sign": (SIGNS, whole), "floor": ("f", whole), "ceil": ("f", whole),
    "exp2": ("fc", small), "expm1": ("fc", small), "log1p": ("fc", positive),
    "tan": ("fc", unit), "rsqrt": ("fc", positive), "cbrt": ("f", positive),
    "asin": ("fc", unit), "acos": ("fc", unit), "atan": ("fc", unit), "sinh": ("fc", small),
    "cosh": ("fc", small), "asinh": ("fc", unit), "acosh": ("fc", above_one),
    "atanh": ("fc", unit), "log2": ("f", positive), "one_minus_square": ("f", whole),
    "real": ("c", whole), "imag": ("c", whole), "conj": ("c", whole),
    "is_finite": ("f", whole), "not": ("bi", whole), "population_count": ("i", whole),
    "clz": ("i", whole), "stop_gradient": ("fc", whole), "copy": ("fci", whole),
    "erf": ("f", whole), "erfc": ("f", whole), "erf_inv": ("f", unit), "lgamma": ("f", above_one),
    "digamma": ("f", above_one), "bessel_i0e": ("f", whole), "bessel_i1e": ("f", whole),
}  # fmt: skip


@step(*UNARY)
def unary(d: Drawing, name: str) -> None:
    kinds, inside = UNARY[name]
    d.keep(d.emit(name, inside(d, d.value(kinds))))


def pair(d: Drawing, kinds: str) -> tuple[Any, Any]:
    """Two operands of one shape; or one a scalar, a literal, or of length 1 along an axis."""
    x = d.value(kinds)
    how = d.among(["like", "like", "literal", "scalar", "stretched"])
    if how == "like" or (how == "stretched" and not x.type.shape):
        return x, d.like(x)
    if how == "literal" and kind(x) == "b":
        return x, d.like(x)
    if how == "literal":
        return x, d.b.literal(d.among([2, 1, 0, 3, -1]), x.type)
    if how == "scalar":
        return x, d.of_type((), x.type.dtype)
    axis = d.axis(x)
    shape = tuple(1 if i == axis else n for i, n in enumerate(x.type.shape))
    return x, d.of_type(shape, x.type.dtype)


BINARY = {
    "add": "fci", "mul": "fci", "sub": "fci", "max": "fi", "min": "fi", "add_any": "fci",
    "eq": "fib", "ne": "fib", "lt": "fi", "le": "fi", "gt": "fi", "ge": "fi", "lt_to": "fi",
    "le_to": "fi", "eq_to": "fi", "and": "bi", "or": "bi", "xor": "bi",
}  # fmt: skip


@step(*BINARY)
def binary(d: Drawing, name: str) -> None:
    x, y = pair(d, BINARY[name])
    if name == "add_any":
        y = d.like(x)
    x, y = (y, x) if d.bool() else (x, y)
    d.keep(d.emit(name, x, y))


@step("div", "rem")
def quotient(d: Drawing, name: str) -> None:
    x, y = pair(d, "fci" if name == "div" else "fi")
    y = d.emit("or", y, 1) if kind(y) == "i" else positive(d, y)
    d.keep(d.emit(name, x, y))


@step("pow", "atan2", "nextafter")
def powers(d: Drawing, name: str) -> None:
    x, y = pair(d, "fc" if name == "pow" else "f")
    d.keep(d.emit(name, positive(d, x), small(d, y) if name == "pow" else y))


@step("integer_pow")
def integer_pow(d: Drawing) -> None:
    x, y = d.value("fci"), d.among([2, 3, 4, -1, -2, 1])
    if y < 0:
        x = positive(d, d.value("fc"))
    d.keep(d.emit("integer_pow", x, y=y))


@step("igamma", "igammac", "zeta", "polygamma")
def two_positive(d: Drawing, name: str) -> None:
    x = d.value("f")
    y = d.like(x)
    if name == "polygamma":
        d.keep(d.emit(name, d.b.full(x.type, float(d.int(1, 3))), above_one(d, y)))
        return
    d.keep(d.emit(name, above_one(d, x), positive(d, y)))


@step("regularized_incomplete_beta")
def incomplete_beta(d: Drawing) -> None:
    x = d.value("f")
    inside = d.emit("add", d.emit("mul", unit(d, x), 0.5), 0.5)
    ends = [d.b.full(x.type, float(d.int(1, 3))) for _ in range(2)]  # JAX derives by x only
    d.keep(d.emit("regularized_incomplete_beta", *ends, inside))


@step("shift_left", "shift_right_arithmetic", "shift_right_logical")
def bits(d: Drawing, name: str) -> None:
    x, y = pair(d, "i")
    d.keep(d.emit(name, x, d.emit("and", y, 7)))


@step("polynomial")
def polynomial(d: Drawing) -> None:
    x = d.value("fc")
    d.keep(d.emit("polynomial", small(d, x), *(d.like(x) for _ in range(d.int(1, 3)))))


@step("complex")
def complex_of(d: Drawing) -> None:
    x = d.value("f")
    if x.type.dtype.itemsize < 4:
        x = d.coerce(x, x.type.shape, F32)
    d.keep(d.emit("complex", x, d.like(x)))


@step("round")
def round_(d: Drawing) -> None:
    d.keep(
        d.emit(
            "round", d.value("f"), rounding_method=d.among(["TO_NEAREST_EVEN", "AWAY_FROM_ZERO"])
        )
    )


@step("reduce_precision")
def reduce_precision(d: Drawing) -> None:
    d.keep(d.emit("reduce_precision", d.value("f"), exponent_bits=8, mantissa_bits=23))


@step("convert_element_type")
def convert(d: Drawing) -> None:
    x, dtype = d.value("fib"), DTYPES[d.among("fcib")]
    d.keep(d.emit("convert_element_type", x, new_dtype=dtype, weak_type=False))


@step("bitcast_convert_type")
def bitcast(d: Drawing) -> None:
    d.keep(d.emit("bitcast_convert_type", d.value("i"), new_dtype=U32))


@step("select_n")
def select_n(d: Drawing) -> None:
    x = d.value()
    shape = d.among([x.type.shape, ()])
    which = d.emit("gt", d.of_type(shape, F32), 0.1) if d.bool() else d.of_type(shape, BOOL)
    d.keep(d.emit("select_n", which, x, d.like(x)))


@step("clamp")
def clamp(d: Drawing) -> None:
    x = d.value("fi")
    low, high = (-1, 2) if kind(x) == "i" else (-0.7, 0.9)
    ends = [d.b.literal(low, x.type), d.b.literal(high, x.type)]
    if d.bool():
        ends = [d.like(x), d.like(x)]
        ends = [d.emit("min", *ends), d.emit("max", *ends)]
    d.keep(d.emit("clamp", ends[0], x, ends[1]))

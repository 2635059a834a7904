"""Comparisons, bits, conversion, selection."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from harness import (
    Case,
    Law,
    among,
    bf16,
    bool_,
    c64,
    c128,
    f16,
    f32,
    f64,
    i32,
    laws,
    u8,
    u32,
)

from covector.frontend.execute import execute

HAS_CLAMPED_SELECTORS = jax.__version_info__ >= (0, 12)
"""Whether JAX's derivative of select_n knows that selectors out of range take the nearest case."""

SMALL = "bf16 f16 f64"
BETWEEN = [(-1, 0), (-2, 2), (0.2, 1)]
EXTREMES = [
    np.array([0.0, -0.0, 1, np.nan, -np.nan, np.inf, -np.inf, 1]),
    np.array([-0.0, 0.0, 1, 1, 1, 2, -3, np.nan]),
]

BITS = [
    *(
        case
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        for case in (
            Case(name, [f32(9), f32(9)], domain=among(0.0, 1.0, np.nan), also=SMALL),
            Case(name, [i32(9), i32(9)], also="i8 u8 bool"),
        )
    ),
    *(
        Case(name, [f32(8), f32(8)], domain=EXTREMES, batch=False)
        for name in ("eq_to", "lt_to", "le_to")
    ),
    Case("lt_to", [i32(9), i32(9)]),
    *(
        Case(name, [i32(9), i32(9)], also="i8 u8 u32 bool", domain=(-100, 100))
        for name in ("and", "or", "xor")
    ),
    Case("not", [i32(9)], also="i8 u8 bool"),
    Case("population_count", [i32(9)], also="i8 u8 u32", domain=(-(2**30), 2**30)),
    Case("clz", [i32(9)], also="u32", domain=(-10, 2**20)),
    Case("clz", [u8(9)], domain=(0, 255)),
    *(
        Case(name, [i32(60), i32(60)], also="i8 u8 u32", domain=[(-100, 100), (-1, 40)])
        for name in ("shift_left", "shift_right_arithmetic", "shift_right_logical")
    ),
]


def converted(to: str, source: Any, **fields: Any) -> Case:
    dtype = np.dtype(to) if to != "bfloat16" else bf16().dtype
    return Case("convert_element_type", [source], {"new_dtype": dtype}, **fields)


BEYOND = [np.nan, np.inf, -np.inf, 3e9, -3e9, 2.9, -2.9, 255.5]

CONVERSIONS = [
    *(
        converted(to, source(7), domain=(-3, 3), differences=False)
        for source in (f32, f64, bf16, f16, i32, u8, bool_, c64)
        for to in ("float32", "bfloat16", "float16", "int32", "int8", "uint8", "bool", "complex64")
    ),
    *(
        converted(to, f32(8), domain=np.array(BEYOND), batch=False)
        for to in ("int32", "uint8", "int8", "uint32", "int64", "bool")
    ),
    converted("complex128", f64(3)),
    converted("float64", c128(3)),
    Case("convert_element_type", [f64(3)], {"new_dtype": np.dtype("float64"), "weak_type": True}),
    *(
        Case("bitcast_convert_type", [t], {"new_dtype": np.dtype(to)}, differences=False)
        for t, to in [
            (f32(3), "int32"),
            (f32(3), "uint8"),
            (u8(3, 4), "float32"),
            (f32(), "int16"),
            (f16(2, 2), "float32"),
            (i32(3), "float32"),
        ]
    ),
    *(
        Case(
            "reduce_precision",
            [f32(40)],
            {"exponent_bits": exponent, "mantissa_bits": mantissa},
            domain=(-100000, 100000),
            also="bf16 f64",
            differences=False,
            adjoint=False,
        )
        for exponent, mantissa in [(5, 10), (8, 7), (8, 23), (3, 2)]
    ),
    Case("copy", [f32(3)], also="i32 bool"),
    Case("copy_p", [f32(3)], jax=False),
    Case("stop_gradient", [f32(3)], also="i32 bool", differences=False),
]


def selected(which: Any, case: Any, count: int, selectors: Any = (-1, 5)) -> Case:
    return Case(
        "select_n",
        [which, *[case] * count],
        domain=[selectors, *[(-2, 2)] * count],
        jax_derivative=HAS_CLAMPED_SELECTORS,
    )


SELECTIONS = [
    Case("select_n", [bool_(3, 4), f32(3, 4), f32(3, 4)], also="c64 bf16"),
    Case("select_n", [bool_(), f32(3, 4), f32(3, 4)], also="c64 bf16"),
    Case("select_n", [bool_(3), i32(3), i32(3)]),
    Case("select_n", [bool_(), f32(), f32()]),
    Case("select_n", [bool_(3), f32(3)], domain=[(0, 0), (-1, 1)], jax=False),
    selected(i32(3, 4), f32(3, 4), 4),
    selected(i32(), f32(3), 3),
    selected(u32(3), f32(3), 3, (0, 5)),
    Case("clamp", [f32(3, 4), f32(3, 4), f32(3, 4)], domain=BETWEEN, also=SMALL),
    # JAX does not differentiate in bounds that are scalars for an array.
    Case("clamp", [f32(), f32(3, 4), f32()], domain=BETWEEN, jax_derivative=False),
    Case("clamp", [f32(3, 4), f32(3, 4), f32()], domain=BETWEEN, jax_derivative=False),
    Case("clamp", [f32(), f32(3, 4), f32()], domain=BETWEEN, wrt=(1,)),
    Case("clamp", [f32(), f32(), f32()], domain=BETWEEN),
    Case("clamp", [f32(40)] * 3, domain=among(-1.0, 0.0, 1.0), differences=False, note="ties"),
    Case("clamp", [i32(), i32(9), i32()], domain=[(-1, 0), (-3, 3), (1, 2)], also="i8 u8"),
]


@laws(BITS + CONVERSIONS + SELECTIONS)
def test_law(case: Case, law: Law) -> None:
    law(case)


def test_complex_numbers_equal_in_total_order_compile() -> None:
    """XLA compares floats so only; complex numbers are equal where their parts are."""
    case = Case("eq_to", [c64(4), c64(4)])
    x = np.array([1 + 2j, complex(np.nan, 0), complex(0, -0.0), 1 + 2j], np.complex64)
    y = np.array([1 + 2j, complex(np.nan, 0), complex(0, 0.0), 1 + 3j], np.complex64)
    np.testing.assert_array_equal(execute(case.graph, [x, y])[0], [True, True, False, False])

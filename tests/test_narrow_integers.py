"""Integers narrower than a byte: compiled programs compute what NumPy says they mean.

XLA for CPUs sorts them wrongly, and dies of concatenations of the narrowest.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import sampled_shape
from harness import program
from sampled import RANKS, sample
from sampled_laws import XLA_FAILS

import covector
from covector.frontend.execute import execute, runner
from covector.frontend.stepwise import run_stepwise
from covector.ir.interpret import evaluate
from covector.ir.types import TensorType, dtype_from_name

assert sampled_shape  # it enters samplers

CASES = {
    "sort": lambda b, x, y: b.sort(x, y, dimension=0, num_keys=2, is_stable=True),
    "top_k": lambda b, x, y: b.top_k(x, k=3, axis=0),
    "concatenate": lambda b, x, y: [b.concatenate(x, y, dimension=0)],
    "dot_general": lambda b, x, y: [
        b.dot_general(b.reshape(x, new_sizes=(1, 7)), y, dimension_numbers=(((1,), (0,)), ((), ())))
    ],
    "dot_general in i32": lambda b, x, y: [
        b.dot_general(
            b.reshape(x, new_sizes=(1, 7)),
            y,
            dimension_numbers=(((1,), (0,)), ((), ())),
            preferred_element_type=np.dtype(np.int32),
        )
    ],
    "argmax": lambda b, x, y: [b.argmax(x, axes=(0,), index_dtype=np.dtype(np.int32))],
    "argmin": lambda b, x, y: [b.argmin(x, axes=(0,), index_dtype=np.dtype(np.int32))],
    "reduce_and": lambda b, x, y: [b.reduce_and(x, axes=(0,))],
    "reduce_or": lambda b, x, y: [b.reduce_or(x, axes=(0,))],
    "reduce_xor": lambda b, x, y: [b.reduce_xor(x, axes=(0,))],
}


@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "u4"])
@pytest.mark.parametrize("name", CASES)
def test_compiled_as_meant(name: str, dtype: str) -> None:
    type = TensorType((7,), dtype_from_name(dtype))
    numbers = [1, -2, -1, 0, 1, 1, -2] if dtype[0] == "i" else [1, 13, 12, 0, 1, 1, 3]
    x = np.array(numbers).astype(type.dtype)
    graph = program(CASES[name], type, type)
    given = [x, x[::-1].copy()]
    for got, want in zip(execute(graph, given), evaluate(graph, given), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize("name", XLA_FAILS)
@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "u4"])
def test_samples_compiled_as_meant(name: str, dtype: str) -> None:
    """At each rank that JAX's own values can't be compared at."""
    cases = [sample(name, rank, dtype, seed=1) for rank in RANKS]
    found = [case for case in cases if case is not None]
    assert len(found) == 5
    for case in found:
        given = case.sample()
        for got, want in zip(execute(case.graph, given), evaluate(case.graph, given), strict=True):
            np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize("dtype", ["bool", "i2", "u4", "i32", "f8_e4m3fn", "f8_e5m2", "f32"])
def test_extrema_of_windows_and_what_they_select(dtype: str) -> None:
    """Also where nothing is below all numbers but the least of them."""
    type = TensorType((6,), dtype_from_name(dtype))
    x = np.array([1, 0, 1, 1, 0, 1]).astype(type.dtype)
    window = {"window_dimensions": (2,), "window_strides": (1,), "padding": ((1, 2),)}
    window |= {"base_dilation": (1,), "window_dilation": (1,)}
    graph = program(
        lambda b, x, y: [
            b.reduce_window_max(x, **window),
            b.reduce_window_min(x, **window),
            b.select_and_gather_add(x, y, select_prim="ge", **window),
            b.select_and_gather_add(x, y, select_prim="le", **window),
        ],
        type,
        type,
    )
    given = [x, np.roll(x, 2)]
    results = [np.asarray(got) for got in execute(graph, given)]
    for got, want in zip(results, evaluate(graph, given), strict=True):
        np.testing.assert_array_equal(got, want)
    assert results[0].astype(np.float32).tolist()[:6] == [1, 1, 1, 1, 1, 1]
    assert results[1].astype(np.float32).tolist()[:6] == [1, 0, 0, 1, 0, 0]


def test_empty_parts_are_joined() -> None:
    i2 = dtype_from_name("i2")
    types = [TensorType((n,), i2) for n in (3, 0, 2)]
    graph = program(lambda b, *xs: [b.concatenate(*xs, dimension=0)], *types)
    given = [np.ones(t.shape, i2) for t in types]
    np.testing.assert_array_equal(np.asarray(execute(graph, given)[0]), np.ones(5, i2))


@pytest.mark.parametrize("dtype", ["i2", "u4"])
def test_pairs_of_them_with_positions_are_reduced(dtype: str) -> None:
    def latest(a: Any, b: Any) -> Any:
        is_less = a[0] <= b[0]
        return [jax.lax.select(is_less, y, x) for x, y in zip(a, b, strict=True)]

    def f(x: Any) -> Any:
        first = np.zeros((), x.dtype), np.int32(0)
        return jax.lax.reduce((x, jax.lax.iota(np.int32, x.shape[0])), first, latest, (0,))

    x = np.array([0, 1, 0, 1, 0]).astype(dtype_from_name(dtype))
    found = [np.asarray(y).astype(np.int32).tolist() for y in covector.jit(f)(x)]
    assert found == [1, 3]


def test_one_operation_after_the_other() -> None:
    """As compiled: XLA dies of concatenations as JAX lowers them, also alone."""
    x = np.array([1, -2, -1, 0, 1, 1, -2]).astype(dtype_from_name("i2"))
    module = covector.make_ir(lambda x: jax.lax.top_k(jax.lax.concatenate([x, x], 0), 3))(x)
    got = run_stepwise(module.main, [x], runner)
    want = evaluate(module.main, [x])
    for y, z in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.asarray(y), z)

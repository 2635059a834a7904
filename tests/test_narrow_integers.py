"""Integers narrower than a byte: compiled programs compute what NumPy says they mean.

XLA for CPUs sorts them wrongly, and dies of concatenations of the narrowest.
"""

from __future__ import annotations

import numpy as np
import pytest
import sampled_shape
from harness import program
from sampled import RANKS, sample
from sampled_laws import XLA_FAILS

from covector.frontend.execute import execute
from covector.ir.interpret import evaluate
from covector.ir.types import TensorType, dtype_from_name

assert sampled_shape  # it enters samplers

CASES = {
    "sort": lambda b, x, y: b.sort(x, y, dimension=0, num_keys=2, is_stable=True),
    "top_k": lambda b, x, y: b.top_k(x, k=3, axis=0),
    "concatenate": lambda b, x, y: [b.concatenate(x, y, dimension=0)],
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


def test_empty_parts_are_joined() -> None:
    i2 = dtype_from_name("i2")
    types = [TensorType((n,), i2) for n in (3, 0, 2)]
    graph = program(lambda b, *xs: [b.concatenate(*xs, dimension=0)], *types)
    given = [np.ones(t.shape, i2) for t in types]
    np.testing.assert_array_equal(np.asarray(execute(graph, given)[0]), np.ones(5, i2))

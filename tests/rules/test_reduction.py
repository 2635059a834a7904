"""Reductions, cumulative operations, sorting."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from harness import (
    Case,
    Law,
    among,
    bf16,
    bool_,
    c64,
    f32,
    f64,
    i32,
    laws,
    program,
    u8,
)

from covector.ir.errors import TypeRuleError
from covector.ir.ops.sort import approximate_size
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import TensorType

TIES = among(-1.0, 0.0, 1.0)
UNUSUAL = among(0.0, -0.0, 1.0, np.nan, -np.inf)
ZEROS = among(0.0, 0.0, 0.5, 2.0)


def over(name: str, *axes: int, shape: tuple[int, ...] = (3, 4, 2), **fields: Any) -> Case:
    return Case(name, [f32(*shape)], {"axes": axes}, **fields)


REDUCTIONS = [
    *(
        case
        for name in ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min")
        for case in (
            over(name, 1, also="bf16 f16 f64 i32 u8", tol=4),
            over(name, 2, 0, tol=4),
            over(name, 0, 1, 2, tol=4),
            over(name),
            over(name, 0, shape=(1, 3)),
            over(name, 1, shape=(0, 3)),
            Case(name, [i32(3, 4)], {"axes": (0,)}, also="i8 u8"),
            Case(name, [i32(0, 2)], {"axes": (0,)}, also="u8"),
        )
    ),
    over("reduce_sum", 0, shape=(0, 3), differences=False),
    Case("reduce_sum", [c64(3, 4)], {"axes": (0,)}, tol=4),
    Case("reduce_prod", [c64(3, 4)], {"axes": (0,)}, tol=4),
    *(over("reduce_prod", *axes, shape=(4, 5, 2), domain=ZEROS) for axes in [(0,), (1,), (0, 2)]),
    *(
        over(name, *axes, domain=TIES, differences=False)
        for name in ("reduce_max", "reduce_min")
        for axes in [(1,), (0, 1, 2)]
    ),
    *(
        Case(name, [kind(3, 4)], {"axes": axes}, domain=(-9, 9))
        for name in ("reduce_and", "reduce_or", "reduce_xor")
        for kind in (bool_, i32, u8)
        for axes in [(0,), (0, 1)]
    ),
    *(
        Case(
            name,
            [f32(5, 6)],
            {"axes": (axis,), "index_dtype": np.dtype(dtype)},
            domain=domain,
            also=also,
        )
        for name in ("argmax", "argmin")
        for axis, dtype in [(0, "int32"), (1, "int64")]
        for domain, also in ((TIES, "bf16 i32"), (among(1.0, 2.0, np.nan), "bf16"))
    ),
]


def times(b: Any, *values: Any) -> list[Any]:
    accumulated, x = values
    return [b.mul(accumulated, x)]


def larger_pair(b: Any, *values: Any) -> list[Any]:
    """The pair whose first is larger, its index with it."""
    value, index, x, i = values
    keep = b.ge(value, x)
    return [b.select_n(keep, x, value), b.select_n(keep, i, index)]


def complex_times(b: Any, *values: Any) -> list[Any]:
    """(a + ib)(c + id)"""
    a, im, c, d = values
    return [b.sub(b.mul(a, c), b.mul(im, d)), b.add(b.mul(a, d), b.mul(im, c))]


PRODUCT = program(times, f64(), f64(), name="times")
LARGER = program(larger_pair, f64(), i32(), f64(), i32(), name="larger")
COMPLEX = program(complex_times, *[f64()] * 4, name="complex_times")
ONE, NOTHING = np.array(1.0), np.array(0.0)

GENERAL = [
    *(
        Case(
            "reduce",
            [f64(*shape), f64()],
            {"dimensions": axes, "graph": PRODUCT},
            domain=[(-2, 2), ONE],
            wrt=(0,),
            tol=4,
        )
        for shape, axes in [((5,), (0,)), ((3, 4), (1,)), ((2, 3, 4), (2, 0)), ((0, 3), (0,))]
    ),
    Case(
        "reduce",
        [f64(4, 3), f64()],
        {"dimensions": (0,), "graph": PRODUCT},
        domain=[(-2, 2), ONE],
        jax_derivative=False,  # JAX does not differentiate in initial values
    ),
    Case(
        "reduce",
        [f64(7, 2), i32(7, 2), f64(), i32()],
        {"dimensions": (0,), "graph": LARGER},
        domain=[(-2, 2), (0, 9), np.array(-np.inf), np.array(-1)],
        wrt=(0,),
        jax_derivative=False,  # JAX's fails on integers among the operands
    ),
    Case(
        "reduce",
        [f64(6), f64(6), f64(), f64()],
        {"dimensions": (0,), "graph": COMPLEX},
        domain=[(-2, 2), (-2, 2), ONE, NOTHING],
        wrt=(0, 1),
        tol=4,
    ),
]


def along(name: str, axis: int, reverse: bool, shape: Any = (5, 4), **fields: Any) -> Case:
    return Case(name, [f32(*shape)], {"axis": axis, "reverse": reverse}, **fields)


CUMULATIVE = [
    *(
        along(name, axis, reverse, also="bf16 f64", tol=8)
        for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
        for axis, reverse in [(0, False), (1, True)]
    ),
    *(
        along(name, 0, reverse, (n,), tol=4)
        for name in ("cumprod", "cummax", "cumlogsumexp")
        for n in (1, 2, 3, 8, 11)
        for reverse in (False, True)
    ),
    *(along(name, 0, False, (0, 3)) for name in ("cumsum", "cumprod", "cummax")),
    *(
        Case("linear_recurrence", [f32(*shape)] * 2, {"axis": axis, "reverse": reverse}, tol=8,
             also="bf16 f64 c64 i32", jax_types=False)
        for shape, axis in [((5, 4), 0), ((5, 4), 1), ((3, 9, 2), 1), ((1,), 0), ((0, 3), 0)]
        for reverse in (False, True)
    ),
    *(along("cumprod", 0, reverse, (9, 2), domain=ZEROS) for reverse in (False, True)),
    *(
        along(name, axis, reverse, (7, 8), domain=TIES, differences=False)
        for name in ("cummax", "cummin")
        for axis, reverse in [(0, False), (0, True), (1, False)]
    ),
    along("cumlogsumexp", 0, False, (9,), domain=(-500, 500), tol=10),
    *(Case(name, [i32(5)], {"axis": 0}, also="u8") for name in ("cumsum", "cumprod", "cummax")),
    *(
        Case(name, [c64(5)], {"axis": 0}, tol=8)
        for name in ("cumsum", "cumprod", "cumlogsumexp")
    ),
]  # fmt: skip

SORTING = [
    *(
        Case("sort", [f32(5, 6)], {"dimension": axis, "num_keys": 1}, also="bf16 f64 i32 u8")
        for axis in (0, 1)
    ),
    Case("sort", [f32(30)], {"dimension": 0}, domain=UNUSUAL, wrt=()),
    Case("sort", [f32(20), f32(20)], {"dimension": 0}, domain=[TIES, (-2, 2)], differences=False),
    Case(
        "sort",
        [i32(20), i32(20), f32(20)],
        {"dimension": 0, "num_keys": 2},
        domain=[(0, 2), (0, 2), (-2, 2)],
    ),
    Case("sort", [c64(9)], {"dimension": 0}),
    Case("sort", [c64(9)], {"dimension": 0}, domain=among(1.0, 1.0 + 1j, 1j), wrt=()),
    Case("sort", [f32(0, 3)], {"dimension": 1}),
    Case("sort", [f32(3, 0)], {"dimension": 1}),
    *(
        Case("top_k", [f32(4, 6)], {"k": k, "axis": axis}, also="bf16 f64 i32 u8")
        for k, axis in [(1, 0), (3, 1), (0, 1), (6, 1)]
    ),
    Case("top_k", [f32(20)], {"k": 9, "axis": 0}, domain=TIES, differences=False),
    Case("top_k", [f32(12)], {"k": 5, "axis": 0}, domain=among(1.0, np.nan, -np.inf), wrt=()),
    *(
        Case("approx_top_k", [f32(4, 6)], {"k": k, "reduction_dimension": axis, "is_max_k": is_max},
             also="bf16 f64")
        for k, axis, is_max in [(1, 0, True), (3, 1, False), (6, 1, True)]
    ),
    Case("approx_top_k", [f32(9)], {
        "k": 2, "reduction_dimension": 0, "aggregate_to_topk": False}),
]  # fmt: skip


@laws(REDUCTIONS + GENERAL + CUMULATIVE + SORTING)
def test_law(case: Case, law: Law) -> None:
    law(case)


WRONG: list[tuple[str, list[TensorType], dict[str, Any], str]] = [
    ("reduce_sum", [f32(3)], {"axes": (1,)}, "axis 1 of an array of rank 1"),
    ("reduce_sum", [f32(3, 3)], {"axes": (1, 1)}, "names an axis twice"),
    ("reduce_sum", [bool_(3)], {"axes": (0,)}, "does not take bool"),
    ("reduce_and", [f32(3)], {"axes": (0,)}, "does not take f32"),
    ("argmax", [f32(0)], {"axes": (0,), "index_dtype": np.dtype("i4")}, "it is empty"),
    ("argmax", [f32(3, 3)], {"axes": (0, 1), "index_dtype": np.dtype("i4")}, "along one axis"),
    ("argmax", [f32(3)], {"axes": (0,), "index_dtype": np.dtype("f4")}, "not f32"),
    ("reduce", [f64(3)], {"dimensions": (0,), "graph": PRODUCT}, "an initial value for each"),
    ("reduce", [f32(3), f32()], {"dimensions": (0,), "graph": PRODUCT}, "the combiner @times"),
    ("reduce", [f64(3), f64(3)], {"dimensions": (0,), "graph": PRODUCT}, "initial value"),
    ("cumsum", [bool_(3)], {"axis": 0, "reverse": False}, "does not take bool"),
    ("cumsum", [f32(3)], {"axis": -1, "reverse": False}, "axis -1"),
    ("linear_recurrence", [f32(3), f32(2)], {"axis": 0, "reverse": False}, "of one type"),
    ("linear_recurrence", [bool_(3), bool_(3)], {"axis": 0, "reverse": False}, "take bool"),
    ("linear_recurrence", [f32(3), f32(3)], {"axis": 1, "reverse": False}, "axis 1"),
    ("sort", [f32(3), f32(4)], {"dimension": 0, "num_keys": 1}, "of one shape"),
    ("sort", [f32(3)], {"dimension": 0, "num_keys": 2}, "by 2 of them"),
    ("top_k", [f32(3)], {"k": 4, "axis": 0}, "takes 4 elements"),
    ("top_k", [c64(3)], {"k": 1, "axis": 0}, "complex numbers do not have"),
]


@pytest.mark.parametrize(("name", "types", "params", "claim"), WRONG)
def test_errors(name: str, types: list[TensorType], params: dict[str, Any], claim: str) -> None:
    with pytest.raises(TypeRuleError, match=claim):
        PRIMITIVES[name].infer(tuple(types), params)


def test_sort_once() -> None:
    """The derivative of sort sorts once, positions along; that of argsort finds them there."""
    import covector
    from covector.passes import run_passes

    for function in (jax.numpy.sort, lambda x: x[jax.numpy.argsort(x)]):
        module = covector.make_ir(function)(np.ones(5, np.float32))
        text = str(run_passes(module, "jvp,inline,dce,cse"))
        assert text.count("= sort[") == 1
        assert "gather" in text


def test_bf16_sums_are_wide() -> None:
    """Sums of small floats do not stick at 256, where 1 is half a unit in the last place."""
    from covector.ir.interpret import evaluate

    graph = Case("reduce_sum", [bf16(400)], {"axes": (0,)}).graph
    (total,) = evaluate(graph, [np.ones(400)])
    assert float(total) == 400


def test_candidates_of_an_approximate_selection() -> None:
    """As many as XLA leaves, which are what jax.lax.approx_max_k then says it returns."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        n, rank = int(rng.integers(1, 9000)), int(rng.integers(1, 3))
        k = int(min(n, rng.choice([1, 2, 7, 300, n])))
        recall = float(rng.choice([0.5, 0.9, 0.95, 0.999]))
        override = int(rng.choice([-1, n, 3 * n, 20 * n]))
        x = jax.ShapeDtypeStruct((2, n)[-rank:], "float32")
        found = jax.eval_shape(
            lambda x, k=k, recall=recall, override=override: jax.lax.approx_max_k(
                x, k, recall_target=recall, reduction_input_size_override=override,
                aggregate_to_topk=False,
            ), x,
        )[0]  # fmt: skip
        assert approximate_size(n, rank, k, recall, override) == found.shape[-1]

"""Matrix products, and products of groups."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from harness import (
    Case,
    assert_close,
    bf16,
    cotangents,
    f32,
    i8,
    i32,
    laws,
    u8,
)

from covector.frontend.export import eval_graph
from covector.ir.builder import Builder
from covector.ir.errors import TypeRuleError
from covector.ir.graph import Graph, Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES
from covector.passes.batch import batch_graph
from covector.passes.transpose import transpose_graph

ALL = "bf16 f16 f64 c64 i32 u8 bool"


def dot(lhs, rhs, contracting, batch=((), ()), also: str = "", wrt=None, **params) -> Case:
    params["dimension_numbers"] = (contracting, batch)
    return Case("dot_general", [lhs, rhs], params, also=also, wrt=wrt)


FLOAT32 = np.dtype(np.float32)
MATRICES = ((1,), (0,))
DOTS = [
    dot(f32(2, 3), f32(3, 4), MATRICES, also=ALL),
    dot(f32(2, 3), f32(3), MATRICES),
    dot(f32(3), f32(3, 4), ((0,), (0,))),
    dot(f32(3), f32(3), ((0,), (0,))),
    dot(f32(2), f32(3), ((), ())),
    dot(f32(), f32(), ((), ())),
    dot(f32(), f32(2, 3), ((), ())),
    dot(f32(5, 2, 3), f32(5, 3, 4), ((2,), (1,)), ((0,), (0,))),
    dot(f32(2, 5, 3), f32(3, 4, 5), ((2,), (0,)), ((1,), (2,)), also="c64"),
    dot(f32(2, 3, 4, 5), f32(5, 6, 3), ((1, 3), (2, 0))),
    dot(f32(2, 3, 4, 5, 2), f32(5, 6, 3, 2, 4), ((1, 3), (2, 0)), ((4, 2), (3, 4))),
    dot(f32(2, 0), f32(0, 4), MATRICES),
    dot(f32(0, 2), f32(2, 0), MATRICES),
    dot(f32(2, 3), f32(3, 4), MATRICES, precision=("HIGHEST", "DEFAULT")),
    dot(f32(2, 3), f32(3, 4), MATRICES, precision="F32_F32_F32", wrt=()),
    dot(f32(2, 3), f32(3, 4), MATRICES, preferred_element_type=np.dtype(np.float64)),
    dot(i8(2, 3), i8(3, 4), MATRICES, preferred_element_type=np.dtype(np.int32)),
    dot(bf16(2, 3), bf16(3, 4), MATRICES, preferred_element_type=FLOAT32, wrt=()),
    dot(f32(2, 3), bf16(3, 4), MATRICES),
    dot(f32(2, 3), i32(3, 4), MATRICES),
    dot(i8(2, 3), f32(3, 4), MATRICES),
    dot(u8(2, 3), i32(3, 4), MATRICES),
]


@laws(DOTS)
def test_dot_general(case, law):
    law(case)


# -- short programs ------------------------------------------------------------------------------


def primitives(graph: Graph) -> list[str]:
    return [eqn.primitive.name for eqn in graph.equations]


def transposed(case: Case, i: int) -> Graph:
    """The transpose in operand i."""
    return transpose_graph(case.graph, tuple(j == i for j in range(2)))[0]


@pytest.mark.parametrize("i", [0, 1])
@pytest.mark.parametrize(
    ("lhs", "rhs", "contracting", "batch"),
    [
        (f32(2, 3), f32(3, 4), ((1,), (0,)), ((), ())),
        (f32(2, 3), f32(4, 3), ((1,), (1,)), ((), ())),
        (f32(3, 2), f32(3, 4), ((0,), (0,)), ((), ())),
        (f32(5, 2, 3), f32(5, 3, 4), ((2,), (1,)), ((0,), (0,))),
        (f32(2, 3), f32(3), ((1,), (0,)), ((), ())),
    ],
)
def test_matrix_products_transpose_to_one_product(i, lhs, rhs, contracting, batch):
    assert primitives(transposed(dot(lhs, rhs, contracting, batch), i)) == ["dot_general"]


def test_exchanged_operands_exchange_their_precisions():
    case = dot(f32(2, 3), f32(3, 4), MATRICES, precision=("HIGHEST", "DEFAULT"))
    for i, wanted in ((0, ("HIGHEST", "DEFAULT")), (1, ("DEFAULT", "HIGHEST"))):
        (eqn,) = transposed(case, i).equations
        assert eqn.params["precision"] == wanted


@pytest.mark.parametrize(
    ("flags", "lhs", "rhs", "names"),
    [
        ((True, False), f32(2, 3), f32(3, 4), ["dot_general"]),
        ((True, True), f32(2, 3), f32(3, 4), ["dot_general"]),
        ((False, True), f32(2, 3), f32(3, 4), ["dot_general", "transpose"]),
        ((False, True), f32(2, 3), f32(3), ["dot_general"]),
        ((False, True), f32(3), f32(3, 4), ["dot_general"]),
    ],
)
def test_batching_costs_as_few_transposes_as_possible(flags, lhs, rhs, names):
    batched, _ = batch_graph(dot(lhs, rhs, ((lhs.ndim - 1,), (0,))).graph, flags, 7)
    assert primitives(batched) == names


# -- products of groups --------------------------------------------------------------------------


def ragged(lhs, rhs, sizes, contracting, batch=((), ()), *, cut, groups=(), **more) -> Case:
    params = {
        "dimension_numbers": (contracting, batch),
        "lhs_ragged_dimensions": (cut,),
        "rhs_group_dimensions": groups,
    }
    return Case(
        "ragged_dot_general", [lhs, rhs, sizes], params, [*[(-2.0, 2.0)] * 2, (0, 3)], **more
    )


BATCH = ((0,), (1,))
NO_JAX = {"jax_derivative": False}  # JAX knows the derivative along free axes only
RAGGED = [
    ragged(f32(5, 3), f32(2, 3, 4), i32(2), ((1,), (1,)), cut=0, groups=(0,), also="bf16 c64"),
    ragged(f32(3, 5), f32(3, 4, 2), i32(2), ((0,), (0,)), cut=1, groups=(2,)),
    ragged(
        f32(6, 5, 3), f32(2, 6, 3, 4), i32(6, 2), ((2,), (2,)), ((0,), (1,)), cut=1, groups=(0,)
    ),
    ragged(f32(6, 5, 3), f32(2, 3, 4), i32(6, 2), ((2,), (1,)), cut=1, groups=(0,)),
    ragged(f32(5, 3, 2), f32(2, 2, 3, 4), i32(2), ((1, 2), (2, 1)), cut=0, groups=(0,)),
    ragged(f32(5, 3), f32(3, 4), i32(2), ((1,), (0,)), cut=1, **NO_JAX),
    ragged(f32(6, 5, 3), f32(6, 3, 4), i32(6, 2), ((2,), (1,)), ((0,), (0,)), cut=2, **NO_JAX),
    ragged(f32(5, 3, 2), f32(2, 3, 4), i32(2), ((2, 1), (0, 1)), cut=1, **NO_JAX),
    ragged(f32(5, 3, 2), f32(3, 2, 4), i32(3, 2), ((1, 2), (0, 1)), cut=2, **NO_JAX),
    ragged(f32(6, 5, 3), f32(6, 3, 4), i32(2), ((2,), (1,)), ((0,), (0,)), cut=0, **NO_JAX),
]


@laws(RAGGED)
def test_ragged_dot_general(case, law):
    law(case)


def test_a_batch_of_examples_shares_the_experts():
    """The groups' matrices are not repeated for each example."""
    case = ragged(f32(5, 3), f32(2, 3, 4), i32(2), ((1,), (1,)), cut=0, groups=(0,))
    batched, _ = batch_graph(case.graph, (True, False, True), 7)
    assert primitives(batched) == ["ragged_dot_general"]


# -- ill-typed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (dot(f32(2, 3), f32(4, 3), MATRICES), r"contracts axes of lengths \(3,\) with \(4,\)"),
        (dot(f32(2, 3), f32(3, 3), ((1,), (0,)), ((0,), (1,))), "batches axes"),
        (dot(f32(2, 3), f32(3), ((2,), (0,))), "axis 2"),
        (dot(f32(2, 3), f32(3), ((1,), (0,)), ((1,), ())), "twice"),
        (dot(f32(2, 3), f32(3, 3), ((1,), (0,)), ((0,), ())), "batches"),
        (dot(i32(3), i32(3), ((0,), (0,)), preferred_element_type=np.dtype(np.int8)), "narrower"),
        (ragged(f32(5, 3), f32(3, 4), i32(2), ((1,), (0,)), cut=0), "group axes"),
        (ragged(f32(5, 3), f32(3, 3, 4), i32(2), ((1,), (1,)), cut=0, groups=(0,)), "2 sizes"),
        (ragged(f32(5, 3), f32(3, 4), f32(2), ((1,), (0,)), cut=1), "integers"),
        (ragged(f32(5, 3), f32(3, 4), i32(7, 2), ((1,), (0,)), cut=1), "sizes of shape"),
    ],
)
def test_ill_typed(case, message):
    with pytest.raises(TypeRuleError, match=message):
        Builder().emit(PRIMITIVES[case.of], *map(Value, case.operands), **case.params)


@pytest.mark.parametrize(
    "case",
    [
        dot(bf16(2, 3), bf16(3, 4), MATRICES, preferred_element_type=FLOAT32),
        dot(bf16(2, 3), f32(3, 4), MATRICES),
    ],
)
def test_cotangents_have_the_operands_dtypes(case):
    """A wider result's cotangent is multiplied as it is, and converted at the end."""
    for i in range(2):
        backward = transposed(case, i)
        assert backward.outputs[0].type is case.operands[i]
        xs, cts = case.sample(), cotangents(case)
        want = jax_cotangents(case, xs, cts)[i]
        (got,) = evaluate(backward, [xs[1 - i], *cts])
        assert_close(got, want, 2)


def jax_cotangents(case: Case, xs, cts):
    y, pull = jax.vjp(lambda *xs: tuple(eval_graph(case.graph, xs)), *xs)
    assert [c.dtype for c in cts] == [v.dtype for v in y]
    return pull(tuple(cts))

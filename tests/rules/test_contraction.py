"""Matrix products and convolutions."""

from __future__ import annotations

from dataclasses import replace

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
from covector.ir.types import TensorType
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


# -- convolutions --------------------------------------------------------------------------------

SPECS = {"N": 0, "C": 1, "O": 0, "I": 1}


def spec(letters: str) -> tuple[int, ...]:
    """`NHWC` as the axes of batch, feature, and the spatial ones in the order HWD."""
    first = sorted((c for c in letters if c in SPECS), key=SPECS.__getitem__)
    return tuple(letters.index(c) for c in (*first, *(c for c in "HWD" if c in letters)))


def conv(lhs, rhs, layout=None, also: str = "", wrt=None, **params) -> Case:
    n = lhs.ndim - 2
    letters = layout or ("NC" + "HWD"[:n], "OI" + "HWD"[:n], "NC" + "HWD"[:n])
    params = {
        **dict(zip(("lhs_spec", "rhs_spec", "out_spec"), map(spec, letters), strict=True)),
        "window_strides": (1,) * n,
        "padding": ((0, 0),) * n,
        "lhs_dilation": (1,) * n,
        "rhs_dilation": (1,) * n,
        **params,
    }
    return Case("conv_general_dilated", [lhs, rhs], params, also=also, wrt=wrt)


ODD = ("HNWC", "IOHW", "WCHN")
CONVOLUTIONS = [
    conv(f32(2, 3, 5), f32(4, 3, 2), padding=((1, 1),), also="bf16 f64 c64 i32"),
    conv(f32(2, 3, 5), f32(4, 3, 2), padding=((-1, 2),), precision=("HIGHEST", "HIGHEST")),
    conv(f32(2, 3), f32(4, 3)),
    conv(f32(2, 4, 5), f32(4, 1, 3), feature_group_count=4),
    conv(f32(1, 1, 2), f32(1, 1, 5)),
    conv(f32(0, 3, 5), f32(4, 3, 2)),
    conv(bf16(2, 3, 5), bf16(4, 3, 2), preferred_element_type=FLOAT32, wrt=()),
    conv(f32(2, 5, 6, 3), f32(3, 2, 3, 4), ("NHWC", "HWIO", "NHWC"), window_strides=(2, 1)),
    conv(
        f32(2, 3, 5, 6), f32(4, 3, 3, 2), padding=((1, 2), (0, 3)), window_strides=(2, 3),
        lhs_dilation=(2, 1), rhs_dilation=(1, 2),
    ),
    conv(f32(2, 4, 5, 6), f32(6, 2, 3, 2), feature_group_count=2, window_strides=(1, 2)),
    conv(f32(4, 3, 5, 6), f32(6, 3, 3, 2), batch_group_count=2, window_strides=(1, 2)),
    conv(f32(5, 2, 6, 3), f32(3, 4, 3, 2), ODD, padding=((1, 1), (0, 2)), rhs_dilation=(2, 1)),
]  # fmt: skip
MORE_CONVOLUTIONS = [
    conv(f32(1, 2, 4, 3, 5), f32(2, 2, 2, 2, 2), window_strides=(1, 2, 1)),
    conv(f32(2, 3, 7), f32(4, 3, 3), padding=((2, 1),), window_strides=(2,)),
    conv(f32(2, 3, 5), f32(0, 3, 2)),
    conv(
        f32(5, 2, 6, 4), f32(2, 4, 3, 2), ODD, padding=((1, 1), (0, 2)), rhs_dilation=(2, 1),
        feature_group_count=2,
    ),
    conv(
        f32(5, 2, 6, 4), f32(4, 4, 3, 2), ODD, padding=((1, 1), (0, 2)), lhs_dilation=(2, 1),
        batch_group_count=2,
    ),
]  # fmt: skip


@laws(CONVOLUTIONS)
def test_convolution(case, law):
    law(case)


@pytest.mark.slow
@laws(MORE_CONVOLUTIONS)
def test_more_convolutions(case, law):
    law(case)


@pytest.mark.parametrize(
    ("i", "names"), [(0, ["rev", "conv_general_dilated"]), (1, ["conv_general_dilated"])]
)
def test_convolutions_transpose_to_one_convolution(i, names):
    assert primitives(transposed(conv(f32(2, 3, 5), f32(4, 3, 2)), i)) == names


def test_a_batch_of_images_needs_no_transpose():
    batched, _ = batch_graph(conv(f32(2, 3, 5), f32(4, 3, 2)).graph, (True, False), 7)
    assert primitives(batched) == ["reshape", "conv_general_dilated", "reshape"]


def test_an_empty_batch():
    for flags in ((True, False), (False, True), (True, True)):
        batched, _ = batch_graph(conv(f32(2, 3, 5), f32(4, 3, 2)).graph, flags, 0)
        assert batched.outputs[0].type is f32(0, 2, 4, 4)


# -- ill-typed -----------------------------------------------------------------------------------


def convolution(lhs: TensorType, rhs: TensorType, **changes) -> Case:
    case = conv(f32(2, 4, 5), f32(4, 4, 2))
    return replace(case, operands=[lhs, rhs], params={**case.params, **changes})


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
        (convolution(f32(2, 4, 5), f32(4, 4)), "one rank"),
        (convolution(f32(2, 4, 5), f32(4, 3, 2)), "takes a kernel of 4 input features"),
        (convolution(f32(2, 4, 5), bf16(4, 4, 2)), "one dtype"),
        (convolution(f32(2, 4, 5), f32(4, 4, 2), lhs_spec=(0, 1, 1)), "does not place"),
        (convolution(f32(2, 4, 5), f32(4, 4, 2), padding=()), "of 1 axes"),
        (convolution(f32(2, 4, 5), f32(4, 4, 2), window_strides=(0,)), "positive"),
        (convolution(f32(2, 4, 5), f32(4, 4, 2), padding=((-3, -3),)), "less than nothing"),
        (convolution(f32(2, 4, 5), f32(4, 4, 2), feature_group_count=3), "does not divide"),
        (convolution(f32(2, 4, 5), f32(4, 4, 2), batch_group_count=0), "positive"),
        (
            convolution(f32(2, 4, 5), f32(4, 2, 2), batch_group_count=2, feature_group_count=2),
            "not both",
        ),
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
        conv(bf16(2, 3, 5), bf16(4, 3, 2), preferred_element_type=FLOAT32),
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

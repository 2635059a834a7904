"""Convolutions."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from harness import Case, assert_close, bf16, cotangents, f32, laws

from covector.frontend.export import eval_graph
from covector.ir.builder import Builder
from covector.ir.errors import TypeRuleError
from covector.ir.graph import Graph, Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import TensorType
from covector.passes.batch import batch_graph
from covector.passes.transpose import transpose_graph

FLOAT32 = np.dtype(np.float32)

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


def primitives(graph: Graph) -> list[str]:
    return [eqn.primitive.name for eqn in graph.equations]


def transposed(case: Case, i: int) -> Graph:
    """The transpose in operand i."""
    return transpose_graph(case.graph, tuple(j == i for j in range(2)))[0]


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


def test_cotangents_have_the_operands_dtypes():
    """A wider result's cotangent is multiplied as it is, and converted at the end."""
    case = conv(bf16(2, 3, 5), bf16(4, 3, 2), preferred_element_type=FLOAT32)
    xs, cts = case.sample(), cotangents(case)
    _, pull = jax.vjp(lambda *xs: tuple(eval_graph(case.graph, xs)), *xs)
    for i, want in enumerate(pull(tuple(cts))):
        (got,) = evaluate(transposed(case, i), [xs[1 - i], *cts])
        assert_close(got, want, 2)

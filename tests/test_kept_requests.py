"""What a primitive was asked for, derivatives and batches keep: accuracy, precision, dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, bf16, f32, i32
from jax import lax

import covector
import covector.ir.ops as ops
from covector.ir.graph import Equation, Graph
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import TensorType
from covector.lowering.emit import lower_graph
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.reverse import vjp_graph

FLOAT32 = np.dtype(np.float32)
REQUESTS = ("accuracy", "precision", "preferred_element_type", "algorithm")
assert ops.__all__

MATRICES = {"dimension_numbers": (((1,), (0,)), ((), ()))}
PLAIN = {"lhs_spec": (0, 1, 2), "rhs_spec": (0, 1, 2), "out_spec": (0, 1, 2),
         "window_strides": (1,), "padding": ((1, 0),), "lhs_dilation": (1,),
         "rhs_dilation": (1,)}  # fmt: skip
GROUPED = {"dimension_numbers": (((1,), (1,)), ((), ())), "lhs_ragged_dimensions": (0,),
           "rhs_group_dimensions": (0,)}  # fmt: skip
BLOCKS = (((2,), (1,)), ((0,), (0,)))

CASES: dict[str, Callable[[Callable[..., TensorType]], tuple[list[TensorType], dict[str, Any]]]] = {
    "dot_general": lambda t: ([t(2, 3), t(3, 4)], MATRICES),
    "conv_general_dilated": lambda t: ([t(2, 3, 5), t(4, 3, 2)], PLAIN),
    "ragged_dot_general": lambda t: ([t(5, 3), t(2, 3, 4), i32(2)], GROUPED),
    "scaled_dot": lambda t: (
        [t(2, 3, 8), t(2, 8, 4), t(2, 3, 2), t(2, 4, 4)], {"dimension_numbers": BLOCKS}
    ),
    "scaled_matmul": lambda t: ([t(2, 3, 8), t(2, 4, 8), t(2, 3, 2), t(2, 4, 4)], {}),
}  # fmt: skip


def primitives_with(request: str) -> list[str]:
    return sorted(name for name, p in PRIMITIVES.items() if request in p.defaults)


def made_of(case: Case) -> Iterator[tuple[str, Graph]]:
    """The programs of derivatives, first and second, and of a batch."""
    active = tuple(t.dtype.kind != "i" for t in case.operands)
    pushed, _ = jvp_graph(case.graph, active)
    pulled = vjp_graph(case.graph, active)
    yield "jvp", pushed
    yield "vjp", pulled
    more = tuple(True for _ in pulled.inputs[len(active) :])
    yield "jvp of vjp", jvp_graph(pulled, (*active, *more))[0]
    yield "vjp of vjp", vjp_graph(pulled, (*active, *more))
    yield "batch", batch_graph(case.graph, (True,) * len(active), 3)[0]


def asked(graph: Graph, request: str) -> list[Any]:
    """What each equation that can be asked for it is asked for."""
    return [eqn.params[request] for eqn in graph.equations if request in eqn.primitive.defaults]


def test_there_are_no_others() -> None:
    """Of parameters that say how to compute, not what."""
    assert set(primitives_with("precision")) == set(list(CASES)[:3])
    assert set(primitives_with("preferred_element_type")) == set(CASES)
    assert set(primitives_with("algorithm")) == {"eigh", "svd", "rng_bit_generator"}


@pytest.mark.parametrize("accuracy", ["HIGHEST", (1e-4, 1e-5, 3)], ids=["mode", "bounds"])
@pytest.mark.parametrize("name", primitives_with("accuracy"))
def test_accuracy(name: str, accuracy: Any) -> None:
    case = Case(name, [f32(3)], {"accuracy": accuracy})
    for what, graph in made_of(case):
        kept = asked(graph, "accuracy")
        assert kept and set(kept) == {accuracy}, f"{what}:\n{graph}"


@pytest.mark.parametrize("name", primitives_with("precision"))
def test_precision(name: str) -> None:
    """Of two operands, each keeps its own, wherever it stands."""
    operands, params = CASES[name](f32)
    for precision in (("HIGHEST", "HIGHEST"), "F32_F32_F32"):
        case = Case(name, operands, {**params, "precision": precision})
        for what, graph in made_of(case):
            kept = asked(graph, "precision")
            assert kept and set(kept) == {precision}, f"{what}:\n{graph}"
    case = Case(name, operands, {**params, "precision": ("HIGHEST", "DEFAULT")})
    for what, graph in made_of(case):
        kept = set(asked(graph, "precision"))
        assert kept <= {("HIGHEST", "DEFAULT"), ("DEFAULT", "HIGHEST")} and kept, what


@pytest.mark.parametrize("precision", [lax.DotAlgorithmPreset.DEFAULT, "F32_F32_F32", "highest"])
def test_precisions_as_jax(precision: Any) -> None:
    """Algorithms are of matrix products: they say nothing of convolutions."""
    x, y = np.arange(12, dtype=np.float32).reshape(3, 4), np.ones((4, 3), np.float32)

    def loss(x: Any) -> Any:
        kernel = np.ones((1, 1, 2, 2), np.float32)
        image = lax.conv(x[None, None], kernel, (1, 1), "SAME", precision=precision)
        return (jnp.sin(lax.dot(x, y, precision=precision)).sum() + jnp.cos(image)).sum()

    for run in (covector.grad(loss), covector.jit(covector.grad(loss))):
        np.testing.assert_allclose(run(x), jax.grad(loss)(x), rtol=1e-4, atol=1e-4)


def is_contraction(eqn: Equation) -> bool:
    return "preferred_element_type" in eqn.primitive.defaults


@pytest.mark.parametrize("name", primitives_with("preferred_element_type"))
def test_preferred_types(name: str) -> None:
    """Products of small floats are accumulated in as many bits in all that is derived."""
    operands, params = CASES[name](bf16)
    case = Case(name, operands, {**params, "preferred_element_type": FLOAT32})
    for what, graph in made_of(case):
        results = [e.outputs[0].type.dtype for e in graph.equations if is_contraction(e)]
        assert results and set(results) == {FLOAT32}, f"{what}:\n{graph}"


@pytest.mark.parametrize("name", ["eigh", "svd"])
def test_algorithms(name: str) -> None:
    """Of a factorisation that a derivative does again there is none: it is done once."""
    params = {"algorithm": "QR", "full_matrices": False} if name == "svd" else {"algorithm": "QR"}
    for what, graph in made_of(Case(name, [f32(3, 3)], params)):
        assert asked(graph, "algorithm") == ["QR"], what


def test_products_of_two_dtypes() -> None:
    """Of a `mul` with an out_dtype, the tangent has it too; cotangents have those of operands."""
    case = Case("mul", [bf16(3), bf16(3)], {"out_dtype": FLOAT32})
    for what, graph in made_of(case):
        assert None not in asked(graph, "out_dtype"), what
        if what in ("jvp", "batch"):
            assert set(asked(graph, "out_dtype")) == {FLOAT32}


def test_lowered() -> None:
    """What is asked for reaches the compiler in derivatives, too."""
    sine = vjp_graph(Case("sin", [f32(3)], {"accuracy": "HIGHEST"}).graph, (True,))
    assert lower_graph(sine).as_text().count("result_accuracy_mode<HIGHEST>") == 2
    operands, params = CASES["dot_general"](f32)
    product = Case("dot_general", operands, {**params, "precision": ("HIGHEST", "HIGHEST")})
    text = lower_graph(vjp_graph(product.graph, (True, True))).as_text()
    assert text.count("precision = [HIGHEST, HIGHEST]") == 3


SCATTERS = ["scatter", "scatter_add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max"]


@pytest.mark.parametrize("name", ["gather", *SCATTERS])
def test_modes_of_indexing(name: str) -> None:
    """What derivatives gather and scatter again, they do in the mode of the primal."""
    if name == "gather":
        params = {"offset_dims": (1,), "collapsed_slice_dims": (0,), "start_index_map": (0,),
                  "slice_sizes": (1, 3)}  # fmt: skip
        operands = [f32(4, 3), i32(2, 1)]
    else:
        params = {"update_window_dims": (1,), "inserted_window_dims": (0,),
                  "scatter_dims_to_operand_dims": (0,), "unique_indices": True}  # fmt: skip
        operands = [f32(4, 3), i32(2, 1), f32(2, 3)]
    for mode in ("CLIP", "FILL_OR_DROP"):
        for what, graph in made_of(Case(name, operands, {**params, "mode": mode})):
            kept = asked(graph, "mode")
            assert kept and set(kept) == {mode}, f"{what}:\n{graph}"

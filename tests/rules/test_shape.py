"""The shape primitives: moving, repeating, joining and cutting."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from harness import Case, bool_, c64, f32, f64, i32, laws, program, u8, weak

from covector.ir.builder import Builder
from covector.ir.errors import TypeRuleError
from covector.ir.graph import Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import TensorType
from covector.passes.transpose import transpose_graph

ALL = "bf16 f64 c64 i32 u8 bool"


def broadcast(*operand: int, shape: tuple[int, ...], axes: tuple[int, ...], also: str = "") -> Case:
    params = {"shape": shape, "broadcast_dimensions": axes}
    return Case("broadcast_in_dim", [f32(*operand)], params, also=also)


def pad(*operand: int, config: tuple[tuple[int, int, int], ...], also: str = "") -> Case:
    return Case("pad", [f32(*operand), f32()], {"padding_config": config}, also=also)


CASES = [
    broadcast(3, 1, shape=(2, 3, 5, 4), axes=(1, 3), also=ALL),
    broadcast(shape=(2, 3), axes=()),
    broadcast(shape=(0, 3), axes=()),
    broadcast(3, shape=(1, 3, 1), axes=(1,)),
    broadcast(1, 3, shape=(2, 3, 1), axes=(0, 1)),
    broadcast(1, 1, shape=(1, 1, 1), axes=(0, 2)),
    broadcast(1, 0, shape=(2, 0, 1), axes=(0, 1)),
    broadcast(2, 1, 3, shape=(4, 2, 5, 3, 6), axes=(1, 2, 3)),
    Case("broadcast_in_dim", [weak(f32())], {"shape": (2,), "broadcast_dimensions": ()}),
    Case("reshape", [f32(3, 4)], {"new_sizes": (2, 6)}, also=ALL),
    Case("reshape", [f32(3, 0)], {"new_sizes": (0, 7)}),
    Case("reshape", [f32(1, 1)], {"new_sizes": ()}),
    Case("reshape", [f32()], {"new_sizes": (1, 1)}),
    Case("transpose", [f32(2, 3, 4)], {"permutation": (2, 0, 1)}, also=ALL),
    Case("transpose", [f32(2, 0, 1, 2, 3)], {"permutation": (4, 2, 0, 1, 3)}),
    Case("squeeze", [f32(1, 3, 1, 2)], {"dimensions": (0, 2)}, also=ALL),
    Case("squeeze", [f32(1)], {"dimensions": (0,)}),
    Case("concatenate", [f32(2, 3), f32(2, 1), f32(2, 0)], {"dimension": 1}, also=ALL),
    Case("concatenate", [f32(2, 3), f32(2, 1), f32(2, 2)], {"dimension": 1}, wrt=(1,)),
    Case("concatenate", [f32(2, 3), f32(1, 3), f32(2, 3)], {"dimension": 0}, wrt=(0, 2)),
    Case("concatenate", [weak(f32(2)), f32(3)], {"dimension": 0}),
    pad(2, 3, 2, config=((1, 2, 1), (-1, 3, 0), (0, -1, 2)), also=ALL),
    pad(5, 2, config=((-2, -1, 0), (-1, 4, 1))),
    pad(5, 4, config=((-2, -1, 2), (-1, 0, 1))),
    pad(0, config=((2, 1, 2),)),
    pad(1, 3, config=((0, 0, 3), (1, 0, 0))),
    pad(3, config=((-2, -1, 0),)),
    Case("pad", [f32(3), f32()], {"padding_config": ((1, 1, 1),)}, wrt=(0,)),
    Case("pad", [f32(3), f32()], {"padding_config": ((1, 1, 1),)}, wrt=(1,), jax_derivative=False),
    Case("rev", [f32(2, 3, 4)], {"dimensions": (0, 2)}, also=ALL),
    Case("split", [f32(2, 4)], {"sizes": (1, 0, 3), "axis": 1}, also=ALL),
    Case("split", [f32(4, 1)], {"sizes": (2, 2), "axis": 0}),
    Case("tile", [f32(2, 3, 4)], {"reps": (2, 1, 3)}, also=ALL),
    Case("tile", [f32(2, 3)], {"reps": (0, 2)}),
    Case("stack", [f32(2, 3), f32(2, 3)], {"axis": 1}, also=ALL),
    Case("stack", [f32(), f32()], {"axis": 0}, wrt=(1,)),
    Case("unstack", [f32(2, 3)], {"axis": 1}, also=ALL),
    Case("unstack", [f32(2, 3)], {"axis": 0}),
    Case("iota", [], {"dtype": i32().dtype, "shape": (2, 3), "dimension": 1}),
    Case("iota", [], {"dtype": f32().dtype, "shape": (0,), "dimension": 0}),
    Case("iota", [], {"dtype": c64().dtype, "shape": (3, 2), "dimension": 0}),
    Case("iota", [], {"dtype": u8().dtype, "shape": (300,), "dimension": 0}),
    Case("empty", [], {"shape": (2,), "dtype": f32().dtype}, jax=False),
    Case("empty2", [], {"dtype": f64().dtype}, jax=False),
    Case("tie", [f32(2), f32(3)], also="bf16 i32"),
    Case("optimization_barrier", [f32(2), f32(3), i32(2)]),
    Case("optimization_barrier", [f32(2), f32(3)], wrt=(1,)),
    Case("optimization_barrier", [bool_(2)]),
]


@laws(CASES)
def test_law(case, law):
    law(case)


def emit(name: str, *types: TensorType, **params) -> object:
    return Builder().emit(PRIMITIVES[name], *map(Value, types), **params)


@pytest.mark.parametrize(
    ("name", "types", "params", "message"),
    [
        ("broadcast_in_dim", [f32(3)], {"shape": (2,), "broadcast_dimensions": (0,)}, "stretch"),
        ("broadcast_in_dim", [f32(3)], {"shape": (3,), "broadcast_dimensions": ()}, "places 0"),
        ("broadcast_in_dim", [f32(3)], {"shape": (3,), "broadcast_dimensions": (1,)}, "axis 1"),
        (
            "broadcast_in_dim",
            [f32(2, 2)],
            {"shape": (2, 2), "broadcast_dimensions": (0, 0)},
            "twice",
        ),
        ("reshape", [f32(3)], {"new_sizes": (2, 2)}, "3 elements"),
        ("transpose", [f32(3, 2)], {"permutation": (0,)}, "not a permutation"),
        ("squeeze", [f32(3, 1)], {"dimensions": (0,)}, "length 1"),
        ("concatenate", [], {"dimension": 0}, "at least one"),
        ("concatenate", [f32(3), i32(3)], {"dimension": 0}, "one dtype"),
        ("concatenate", [f32(3, 2), f32(3, 3)], {"dimension": 0}, "differ in others"),
        ("pad", [f32(3), f32(1)], {"padding_config": ((0, 1, 0),)}, "scalar"),
        ("pad", [f32(3), f32()], {"padding_config": ((0, 1, -1),)}, "between"),
        ("pad", [f32(3), f32()], {"padding_config": ((-2, -2, 0),)}, "less than nothing"),
        ("pad", [f32(3), f32()], {"padding_config": ()}, "0 axes"),
        ("rev", [f32(3)], {"dimensions": (1,)}, "axis 1"),
        ("iota", [], {"dtype": np.dtype(bool), "shape": (2,), "dimension": 0}, "numbers"),
        ("iota", [], {"dtype": np.dtype(int), "shape": (), "dimension": 0}, "axis 0"),
        ("split", [f32(3)], {"sizes": (1, 1), "axis": 0}, "sum"),
        ("tile", [f32(3)], {"reps": (1, 2)}, "one count"),
        ("stack", [f32(3), f32(2)], {"axis": 0}, "one shape"),
        ("unstack", [f32()], {"axis": 0}, "axis 0"),
    ],
)
def test_ill_typed(name, types, params, message):
    with pytest.raises(TypeRuleError, match=message):
        emit(name, *types, **params)


# -- what the builder simplifies -----------------------------------------------------------------


def names(build, *types: TensorType) -> list[str]:
    graph = program(lambda b, *xs: [build(b, *xs)], *types)
    return [eqn.primitive.name for eqn in graph.equations if _is_read(graph, eqn)]


def _is_read(graph, eqn) -> bool:
    read = {x for e in graph.equations for x in e.inputs} | set(graph.outputs)
    return not read.isdisjoint(eqn.outputs)


@pytest.mark.parametrize(
    ("build", "types", "left"),
    [
        (lambda b, x: b.reshape(x, new_sizes=(2, 3)), [f32(2, 3)], []),
        (lambda b, x: b.reshape(b.reshape(x, new_sizes=(6,)), new_sizes=(3, 2)), [f32(2, 3)], 1),
        (lambda b, x: b.reshape(b.broadcast(x, (2, 3), ()), new_sizes=(6,)), [f32()], 1),
        (lambda b, x: b.broadcast(x, (2, 3), (0, 1)), [f32(2, 3)], []),
        (lambda b, x: b.broadcast(b.broadcast(x, (1, 2), (1,)), (3, 2), (0, 1)), [f32(2)], 1),
        (lambda b, x: b.transpose(x, permutation=(0, 1)), [f32(2, 3)], []),
        (lambda b, x: twice(b.transpose, x, permutation=(1, 2, 0)), [f32(2, 3, 4)], 1),
        (lambda b, x: twice(b.transpose, x, permutation=(1, 0)), [f32(2, 3)], []),
        (lambda b, x: b.transpose(b.broadcast(x, (2, 3), (1,)), permutation=(1, 0)), [f32(3)], 1),
        (lambda b, x: twice(b.rev, x, dimensions=(0,)), [f32(2)], []),
        (lambda b, x: b.rev(x, dimensions=()), [f32(2)], []),
        (lambda b, x: b.squeeze(x, dimensions=()), [f32(2)], []),
        (lambda b, x: b.concatenate(x, dimension=0), [f32(2)], []),
        (lambda b, x: b.tile(x, reps=(1,)), [f32(2)], []),
        (lambda b, x, v: b.pad(x, v, padding_config=((0, 0, 0),)), [f32(2), f32()], []),
        (lambda b, x, v: b.pad(x, v, padding_config=((0, 0, 0),)), [weak(f32(2)), f32()], 1),
    ],
)
def test_folds(build, types, left):
    found = names(build, *types)
    assert found == left if isinstance(left, list) else len(found) == left


def twice(make, x, **params):
    return make(make(x, **params), **params)


# -- programs that are no longer than JAX's ------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "types", "wanted"),
    [
        (lambda b, x: b.broadcast(x, (4, 2, 3), (1, 2)), [f32(1, 3)], ["reduce_sum", "reshape"]),
        (lambda b, x: b.broadcast(x, (4, 2, 3), (1, 2)), [f32(2, 3)], ["reduce_sum"]),
        (lambda b, x: b.broadcast(x, (1, 2, 1), (1,)), [f32(2)], ["reshape"]),
        (lambda b, x: b.pad(x, 0, padding_config=((1, 2, 3),)), [f32(2)], ["slice"]),
        (lambda b, x: b.pad(x, 0, padding_config=((-1, 2, 0),)), [f32(4)], ["pad", "slice"]),
        (lambda b, x, y: b.concatenate(x, y, dimension=0), [f32(2), f32(3)], ["split"]),
        (lambda b, x: b.concatenate(x, x, dimension=0), [f32(2)], ["split", "add_any"]),
        (lambda b, x: b.split(x, sizes=(1, 2), axis=0)[1], [f32(3)], ["pad"]),
        (lambda b, x: b.tile(x, reps=(1, 3)), [f32(2, 2)], ["reshape", "reduce_sum"]),
        (lambda b, x, y: b.stack(x, y, axis=0), [f32(2), f32(2)], ["unstack"]),
    ],
)
def test_transposes_are_short(build, types, wanted):
    graph = program(lambda b, *xs: [build(b, *xs)], *types)
    backward, _ = transpose_graph(graph, (True,) * len(types))
    assert [eqn.primitive.name for eqn in backward.equations] == wanted


@pytest.mark.parametrize("name", ["float8_e4m3fn", "int4", "float8_e5m2"])
def test_small_dtypes_move_like_others(name):
    """A shape operation asks nothing of its elements."""
    x = TensorType((2, 3), jax.numpy.dtype(name))
    graph = program(lambda b, x: [b.transpose(x, permutation=(1, 0))], x)
    assert graph.outputs[0].type is TensorType((3, 2), x.dtype)
    values = np.arange(6).reshape(2, 3).astype(x.dtype)
    (got,) = evaluate(graph, [values])
    np.testing.assert_array_equal(got, values.T)

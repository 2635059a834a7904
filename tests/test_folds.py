"""What the builder folds: the same values to the bit, the same types, fewer equations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import bool_, c64, f16, f32, f64, i32, u8, weak

from covector.ir.builder import Builder, Zero
from covector.ir.graph import Equation, Graph, Literal, Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import TensorType, dtype_category, dtype_from_name

Build = Callable[..., Any]
SPECIAL = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 3e38, 1e-40]


class Plain(Builder):
    """A builder that folds nothing."""

    __slots__ = ()

    def emit_atoms(self, primitive: Any, inputs: Any, params: Any) -> tuple[Any, ...]:
        types = primitive.infer(tuple(x.type for x in inputs), params)
        several = (types,) if isinstance(types, TensorType) else types
        outputs = tuple(Value(t) for t in several)
        self.append(Equation(primitive, inputs, outputs, params))
        return outputs


def both_ways(build: Build, *types: TensorType) -> tuple[Graph, Graph]:
    """The program, folded and plain."""
    graphs = []
    for b in (Builder(), Plain()):
        values = [Value(t) for t in types]
        graphs.append(b.graph(values, [build(b, *values)]))
    return graphs[0], graphs[1]


def values_of(type: TensorType) -> Any:
    """Values of this type, the odd ones among them."""
    dtype: Any = type.dtype
    category = dtype_category(dtype)
    if category == "complex":
        pairs = [complex(a, b) for a, b in itertools.product(SPECIAL, SPECIAL)]
        return np.resize(np.array(pairs, dtype), type.shape)
    if category == "float":
        with np.errstate(all="ignore"):
            return np.resize(np.array(SPECIAL).astype(dtype), type.shape)
    return np.resize(np.array([0, 1, 3, 200, 255, 128]).astype(np.uint8).astype(dtype), type.shape)


def check_equal(build: Build, *types: TensorType) -> tuple[Graph, Graph]:
    folded, plain = both_ways(build, *types)
    assert folded.output_types == plain.output_types
    arrays = [values_of(t) for t in types]
    (got,), (want,) = evaluate(folded, arrays), evaluate(plain, arrays)
    got, want = np.asarray(got), np.asarray(want)
    is_nan = want != want
    assert got[~is_nan].tobytes() == want[~is_nan].tobytes()
    assert np.all(got[is_nan] != got[is_nan])
    return folded, plain


def live(graph: Graph) -> int:
    """Equations that the output needs."""
    needed: set[Any] = set(graph.outputs)
    count = 0
    for eqn in reversed(graph.equations):
        if needed.intersection(eqn.outputs):
            needed.update(eqn.inputs)
            count += 1
    return count


def ones(b: Any, x: Any, value: float = 1) -> Any:
    return b.broadcast(Literal(value, TensorType((), x.type.dtype)), x.type.shape, ())


def repeated(b: Any, x: Any) -> Any:
    return b.broadcast(x, (4, 5), ())


def rows(b: Any, x: Any, indices: Any, mode: str) -> Any:
    """Rows of a matrix, wherever the indices say."""
    return b.gather(
        x, indices, offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,),
        slice_sizes=(1, 5), mode=mode, fill_value=0,
    )  # fmt: skip


X, F64 = f32(9), f64().dtype
SHRINKING: list[tuple[str, Build, list[TensorType], int]] = [
    ("x * 1", lambda b, x: b.mul(x, 1), [X], 0),
    ("1 * x", lambda b, x: b.mul(1, x), [X], 0),
    ("x * ones", lambda b, x: b.mul(x, ones(b, x)), [X], 0),
    ("x * twos", lambda b, x: b.mul(x, ones(b, x, 2)), [X], 1),
    ("weak / strong ones", lambda b, x: b.div(x, ones(b, x)), [weak(X)], 1),
    ("x / 1", lambda b, x: b.div(x, 1), [X], 0),
    ("x - 0", lambda b, x: b.sub(x, 0.0), [X], 0),
    ("x + -0", lambda b, x: b.add(x, -0.0), [X], 0),
    ("n + 0", lambda b, x: b.add(x, 0), [i32(6)], 0),
    ("n * 1", lambda b, x: b.mul(x, 1), [u8(6)], 0),
    ("--x", lambda b, x: b.neg(b.neg(x)), [X], 0),
    ("x ** 1", lambda b, x: b.integer_pow(x, y=1), [X], 0),
    ("pow(x, 1)", lambda b, x: b.pow(x, 1.0), [X], 0),
    ("2 - 1", lambda b, x: b.mul(x, b.sub(Literal(2, f32()), 1)), [X], 0),
    ("0.5 * 3", lambda b, x: b.mul(x, b.mul(Literal(0.5, f32()), 3)), [X], 1),
    ("2 > 1", lambda b, x: b.select_n(b.gt(Literal(2, f32()), 1), b.neg(x), x), [X], 0),
    ("real(complex)", lambda b, x: b.real(b.complex(x, b.neg(x))), [X], 0),
    ("imag(complex)", lambda b, x: b.imag(b.complex(b.neg(x), x)), [X], 0),
    ("complex(real, imag)", lambda b, x: b.complex(b.real(x), b.imag(x)), [c64(81)], 0),
    ("conj conj", lambda b, x: b.conj(b.conj(x)), [c64(81)], 0),
    ("real conj", lambda b, x: b.real(b.conj(x)), [c64(81)], 1),
    ("real conj of real", lambda b, x: b.real(b.conj(x)), [X], 0),
    ("select x x", lambda b, p, x: b.select_n(p, x, x), [bool_(9), X], 0),
    ("not not", lambda b, p: getattr(b, "not")(getattr(b, "not")(p)), [bool_(6)], 0),
    ("n & -1", lambda b, n: getattr(b, "and")(n, -1), [i32(6)], 0),
    ("p | False", lambda b, p: getattr(b, "or")(p, False), [bool_(6)], 0),
    ("n ^ 0", lambda b, n: b.xor(n, 0), [u8(6)], 0),
    ("f32 of f32", lambda b, x: b.convert(x, x.type.dtype), [X], 0),
    ("f32 of f64 of f32", lambda b, x: b.convert(b.convert(x, F64), f32().dtype), [X], 0),
    ("i32 of f64 of f16", lambda b, x: b.convert(b.convert(x, F64), i32().dtype), [f16(9)], 1),
    ("stop stop", lambda b, x: b.stop_gradient(b.stop_gradient(x)), [X], 1),
    ("sum over nothing", lambda b, x: b.reduce_sum(x, axes=()), [X], 0),
    ("rev of repeated", lambda b, x: b.rev(repeated(b, x), dimensions=(1,)), [f32()], 1),
    ("slice of repeated", lambda b, x: b.slice(
        repeated(b, x), start_indices=(1, 0), limit_indices=(3, 5), strides=(1, 2)), [f32()], 1),
    ("dynamic slice of repeated", lambda b, x, i: b.dynamic_slice(
        repeated(b, x), i, i, slice_sizes=(2, 1)), [f32(), i32()], 1),
    ("clipped rows of repeated", lambda b, x, i: rows(b, repeated(b, x), i, "CLIP"),
     [weak(f32()), i32(6, 1)], 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "types", "left"), [s[1:] for s in SHRINKING], ids=[s[0] for s in SHRINKING]
)
def test_fold(build: Build, types: list[TensorType], left: int) -> None:
    folded, plain = check_equal(build, *types)
    assert live(folded) == left < live(plain)


KEPT: list[tuple[str, Build, list[TensorType]]] = [
    ("x + 0", lambda b, x: b.add(x, 0.0), [X]),
    ("x - -0", lambda b, x: b.sub(x, -0.0), [X]),
    ("0 - x", lambda b, x: b.sub(0.0, x), [X]),
    ("x * 0", lambda b, x: b.mul(x, 0), [X]),
    ("c * 1", lambda b, x: b.mul(b.conj(x), 1), [c64(81)]),
    ("weak * strong 1", lambda b, x: b.mul(x, Literal(1, f32())), [weak(X)]),
    ("scalar * ones", lambda b, x: b.mul(x, b.full(X, 1)), [f32()]),
    ("f32 of f16 of f32", lambda b, x: b.convert(b.convert(x, f16().dtype), f32().dtype), [X]),
    ("to weak", lambda b, x: b.convert(x, x.type.dtype, True), [X]),
    ("1 // 0", lambda b, n: b.add(n, b.div(Literal(1, i32()), 0)), [i32(6)]),
    ("tiny * tiny", lambda b, x: b.mul(x, b.mul(Literal(1e-20, f32()), 1e-20)), [X]),
    ("sum over ones", lambda b, x: b.reduce_sum(x, axes=(0,)), [f32(1, 9)]),
    ("rows of repeated or 0", lambda b, x, i: rows(b, repeated(b, x), i, "FILL_OR_DROP"),
     [f32(), i32(6, 1)]),
    ("mixed select", lambda b, x: b.select_n(Literal(True, bool_()), ones(b, x), x), [weak(X)]),
]  # fmt: skip


@pytest.mark.parametrize(("build", "types"), [k[1:] for k in KEPT], ids=[k[0] for k in KEPT])
def test_not_folded(build: Build, types: list[TensorType]) -> None:
    folded, plain = check_equal(build, *types)
    assert live(folded) == live(plain)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "add_any", "lt", "eq", "and", "xor"])
def test_literals(name: str) -> None:
    """An operation of any two literals, folded or not, is what the interpreter says."""
    types = [i32(), u8(), bool_()] if name in ("and", "xor") else [f32(), i32(), u8(), f16()]
    for type in types:
        for x, y in itertools.product(values_of(TensorType((9,), type.dtype)), repeat=2):
            check_equal(
                lambda b, n, x=x, y=y, type=type: b.emit(
                    PRIMITIVES[name], Literal(x, type), Literal(y, weak(type))
                )[0],
                i32(),
            )


@pytest.mark.parametrize("new", ["f32", "f64", "f16", "bf16", "i32", "u8", "i8", "bool"])
def test_converted_literals(new: str) -> None:
    dtype = dtype_from_name(new)
    for type in (f32(), f64(), f16(), i32(), u8(), bool_()):
        odd = values_of(TensorType((9,), type.dtype))
        for x in (*odd, *np.array([2.5, 300]).astype(odd.dtype)):
            check_equal(
                lambda b, n, x=x, type=type: b.convert(Literal(x, type), dtype, True), i32()
            )


def test_zeros_are_absent() -> None:
    """Sums with a symbolic zero are the other term, in the shape of the sum."""
    b = Builder()
    x, scalar = Value(X), Value(f32())
    assert b.add(x, Zero(X)) is x and b.sub(x, Zero(f32())) is x
    assert isinstance(b.mul(x, Zero(X)), Zero)
    negated = b.sub(Zero(X), x)
    assert [e.primitive.name for e in b.equations] == ["neg"] and negated.type is X
    assert b.add_any(Zero(X), scalar).type is X
    assert [e.primitive.name for e in b.equations] == ["neg", "broadcast_in_dim"]

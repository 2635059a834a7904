"""The laws of one primitive, checked by cases of one line each.

    CASES = [
        Case("sin", [f32(3, 4)]),
        Case("log", [f32(5)], domain=(0.1, 3)),
        Case("reduce_sum", [f32(2, 3)], {"axes": (1,)}),
    ]

    @laws(CASES)
    def test_law(case, law):
        law(case)

A case is a program of one equation (or of several: `Case(program(...), ...)`). What it is checked
for follows from the primitive: its types and values against JAX, in the dtypes of the case; its
derivatives, in double precision and evaluated by the interpreter, against JAX's and against finite
differences; linear half and transpose against each other; batching against a loop.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import harness_laws as check
import numpy as np
import pytest
from harness_laws import SHORT, Array
from harness_laws import assert_close as assert_close
from harness_laws import cotangents as cotangents
from harness_laws import random_like as random_like
from harness_laws import tangents as tangents

from covector.ir.builder import Builder
from covector.ir.graph import Equation, Graph, Value
from covector.ir.interpret import evaluate as evaluate
from covector.ir.primitive import PRIMITIVES, Primitive
from covector.ir.types import (
    TensorType,
    dtype_category,
    dtype_from_name,
    has_tangent,
    is_complex,
)
from covector.ir.verifier import verify_graphs

Sampler = Any
"""(low, high) for uniform values, `among(...)`, an array, or any (rng, type) -> array."""
Law = Callable[["Case"], None]

# -- types: f32(3, 4), i32(), ... ----------------------------------------------------------------


def _maker(name: str) -> Callable[..., TensorType]:
    def make(*shape: int) -> TensorType:
        return TensorType(shape, dtype_from_name(name))

    return make


f16, bf16, f32, f64, c64, c128 = map(_maker, ["f16", "bf16", "f32", "f64", "c64", "c128"])
i8, i32, i64, u8, u32, u64 = map(_maker, ["i8", "i32", "i64", "u8", "u32", "u64"])
bool_ = _maker("bool")


def weak(type: TensorType) -> TensorType:
    return TensorType(type.shape, type.dtype, True)


def in_dtype(type: TensorType, name: str) -> TensorType:
    return TensorType(type.shape, dtype_from_name(name), type.weak)


_DOUBLE = {"f32": "f64", "f16": "f64", "bf16": "f64", "c64": "c128"}


def double(type: TensorType) -> TensorType:
    """The type in double precision."""
    short = SHORT.get(type.dtype, "")
    return in_dtype(type, _DOUBLE[short]) if short in _DOUBLE else type


def program(build: Callable[..., Sequence[Any]], *types: TensorType, name: str = "f") -> Graph:
    """The graph of (builder, *values) -> outputs; also for parameters that are graphs."""
    b = Builder()
    values = [Value(t) for t in types]
    return b.graph(values, build(b, *values), name)


def among(*values: Any) -> Sampler:
    """Draw from these values."""
    return lambda rng, type: rng.choice(np.array(values), size=type.shape)


# -- cases ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """A primitive, operand types and parameters, and where to sample the operands.

    Fields:
      of: the primitive's name, or a graph (see `program`).
      domain: one sampler for all inexact operands, or a list of one for each operand.
      wrt: the operands to differentiate; all inexact ones by default, () for none.
      also: more dtypes (`"bf16 f64"`) in which types and values are checked; they replace the
        inexact operands' dtype, or all operands' if none is inexact.
      tol: factor on the tolerances. differences: False where steps may cross a kink or a tie.
      jax: False where JAX has no such operation, or means something else.
      jax_types: False where JAX says it by several operations, of other weak types.
      jax_derivative: False where JAX's derivative is missing or other than it should be.
      second, batch, adjoint: False where the law does not hold: where there is no derivative of
        the derivative, no batch axis in the domain, no exact linearity.
    """

    of: str | Graph
    operands: Sequence[TensorType]
    params: dict[str, Any] = field(default_factory=dict)
    domain: Sampler | list[Sampler] = (-2.0, 2.0)
    wrt: tuple[int, ...] | None = None
    also: str = ""
    tol: float = 1.0
    differences: bool = True
    jax: bool = True
    jax_types: bool = True
    jax_derivative: bool = True
    second: bool = True
    batch: bool = True
    adjoint: bool = True
    note: str = ""

    def __repr__(self) -> str:
        name = self.of.name if isinstance(self.of, Graph) else self.of
        short = ",".join(str(t) for t in self.operands)
        params = ",".join(f"{k}={_brief(v)}" for k, v in self.params.items())
        return "-".join(filter(None, [name, short, params, self.note]))

    @cached_property
    def primitive(self) -> Primitive | None:
        return PRIMITIVES[self.of] if isinstance(self.of, str) else None

    @cached_property
    def graph(self) -> Graph:
        """The program: one equation that nothing folds."""
        if isinstance(self.of, Graph):
            return self.of
        primitive = PRIMITIVES[self.of]
        inputs = tuple(Value(t, f"x{i}") for i, t in enumerate(self.operands))
        params = primitive.complete(self.params)
        found = primitive.infer(tuple(self.operands), params)
        types = (found,) if isinstance(found, TensorType) else found
        outputs = tuple(Value(t, f"y{i}") for i, t in enumerate(types))
        graph = Graph(inputs, [Equation(primitive, inputs, outputs, params)], outputs, self.of)
        verify_graphs([graph])
        return graph

    def sample(self, seed: int = 0) -> list[Array]:
        """Operands from the domain."""
        rng = np.random.default_rng([seed, zlib.crc32(repr(self.operands).encode())])
        samplers = (
            self.domain if isinstance(self.domain, list) else [self.domain] * len(self.operands)
        )
        return [_draw(rng, t, s) for t, s in zip(self.operands, samplers, strict=True)]

    @cached_property
    def active(self) -> tuple[bool, ...]:
        """Which operands are differentiated."""
        wrt = range(len(self.operands)) if self.wrt is None else self.wrt
        return tuple(i in wrt and has_tangent(t) for i, t in enumerate(self.operands))

    @property
    def is_differentiable(self) -> bool:
        return any(self.active) and any(has_tangent(y.type) for y in self.graph.outputs)

    def in_double(self) -> Case:
        """The case in double precision, for derivatives."""
        if isinstance(self.of, Graph):
            return self
        return replace(self, operands=[double(t) for t in self.operands])

    def variants(self) -> Iterator[Case]:
        """The case in its own dtypes, then in each of `also`."""
        yield self
        for name in self.also.split():
            yield self._in(name)

    def _in(self, name: str) -> Case:
        any_inexact = any(has_tangent(t) for t in self.operands)
        operands = [
            in_dtype(t, name) if has_tangent(t) or not any_inexact else t for t in self.operands
        ]
        return replace(self, operands=operands, also="")

    def laws(self) -> Iterator[tuple[Law, Case]]:
        """What the case is checked for, with the case to check it on."""
        for variant in self.variants():
            if self.jax and self.jax_types and variant.primitive is not None:
                yield check.types_as_jax, variant
            if self.jax:
                yield check.value_as_jax, variant
        if self.batch:
            yield check.batch_is_a_loop, self
        if not self.is_differentiable:
            return
        case = self.in_double()
        if self.adjoint:
            yield check.halves_are_adjoint, case
        if self.adjoint and self.second:
            yield check.second_halves_are_adjoint, case
        if self.batch:
            yield check.batched_derivative_is_a_loop, case
        if self.jax and self.jax_derivative:
            yield check.derivative_as_jax, case
        if self.differences:
            yield check.tangent_is_difference, case
            if self.second:
                yield check.second_tangent_is_difference, case


def _brief(value: Any) -> str:
    return f"@{value.name}" if isinstance(value, Graph) else str(value).replace(" ", "")


def _draw(rng: np.random.Generator, type: TensorType, sampler: Sampler) -> Array:
    dtype: Any = type.dtype
    if callable(sampler):
        return np.asarray(sampler(rng, type)).astype(dtype)
    if isinstance(sampler, np.ndarray):
        return sampler.astype(dtype)
    low, high = sampler
    category = dtype_category(dtype)
    if category == "bool":
        return np.asarray(rng.integers(0, 2, size=type.shape)).astype(dtype)
    if category in ("int", "uint"):
        low = max(low, 0) if category == "uint" else low
        return np.asarray(rng.integers(int(low), int(high) + 1, size=type.shape)).astype(dtype)
    x = rng.uniform(low, high, size=type.shape)
    if is_complex(dtype):
        x = x + 1j * rng.uniform(low, high, size=type.shape)
    return np.asarray(x).astype(dtype)


def laws(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Parametrise a test (case, law) by all laws of all cases; values in more dtypes are slow."""
    parameters = []
    for case in cases:
        for law, variant in case.laws():
            is_slow = law is check.value_as_jax and variant is not case
            marks = [pytest.mark.slow] if is_slow else []
            parameters.append(
                pytest.param(variant, law, marks=marks, id=f"{law.__name__}-{variant}")
            )
    return pytest.mark.parametrize(("case", "law"), parameters)

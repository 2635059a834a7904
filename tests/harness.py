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

import jax
import numpy as np
import pytest

from covector.frontend.avals import to_struct
from covector.frontend.export import eval_graph
from covector.frontend.export_rules import jax_operation, rule_for
from covector.ir.builder import Builder
from covector.ir.graph import Equation, Graph, Value
from covector.ir.interpret import evaluate
from covector.ir.primitive import PRIMITIVES, Primitive
from covector.ir.types import (
    DTYPE_BY_NAME,
    TensorType,
    dtype_category,
    dtype_from_name,
    has_tangent,
    is_complex,
)
from covector.ir.verifier import verify_graphs
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph
from covector.passes.transpose import linear_flags, transpose_graph

Array = np.ndarray[Any, Any]
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
_RTOL = {"f16": 2e-3, "bf16": 2e-2, "f32": 2e-6, "c64": 5e-6, "f64": 1e-13, "c128": 1e-12}
_SHORT = {dtype: name for name, dtype in DTYPE_BY_NAME.items()}


def double(type: TensorType) -> TensorType:
    """The type in double precision."""
    short = _SHORT.get(type.dtype, "")
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
            if self.jax and variant.primitive is not None:
                yield types_as_jax, variant
            if self.jax:
                yield value_as_jax, variant
        if self.batch:
            yield batch_is_a_loop, self
        if not self.is_differentiable:
            return
        case = self.in_double()
        if self.adjoint:
            yield halves_are_adjoint, case
        if self.jax and self.jax_derivative:
            yield derivative_as_jax, case
        if self.differences:
            yield tangent_is_difference, case
            if self.second:
                yield second_tangent_is_difference, case


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


# -- laws ----------------------------------------------------------------------------------------


def types_as_jax(case: Case) -> None:
    """The type rule agrees with JAX's, weakness included."""
    assert case.primitive is not None
    (eqn,) = case.graph.equations
    if not case.primitive.has_regions and jax_operation(eqn)[0] is None:
        pytest.skip(f"JAX {jax.__version__} has no {case.of}")
    bind = rule_for(case.primitive)
    for marks in {(False,) * len(case.operands), (True,) * len(case.operands)}:
        types = tuple(
            TensorType(t.shape, t.dtype, w) for t, w in zip(case.operands, marks, strict=True)
        )
        found = case.primitive.infer(types, eqn.params)
        ours = (found,) if isinstance(found, TensorType) else found
        with jax.enable_x64(True):
            jaxpr = jax.make_jaxpr(lambda *xs: bind(eqn, xs))(*map(to_struct, types))
        wanted = [(a.shape, a.dtype, a.weak_type) for a in jaxpr.out_avals]
        assert [(t.shape, t.dtype, t.weak) for t in ours] == wanted


def value_as_jax(case: Case) -> None:
    """The interpreter computes what JAX does."""
    xs = case.sample()
    with jax.enable_x64(True):
        want = jax.jit(lambda *xs: eval_graph(case.graph, xs))(*xs)
    for got, y in zip(evaluate(case.graph, xs), want, strict=True):
        assert_close(got, np.asarray(y), case.tol)


def derivative_as_jax(case: Case) -> None:
    """jvp and vjp are JAX's."""
    xs, ts = case.sample(), tangents(case)
    cts = cotangents(case)
    with jax.enable_x64(True):
        dys, in_cts = jax.jit(lambda *args: _jax_derivatives(case, *args))(xs, ts, cts)
    pushed, nonzero = jvp_graph(case.graph, case.active)
    verify_graphs([pushed])
    found = iter(evaluate(pushed, [*xs, *ts])[len(case.graph.outputs) :])
    for dy, is_nonzero in zip(dys, nonzero, strict=True):
        if dy is not None:
            assert_close(next(found) if is_nonzero else np.zeros_like(dy), dy, 100 * case.tol)
    pulled = vjp_graph(case.graph, case.active)
    verify_graphs([pulled])
    got = evaluate(pulled, [*xs, *cts])[len(case.graph.outputs) :]
    for ours, theirs in zip(got, in_cts, strict=True):
        assert_close(ours, np.asarray(theirs), 100 * case.tol)


def _jax_derivatives(case: Case, xs: Any, ts: Any, cts: Any) -> tuple[Any, Any]:
    """JAX's tangents of the inexact outputs (None of others), and cotangents of active inputs."""
    moving = [i for i, a in enumerate(case.active) if a]
    inexact = [has_tangent(y.type) for y in case.graph.outputs]

    def function(*active: Any) -> list[Any]:
        full = list(xs)
        for i, x in zip(moving, active, strict=True):
            full[i] = x
        outputs = eval_graph(case.graph, full)
        return [y for y, i in zip(outputs, inexact, strict=True) if i]

    primals = [xs[i] for i in moving]
    _, moved = jax.jvp(function, primals, ts)
    _, pull = jax.vjp(function, *primals)
    rest = iter(moved)
    return [next(rest) if i else None for i in inexact], pull(cts)


def tangent_is_difference(case: Case) -> None:
    """jvp agrees with finite differences of the NumPy meaning."""
    xs, ts = case.sample(), tangents(case)
    pushed, nonzero = jvp_graph(case.graph, case.active)
    outputs = evaluate(pushed, [*xs, *ts])
    _compare_to_differences(case.graph, case.active, xs, ts, outputs, nonzero, case.tol)


def second_tangent_is_difference(case: Case) -> None:
    """The jvp of the jvp agrees with finite differences of the jvp."""
    pushed, nonzero = jvp_graph(case.graph, case.active)
    if not any(nonzero):
        return
    xs, ts = [*case.sample(), *tangents(case)], tangents(case, 5)
    active = (*case.active, *(False for _ in ts))
    twice, moves = jvp_graph(pushed, active)
    verify_graphs([twice])
    outputs = evaluate(twice, [*xs, *ts])
    _compare_to_differences(pushed, active, xs, ts, outputs, moves, 10 * case.tol)


def _compare_to_differences(
    graph: Graph,
    active: Sequence[bool],
    xs: list[Array],
    ts: list[Array],
    outputs: list[Any],
    nonzero: Sequence[bool],
    tol: float,
) -> None:
    step = 1e-6

    def moved(distance: float) -> list[Any]:
        rest = iter(ts)
        args = [x + distance * next(rest) if a else x for x, a in zip(xs, active, strict=True)]
        return evaluate(graph, args)

    found = iter(outputs[len(graph.outputs) :])
    for y, ahead, behind, is_nonzero in zip(
        graph.outputs, moved(step), moved(-step), nonzero, strict=True
    ):
        if has_tangent(y.type):
            slope = (ahead - behind) / (2 * step)
            got = next(found) if is_nonzero else np.zeros_like(slope)
            scale = 1 + np.max(np.abs(slope), initial=0)
            np.testing.assert_allclose(got, slope, rtol=1e-5 * tol, atol=3e-8 * tol * scale)


def halves_are_adjoint(case: Case) -> None:
    """<f(t), c> = <t, f^T(c)> for the linear half f: the real part of the sum of products."""
    xs, ts = case.sample(), tangents(case)
    parts = linearize_graph(case.graph, case.active)
    if not any(parts.nonzero):
        return
    for half in (parts.primal, parts.linear):
        verify_graphs([half])
    residuals = evaluate(parts.primal, xs)[len(case.graph.outputs) :]
    dys = evaluate(parts.linear, [*residuals, *ts])
    cts = [random_like(y.type, 7 + i) for i, y in enumerate(parts.linear.outputs)]
    backward, nonzero = transpose_graph(parts.linear, linear_flags(parts.linear))
    verify_graphs([backward])
    found = iter(evaluate(backward, [*residuals, *cts]))
    in_cts = [next(found) if nz else np.zeros_like(t) for t, nz in zip(ts, nonzero, strict=True)]
    left, right = _product(dys, cts), _product(ts, in_cts)
    rounding = max(_RTOL.get(_SHORT[x.dtype], 0.1) for x in (*dys, *cts, *ts, *in_cts))
    assert abs(left - right) <= 100 * rounding * (1 + abs(left)) * case.tol, (left, right)


def _product(xs: Sequence[Array], ys: Sequence[Array]) -> float:
    return float(sum(np.real(np.sum(x * y)) for x, y in zip(xs, ys, strict=True)))


def batch_is_a_loop(case: Case) -> None:
    """Batching over each operand alone, and over all, is a loop over examples."""
    size, count = 3, len(case.operands)
    rows = [case.sample(seed) for seed in range(size)]
    choices = {tuple(j == i for j in range(count)) for i in range(count)} | {(True,) * count}
    for flags in sorted(choices):
        graph, _ = batch_graph(case.graph, flags, size, [True] * len(case.graph.outputs))
        verify_graphs([graph])
        args = [
            np.stack([row[i] for row in rows]) if is_batched else rows[0][i]
            for i, is_batched in enumerate(flags)
        ]
        got = evaluate(graph, args)
        for k in range(size):
            one = [rows[k][i] if is_batched else rows[0][i] for i, is_batched in enumerate(flags)]
            for ys, y in zip(got, evaluate(case.graph, one), strict=True):
                assert_close(np.asarray(ys)[k], np.asarray(y), case.tol)


# -- helpers -------------------------------------------------------------------------------------


def random_like(type: TensorType, seed: int) -> Array:
    """Normal numbers of this type."""
    rng = np.random.default_rng([seed, *type.shape])
    x = rng.normal(size=type.shape)
    if is_complex(type.dtype):
        x = x + 1j * rng.normal(size=type.shape)
    dtype: Any = type.dtype
    return np.asarray(x).astype(dtype)


def tangents(case: Case, seed: int = 1) -> list[Array]:
    """One for each active operand."""
    types = [t for t, active in zip(case.operands, case.active, strict=True) if active]
    return [random_like(t, seed + 10 * i) for i, t in enumerate(types)]


def cotangents(case: Case) -> list[Array]:
    """One for each output that can have one."""
    types = [y.type for y in case.graph.outputs if has_tangent(y.type)]
    return [random_like(t, 2 + 10 * i) for i, t in enumerate(types)]


def assert_close(got: Any, want: Array, tol: float = 1.0) -> None:
    """Equal for integers; for others within the precision of their dtype, times tol."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype, (got.dtype, want.dtype)
    if not has_tangent(TensorType(want.shape, want.dtype)):
        np.testing.assert_array_equal(got, want)
        return
    rtol = _RTOL.get(_SHORT[want.dtype], 0.1) * tol
    wide = np.complex128 if is_complex(want.dtype) else np.float64
    got, want = got.astype(wide), want.astype(wide)
    finite = np.abs(want[np.isfinite(want)])
    scale = min(float(np.max(finite, initial=0)), 1.0)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


def laws(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Parametrise a test (case, law) by all laws of all cases; values in more dtypes are slow."""
    parameters = []
    for case in cases:
        for law, variant in case.laws():
            is_slow = law is value_as_jax and variant is not case
            marks = [pytest.mark.slow] if is_slow else []
            parameters.append(
                pytest.param(variant, law, marks=marks, id=f"{law.__name__}-{variant}")
            )
    return pytest.mark.parametrize(("case", "law"), parameters)

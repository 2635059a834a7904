"""The laws that `harness` checks: functions of a case that raise where the law does not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest

from covector.frontend.avals import to_struct
from covector.frontend.export import eval_graph
from covector.frontend.export_rules import jax_operation, rule_for
from covector.ir.errors import MissingRule
from covector.ir.graph import Graph
from covector.ir.interpret import evaluate
from covector.ir.types import DTYPE_BY_NAME, TensorType, has_tangent, is_complex
from covector.ir.verifier import verify_graphs
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph
from covector.passes.transpose import linear_flags, transpose_graph

Array = np.ndarray[Any, Any]

SHORT = {dtype: name for name, dtype in DTYPE_BY_NAME.items()}
RTOL = {"f16": 2e-3, "bf16": 2e-2, "f32": 2e-6, "c64": 5e-6, "f64": 1e-13, "c128": 1e-12}


def types_as_jax(case: Any) -> None:
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


@contextmanager
def skipped_without_counterpart() -> Iterator[None]:
    """Skip a test of a primitive that this version of JAX does not have yet."""
    try:
        yield
    except MissingRule as error:
        if "has no counterpart in JAX" not in error.claim:
            raise
        pytest.skip(error.claim)


def value_as_jax(case: Any) -> None:
    """The interpreter computes what JAX does."""
    xs = case.sample()
    with jax.enable_x64(True), skipped_without_counterpart():
        want = jax.jit(lambda *xs: eval_graph(case.graph, xs))(*xs)
    for got, y in zip(evaluate(case.graph, xs), want, strict=True):
        assert_close(got, np.asarray(y), case.tol)


def derivative_as_jax(case: Any) -> None:
    """jvp and vjp are JAX's."""
    xs, ts = case.sample(), tangents(case)
    cts = cotangents(case)
    with jax.enable_x64(True), skipped_without_counterpart():
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


def _jax_derivatives(case: Any, xs: Any, ts: Any, cts: Any) -> tuple[Any, Any]:
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


def tangent_is_difference(case: Any) -> None:
    """jvp agrees with finite differences of the NumPy meaning."""
    xs, ts = case.sample(), tangents(case)
    pushed, nonzero = jvp_graph(case.graph, case.active)
    outputs = evaluate(pushed, [*xs, *ts])
    _compare_to_differences(case.graph, case.active, xs, ts, outputs, nonzero, case.tol)


def second_tangent_is_difference(case: Any) -> None:
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


def tangent_of_vjp_is_difference(case: Any) -> None:
    """The jvp of the vjp agrees with finite differences of the vjp."""
    pulled = vjp_graph(case.graph, case.active)
    active = (*case.active, *(False for _ in pulled.inputs[len(case.active) :]))
    pushed, nonzero = jvp_graph(pulled, active)
    verify_graphs([pushed])
    xs, ts = [*case.sample(), *cotangents(case)], tangents(case, 5)
    outputs = evaluate(pushed, [*xs, *ts])
    _compare_to_differences(pulled, active, xs, ts, outputs, nonzero, 10 * case.tol)


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


def halves_are_adjoint(case: Any) -> None:
    """<f(t), c> = <t, f^T(c)> for the linear half f: the real part of the sum of products."""
    _check_adjoint(case.graph, case.active, case.sample(), tangents(case), case.tol)


def second_halves_are_adjoint(case: Any) -> None:
    """The same of the vjp: derivatives of derivatives linearize and transpose, too."""
    pulled = vjp_graph(case.graph, case.active)
    xs, cts = case.sample(), cotangents(case)
    active = (*case.active, *(True for _ in cts))
    types = [v.type for v, a in zip(pulled.inputs, active, strict=True) if a]
    ts = [random_like(t, 30 + i) for i, t in enumerate(types)]
    _check_adjoint(pulled, active, [*xs, *cts], ts, 100 * case.tol)


def _check_adjoint(
    graph: Graph, active: Sequence[bool], xs: list[Array], ts: list[Array], tol: float
) -> None:
    parts = linearize_graph(graph, active)
    if not any(parts.nonzero):
        return
    for half in (parts.primal, parts.linear):
        verify_graphs([half])
    residuals = evaluate(parts.primal, xs)[len(graph.outputs) :]
    dys = evaluate(parts.linear, [*residuals, *ts])
    cts = [random_like(y.type, 7 + i) for i, y in enumerate(parts.linear.outputs)]
    backward, nonzero = transpose_graph(parts.linear, linear_flags(parts.linear))
    verify_graphs([backward])
    found = iter(evaluate(backward, [*residuals, *cts]))
    in_cts = [next(found) if nz else np.zeros_like(t) for t, nz in zip(ts, nonzero, strict=True)]
    left, right = _product(dys, cts), _product(ts, in_cts)
    rounding = max(RTOL.get(SHORT[x.dtype], 0.1) for x in (*dys, *cts, *ts, *in_cts))
    assert abs(left - right) <= 100 * rounding * (1 + abs(left)) * tol, (left, right)


def _product(xs: Sequence[Array], ys: Sequence[Array]) -> float:
    return float(sum(np.real(np.sum(x * y)) for x, y in zip(xs, ys, strict=True)))


def batch_is_a_loop(case: Any) -> None:
    """Batching over each operand alone, and over all, is a loop over examples."""
    rows = [case.sample(seed) for seed in range(3)]
    for flags in each_and_all(len(case.operands)):
        _check_batch(case.graph, flags, rows, case.tol)


def batched_derivative_is_a_loop(case: Any) -> None:
    """Batching the vjp over operands and cotangents is a loop over examples."""
    pulled = vjp_graph(case.graph, case.active)
    rows = [[*case.sample(seed), *cotangents(case, seed)] for seed in range(3)]
    _check_batch(pulled, (True,) * len(pulled.inputs), rows, 100 * case.tol)


def derivative_of_batch_is_a_loop(case: Any) -> None:
    """The vjp of a batch, over each operand alone and over all, is a loop over examples.

    What all examples share has the sum of their cotangents.
    """
    rows = [case.sample(seed) for seed in range(2)]
    cts = [cotangents(case, seed) for seed in range(2)]
    pulled, count = vjp_graph(case.graph, case.active), len(case.graph.outputs)
    for flags in each_and_all(len(case.operands)):
        batched, _ = batch_graph(case.graph, flags, 2, [True] * count)
        xs = [
            np.stack([row[i] for row in rows]) if is_batched else rows[0][i]
            for i, is_batched in enumerate(flags)
        ]
        backward = vjp_graph(batched, case.active)
        verify_graphs([backward])
        stacked = [np.stack(pair) for pair in zip(*cts, strict=True)]
        got = evaluate(backward, [*xs, *stacked])[count:]
        each = [
            evaluate(pulled, [*(r[i] if f else rows[0][i] for i, f in enumerate(flags)), *ct])[
                count:
            ]
            for r, ct in zip(rows, cts, strict=True)
        ]
        moving = [f for f, active in zip(flags, case.active, strict=True) if active]
        for y, is_batched, ones in zip(got, moving, zip(*each, strict=True), strict=True):
            want = np.stack(ones) if is_batched else np.asarray(sum(ones))
            assert_close(np.asarray(y), want, 100 * case.tol)


def each_and_all(count: int) -> list[tuple[bool, ...]]:
    """Each operand alone, and all of them."""
    alone = {tuple(j == i for j in range(count)) for i in range(count)}
    return sorted(alone | {(True,) * count})


def _check_batch(
    graph: Graph, flags: Sequence[bool], rows: Sequence[list[Array]], tol: float
) -> None:
    batched, _ = batch_graph(graph, flags, len(rows), [True] * len(graph.outputs))
    verify_graphs([batched])
    args = [
        np.stack([row[i] for row in rows]) if is_batched else rows[0][i]
        for i, is_batched in enumerate(flags)
    ]
    got = evaluate(batched, args)
    for k, row in enumerate(rows):
        one = [row[i] if is_batched else rows[0][i] for i, is_batched in enumerate(flags)]
        for ys, y in zip(got, evaluate(graph, one), strict=True):
            assert_close(np.asarray(ys)[k], np.asarray(y), tol)


# -- helpers -------------------------------------------------------------------------------------


def random_like(type: TensorType, seed: int) -> Array:
    """Normal numbers of this type."""
    rng = np.random.default_rng([seed, *type.shape])
    x = rng.normal(size=type.shape)
    if is_complex(type.dtype):
        x = x + 1j * rng.normal(size=type.shape)
    dtype: Any = type.dtype
    return np.asarray(x).astype(dtype)


def tangents(case: Any, seed: int = 1) -> list[Array]:
    """One for each active operand."""
    types = [t for t, active in zip(case.operands, case.active, strict=True) if active]
    return [random_like(t, seed + 10 * i) for i, t in enumerate(types)]


def cotangents(case: Any, seed: int = 2) -> list[Array]:
    """One for each output that can have one."""
    types = [y.type for y in case.graph.outputs if has_tangent(y.type)]
    return [random_like(t, seed + 10 * i) for i, t in enumerate(types)]


def assert_close(got: Any, want: Array, tol: float = 1.0, noise: float = 0.0) -> None:
    """Equal for integers; for others within the precision of their dtype, times tol.

    `noise` is an absolute error that is allowed, for zeros that are computed as differences.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape and got.dtype == want.dtype, (got.dtype, want.dtype)
    if not has_tangent(TensorType(want.shape, want.dtype)):
        np.testing.assert_array_equal(got, want)
        return
    rtol = RTOL.get(SHORT[want.dtype], 0.1) * tol
    wide = np.complex128 if is_complex(want.dtype) else np.float64
    got, want = got.astype(wide), want.astype(wide)
    finite = np.abs(want[np.isfinite(want)])
    scale = min(float(np.max(finite, initial=0)), 1.0)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=max(rtol * scale, noise))

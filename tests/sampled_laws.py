"""What holds of sampled cases: JAX's values and derivatives of many cases by one compilation, and
batches along any axis, which are loops.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import harness_laws as check
import jax
import numpy as np
from harness import Case, assert_close, cotangents, in_dtype, tangents
from harness_laws import RTOL, SHORT

import covector
from covector.frontend.export import eval_graph
from covector.frontend.export_rules import jax_operation
from covector.frontend.jax_primitives import jax_primitives
from covector.ir.graph import Graph
from covector.ir.interpret import evaluate
from covector.ir.types import TensorType, dtype_from_name, has_tangent
from covector.ir.verifier import verify_graphs
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.reverse import vjp_graph

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ROWS = 2
EPS = float(np.finfo(np.float64).eps)
CANCELLING = frozenset(("lu", "qr", "eigh"))
"""Whose second derivatives are, for a matrix of one row or column, a difference of equal terms:
JAX and we round the terms otherwise, to a few units of the operands' size instead of zero."""


def is_in_jax(case: Case) -> bool:
    """Whether this version of JAX has what the case's program consists of."""
    return case.jax and all(
        eqn.primitive.has_regions or jax_operation(eqn)[0] is not None
        for eqn in case.graph.equations
    )


def is_operation_of_jax(name: str) -> bool:
    """Whether this version of JAX has a primitive of that name."""
    return name in jax_primitives() or name.replace("_", "-") in jax_primitives()


def compiled(function: Callable[..., Any], *args: Any) -> Any:
    """What jax.jit computes, compiled in haste."""
    made = jax.jit(function, keep_unused=True).lower(*args)
    return made.compile(compiler_options=QUICK)(*args)


# -- against JAX -----------------------------------------------------------------------------------

EXACT = frozenset((
    "add", "sub", "mul", "neg", "abs", "sign", "max", "min", "eq", "ne", "lt", "le", "gt",
    "ge", "floor", "ceil", "is_finite", "select_n", "clamp", "copy", "convert_element_type",
    "nextafter", "sort", "top_k", "argmax", "argmin", "reduce_max", "reduce_min",
    "reduce_window_max", "reduce_window_min", "select_and_gather_add",
))  # fmt: skip
MOVING = frozenset((
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "concatenate", "pad", "rev",
    "split", "tile", "stack", "unstack", "slice", "optimization_barrier", "dynamic_slice",
    "dynamic_update_slice", "gather", "scatter",
))  # fmt: skip
XLA_FAILS = {
    "sort": frozenset(("i2", "u2", "i4", "u4")),
    "concatenate": frozenset(("i2", "u2")),
}
"""What XLA for CPUs does with garbage, or dies of, as JAX lowers it: values are compared with those
that JAX computes in eight bits, and by test_narrow_integers.py with those of our lowering."""
POWERS = dtype_from_name("f8_e8m0fnu")


def is_determined(case: Case) -> bool:
    """Whether values are: what XLA computes in steps of eight bits is rounded after each, and
    there is neither a zero nor an infinity among the powers of two."""
    small = [t.dtype for t in case.operands if is_small(t)]
    if not small or case.of in MOVING:
        return True
    return case.of in EXACT and POWERS not in small


def is_small(type: TensorType) -> bool:
    return has_tangent(type) and type.dtype.itemsize < 2


def for_xla(case: Case) -> Case:
    """The case, of integers of eight bits where XLA fails with its narrower ones."""
    narrow = XLA_FAILS.get(str(case.of), frozenset())
    operands = [
        in_dtype(t, f"{SHORT[t.dtype][0]}8") if SHORT.get(t.dtype) in narrow else t
        for t in case.operands
    ]
    return replace(case, operands=operands) if operands != list(case.operands) else case


def values_as_jax(cases: Sequence[Case]) -> int:
    """The interpreter computes what JAX does; how many cases JAX can compile."""
    cases = [case for case in cases if is_in_jax(case) and is_determined(case)]
    samples = [case.sample() for case in cases]
    asked = [for_xla(case) for case in cases]
    given = [
        xs
        if other is case
        else [x.astype(t.dtype) for x, t in zip(xs, other.operands, strict=True)]
        for xs, case, other in zip(samples, cases, asked, strict=True)
    ]
    with jax.enable_x64(True):
        wanted = _all_or_each(lambda xs, case: eval_graph(case.graph, xs), given, asked)
    for case, other, xs, want in zip(cases, asked, samples, wanted, strict=True):
        if want is not None:
            with np.errstate(all="ignore"):
                found = evaluate(case.graph, xs)
            for got, y, v in zip(found, map(np.asarray, want), case.graph.outputs, strict=True):
                _close(case, got, y if other is case else y.astype(v.type.dtype))
    return sum(want is not None for want in wanted)


def _all_or_each(
    function: Callable[[Any, Case], Any], arguments: Sequence[Any], cases: Sequence[Case]
) -> list[Any]:
    """The function's results for all cases; None for those that JAX does not compile."""
    try:
        return list(compiled(lambda *all_xs: list(map(function, all_xs, cases)), *arguments))
    except Exception:
        if len(cases) < 2:
            return [None] * len(cases)
    half = len(cases) // 2
    parts = [slice(0, half), slice(half, None)]
    return [y for p in parts for y in _all_or_each(function, arguments[p], cases[p])]


def _close(case: Case, got: Any, want: Any, factor: float = 1.0, noise: float = 0.0) -> None:
    """As close as the dtype allows: within one unit in the last place for small floats."""
    tol = case.tol * factor
    if SHORT[want.dtype] not in RTOL and has_tangent(TensorType(want.shape, want.dtype)):
        tol = 10.01 * float(jax.numpy.finfo(want.dtype).eps)  # of a tenth: see assert_close
    with noted(f"of {case}"):
        assert_close(got, want, tol, noise)


@contextlib.contextmanager
def noted(what: str) -> Iterator[None]:
    """Say in errors what was compared."""
    try:
        yield
    except AssertionError as error:
        error.add_note(what)
        raise


def derivatives_as_jax(cases: Sequence[Case]) -> int:
    """First and second derivatives, by all pairs of jvp and vjp, are JAX's."""
    cases = [c for c in cases if c.jax_derivative and is_in_jax(c)]
    arguments = [(c.sample(), tangents(c), cotangents(c)) for c in cases]
    with jax.enable_x64(True):
        wanted = _all_or_each(lambda args, c: derivatives(jax, c, *args), arguments, cases)
        for case, args, want in zip(cases, arguments, wanted, strict=True):
            if want is None:
                continue
            made = covector.make_ir(lambda *a, case=case: derivatives(covector, case, *a))(*args)
            with np.errstate(all="ignore"):
                found = made.verify().interpret(*jax.tree.leaves(args))
            noise = rounding(args) if case.graph.name in CANCELLING else 0.0
            for i, (got, y) in enumerate(
                zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True)
            ):
                try:
                    _close(case, got, np.asarray(y), 1e4, noise=noise)
                except AssertionError as error:
                    error.add_note(f"result {i} of {jax.tree.structure(want)}")
                    raise
    return sum(want is not None for want in wanted)


def rounding(arrays: Any) -> float:
    """Of sums of products of two operands, tangents or cotangents."""
    return 8 * EPS * max(float(np.max(np.abs(x), initial=1)) for x in jax.tree.leaves(arrays)) ** 2


def derivatives(api: Any, case: Case, xs: Any, ts: Any, cts: Any) -> Any:
    """Tangents and cotangents, and of these the same, in the case's active operands."""
    active = [x for x, a in zip(xs, case.active, strict=True) if a]

    def smooth(*floats: Any) -> list[Any]:
        given = iter(floats)
        full = [next(given) if a else x for x, a in zip(xs, case.active, strict=True)]
        ys = eval_graph(case.graph, full)
        return [y for y, v in zip(ys, case.graph.outputs, strict=True) if has_tangent(v.type)]

    def push(*floats: Any) -> Any:
        return api.jvp(smooth, floats, tuple(ts))[1]

    def pull(*floats: Any) -> Any:
        return api.vjp(smooth, *floats)[1](list(cts))

    found = {"jvp": push(*active), "vjp": pull(*active)}
    if case.second:
        found |= {
            "jvp of jvp": api.jvp(push, tuple(active), tuple(ts))[1],
            "jvp of vjp": api.jvp(pull, tuple(active), tuple(ts))[1],
            "vjp of jvp": api.vjp(push, *active)[1](list(cts)),
            "vjp of vjp": api.vjp(pull, *active)[1](tuple(ts)),
        }
    return found


# -- against differences and loops -----------------------------------------------------------------


def derivatives_are_lawful(case: Case) -> None:
    """Differences, adjoints, and batches of derivatives, first and second."""
    if case.adjoint:
        check.halves_are_adjoint(case)
        if case.second:
            check.second_halves_are_adjoint(case)
    if case.differences:
        check.tangent_is_difference(case)
        if case.second:
            check.second_tangent_is_difference(case)
            check.tangent_of_vjp_is_difference(case)
    if case.batch:
        check.batched_derivative_is_a_loop(case)
        check.derivative_of_batch_is_a_loop(case)


def derivatives_have_types(case: Case) -> None:
    """jvp, vjp and the jvp of the vjp are valid programs in the case's own dtypes."""
    pulled = vjp_graph(case.graph, case.active)
    made = [jvp_graph(case.graph, case.active)[0], pulled]
    if case.second:
        made.append(jvp_graph(pulled, (*case.active, *(True for _ in cotangents(case))))[0])
    verify_graphs(made)
    found = evaluate(pulled, [*case.sample(), *cotangents(case)])[len(case.graph.outputs) :]
    moving = [t for t, a in zip(case.operands, case.active, strict=True) if a]
    assert [(y.shape, y.dtype) for y in map(np.asarray, found)] == [
        (t.shape, t.dtype) for t in moving
    ]


# -- batches ---------------------------------------------------------------------------------------


def batches_are_loops(case: Case, places: int | None = None) -> None:
    """vmap over each operand alone, and over all, along any axis into any other.

    `places` is how many choices of axes are tried for each choice of operands; None is all.
    """
    rows = [case.sample(seed) for seed in range(ROWS)]
    for number, flags in enumerate(check.each_and_all(len(case.operands))):
        ones = [
            evaluate(case.graph, [(row if f else rows[0])[i] for i, f in enumerate(flags)])
            for row in rows
        ]
        every = list(placements(case.graph, flags))
        count = len(every) if places is None else min(places, len(every))
        for k in range(count):
            in_axes, out_axes = every[(number + 3 * k) % len(every) if places else k]
            args = [
                np.stack([row[i] for row in rows], a) if a is not None else rows[0][i]
                for i, a in enumerate(in_axes)
            ]
            for y, (got, axis) in enumerate(
                zip(_mapped(case, args, in_axes, out_axes), out_axes, strict=True)
            ):
                want = np.stack([np.asarray(one[y]) for one in ones], axis)
                with noted(f"vmap from {in_axes} to {out_axes}"):
                    _close(case, got, want)


def placements(graph: Graph, flags: Sequence[bool]) -> Iterator[tuple[Any, Any]]:
    """Each axis, counted from the front and from the back; outputs have it elsewhere."""
    ranks = [v.type.ndim for v in graph.inputs]
    outs = [v.type.ndim for v in graph.outputs]
    for place in range(max(r for r, f in zip(ranks, flags, strict=True) if f) + 1):
        front = [min(place, r) if f else None for r, f in zip(ranks, flags, strict=True)]
        yield tuple(front), tuple(-1 - min(place, r) for r in outs)
        back = [-1 - min(place, r) if f else None for r, f in zip(ranks, flags, strict=True)]
        yield tuple(back), tuple(min(place, r) for r in outs)


def _mapped(case: Case, args: Sequence[Any], in_axes: Any, out_axes: Any) -> list[Any]:
    """By covector.vmap of the program as a function; by the pass alone where JAX lacks it."""
    if not is_in_jax(case):
        flags = [axis is not None for axis in in_axes]
        moved = [
            x if a is None else np.moveaxis(x, a, 0) for x, a in zip(args, in_axes, strict=True)
        ]
        batched, _ = batch_graph(case.graph, flags, ROWS, [True] * len(out_axes))
        return [
            np.moveaxis(y, 0, a) for y, a in zip(evaluate(batched, moved), out_axes, strict=True)
        ]
    with jax.enable_x64(True):
        mapped = covector.vmap(
            lambda *xs: tuple(eval_graph(case.graph, xs)), in_axes=in_axes, out_axes=out_axes
        )
        made = covector.make_ir(mapped)(*args)
    return jax.tree.leaves(made.verify().interpret(*args))

"""Lowering to StableHLO: what runs agrees with jax.jit to the last bit, and what is written."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import assert_as_jitted, run_compiled
from harness import Case, f32
from jax.experimental.layout import Layout, with_layout_constraint
from programs import PROGRAMS, Program

import covector
from covector.frontend.importer import from_jaxpr
from covector.ir.builder import Builder
from covector.ir.errors import CovectorError, MissingRule
from covector.ir.graph import Constant, Equation, Graph, Location, Value
from covector.ir.ops import call as calls
from covector.ir.ops import control
from covector.ir.primitive import PRIMITIVES, define
from covector.ir.types import TensorType
from covector.lowering.emit import lower_graph
from covector.lowering.tables import lower as lowerings

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")

# -- every primitive -----------------------------------------------------------------------------


def rule_cases() -> Iterator[tuple[str, list[Case]]]:
    """The cases by which the rules are tested: (file, cases)."""
    for path in sorted((Path(__file__).parent / "rules").glob("test_*.py")):
        values = vars(importlib.import_module(f"rules.{path.stem}")).values()
        lists = [v for v in values if isinstance(v, list) and v and isinstance(v[0], Case)]
        cases = {id(case): case for cases in lists for case in cases if case.jax}
        yield path.stem.removeprefix("test_"), list(cases.values())


def first_of_each(cases: Sequence[Case]) -> list[Case]:
    """The first case of each primitive."""
    return list({c.primitive or c: c for c in reversed(cases)}.values())


def is_available(case: Case) -> bool:
    """Whether the CPU has it: of some functions it has one algorithm only."""
    try:
        lower_graph(case.graph)
    except CovectorError as error:
        if "is not available on cpu" in str(error):
            return False
        raise
    return True


def chunks(size: int = 32) -> Iterator[Any]:
    """Cases in groups that are compiled together: one a primitive, then (slow) all others."""
    for family, cases in rule_cases():
        firsts = first_of_each(cases)
        others = [v for c in cases for v in c.variants() if v not in firsts]
        for kind, members in (("first", firsts), ("more", others)):
            marks = [pytest.mark.slow] if kind == "more" else []
            for i in range(0, len(members), size):
                name = f"{family}-{kind}-{i}"
                yield pytest.param(members[i : i + size], marks=marks, id=name)


@pytest.mark.parametrize("cases", list(chunks()))
def test_computes_as_jit(cases: list[Case]) -> None:
    assert_as_jitted([case for case in cases if is_available(case)])


def test_every_primitive_has_a_lowering() -> None:
    assert [name for name, p in PRIMITIVES.items() if lowerings.get(p) is None] == []


NOWHERE = {
    "cuda": {"hessenberg", "schur"},
    "rocm": {"hessenberg", "schur"},
    "tpu": {"eig", "geqp3", "geqrf", "hessenberg", "ormqr", "qr", "schur", "tridiagonal"},
}
"""Where some version of JAX has no lowering of a primitive (on TPU, of qr with pivoting)."""


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_lowers_for_platforms_that_are_not_here(platform: str) -> None:
    missing = set()
    for case in [c for _, cases in rule_cases() for c in first_of_each(cases)]:
        try:
            lower_graph(case.graph, (platform,))
        except CovectorError as error:
            missing.add(case.of)
            is_reason = "is not available on" in str(error)
            if not is_reason:
                raise
    assert missing <= NOWHERE[platform]


# -- functions, regions, constants ---------------------------------------------------------------

VECTOR = f32(3)
SCALAR = f32()


def graph_of(build: Any, *types: TensorType, name: str = "f") -> Graph:
    """The graph of (builder, *values) -> outputs."""
    b = Builder()
    values = [Value(t, f"x{i}") for i, t in enumerate(types)]
    outputs = build(b, *values)
    return b.graph(values, outputs if isinstance(outputs, (list, tuple)) else [outputs], name)


def functions(graph: Graph) -> list[str]:
    """The names of the functions of a lowered graph, in order."""
    return re.findall(r"func.func (?:public|private) @(\w+)", lower_graph(graph).as_text())


def call(b: Builder, graph: Graph, *operands: Any) -> Any:
    return b.emit(calls.call, *operands, graph=graph)[0]


def test_a_shared_graph_becomes_one_function() -> None:
    block = graph_of(lambda b, x: b.sin(x), VECTOR, name="block")
    twice = graph_of(lambda b, x: call(b, block, call(b, block, x)), VECTOR, name="twice")
    main = graph_of(lambda b, x: b.add(call(b, twice, x), call(b, block, x)), VECTOR)
    assert functions(main) == ["block", "twice", "main"]
    (got,) = run_compiled(main, [np.ones(3, np.float32)])
    x = np.float32(1)
    assert np.allclose(got, np.sin(np.sin(x)) + np.sin(x))


def test_function_names_are_made_unique_and_plain() -> None:
    blocks = [graph_of(lambda b, x, k=k: b.mul(x, k), SCALAR, name="main") for k in (2.0, 3.0)]
    odd = graph_of(lambda b, x: b.neg(x), SCALAR, name="<lambda> of @f")
    main = graph_of(
        lambda b, x: call(b, odd, call(b, blocks[0], call(b, blocks[1], x))), SCALAR, name="top"
    )
    assert functions(main) == ["main_1", "main_2", "_lambda__of__f", "main"]
    assert run_compiled(main, [np.float32(1)]) == [-6]


def test_a_body_shared_by_loops_becomes_a_function() -> None:
    body = graph_of(lambda b, c, x: [b.add(c, b.sin(x)), c], SCALAR, SCALAR, name="body")

    def loops(b: Builder, xs: Any) -> Any:
        zero = b.literal(0, SCALAR)
        first = b.emit(control.scan, zero, xs, graph=body, num_carry=1, length=3)
        return b.emit(control.scan, first[0], xs, graph=body, num_carry=1, length=3)

    main = graph_of(loops, VECTOR)
    assert functions(main) == ["body", "main"]
    last, ys = run_compiled(main, [np.ones(3, np.float32)])
    assert np.allclose(last, 6 * np.sin(1)) and np.allclose(ys, [np.sin(1) * k for k in (3, 4, 5)])


def test_deep_chains_of_calls_run() -> None:
    graph = graph_of(lambda b, x: b.add(x, 1.0), SCALAR)
    for _ in range(1500):
        graph = graph_of(lambda b, x, inner=graph: b.add(call(b, inner, x), 1.0), SCALAR)
    assert len(functions(graph)) < 40
    assert run_compiled(graph, [np.float32(0)]) == [1501]


def test_deep_nests_of_branches_run() -> None:
    graph = graph_of(lambda b, x: b.add(x, 1.0), SCALAR)
    for _ in range(60):
        branches = (graph, graph_of(lambda b, x: b.neg(x), SCALAR))

        def choose(b: Builder, x: Any, branches: Any = branches) -> Any:
            return b.emit(control.cond, b.lt(x, 0.0), x, branches=branches)

        graph = graph_of(choose, SCALAR)
    assert run_compiled(graph, [np.float32(0)]) == [1]


def constant(b: Builder, array: Any, name: str = "const") -> Any:
    value = Constant(array, TensorType(array.shape, array.dtype), name)
    return b.emit(calls.constant, value=value)[0]


def test_large_constants_are_arguments_and_small_ones_are_written_out() -> None:
    big, small = np.arange(40, dtype=np.float32), np.arange(2, dtype=np.int32)
    main = graph_of(lambda b: [constant(b, big, "w"), constant(b, small)])
    lowered = lower_graph(main)
    assert [c.name for c in lowered.constants] == ["w"]
    assert lowered.in_types == (f32(40),)
    assert "dense<[0, 1]>" in lowered.as_text()
    got = run_compiled(main, [])
    assert np.array_equal(got[0], big) and np.array_equal(got[1], small)


def test_constants_reach_functions_and_loops() -> None:
    big = np.arange(40, dtype=np.float32)
    inner = graph_of(lambda b, x: b.add(x, constant(b, big)), f32(40), name="inner")
    body = graph_of(lambda b, c: call(b, inner, call(b, inner, c)), f32(40))

    def loop(b: Builder, x: Any) -> Any:
        return b.emit(control.scan, x, graph=body, num_carry=1, length=3)

    main = graph_of(loop, f32(40))
    assert len(lower_graph(main).constants) == 1
    (got,) = run_compiled(main, [np.ones(40, np.float32)])
    assert np.array_equal(got, 1 + 6 * big)


# -- places and errors ---------------------------------------------------------------------------


def test_locations_and_names_are_kept() -> None:
    b = Builder()
    b.location = Location("mlp.py", 12, 8)
    x = Value(VECTOR, "h")
    y = b.tanh(x)
    y.name = "z1"
    b.location = None
    text = lower_graph(b.graph([x], [y, b.logistic(y)])).as_text(locations=True)
    assert '"mlp.py":12:8' in text
    assert 'loc("z1/tanh"' in text and 'loc("h")' in text
    assert text.count('loc("logistic")') == 1  # all that it expands to has its place


def bad_rule(name: str, lower: Any) -> tuple[Any, Equation]:
    """A primitive with a lowering that is wrong, and an equation of it."""
    primitive = define(name, lambda types, params: types[0], family="test")
    lowerings.define(primitive, lower)
    x = Value(VECTOR, "x")
    return x, Equation(primitive, (x,), (Value(VECTOR, "y"),), {}, Location("mlp.py", 3, 5))


@pytest.mark.parametrize(
    ("name", "lower", "claim"),
    [
        (
            "refused",
            lambda ctx, eqn, xs: [ctx.op("stablehlo.sine", f32(4), *xs)],
            "refused was lowered to tensor<4xf32>, its output is f32[3]",
        ),
        (
            "malformed",
            lambda ctx, eqn, xs: [ctx.op("stablehlo.transpose", VECTOR, *xs)],
            "malformed was lowered to an operation that MLIR refuses",
        ),
        (
            "crashing",
            lambda ctx, eqn, xs: [eqn.params["nothing"]],
            "lowering failed: KeyError: 'nothing'",
        ),
    ],
)
def test_errors_name_the_equation(
    name: str, lower: Any, claim: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    x, eqn = bad_rule(name, lower)
    try:
        with pytest.raises(CovectorError) as caught:
            lower_graph(Graph([x], [eqn], eqn.outputs))
    finally:
        lowerings.rules.pop(PRIMITIVES.pop(name))
    assert claim in str(caught.value)
    assert "at mlp.py:3:5" in str(caught.value)
    assert f"y: f32[3] = {name} x" in str(caught.value)


def test_a_primitive_without_a_lowering() -> None:
    primitive = define("unheard_of", lambda types, params: types[0], family="test")
    x, y = Value(VECTOR, "x"), Value(VECTOR, "y")
    try:
        with pytest.raises(MissingRule, match="unheard_of has no lowering rule"):
            lower_graph(Graph([x], [Equation(primitive, (x,), (y,), {})], [y]))
    finally:
        PRIMITIVES.pop("unheard_of")


def test_several_platforms_share_what_does_not_differ() -> None:
    same = graph_of(lambda b, x: b.sin(x), VECTOR)
    assert lower_graph(same, PLATFORMS).platforms == PLATFORMS
    different = graph_of(lambda b, x: b.asin(x), VECTOR)
    with pytest.raises(CovectorError, match="differs between the platforms cpu, cuda"):
        lower_graph(different, ("cpu", "cuda"))


# -- details -------------------------------------------------------------------------------------


def test_accuracy_is_asked_for() -> None:
    def build(b: Builder, x: Any) -> Any:
        return [b.exp(x, accuracy="HIGHEST"), b.tanh(x, accuracy=(1e-3, 0.0, 2))]

    text = lower_graph(graph_of(build, VECTOR)).as_text()
    assert "mode = #stablehlo.result_accuracy_mode<HIGHEST>" in text
    assert "ulps = 2, mode = #stablehlo.result_accuracy_mode<TOLERANCE>" in text


def test_empty_operands_ask_nothing_of_libraries_and_layouts() -> None:
    """XLA for CPUs divides by the size of what is empty in some of these programs."""

    def products(a: Any, taus: Any, c: Any, d: Any) -> Any:
        made = jax.lax.linalg.ormqr(a, taus, c), jax.lax.linalg.ormqr(a, taus, d, left=False)
        return [*made, with_layout_constraint(a * 2, Layout((1, 0)))]

    xs = jnp.ones((3, 0)), jnp.ones(0), jnp.arange(3.0).reshape(3, 1), jnp.arange(6.0).reshape(2, 3)
    assert "custom_call" not in lower_graph(covector.make_ir(products)(*xs).main).as_text()
    c, d, empty = covector.jit(products)(*xs)
    assert np.array_equal(c, xs[2]) and np.array_equal(d, xs[3]) and empty.shape == (3, 0)


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_rows_of_a_repeated_scalar_are_not_looked_up(shape: tuple[int, ...]) -> None:
    """Where rows are outside, there is what they are filled with: the indices are still read."""

    def rows(x: Any, i: Any) -> Any:
        return (
            jnp.broadcast_to(x, shape)
            .at[i]
            .get(mode="fill", fill_value=7, wrap_negative_indices=False)
        )

    xs = jnp.float32(2), jnp.array([[0, 4], [5, -1], [2**31 - 1, -(2**31)]])
    assert "stablehlo.gather" not in covector.jit(rows).lower(*xs).as_text()
    assert np.array_equal(covector.jit(rows)(*xs), jax.jit(rows)(*xs))


def test_operands_of_an_elementwise_operation_are_broadcast() -> None:
    main = graph_of(lambda b, x, y, z: b.add(b.mul(x, y), z), f32(3, 1), f32(1, 4), SCALAR)
    x, y = np.arange(3, dtype=np.float32)[:, None], np.arange(4, dtype=np.float32)[None]
    (got,) = run_compiled(main, [x, y, np.float32(1)])
    assert np.array_equal(got, x * y + 1)


def test_reduce_with_its_own_combiner() -> None:
    combiner = graph_of(
        lambda b, m, i, x, j: [b.max(m, x), b.add(i, j)], SCALAR, SCALAR, SCALAR, SCALAR
    )

    def build(b: Builder, x: Any) -> Any:
        operands = x, x, b.literal(-np.inf, SCALAR), b.literal(0, SCALAR)
        return b.emit(PRIMITIVES["reduce"], *operands, dimensions=(0,), graph=combiner)

    main = graph_of(build, VECTOR)
    assert run_compiled(main, [np.array([1, 5, 2], np.float32)]) == [5, 8]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [0, 1, 2, 3, 5, 7, 9])
@pytest.mark.parametrize("length", [0, 1, 7])
def test_scan_unrolled(length: int, unroll: int, reverse: bool) -> None:
    body = graph_of(lambda b, k, c, x: [b.add(b.mul(c, k), x), b.sub(c, x)], SCALAR, SCALAR, SCALAR)

    def build(b: Builder, xs: Any) -> Any:
        operands = b.literal(0.5, SCALAR), b.literal(1, SCALAR), xs
        fields = {"num_consts": 1, "num_carry": 1, "length": length}
        return b.emit(control.scan, *operands, graph=body, reverse=reverse, unroll=unroll, **fields)

    xs = np.arange(length, dtype=np.float32)
    got = run_compiled(graph_of(build, f32(length)), [xs])
    want = jax.lax.scan(lambda c, x: (c * 0.5 + x, c - x), np.float32(1), xs, reverse=reverse)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(g, w)


# -- whole programs ------------------------------------------------------------------------------


def assert_program_as_jitted(function: Any, arguments: Sequence[Any]) -> None:
    """A function traced by JAX and compiled from our graph of it, against jax.jit."""
    graph = from_jaxpr(jax.make_jaxpr(function)(*arguments)).main
    got = run_compiled(graph, jax.tree.leaves(arguments))
    want = jax.tree.leaves(jax.jit(function)(*arguments))
    for x, y in zip(map(np.asarray, got), map(np.asarray, want), strict=True):
        assert (x.dtype, x.tobytes()) == (y.dtype, y.tobytes())


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_programs_compute_as_jit(program: Program) -> None:
    assert_program_as_jitted(program.function, program.arguments)


def test_a_while_loop_batched_by_jax_stops_each_example_in_its_own_time() -> None:
    def double(x: Any, least: Any) -> Any:
        return jax.lax.while_loop(lambda c: c.sum() < least, lambda c: jnp.abs(c) * 2 + 0.1, x)

    x = np.linspace(-3, 3, 21, dtype=np.float32).reshape(7, 3)
    least = np.arange(7, dtype=np.float32)
    assert_program_as_jitted(jax.vmap(double), (x, least))

"""Reverse mode in two walks makes what linearize and transpose make one after the other."""

from __future__ import annotations

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sampled_arrays as sampled_arrays
import sampled_elementwise as sampled_elementwise
import sampled_linalg as sampled_linalg
import sampled_shape as sampled_shape
from harness import Case, f32, program
from sampled import SAMPLED, by_dtype, by_rank

import covector
from covector.ir.builder import Builder, Zero
from covector.ir.errors import MissingRule
from covector.ir.graph import Equation, Graph, Value
from covector.ir.interpret import evaluate
from covector.ir.module import Module
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import has_tangent
from covector.passes import pullback, tables
from covector.passes.activity import pulled_inputs, pushed_outputs
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph
from covector.passes.transpose import cotangent_name, linear_flags, transpose_graph, transpose_into


def one_after_the_other(graph: Graph, active: Any) -> Graph:
    """The vjp by the passes themselves: linearize, then transpose after the primal half."""
    out_cts: list[Any] = [
        Value(y.type, cotangent_name(y.name)) if has_tangent(y.type) else Zero(y.type)
        for y in graph.outputs
    ]
    parts = linearize_graph(graph, active)
    b = Builder()
    for eqn in parts.primal.equations:
        b.append(eqn)
    given = [ct for ct, nonzero in zip(out_cts, parts.nonzero, strict=True) if nonzero]
    cts = transpose_into(b, parts.linear, linear_flags(parts.linear), given)
    inputs = [*graph.inputs, *(ct for ct in out_cts if isinstance(ct, Value))]
    return b.graph(inputs, (*graph.outputs, *cts), f"{graph.name}.vjp")


def text(graph: Graph) -> str:
    return str(Module({graph.name: graph}, graph.name))


@pytest.mark.parametrize("name", SAMPLED)
def test_one_equation(name: str) -> None:
    """The same text, for all shapes, dtypes and parameters that are sampled."""
    for case in (*by_rank(name), *by_dtype(name)):
        if case.is_differentiable:
            made = text(vjp_graph(case.graph, case.active))
            assert made == text(one_after_the_other(case.graph, case.active))


def derivative(build: Any, *types: Any) -> Graph:
    graph = program(build, *types)
    return vjp_graph(graph, (True,) * len(types))


def names(graph: Graph) -> list[str]:
    return [eqn.primitive.name for eqn in graph.equations]


# -- kinds -----------------------------------------------------------------------------------------


def test_what_tells_kinds_apart() -> None:
    """Literals, repeated operands, parameters and types; and no more than these."""

    def build(b: Builder, x: Any, y: Any) -> list[Any]:
        cubes = [b.integer_pow(v, y=n) for v in (x, y) for n in (3, 4)]
        products = [b.mul(x, x), b.mul(x, y), b.mul(x, 2.0), b.mul(x, 3.0)]
        converted = b.convert(b.convert(x, np.dtype("float64")), np.dtype("float32"))
        return [*cubes, *products, converted]

    pulled = derivative(build, f32(3), f32(3))
    x, y = np.array([1.0, 2.0, -3.0], np.float32), np.array([0.5, 4.0, 1.0], np.float32)
    ct = np.ones(3, np.float32)
    ct_x, ct_y = evaluate(pulled, [x, y, *(ct for _ in pulled.inputs[2:])])[-2:]
    np.testing.assert_allclose(ct_x, 3 * x**2 + 4 * x**3 + 2 * x + y + 2 + 3 + 1, rtol=1e-6)
    np.testing.assert_allclose(ct_y, 3 * y**2 + 4 * y**3 + x, rtol=1e-6)


def test_arrays_of_one_literal_are_told_apart() -> None:
    """The slope of 1 / x takes no second division, whether the 1 is a number or an array."""

    def build(b: Builder, x: Any, y: Any) -> list[Any]:
        ones = b.full(x.type, 1)
        return [b.div(y, x), b.div(ones, x), b.div(b.literal(1, f32()), x)]

    pulled = derivative(build, f32(3), f32(3))
    made = text(pulled)
    assert made == text(one_after_the_other(program(build, f32(3), f32(3)), (True, True)))
    assert names(pulled).count("div") == 4


def wrong_sine(b: Builder, eqn: Equation, tangents: Any) -> Any:
    return [b.mul(tangents[0], 7.0)]


def slope_at_zero() -> float:
    pulled = derivative(lambda b, x: [b.sin(x)], f32())
    return float(evaluate(pulled, [np.float32(0), np.float32(1)])[-1])


def test_a_rule_that_is_replaced_is_asked_at_once() -> None:
    assert slope_at_zero() == 1
    with mock.patch.dict(tables.jvp.rules, {PRIMITIVES["sin"]: wrong_sine}):
        assert slope_at_zero() == 7
    assert slope_at_zero() == 1


def test_a_rule_that_fails_fails_at_the_line_of_its_equation() -> None:
    def fails(b: Builder, eqn: Equation, tangents: Any) -> Any:
        raise MissingRule("no", eqn)

    x = np.ones(3, np.float32)
    with (
        mock.patch.dict(tables.jvp.rules, {PRIMITIVES["sin"]: fails}),
        pytest.raises(MissingRule, match=r"test_tape\.py") as error,
    ):
        covector.make_ir(covector.grad(lambda x: jnp.sum(jnp.sin(x))))(x)
    assert "sin" in str(error.value)


# -- what is kept ----------------------------------------------------------------------------------


def test_nothing_is_kept_for_what_no_cotangent_reaches() -> None:
    """Auxiliary outputs, and what stands behind a rounding, keep no slopes."""

    def f(x: Any) -> Any:
        return jnp.sum(x * x + jax.lax.round(jnp.tan(x))), jnp.sin(x)

    graph = covector.make_ir(covector.grad(f, has_aux=True))(np.ones(3, np.float32)).main
    found = names(graph)
    assert "sin" in found and "tan" in found
    assert "cos" not in found and "square" not in found


def test_auxiliary_outputs_are_those_of_the_rules() -> None:
    """A rule's own primal result is returned wherever its function is differentiated."""

    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        return primals[0] + 1, tangents[0]

    def loss(x: Any) -> Any:
        return jnp.sum(x), (f(x), jax.lax.scan(lambda c, _: (f(c), c), x, None, 2), f(jnp.sin(x)))

    x = np.ones(3, np.float32)
    ours, theirs = (library.grad(loss, has_aux=True)(x) for library in (covector, jax))
    jax.tree.map(np.testing.assert_allclose, ours, theirs)


# -- calls -----------------------------------------------------------------------------------------


def three(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y, jnp.cos(y) * x, jnp.exp(x) + y


CALLS = {
    "jit": jax.jit(three),
    "checkpoint": jax.checkpoint(three),
    "policy": jax.checkpoint(three, policy=jax.checkpoint_policies.everything_saveable),
}


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("reads", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1)])
def test_calls_of_one_graph(kind: str, reads: Any, argnums: Any) -> None:
    """What is needed of a call, and differentiated, differs from one to the next."""
    three = CALLS[kind]

    def f(x: Any, y: Any) -> Any:
        first = three(x, y)
        second = three(first[reads[0]], x)
        third = three(y, y)
        return sum(jnp.sum(second[i] * third[i]) for i in reads), first[-1]

    x, y = np.linspace(0, 1, 3, dtype=np.float32), np.linspace(1, 2, 3, dtype=np.float32)
    ours, theirs = (lib.grad(f, argnums, has_aux=True)(x, y) for lib in (covector, jax))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), ours, theirs)


@pytest.mark.parametrize("kind", CALLS)
def test_calls_are_derived_once_for_each_graph(kind: str) -> None:
    def f(x: Any, y: Any) -> Any:
        for _ in range(5):
            x, y, _ = CALLS[kind](x, y)
        return jnp.sum(x + y)

    graph = covector.make_ir(f)(np.ones(3, np.float32), np.ones(3, np.float32)).main
    with mock.patch.object(pullback, "take_apart", wraps=pullback.take_apart) as asked:
        vjp_graph(graph, (True, True))
    assert sum(c.args[1].primitive.has_regions for c in asked.call_args_list) == 1


# -- activity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLED)
def test_activity_is_that_of_the_derivatives(name: str) -> None:
    for case in by_rank(name):
        if case.is_differentiable:
            check_activity(case)


def check_activity(case: Case) -> None:
    active = tuple(case.active)
    assert pushed_outputs(case.graph, active) == jvp_graph(case.graph, active)[1]
    linear = linearize_graph(case.graph, active).linear
    flags, nonzero = tuple(linear_flags(linear)), (True,) * len(linear.outputs)
    found = pulled_inputs(linear, flags, nonzero)
    assert tuple(found) == tuple(transpose_graph(linear, flags, nonzero)[1])

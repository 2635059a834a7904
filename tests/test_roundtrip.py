"""Programs survive the way from JAX to a graph and back: same values, types, derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun
from library_calls import CALLS
from programs import PROGRAMS, Program

import covector
from covector.frontend.export_rules import jax_operation
from covector.frontend.modules import as_function, from_jaxpr, make_ir, to_jaxpr
from covector.ir.graph import Equation

HASTE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal trees of equal types (weakness included), with values equal up to rounding."""
    leaves, tree = jax.tree.flatten(actual)
    wanted, wanted_tree = jax.tree.flatten(expected)
    assert tree == wanted_tree
    for x, y in zip(map(jnp.asarray, leaves), map(jnp.asarray, wanted), strict=True):
        assert jax.typeof(x) == jax.typeof(y)
        if jnp.issubdtype(x.dtype, jax.dtypes.extended):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        wide = np.complex128 if jnp.iscomplexobj(x) else np.float64
        x, y = np.asarray(x).astype(wide), np.asarray(y).astype(wide)
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


def together(*functions: Any) -> Any:
    """One function that computes all of them, compiled in a hurry."""
    return jax.jit(lambda *args: [f(*args) for f in functions], compiler_options=HASTE)


@each_program
def test_values_and_types(program: Program) -> None:
    """Recorded, recorded and turned into a jaxpr, and read from a jaxpr."""
    args = program.arguments
    module = make_ir(program.function)(*args)
    read = from_jaxpr(jax.make_jaxpr(program.function)(*args))

    def flat(function: Any) -> Any:
        return lambda *args: function(*jax.tree.leaves(args))

    ways = (as_function(module), flat(jaxpr_as_fun(to_jaxpr(module))), flat(as_function(read)))
    expected, same, *flat_results = together(program.function, *ways)(*args)
    assert_same(same, expected)
    for result in flat_results:
        assert_same(list(result), jax.tree.leaves(expected))


@each_program
def test_jaxpr_of_the_program(program: Program) -> None:
    args = program.arguments
    jaxpr = to_jaxpr(make_ir(program.function)(*args))
    original = jax.make_jaxpr(program.function)(*args)
    assert jaxpr.in_avals == original.in_avals
    assert jaxpr.out_avals == original.out_avals


@each_program
def test_program_of_the_jaxpr(program: Program) -> None:
    """What JAX has traced reads as what is recorded, names and places of captured values aside."""
    args = program.arguments
    read = from_jaxpr(jax.make_jaxpr(program.function)(*args)).verify()
    recorded = make_ir(program.function)(*args).verify()
    assert read.main.input_types == recorded.main.input_types
    assert read.main.output_types == recorded.main.output_types
    assert to_jaxpr(read).out_avals == to_jaxpr(recorded).out_avals


@each_program
def test_types_are_those_of_jax(program: Program) -> None:
    module = make_ir(program.function)(*program.arguments)
    for graph in module.all_graphs():
        for eqn in graph.equations:
            if not eqn.primitive.has_regions and eqn.primitive.name != "constant":
                check_types(eqn)


def check_types(eqn: Equation) -> None:
    """Compare the types that covector inferred with those of JAX's own rule."""
    from covector.frontend.avals import to_aval

    primitive, params = jax_operation(eqn)
    params.pop("partitionable", None)
    outputs, _ = primitive.abstract_eval(*[to_aval(x.type) for x in eqn.inputs], **params)
    theirs = list(outputs) if primitive.multiple_results else [outputs]
    assert [to_aval(v.type) for v in eqn.outputs] == theirs, eqn


@pytest.mark.slow
@each_program
def test_under_grad(program: Program) -> None:
    wrt = program.differentiable
    args = program.arguments
    again = as_function(make_ir(program.function)(*args))

    def loss(f: Any) -> Any:
        def total(*args: Any) -> Any:
            leaves = [jnp.asarray(x) for x in jax.tree.leaves(f(*args))]
            inexact = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
            return sum([jnp.sum(jnp.real(x) * 1.5).astype(jnp.float32) for x in inexact], 0.0)

        return jax.grad(total, wrt)

    if not wrt:
        pytest.skip("nothing to differentiate")
    try:
        expected = jax.jit(loss(program.function))(*args)
    except (ValueError, NotImplementedError):
        pytest.skip("JAX does not differentiate it")
    assert_same(jax.jit(loss(again))(*args), expected)


@pytest.mark.slow
@each_program
def test_under_vmap(program: Program) -> None:
    args = program.arguments
    again = as_function(make_ir(program.function)(*args))
    if not jax.tree.leaves(args):
        pytest.skip("nothing to batch")
    batch = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), args)
    stacked = [jax.typeof(x[0]) for x in jax.tree.leaves(batch)]
    if stacked != [jax.typeof(jnp.asarray(x)) for x in jax.tree.leaves(args)]:
        pytest.skip("a batch of Python scalars has another type")
    actual, expected = together(jax.vmap(again), jax.vmap(program.function))(*batch)
    assert_same(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_library_calls(name: str) -> None:
    function, argument = CALLS[name]
    module = make_ir(function)(argument).verify()
    for graph in module.all_graphs():
        for eqn in graph.equations:
            if not eqn.primitive.has_regions and eqn.primitive.name != "constant":
                check_types(eqn)
    actual, expected = together(as_function(module), function)(argument)
    assert_same(actual, expected)


@pytest.mark.parametrize("shape", ["", "1,3", "2,3"])
@pytest.mark.parametrize("name", ["add_any", "add", "mul", "max", "atan2", "lt"])
def test_operands_that_are_the_same_for_all_rows(name: str, shape: str) -> None:
    """Batches leave an operand that all examples share one row; JAX's add_any takes no such two."""
    out = "bool" if name == "lt" else "f32"
    module = covector.parse(
        f"func @f(x: f32[{shape}], y: f32[2,3]) -> ({out}[2,3]) {{\n"
        f"  z: {out}[2,3] = {name} x y\n  return z\n}}"
    )
    x, y = (np.full(v.type.shape, 0.5, np.float32) for v in module.main.inputs)
    (want,) = module.interpret(x, y)
    np.testing.assert_allclose(jax.jit(module.as_function())(x, y)[0], want)
    np.testing.assert_allclose(module.run(x, y)[0], want)

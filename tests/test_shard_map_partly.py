"""shard_map along some axes of a mesh: what is along the others, the compiler places."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from laws import Checked, assert_close, interpret, made
from test_shard_map import mapped

import covector
from covector.ir.errors import CovectorError

X = jnp.arange(8.0) / 8 + 0.1
M = jnp.arange(16.0).reshape(4, 4) / 16 + 0.1


def within(x: Any) -> Any:
    """A shard_map along one axis inside of one along the other."""
    mesh = jax.make_mesh((2, 2), ("i", "j"), (AxisType.Auto,) * 2)

    def inner(y: Any) -> Any:
        return y * lax.psum(y.sum(), "j") + lax.axis_index("j")

    def outer(y: Any) -> Any:
        parts = jax.shard_map(inner, in_specs=P("j"), out_specs=P("j"), axis_names={"j"})
        return parts(y) * lax.psum(y.sum(), "i")

    mapped = jax.shard_map(outer, mesh=mesh, in_specs=P("i"), out_specs=P("i"), axis_names={"i"})
    return mapped(x)


def partly_manual(m: Any) -> Any:
    """Along j the compiler places values."""
    mesh = jax.make_mesh((2, 2), ("i", "j"), (AxisType.Auto,) * 2)

    def f(m: Any) -> Any:
        step = lambda c, a: (jnp.sin(c) * a.sum() + lax.psum(c, "i"), c @ m.T)
        return lax.scan(step, m[0], m)

    specs = (P("i"), P(None, "i"))
    return jax.shard_map(f, mesh=mesh, in_specs=P(None, "i"), out_specs=specs, axis_names={"i"})(m)


def after_another(m: Any) -> Any:
    """A shard_map over one mesh, of what one over another made."""
    two = mapped(lambda m: m * lax.psum(m.sum(), "i"), (P("i", "j"),), P("i", "j"), True, i=2, j=2)
    return mapped(lambda m: jnp.sin(m) * lax.pmean(m.sum(), "k"), (P("k"),), P("k"), True, k=4)(
        two(m)
    )


@pytest.mark.parametrize("f", [partly_manual, after_another])
def test_meshes_that_are_partly_manual_or_several(f: Any) -> None:
    def loss(m: Any) -> Any:
        return sum(jnp.sin(y).sum() for y in jax.tree.leaves(f(m)))

    rows = jnp.stack([M, M * 0.5])
    for run, args in (
        (lambda lib: f, (M,)),
        (lambda lib: lambda m: lib.jvp(f, (m,), (m,)), (M,)),
        (lambda lib: lib.vmap(lib.grad(loss)), (rows,)),
    ):
        assert_close(covector.jit(run(covector))(*args), jax.jit(run(jax))(*args), rtol=1e-3)
    module = made(f, M)
    assert covector.parse(str(module)) == module
    assert_close(jax.jit(module.as_function())(M), jax.jit(f)(M))
    assert_close(interpret(module.main, M), jax.jit(f)(M))


def in_a_scan(x: Any) -> Any:
    mesh = jax.make_mesh((2, 2), ("i", "j"), (AxisType.Auto,) * 2)
    step = jax.jit(lambda c: (c * lax.axis_index("i") + 1.0, c))
    loop = lambda x: lax.scan(lambda c, _: step(c), x, None, length=3)[0]
    return jax.shard_map(loop, mesh=mesh, in_specs=P("i"), out_specs=P("i"), axis_names={"i"})(x)


def along_one_device(x: Any) -> Any:
    mesh = jax.make_mesh((4, 1), ("i", "j"), (AxisType.Auto,) * 2)
    place = lambda x: x * lax.axis_index("i")
    return jax.shard_map(place, mesh=mesh, in_specs=P("i"), out_specs=P("i"), axis_names={"i"})(x)


def by_hand(x: Any) -> Any:
    """`within`, whose gradient JAX cannot compile."""
    whole = x.reshape(2, 2, 2)
    y = (whole * whole.sum((1, 2), keepdims=True) + jnp.arange(2)[:, None]) * x.sum()
    return y.reshape(8)


@pytest.mark.parametrize(
    ("f", "reference"),
    [(within, by_hand), (in_a_scan, in_a_scan), (along_one_device, along_one_device)],
)
def test_places_along_an_axis_where_others_are_not_manual(f: Any, reference: Any) -> None:
    loss = lambda f: lambda x: jnp.sin(f(x)).sum()
    for run, x in (
        (lambda lib, f: f, X),
        (lambda lib, f: lib.grad(loss(f)), X),
        (lambda lib, f: lib.vmap(f), jnp.stack([X, 2 * X])),
    ):
        assert_close(covector.jit(run(covector, f))(x), jax.jit(run(jax, reference))(x), rtol=1e-4)


def test_the_first_device_prints_for_those_along_which_nothing_is_manual(capfd: Any) -> None:
    mesh = jax.make_mesh((2, 2), ("i", "j"), (AxisType.Auto,) * 2)

    def f(x: Any) -> Any:
        jax.debug.print("{} has {}", lax.axis_index("j"), x)
        return x

    g = jax.shard_map(f, mesh=mesh, in_specs=P("j"), out_specs=P("j"), axis_names={"j"})
    covector.jit(g)(jnp.arange(4))
    jax.effects_barrier()
    assert sorted(capfd.readouterr().out.splitlines()) == ["0 has [0 1]", "1 has [2 3]"]


def test_what_needs_every_axis_manual_is_refused() -> None:
    mesh = jax.make_mesh((2, 2), ("i", "j"), (AxisType.Auto,) * 2)
    place = jax.jit(lambda x: x + lax.axis_index("i"))
    on = lambda f, *axes: jax.shard_map(
        f, mesh=mesh, in_specs=P("i"), out_specs=P("i"), axis_names=set(axes), check_vma=False
    )
    call = lambda x: io_callback(lambda x: x, jax.typeof(x), x)
    with pytest.raises(NotImplementedError, match="manual along some axes only"):
        covector.jit(on(call, "i"))(X)
    text = str(made(lambda x: on(place, "i")(x) + on(place, "i", "j")(x), X))
    module = covector.parse(text.replace("graph=@lambda_4", "graph=@lambda_3"))
    with pytest.raises(CovectorError, match="called where different axes are manual"):
        module.run(X)


def test_a_constraint_inside_of_a_partly_manual_region_is_refused() -> None:
    mesh = jax.make_mesh((2, 2), ("i", "j"), (AxisType.Auto,) * 2)
    f = jax.shard_map(
        lambda m: lax.with_sharding_constraint(jnp.sin(m), P(None, "j")),
        mesh=mesh, in_specs=P("i"), out_specs=P("i"), axis_names={"i"},
    )  # fmt: skip
    with pytest.raises(CovectorError, match="leave it out inside of the shard_map"):
        covector.jit(f)(M)


def test_one_inside_of_another_is_interpreted() -> None:
    module = made(within, X)
    assert_close(interpret(module.main, X), [within(X)])
    assert_close(within(X), by_hand(X))
    program = Checked(within, X)
    program.forward()
    program.adjoint()
    if jax.__version_info__ > (0, 10, 0):  # which cannot compile `within` itself
        assert_close(jax.jit(module.as_function())(X), within(X))

"""shard_map: a region that every pass carries, on the four devices that the tests have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from laws import Checked, assert_close, made

import covector
from covector.frontend.execute import execute
from covector.ir.errors import CovectorError

X = jnp.arange(8.0) / 8 + 0.1
W = jnp.asarray(2.0)
M = jnp.arange(16.0).reshape(4, 4) / 16 + 0.1
N = jnp.arange(12.0).reshape(4, 3) / 12

Case = tuple[Callable[..., Any], tuple[Any, ...]]


def mapped(f: Any, in_specs: Any, out_specs: Any, check_vma: bool, **axes: int) -> Any:
    """f on each device of a mesh of these axes."""
    names = tuple(axes) or ("i",)
    mesh = jax.make_mesh(tuple(axes.values()) or (4,), names, (AxisType.Auto,) * len(names))
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=check_vma)


def summed(x: Any, w: Any) -> Any:
    return jnp.sin(x * w) + lax.psum((x * w).sum(), "i")


def scanned(x: Any, w: Any) -> Any:
    def step(c: Any, _: Any) -> Any:
        return jnp.sin(c * w) + lax.pmean(c, "i"), c.sum()

    c, ys = lax.scan(step, x, None, length=2)
    return c, lax.psum(ys, "i")


def totalled(x: Any, w: Any) -> Any:
    return lax.psum(x * w, "i")


def permuted(x: Any) -> Any:
    ring = [(0, 1), (1, 2), (2, 3), (3, 0)]
    return lax.ppermute(jnp.cos(x), "i", ring) * lax.axis_index("i")


def exchanged(x: Any) -> Any:
    x = lax.all_to_all(jnp.sin(x), "i", 1, 0, tiled=True)
    return lax.all_gather(x, "i", axis=1, tiled=True)[:, :4] * x


def scattered(x: Any) -> Any:
    return lax.psum_scatter(jnp.sin(x) * (lax.axis_index("i") + 1.0), "i", tiled=True)


def differentiated_inside(x: Any) -> Any:
    return jax.grad(lambda x: lax.psum((x**3).sum(), "i"))(x)


def programs(check_vma: bool) -> dict[str, Case]:
    one = P("i")
    basic = mapped(summed, (one, P()), one, check_vma)
    product = mapped(
        lambda m, n: lax.psum(jnp.sin(m @ n), "j"),
        (P("i", "j"), P("j", None)), one, check_vma, i=2, j=2,
    )  # fmt: skip
    return {
        "sum": (basic, (X, W)),
        "scan": (mapped(scanned, (one, P()), (one, P()), check_vma), (X, W)),
        "ring": (mapped(permuted, one, one, check_vma), (X,)),
        "exchange": (mapped(exchanged, one, one, check_vma), (M,)),
        "scatter": (mapped(lambda x: scattered(jnp.tile(x, 2)), one, one, check_vma), (X,)),
        "two axes": (product, (M, N)),
        "same on all": (mapped(totalled, (one, P()), P(), check_vma), (X, W)),
        "grad inside": (mapped(differentiated_inside, one, one, check_vma), (X,)),
        "captured": (
            lambda x, w: mapped(lambda x: summed(x, w) + X[:2], one, one, check_vma)(x),
            (X, W),
        ),
        "in checkpoint": (jax.checkpoint(basic), (X, W)),
        "in a loop": (
            lambda x, w: lax.scan(lambda c, _: (basic(c * 0.1, w), c), x, length=2),
            (X, W),
        ),
    }  # fmt: skip


NAMES = list(programs(True))
FEW = ("sum", "two axes", "grad inside", "captured")
"""Those tested in every run; the rest are slow because JAX runs a shard_map op by op."""


@pytest.mark.parametrize("check_vma", [True, False], ids=["vma", "plain"])
@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_transformations(name: str, check_vma: bool) -> None:
    """Interpreter, jvp, vjp, batch and their pairs, against JAX; the text reads back."""
    function, args = programs(check_vma)[name]
    program = Checked(jax.jit(function), *args)
    assert "shard_map" in str(program.graph) or "shard_map" in str(made(function, *args))
    program.value()
    program.forward()
    program.reverse()
    program.adjoint()
    program.batched()
    program.cleaned()
    program.forward_over_reverse()


@pytest.mark.parametrize("check_vma", [True, False], ids=["vma", "plain"])
def test_devices_run_it(check_vma: bool) -> None:
    """Compiled for the devices of the mesh, derivatives included; sharded operands stay sharded."""
    for name in ("sum", "exchange", "scatter", "two axes", "captured", "ring"):
        function, args = programs(check_vma)[name]
        assert_close(execute(made(function, *args).main, args), jax.jit(function)(*args))
        argnums = tuple(range(len(args)))

        def loss(*xs: Any, function: Any = function) -> Any:
            return jnp.sum(jnp.sin(function(*xs)))

        want = jax.jit(jax.grad(loss, argnums))(*args)
        assert_close(covector.jit(covector.grad(loss, argnums))(*args), want)
        assert_close(covector.grad(loss, argnums)(*args), want)
    function, (x, w) = programs(check_vma)["sum"]
    mesh = jax.make_mesh((4,), ("i",), (AxisType.Auto,))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, P("i")))
    y = covector.jit(function)(spread, w)
    assert len(y.sharding.device_set) == 4
    assert_close(y, jax.jit(function)(x, w))


def test_results_are_arguments_again() -> None:
    """They are told in the axes of the mesh, as JAX tells them: two steps of a descent."""

    def loss(x: Any, w: Any) -> Any:
        return (programs(True)["two axes"][0](x, w) ** 2).sum()

    def descended(lib: Any) -> Any:
        x, w = programs(True)["two axes"][1]
        for _ in range(2):
            value, (dx, dw) = lib.jit(lib.value_and_grad(loss, (0, 1)))(x, w)
            x, w = x - 0.01 * dx, w - 0.01 * dw
        return value, x, w

    got = descended(covector)
    assert_close(got, descended(jax))
    assert all(isinstance(x.sharding, jax.sharding.NamedSharding) for x in got[1:])
    rows = mapped(jnp.sin, P("i"), P("i"), True)
    y = covector.jit(rows)(X)
    assert y.sharding.spec == jax.jit(rows)(X).sharding.spec == P("i")
    assert_close(covector.grad(lambda x: rows(x).sum())(y), jnp.cos(y))
    assert_close(covector.jit(jnp.cos)(y), jnp.cos(y))


def test_keys_are_parted_among_devices() -> None:
    draw = mapped(lambda keys: jax.vmap(jax.random.normal)(keys), P("i"), P("i"), True)
    keys = jax.random.split(jax.random.key(3), 8)
    assert_close(covector.jit(draw)(keys), jax.jit(draw)(keys))
    split = mapped(
        lambda keys: jax.vmap(jax.random.fold_in)(keys, jnp.arange(2)), P("i"), P("i"), True
    )
    data = [jax.random.key_data(lib.jit(split)(keys)) for lib in (covector, jax)]
    assert_close(*data)


@pytest.mark.parametrize("check_vma", [True, False], ids=["vma", "plain"])
def test_back_to_jax(check_vma: bool) -> None:
    """The region is a shard_map of JAX's again, which JAX differentiates as it did the first."""
    function, args = programs(check_vma)["two axes"]
    module = made(function, *args)
    assert "shard_map" in str(module.to_jaxpr())
    back = module.as_function()
    assert_close(jax.jit(back)(*args), jax.jit(function)(*args))
    for f in (back, covector.run_passes(module, "dce,cse,fold,inline").as_function()):
        got = jax.jit(jax.grad(lambda m, n, f=f: jnp.sum(jnp.cos(f(m, n))), (0, 1)))(*args)
        want = jax.jit(jax.grad(lambda m, n: jnp.sum(jnp.cos(function(m, n))), (0, 1)))(*args)
        assert_close(got, want)


def test_unused_parts_go() -> None:
    both = mapped(lambda x, w: (x * 2.0, jnp.cosh(w * x)), (P("i"), P()), (P("i"), P("i")), True)
    module = covector.run_passes(made(lambda x, w: both(x, w)[0], X, W), "dce")
    (eqn,) = module.main.equations
    assert len(eqn.inputs) == len(eqn.outputs) == 1
    assert "cosh" not in str(module)


def test_residuals_stay_on_their_device() -> None:
    """What backward needs is no larger on a device than the part it has."""
    function, args = programs(True)["sum"]
    halves = covector.run_passes(made(function, *args), "linearize").verify()
    first = next(e for g in halves.graphs.values() for e in g.equations if e.outputs)
    assert first.primitive.name == "shard_map"
    for y in first.params["graph"].outputs:
        assert y.type.shape in ((2,), (1,), ())


def test_collectives_of_no_mesh_are_errors() -> None:
    text = """module @m {
  func @main(x: f32[4]) -> (f32[4]) {
    y: f32[4] = psum_invariant[axes=("i",)] x
    return y
  }
}"""
    module = covector.parse(text)
    with pytest.raises(CovectorError, match="collective over i"):
        module.interpret(np.ones(4, np.float32))
    with pytest.raises(CovectorError, match="axis i is left in the program"):
        module.run(np.ones(4, np.float32))


def test_types_are_checked() -> None:
    module = made(programs(True)["sum"][0], X, W)
    text = str(module)
    assert 'mesh=(("i", 4),)' in text or "mesh=" in text
    for old, new in (('in_specs=((("i",),),', 'in_specs=((("k",),),'), ("f32[8]", "f32[9]")):
        assert old in text or old.replace(", ", ",") in text, text
        with pytest.raises(CovectorError):
            covector.parse(text.replace(old, new)).verify()


def test_explicit_axes_are_refused() -> None:
    mesh = jax.make_mesh((4,), ("i",), (AxisType.Explicit,))
    with jax.set_mesh(mesh), pytest.raises(CovectorError, match="reshard") as caught:
        covector.jit(lambda x: jax.reshard(x, P("i")) * 2)(X)
    assert "AxisType.Auto" in str(caught.value)


def test_a_shard_map_over_explicit_axes_is_refused() -> None:
    """JAX would take in_specs from the sharding in the argument's type."""
    mesh = jax.make_mesh((4,), ("i",), (AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(X, jax.sharding.NamedSharding(mesh, P("i")))
        f = jax.shard_map(lambda x: x * lax.psum(x.sum(), "i"), out_specs=P("i"))
        with pytest.raises(CovectorError, match="explicit sharding") as caught:
            covector.jit(f)(x)
    assert "AxisType.Auto" in str(caught.value)
    assert "test_shard_map.py" in str(caught.value)


@pytest.mark.parametrize("check_vma", [False, True])
def test_the_derivative_of_an_extremum(check_vma: bool) -> None:
    """Which JAX does not have: against that of the same by hand."""
    f = mapped(lambda x: x * lax.pmax(x.sum(), "i"), P("i"), P("i"), check_vma)

    def by_hand(x: Any) -> Any:
        return x * x.reshape(4, 2).sum(1).max()

    def loss(g: Any) -> Any:
        return lambda x: jnp.sin(g(x)).sum()

    assert_close(covector.grad(loss(f))(X), jax.grad(loss(by_hand))(X))
    dy = covector.jvp(f, (X,), (jnp.cos(X),))[1]
    assert_close(dy, jax.jvp(by_hand, (X,), (jnp.cos(X),))[1])


@pytest.mark.parametrize(("dim", "tiled"), [(0, False), (1, True)])
def test_a_gathered_value_that_is_the_same_on_all(dim: int, tiled: bool) -> None:
    def gather(x: Any, axes: Any, axis: int, tiled: bool = False) -> Any:
        return lax.all_gather(x, axes, axis=axis, tiled=tiled, to="invarying")

    def f(x: Any) -> Any:
        everything = gather(jnp.sin(x), ("i", "j"), axis=dim, tiled=tiled)
        return everything, x * everything.sum(), gather(x > 0.5, "i", axis=dim)

    specs = (P(), P(("i", "j")), P(None, "j") if dim == 0 else P("j"))
    g = mapped(f, P(("i", "j")), specs, True, i=2, j=2)
    program = Checked(g, M)
    program.value()
    program.reverse()
    program.forward()
    program.batched()

"""Derivatives between any two values of a function, and statistics of its inside."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness_laws import assert_close

import covector
from covector.frontend.between import NoPathWarning
from covector.ir.errors import ArgumentError, UsageError

W = np.random.default_rng(0).standard_normal((3, 5, 5)).astype(np.float32) / 2
X = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
V = np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32)


def block(x: Any, w: Any) -> Any:
    h = jnp.tanh(x @ w)
    return h + x


def net(x: Any, ws: Any) -> Any:
    z0 = covector.tap(2 * x, "input")
    z1 = block(z0, ws[0])
    z2 = jax.jit(block)(z1, ws[1])
    z3 = block(z2, ws[2])
    z4 = z3 * z1
    return jnp.sum(jnp.square(z4))


def looped(x: Any, ws: Any) -> Any:
    def body(c: Any, w: Any) -> Any:
        q = jnp.tanh(c @ w)
        return q, jnp.sum(q)

    last, sums = jax.lax.scan(body, x, ws)

    def yes(t: Any) -> Any:
        inside = jnp.sin(t)
        return inside * 2

    branch = jax.lax.cond(x[0, 0] > -100, yes, lambda t: t, last)
    kept = jax.checkpoint(block)(branch, ws[0])
    return jnp.sum(kept * last) + jnp.sum(sums)


def names(f: Any, *args: Any) -> list[str]:
    return [str(i).partition("    //")[0] for i in covector.intermediates(f)(*args)]


def test_what_can_be_named() -> None:
    listed = names(net, X, W)
    for line in (
        "input: f32[4,5]", "net.z0: f32[4,5]", "block[1].h: f32[4,5]", "net.z1: f32[4,5]",
        "block[3].h: f32[4,5]", "net.z2: f32[4,5]", "net.z4: f32[4,5]",
    ):  # fmt: skip
        assert line in listed
    assert listed.index("net.z1: f32[4,5]") < listed.index("net.z4: f32[4,5]")


def test_inside_of_loops_branches_and_checkpointed_parts() -> None:
    listed = names(looped, X, W)
    assert "body.q: f32[3,4,5]" in listed and "yes.inside: f32[4,5]" in listed
    assert "block.h: f32[4,5]" in listed and "looped.last: f32[4,5]" in listed
    assert "body.q: f32[3,7,4,5]" in names(jax.vmap(looped, (0, None)), np.stack([X] * 7), W)


def returning(x: Any, w: Any) -> Any:
    h = jnp.tanh(x @ w)
    h = 2 * h
    return h  # noqa: RET504 - the name is what is watched


def chain(x: Any, w: Any) -> Any:
    z1 = returning(x, w)
    z2 = returning(returning(z1, w), w)
    for _ in range(2):
        z2 = z2 + 1
    return jnp.sum(z2)


def test_a_variable_that_is_returned_has_the_names_of_both_functions() -> None:
    listed = [line.partition(":")[0] for line in names(chain, X, W[0])]
    assert listed == [
        "returning[1].h[1]", "returning[1].h[2]", "chain.z1", "returning[2].h[1]",
        "returning[2].h[2]", "returning[3].h[1]", "returning[3].h[2]", "chain.z2[1]",
        "chain.z2[2]", "chain.z2[3]",
    ]  # fmt: skip
    d = covector.derivative(chain, of="z1", wrt="returning[1].h[1]")(X, W[0])
    assert_close(d.jvp(V), 2 * V)


def row(r: Any) -> Any:
    h = jnp.sin(r)
    return jnp.sum(h)


def from_libraries(x: Any, ws: Any) -> Any:
    rows = jax.vmap(row)(x)
    stack = jax.lax.scan(lambda c, w: (c, c @ w), x, ws)[1]
    end = jax.lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] / 2), (0, rows))[1]
    x = jax.vmap(lambda r: 2 * r)(x)
    z = block(x, ws[0])
    return jnp.sum(end) + jnp.sum(stack) + jnp.sum(z)


def test_what_comes_out_of_library_functions_and_of_a_part_of_a_result() -> None:
    listed = names(from_libraries, X, W)
    assert listed == [
        "row.h: f32[4,5]", "from_libraries.rows: f32[4]", "from_libraries.stack: f32[3,4,5]",
        "from_libraries.end: f32[4]", "from_libraries.x: f32[4,5]", "block.h: f32[4,5]",
        "from_libraries.z: f32[4,5]",
    ]  # fmt: skip
    d = covector.derivative(from_libraries, of="end", wrt="rows")(X, W)
    assert_close(d.jacobian(), np.eye(4, dtype=np.float32) / 4)


def test_a_line_is_what_its_variable_is_assigned() -> None:
    """Not the last operation that is written on it, `ws[0]`."""
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if text.strip() == "z = block(x, ws[0])"
    )
    d = covector.derivative(from_libraries, of=f"test_intermediates.py:{line}", wrt="block.h")(X, W)
    assert_close(d.jvp(V), V)


def test_tap_changes_nothing() -> None:
    def f(x: Any) -> Any:
        return jnp.sum(covector.tap(jnp.sin(x), "s"))

    assert_close(covector.grad(f)(X), np.cos(X))
    assert_close(jax.grad(f)(X), np.cos(X))
    assert names(f, X) == ["s: f32[4,5]"]


@pytest.mark.parametrize("of", ["z2", "net.z2"])
def test_between_two_layers(of: str) -> None:
    d = covector.derivative(net, of=of, wrt="net.z1")(X, W)
    z1 = block(2 * X, W[0])
    part = lambda z: block(z, W[1])
    assert_close(d.at, z1)
    assert_close(d.value, part(z1))
    assert_close(d.jvp(V), jax.jvp(part, (z1,), (V,))[1])
    assert_close(d.vjp(V), jax.vjp(part, z1)[1](V)[0])
    assert_close(d.jacobian(), jax.jacobian(part)(z1))
    assert d.dependent and "zero" not in repr(d)


def test_by_line_input_and_output() -> None:
    site = next(i.location for i in covector.intermediates(net)(X, W) if i.name == "net.z4")
    assert site is not None
    by_line = covector.derivative(net, of=f"test_intermediates.py:{site.line}", wrt="x")(X, W)
    by_name = covector.derivative(net, of="z4", wrt="x")(X, W)
    assert_close(by_line.jvp(V), by_name.jvp(V))
    whole = covector.derivative(net, wrt="x")(X, W)
    assert_close(whole.vjp(np.float32(1)), jax.grad(net)(X, W))


def test_what_goes_past_the_cut_is_held() -> None:
    """z4 = z3 * z1: by z3 at fixed z1, it is z1."""
    d = covector.derivative(net, of="z4", wrt="z3")(X, W)
    assert_close(d.jvp(V), V * block(2 * X, W[0]))
    both = covector.derivative(net, of=["z4", "z3"], wrt=["z3", "z1"])(X, W)
    (dz4, dz3) = both.jvp([V, V])
    assert_close(dz4, V * both.at[1] + both.at[0] * V)
    assert_close(dz3, V)
    ((a, b), (c, zero)) = both.jacobian()
    assert a.shape == b.shape == c.shape == (4, 5, 4, 5)
    assert_close(c.reshape(20, 20), np.eye(20, dtype=np.float32))
    assert not np.any(zero)


def test_pairs_share_a_trace() -> None:
    calls = []

    def counted(x: Any, ws: Any) -> Any:
        calls.append(1)
        return net(x, ws)

    pairs = [("z1", "z0"), ("z2", "z1"), ("z3", "z2")]
    found = covector.derivative(counted, pairs=pairs)(X, W)
    assert len(found) == 3 and len(calls) == 1
    assert_close(found[1].jvp(V), covector.derivative(net, of="z2", wrt="z1")(X, W).jvp(V))


def test_only_the_part_between_is_differentiated() -> None:
    d = covector.derivative(net, of="z2", wrt="z1")(X, W)
    names = [e.primitive.name for e in d._cut.between.equations]
    assert names == ["dot_general", "tanh", "add"]


def test_the_derivative_of_a_part_costs_what_the_part_costs() -> None:
    """XLA's count of operations, of one layer of three; the whole gradient has many more."""

    def between(x: Any, u: Any) -> Any:
        return covector.derivative(net, of="z2", wrt="z1")(x, W).vjp(u)

    def by_hand(x: Any, u: Any) -> Any:
        return covector.vjp(lambda z: block(z, W[1]), block(2 * x, W[0]))[1](u)

    def whole(x: Any, u: Any) -> Any:
        return covector.grad(net)(x, W)

    def operations(f: Any) -> float:
        return float(jax.jit(f).lower(X, V).compile().cost_analysis()["flops"])

    assert operations(between) <= 1.1 * operations(by_hand) < operations(whole)


@pytest.mark.parametrize("under", ["covector.jit", "jax.jit", "vmap", "scan", "checkpoint", "grad"])
def test_under_transformations(under: str) -> None:
    def push(x: Any) -> Any:
        return covector.derivative(net, of="z2", wrt="z1")(x, W).jvp(V)

    want = push(X)
    if under in ("covector.jit", "jax.jit"):
        assert_close((covector.jit if under[0] == "c" else jax.jit)(push)(X), want)
    elif under == "vmap":
        assert_close(covector.vmap(push)(np.stack([X, 2 * X]))[0], want)
        assert_close(jax.vmap(push)(np.stack([X, 2 * X]))[1], push(2 * X))
    elif under == "scan":
        assert_close(jax.lax.scan(lambda c, x: (c, push(x)), 0, np.stack([X, X]))[1][1], want)
    elif under == "checkpoint":
        assert_close(jax.checkpoint(push)(X), want)
    else:
        total = lambda x: jnp.sum(push(x))
        assert_close(covector.grad(total)(X), jax.grad(total)(X))


def test_stacks_of_a_scan() -> None:
    d = covector.derivative(looped, of="q", wrt="x")(X, W)

    def stacks(x: Any) -> Any:
        return jax.lax.scan(lambda c, w: (jnp.tanh(c @ w),) * 2, x, W)[1]

    assert_close(d.value, stacks(X))
    assert_close(d.jvp(V), jax.jvp(stacks, (X,), (V,))[1])


def test_the_example_of_layers(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    try:
        layers = importlib.import_module("layers")
    finally:
        sys.path.pop(0)
    pushed, pulled = layers.mlp_products()
    assert_close(pushed, layers.mlp_by_hand())
    assert pulled.shape == (16, 32)
    found = layers.adjacent_blocks(blocks=3)
    assert len(found) == 2 and all(norm > 0 for row in found for norm in row)
    norms = layers.gradient_norms(blocks=3)
    assert all(cotangent > 1e-4 for _, cotangent in norms)  # not what rounding leaves of zero
    layers.plot(found, norms, tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 10_000


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"no value 'zz1'\n  did you mean"):
        covector.derivative(net, of="zz1", wrt="x")(X, W)
    with pytest.raises(UsageError, match=r"'h' is ambiguous\n  say which: block\[1\].h"):
        covector.derivative(net, of="h", wrt="x")(X, W)
    with pytest.raises(UsageError, match=r"'z2' is ambiguous\n  say which: chain.z2\[1\], "):
        covector.derivative(chain, of="z2", wrt="x")(X, W[0])
    with pytest.raises(UsageError, match=r"no value '.*:1'\n  lines near it with values: \d+, "):
        covector.derivative(net, of="test_intermediates.py:1", wrt="x")(X, W)
    with pytest.raises(UsageError, match="there are x, output"):
        covector.derivative(lambda x: jnp.sin(x), of="y", wrt="x")(X)
    with pytest.raises(ArgumentError, match="pairs are of the form"):
        covector.derivative(net, pairs=["z2"])
    with pytest.raises(ArgumentError, match=r"shaped as x, \(4, 5\); got \(3,\)"):
        covector.derivative(net, wrt="x")(X, W).jvp(np.ones(3))
    with pytest.raises(ArgumentError, match="needs wrt"):
        covector.derivative(net, of="z1")
    with pytest.warns(NoPathWarning, match="z1 does not depend on z2"):
        d = covector.derivative(net, of="z1", wrt="z2")(X, W)
    assert not np.any(d.jvp(V)) and not np.any(d.vjp(V)) and "no path to z1: zero" in repr(d)


# -- monitor ---------------------------------------------------------------------------------------


def test_statistics_of_values_and_cotangents() -> None:
    y, found = covector.monitor(net)(X, W)
    assert_close(y, net(X, W))
    assert list(found)[:2] == ["input", "net.z0"]
    d = covector.derivative(net, wrt="z2")(X, W)
    z2 = found["net.z2"]
    assert_close(z2["value"]["norm"], np.linalg.norm(d.at))
    assert_close(z2["value"]["max"], np.max(np.abs(d.at)))
    assert_close(z2["cotangent"]["norm"], np.linalg.norm(d.vjp(np.float32(1))))
    assert z2["cotangent"]["nans"] == 0


def test_cotangents_inside_of_loops_branches_and_checkpointed_parts() -> None:
    y, found = covector.monitor(looped, stats={"all": lambda x: x}, of=["q", "*.inside", "h"])(X, W)
    assert_close(y, looped(X, W))
    assert list(found) == ["body.q", "yes.inside", "block.h"]

    def perturbed(p: Any) -> Any:
        def body(c: Any, wp: Any) -> Any:
            q = jnp.tanh(c @ wp[0]) + wp[1]
            return q, jnp.sum(q)

        last, sums = jax.lax.scan(body, X, (W, p["q"]))
        kept = block_plus((jnp.sin(last) + p["inside"]) * 2, p["h"])
        return jnp.sum(kept * last) + jnp.sum(sums)

    def block_plus(x: Any, p: Any) -> Any:
        return jnp.tanh(x @ W[0]) + p + x

    zeros = {"q": np.zeros((3, 4, 5)), "inside": np.zeros((4, 5)), "h": np.zeros((4, 5))}
    want = jax.grad(perturbed)(jax.tree.map(np.float32, zeros))
    for name, key in (("body.q", "q"), ("yes.inside", "inside"), ("block.h", "h")):
        assert_close(found[name]["cotangent"]["all"], want[key])


def test_monitor_under_transformations_and_by_pattern() -> None:
    watch = covector.monitor(net, stats=("rms", "histogram"), of="block*.h")
    _, found = watch(X, W)
    assert list(found) == ["block[1].h", "block[2].h", "block[3].h"]
    assert np.sum(found["block[1].h"]["value"]["histogram"]) == X.size
    inner = covector.jit(watch)(X, W)[1]
    assert_close(inner["block[2].h"]["cotangent"]["rms"], found["block[2].h"]["cotangent"]["rms"])
    rows = covector.vmap(watch, in_axes=(0, None))(np.stack([X, X]), W)[1]
    assert_close(rows["block[2].h"]["value"]["rms"][1], found["block[2].h"]["value"]["rms"])


def test_monitor_is_traced_once() -> None:
    calls = []

    def counted(x: Any) -> Any:
        calls.append(1)
        z = jnp.sin(x)
        return jnp.sum(z)

    watch = covector.monitor(counted)
    watch(X), watch(2 * X)
    assert len(calls) == 1


def test_keys_have_no_statistics() -> None:
    def noisy(key: Any, x: Any) -> Any:
        one, _ = jax.random.split(key)
        y = x + jax.random.normal(one, x.shape)
        return jnp.sum(y)

    _, found = covector.monitor(noisy)(jax.random.key(0), X)
    assert list(found) == ["noisy.y"]


def test_monitor_errors() -> None:
    with pytest.raises(UsageError, match="no statistic 'norms'\n  did you mean norm"):
        covector.monitor(net, stats=("norms",))
    with pytest.raises(UsageError, match="no value is called 'blok"):
        covector.monitor(net, of="blok*")(X, W)
    with pytest.raises(ArgumentError, match="cotangents=False"):
        covector.monitor(block)(X, W[0])
    _, found = covector.monitor(block, cotangents=False)(X, W[0])
    assert list(found["block.h"]) == ["value"]


def test_results_of_library_functions_belong_to_the_call_that_assigns_them() -> None:
    """Also those that JAX has traced before, and parts of what a jitted function returns."""
    pair = jax.jit(lambda x: (jnp.sin(x), jnp.cos(x) * 2))

    def model(x: Any) -> Any:
        size = jnp.linalg.norm(x)
        chances = jax.nn.softmax(x)
        second = pair(x)[1]
        values = jnp.linalg.svd(x, full_matrices=False)[1]
        mean = x.mean()
        return size + chances.sum() + second.sum() + values.sum() + mean

    x = jnp.eye(3) + jnp.arange(9.0).reshape(3, 3)
    for _ in range(2):
        names = [v.name for v in covector.intermediates(model)(x)]
        assert names == [f"model.{n}" for n in ("size", "chances", "second", "values", "mean")]
    found = covector.derivative(model, of="output", wrt="second")(x)
    assert_close(found.vjp(1.0), jnp.ones((3, 3)))

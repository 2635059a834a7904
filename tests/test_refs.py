"""Mutable arrays (jax.Ref): what a program makes of them, beside JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.errors import CovectorError

X = jnp.array([0.3, 0.5, 0.7])


def indexed(x: Any) -> Any:
    """Reads and writes of parts: slices, an array of indices, a traced index, `+=`."""
    ref = jax.new_ref(x)
    ref[1:] = ref[:2] * 2
    ref[jnp.array([0, 2])] += x[:2]
    i = jnp.argmax(x)
    ref[i] = ref[i] * x[0]
    ref.addupdate(x * x)
    return jax.freeze(ref).sum()


def nested(x: Any) -> Any:
    """A ref that jit, scan, while, cond and checkpoint close over and write to."""
    ref = jax.new_ref(x)
    total = jax.new_ref(0.0)

    @jax.jit
    def double(y: Any) -> Any:
        ref[...] = jnp.sin(ref[...]) * y
        return y + ref[0]

    def step(c: Any, z: Any) -> Any:
        total[...] += c * z
        return c + ref[1], total[...]

    def turn(i: Any) -> Any:
        ref[...] *= 1.1
        return i + 1

    @jax.checkpoint
    def add(c: Any) -> Any:
        ref[...] += c
        return (ref[...] * c).sum()

    c, ys = jax.lax.scan(step, double(2.0), x, reverse=True)
    jax.lax.fori_loop(0, 3, lambda _, n: turn(n), 0)
    jax.lax.cond(x[0] > 0, lambda: ref.__setitem__(2, x[1] * ref[2]), lambda: None)
    out = add(c)
    return out + (ref[...] * jnp.arange(3.0)).sum() + ys.sum() + total[...]


def scanned(x: Any) -> Any:
    """A ref that a scan runs over, slice by slice."""
    ref = jax.new_ref(x)

    def step(c: Any, slice: Any) -> Any:
        slice[...] = slice[...] * c
        return c + slice[...], ()

    c, _ = jax.lax.scan(step, 1.5, ref)
    return c * ref[...].sum()


def looped(x: Any) -> Any:
    """A while loop whose condition reads what its body writes."""
    ref = jax.new_ref(x[0])
    n = jax.jit(
        lambda: jax.lax.while_loop(
            lambda i: (i < 9) & (ref[...] < 4.0),
            lambda i: (ref.__setitem__(..., ref[...] * x[1] * 4), i + 1)[1],
            0,
        )
    )()
    return ref[...] * n


def empty(x: Any) -> Any:
    """A ref that holds nothing at first, and is freed."""
    ref = jax.empty_ref(jax.ShapeDtypeStruct((3,), jnp.float32))
    ref[...] = x * 2
    ref[0] = 1.0
    y = ref[...]
    jax.free_ref(ref)
    return (y * y).sum()


PROGRAMS = [indexed, nested, scanned, empty]
each_program = pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)


def by_columns(f: Callable[..., Any]) -> Callable[..., Any]:
    """The derivative by JAX, which cannot map these programs."""
    return lambda x: jnp.stack([jax.jvp(f, (x,), (e,))[1] for e in jnp.eye(3)], axis=-1)


@each_program
def test_against_jax(f: Callable[..., Any]) -> None:
    """The value, both derivatives, a second one, and a batch; un-jitted and as a program."""
    jitted = jax.jit(f)
    np.testing.assert_allclose(covector.jit(f)(X), jitted(X), rtol=1e-6)
    want = by_columns(jitted)(X)
    np.testing.assert_allclose(covector.grad(f)(X), want, rtol=1e-5)
    np.testing.assert_allclose(covector.jit(covector.jacfwd(f))(X), want, rtol=1e-5)
    stack = jnp.stack([X, -X])
    got = covector.jit(covector.vmap(covector.value_and_grad(f)))(stack)
    each = [covector.jit(covector.value_and_grad(f))(x) for x in stack]
    jax.tree.map(lambda *y: np.testing.assert_allclose(y[0], y[1:], rtol=1e-5), got, *each)


def test_second_derivative() -> None:
    want = by_columns(by_columns(jax.jit(nested)))(X)
    got = covector.jit(covector.hessian(nested))(X)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@each_program
def test_is_values_in_text(f: Callable[..., Any]) -> None:
    module = covector.make_ir(f)(X)
    read = covector.from_jaxpr(jax.make_jaxpr(f)(X))
    for m in (module, read):
        m.verify()
        assert covector.parse(str(m)) == m
        assert "ref" not in {eqn.primitive.name for eqn in m.main.equations}
    np.testing.assert_allclose(read.run(X)[0], module.run(X), rtol=1e-6)


def test_condition_reads_what_the_body_writes() -> None:
    want = looped_in_python(X)
    np.testing.assert_allclose(covector.jit(looped)(X), want, rtol=1e-6)
    value, dx = covector.jvp(looped, (X,), (X,))
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(covector.grad(looped)(X) @ X, dx, rtol=1e-5)


def looped_in_python(x: Any) -> Any:
    held, n = x[0], 0
    while n < 9 and held < 4.0:
        held, n = held * x[1] * 4, n + 1
    return held * n


def test_python_may_branch_on_what_is_held() -> None:
    def f(x: Any) -> Any:
        ref = jax.new_ref(x)
        ref[0] += 1
        return ref[0] * 3 if ref[0] > 1 else ref[0]

    assert covector.grad(f)(X)[0] == 3.0
    with pytest.raises(jax.errors.TracerBoolConversionError):
        covector.jit(f)(X)


# -- mutable arrays that live outside --------------------------------------------------------------


def step(ref: Any, x: Any) -> Any:
    ref[0] += 2.0
    return ref[...].sum() * x


@pytest.mark.parametrize("around", [lambda f: f, covector.jit, jax.jit])
def test_arguments_and_closures_are_written(around: Callable[..., Any]) -> None:
    """By each transformation, and inside of jit: as JAX, un-jitted and jitted."""
    held = jax.new_ref(jnp.zeros(3)), jax.new_ref(jnp.zeros(3))
    ours = [
        around(lambda r, x: covector.grad(lambda x: step(r, x))(x)),
        around(lambda r, x: covector.value_and_grad(step, 1)(r, x)),
        around(lambda r, x: covector.vjp(lambda x: step(r, x), x)[1](x)),
        around(lambda r, x: covector.jvp(lambda x: step(r, x), (x,), (x,))),
        around(lambda r, x: covector.jit(step)(r, x)),
        around(lambda r, x: covector.grad(lambda x: x * covector.grad(step, 1)(r, x))(x)),
    ]
    theirs: list[Callable[..., Any]] = [
        lambda r, x: jax.grad(lambda x: step(r, x))(x),
        lambda r, x: jax.value_and_grad(step, 1)(r, x),
        lambda r, x: jax.vjp(lambda x: step(r, x), x)[1](x),
        lambda r, x: jax.jvp(lambda x: step(r, x), (x,), (x,)),
        lambda r, x: jax.jit(step)(r, x),
        lambda r, x: jax.grad(lambda x: x * jax.grad(step, 1)(r, x))(x),
    ]
    for mine, other in zip(ours, theirs, strict=True):
        got, want = mine(held[0], 2.0), other(held[1], 2.0)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), got, want)
        np.testing.assert_array_equal(held[0][...], held[1][...])


def test_compiled_calls_read_and_write_each_time() -> None:
    counter = jax.new_ref(jnp.zeros(2))
    traced = []

    @covector.jit
    def f(ref: Any, x: Any) -> Any:
        traced.append(1)
        counter[0] += 1
        ref[...] += x
        return ref[0]

    first, second = jax.new_ref(jnp.zeros(3)), jax.new_ref(jnp.ones(3))
    assert [float(f(r, 2.0)) for r in (first, second, first)] == [2.0, 3.0, 4.0]
    assert (float(counter[0]), len(traced)) == (3.0, 1)
    compiled = f.lower(jax.ShapeDtypeStruct((3,), jnp.float32, is_ref=True), 1.0).compile()
    assert float(compiled(second, 1.0)) == 4.0
    assert float(counter[0]) == 4.0


def test_vmap_maps_arguments_and_shares_closures() -> None:
    shared = jax.new_ref(2.0)
    mapped = jax.new_ref(jnp.arange(6.0).reshape(3, 2))

    def f(ref: Any, x: Any) -> Any:
        ref[0] += shared[...] * x
        return ref[...].sum()

    out = covector.vmap(f, in_axes=(1, 0))(mapped, jnp.ones(2))
    np.testing.assert_array_equal(mapped[...], [[2, 3], [2, 3], [4, 5]])
    np.testing.assert_array_equal(out, [8, 11])


def test_program_of_a_function_of_mutable_arrays() -> None:
    module = covector.make_ir(step)(jax.new_ref(X), 1.0)
    out, (left,) = module.run(X, 2.0)
    np.testing.assert_allclose(left, X + jnp.array([2.0, 0.0, 0.0]))
    np.testing.assert_allclose(out, 2 * left.sum(), rtol=1e-6)
    np.testing.assert_allclose(covector.from_jaxpr(module.to_jaxpr()).run(X, 2.0)[1], left)


def test_custom_vjp_reads_and_writes() -> None:
    @jax.custom_vjp
    def f(x: Any, ref: Any) -> Any:
        ref[...] += 1.0
        return x * ref[...]

    def fwd(x: Any, ref: Any) -> Any:
        ref[...] += 1.0
        return x * ref[...], ref[...]

    f.defvjp(fwd, lambda held, ct: (ct * held * 10, None))
    ref = jax.new_ref(1.0)
    for around in (lambda f: f, covector.jit, jax.jit):
        before = float(ref[...])
        value, dx = around(covector.value_and_grad(lambda x: f(x, ref)))(3.0)
        assert (float(value), float(dx), float(ref[...])) == (
            3 * (before + 1), 10 * (before + 1), before + 1
        )  # fmt: skip


def test_backward_rules_write_nowhere() -> None:
    @jax.custom_vjp
    def f(x: Any, ref: Any) -> Any:
        return x

    f.defvjp(lambda x, ref: (x, ref), lambda ref, ct: (ref.__setitem__(..., ct), (ct, None))[1])
    with pytest.raises(ValueError, match="backward rule"):
        covector.grad(lambda x: f(x, jax.new_ref(1.0)))(3.0)


def test_forward_rules_write_what_functions_write() -> None:
    @jax.custom_vjp
    def f(x: Any, ref: Any) -> Any:
        return x * ref[...]

    def fwd(x: Any, ref: Any) -> Any:
        ref[...] += 1.0
        return x, ref[...]

    f.defvjp(fwd, lambda held, ct: (ct * held, None))
    scale = jnp.float32(2.0)
    with pytest.raises(ValueError, match="fwd writes to argument 1, a mutable array"):
        covector.grad(lambda x: f(x * scale, jax.new_ref(1.0)))(3.0)


# -- what is refused -------------------------------------------------------------------------------


def keep(x: Any, ref: Any) -> Any:
    ref[...] = x
    return x.sum()


OUTER = jax.new_ref(jnp.zeros(3))
REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("traced for jit returned a mutable array.*\n\n.*argument ref", lambda: covector.jit(
        lambda ref: ref)(OUTER)),
    (r"returned a mutable array.*\n\n.*test_refs.py", lambda: covector.vmap(jax.new_ref)(X)),
    ("appeared at both a and b", lambda: covector.jit(lambda a, b: None)(OUTER, OUTER)),
    ("closed over and passed as the argument a", lambda: covector.jit(
        lambda a: a[...] + OUTER[...])(OUTER)),
    ("Move the array reference", lambda: covector.grad(lambda x: keep(x, OUTER))(X)),
    ("the tangent of a mutable array is one", lambda: covector.jvp(keep, (X, OUTER), (X, X))),
    ("unbatched array reference", lambda: covector.vmap(
        lambda x: keep(x, OUTER))(jnp.ones((2, 3)))),
    ("grad by a mutable array", lambda: covector.grad(lambda r: r[0])(OUTER)),
    ("pass them as arguments", lambda: covector.make_ir(lambda: OUTER[0])()),
    (r"f32\[2\] is written to a place of type f32\[3\]", lambda: covector.jit(
        lambda ref, x: ref.__setitem__(..., x[:2]))(OUTER, X)),
    (r"a view of a mutable array \(ref\.at", lambda: covector.jit(lambda x: covector.jit(
        lambda view: view[...])(jax.new_ref(x).at[0]))(X)),
    ("after jax.free_ref", lambda: covector.jit(freed)(X)),
]  # fmt: skip


def freed(x: Any) -> Any:
    ref = jax.new_ref(x)
    jax.free_ref(ref)
    return ref[...]


@pytest.mark.parametrize(("message", "call"), REFUSED, ids=[m[:24] for m, _ in REFUSED])
def test_refused_with_the_way_out(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert isinstance(caught.value, CovectorError)
    assert caught.value.hint

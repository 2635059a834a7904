"""Mistakes in calls of transformations: errors of the types that JAX raises, which say more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

Mistake = tuple[str, Callable[[Any], Any], type[Exception], tuple[str, ...]]


def double(x: Any) -> Any:
    return x * 2


def pair(x: Any, y: Any) -> Any:
    return x, y


def first(x: Any, y: Any) -> Any:
    return x


def numbers(x: Any) -> Iterator[Any]:
    yield x


def f_vjp(m: Any) -> Any:
    return m.vjp(pair, 1.0, 2.0)[1]


def f_jvp(m: Any) -> Any:
    return m.linearize(double, jnp.ones(3))[1]


ONES = np.ones(3, np.float32)


# What is called, how, the type of the error, what it says.
def strings() -> Any:
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this NumPy has no dtype of strings")
    words: Any = np.array(["a", "b"], dtype=np.dtypes.StringDType())
    return jax.device_put(words, jax.devices("cpu")[0])


MISTAKES: list[Mistake] = [
    ("grad of no function", lambda m: m.grad(3), TypeError, ("callable", "3")),
    ("grad of a generator", lambda m: m.grad(numbers), TypeError, ("generator",)),
    ("grad of an array", lambda m: m.grad(double)(ONES), TypeError, ("double", "(3,)")),
    ("grad of a pair", lambda m: m.grad(pair)(1.0, 1.0), TypeError, ("scalar-output", "pair")),
    ("grad of nothing", lambda m: m.grad(lambda x: None)(1.0), TypeError, ("scalar-output",)),
    ("grad by an integer", lambda m: m.grad(double)(3), TypeError, ("int32", "allow_int")),
    ("grad by a string", lambda m: m.grad(double)("x"), TypeError, ("str",)),
    ("grad by a key", lambda m: m.grad(lambda k: 1.0)(jax.random.key(0)), TypeError, ("key",)),
    ("grad, complex output", lambda m: m.grad(double)(1j), TypeError, ("holomorphic", "complex64")),
    (
        "grad, integer output",
        lambda m: m.grad(lambda x: jnp.int32(1))(1.0),
        TypeError,
        ("real", "int32"),
    ),
    ("holomorphic, real", lambda m: m.grad(double, holomorphic=True)(1.0), TypeError, ("complex",)),
    (
        "holomorphic, real output",
        lambda m: m.grad(jnp.real, holomorphic=True)(1j),
        TypeError,
        ("complex", "real"),
    ),
    ("argnums too large", lambda m: m.grad(double, 1)(1.0), TypeError, ("argnums=1", "double")),
    ("argnums too small", lambda m: m.grad(double, -2)(1.0), ValueError, ("argnums=-2",)),
    ("argnums a float", lambda m: m.grad(double, 1.0)(1.0), TypeError, ("argnums", "1.0")),
    ("no auxiliary output", lambda m: m.grad(double, has_aux=True)(1.0), TypeError, ("has_aux",)),
    ("reduce_axes", lambda m: m.grad(double, reduce_axes="i"), NotImplementedError, ("axes",)),
    # jvp
    ("jvp of numbers", lambda m: m.jvp(double, 1.0, 1.0), TypeError, ("tuples or lists", "float")),
    ("jvp, one tangent", lambda m: m.jvp(pair, (1.0, 1.0), (1.0,)), TypeError, ("tree structure",)),
    ("jvp, shape", lambda m: m.jvp(double, (ONES,), (ONES[1:],)), ValueError, ("(3,)", "(2,)")),
    (
        "jvp, dtype",
        lambda m: m.jvp(double, (ONES,), (ONES.astype(np.float16),)),
        TypeError,
        ("float32", "float16"),
    ),
    ("jvp, integer", lambda m: m.jvp(double, (1,), (1,)), TypeError, ("float0", "int32")),
    ("jvp of no function", lambda m: m.jvp(3, (1.0,), (1.0,)), TypeError, ("callable",)),
    ("jvp, list", lambda m: m.jvp(double, (1.0,), [1.0]), TypeError, ("tree structure",)),
    # linearize and vjp
    ("linear, two tangents", lambda m: f_jvp(m)(ONES, ONES), TypeError, ("tree structure",)),
    ("linear, shape", lambda m: f_jvp(m)(ONES[1:]), ValueError, ("(2,)", "(3,)")),
    ("vjp of no function", lambda m: m.vjp(3, 1.0), TypeError, ("callable",)),
    ("vjp by a string", lambda m: m.vjp(double, "x"), TypeError, ("str",)),
    (
        "vjp, two cotangents",
        lambda m: f_vjp(m)(1.0, 2.0),
        TypeError,
        ("pair", "called with 2", "f_vjp((1.0, 1.0))", "not f_vjp(1.0, 1.0)", "covector.jvp"),
    ),
    ("vjp, tree", lambda m: f_vjp(m)(1.0), ValueError, ("tree structure", "pair")),
    ("vjp, shape", lambda m: f_vjp(m)((ONES, 1.0)), ValueError, ("f32[3]", "f32[]", "pair")),
    ("vjp, dtype", lambda m: f_vjp(m)((1, 1.0)), ValueError, ("i32", "f32")),
    # linear_transpose
    (
        "transpose, mixed",
        lambda m: m.linear_transpose(lambda x: x.astype(np.int32), ONES)(ONES),
        TypeError,
        ("float", "i32"),
    ),
    (
        "transpose, tree",
        lambda m: m.linear_transpose(double, ONES)((ONES,)),
        TypeError,
        ("tree structure", "double"),
    ),
    (
        "transpose, shape",
        lambda m: m.linear_transpose(double, ONES)(ONES[1:]),
        TypeError,
        ("f32[2]", "f32[3]"),
    ),
    # Jacobians
    ("jacfwd by an integer", lambda m: m.jacfwd(double)(3), TypeError, ("real", "int32")),
    ("jacrev by an integer", lambda m: m.jacrev(double)(3), TypeError, ("real", "int32")),
    ("jacfwd, complex", lambda m: m.jacfwd(double)(1j), TypeError, ("holomorphic",)),
    ("jacrev, complex", lambda m: m.jacrev(double)(1j), TypeError, ("holomorphic",)),
    (
        "jacrev, holomorphic of real",
        lambda m: m.jacrev(double, holomorphic=True)(1.0),
        TypeError,
        ("complex",),
    ),
    ("hessian by an integer", lambda m: m.hessian(double)(3), TypeError, ("real",)),
    ("jacfwd, argnums", lambda m: m.jacfwd(double, 1)(ONES), ValueError, ("argnums=1", "double")),
    ("hessian, argnums", lambda m: m.hessian(double, (0, 1))(1.0), ValueError, ("argnums=(0, 1)",)),
    # vmap
    (
        "vmap, sizes",
        lambda m: m.vmap(first)(ONES, ONES[1:]),
        ValueError,
        ("inconsistent sizes", "x", "f32[3]", "y", "f32[2]"),
    ),
    ("vmap of nothing", lambda m: m.vmap(first, (None, None))(1, 2), ValueError, ("axis_size",)),
    ("vmap, rank", lambda m: m.vmap(first, 1)(ONES, ONES), ValueError, ("axis 1", "rank")),
    ("vmap, in_axes", lambda m: m.vmap(first, "x"), TypeError, ("in_axes", "x")),
    ("vmap, in_axes' leaf", lambda m: m.vmap(first, (0, "x")), TypeError, ("in_axes", "x")),
    ("vmap, out_axes", lambda m: m.vmap(first, 0, "x"), TypeError, ("out_axes", "x")),
    ("vmap, in_axes' length", lambda m: m.vmap(first, (0,))(1, 2), ValueError, ("in_axes", "2")),
    (
        "vmap, no prefix",
        lambda m: m.vmap(first, ((0, 0), 0))(ONES, ONES),
        ValueError,
        ("prefix", "in_axes"),
    ),
    (
        "vmap, out_axes none of a batched value",
        lambda m: m.vmap(double, out_axes=None)(ONES),
        ValueError,
        ("out_axes",),
    ),
    ("vmap of no function", lambda m: m.vmap(3), TypeError, ("callable",)),
    (
        "no such axis",
        lambda m: m.jit(lambda x: jax.lax.psum(x, "j"))(1.0),
        NameError,
        ("axis", "j"),
    ),
    ("policy", lambda m: m.grad(m.checkpoint(double, policy="x"))(1.0), TypeError, ()),
    # jit
    ("jit, sharding", lambda m: m.jit(double, in_shardings=3)(1.0), TypeError, ("sharding", "3")),
    (
        "jit of an object",
        lambda m: m.jit(lambda p, q: p)({"w": [1.0, object()]}, 2.0),
        TypeError,
        ("p", "w", "[1]", "object"),
    ),
    ("vjp by a string among others", lambda m: m.vjp(pair, 1.0, "s"), TypeError, ("str",)),
    ("jit of no function", lambda m: m.jit(3), TypeError, ("callable",)),
    ("jit of a generator", lambda m: m.jit(numbers), TypeError, ("generator",)),
    (
        "fewer rows than pivots",
        lambda m: m.jit(lambda i: jax.lax.linalg.lu_pivots_to_permutation(i, 3))(jnp.arange(4)),
        ValueError,
        ("pivots",),
    ),
    (
        "negative length",
        lambda m: m.jit(lambda x: x + jax.lax.iota(float, -1))(1.0),
        TypeError,
        ("negative",),
    ),
    ("jit of a string", lambda m: m.jit(double)("x"), TypeError, ("str",)),
    (
        "jit of strings",
        lambda m: m.jit(lambda x: x)(strings()),
        TypeError,
        ("strings", "argument x"),
    ),
    ("grad by strings", lambda m: m.grad(double)(strings()), TypeError, ("strings",)),
    (
        "jit, static list",
        lambda m: m.jit(first, static_argnums=1)(ONES, []),
        ValueError,
        ("hash", "list"),
    ),
    (
        "jit, static argument that is not there",
        lambda m: m.jit(double, static_argnums=3),
        ValueError,
        ("static_argnums",),
    ),
    (
        "jit, static name that is not there",
        lambda m: m.jit(double, static_argnames="z"),
        ValueError,
        ("static_argnames", "z"),
    ),
    ("jit, result", lambda m: m.jit(lambda x: "y")(1.0), TypeError, ("str",)),
    (
        "jit branches on a value",
        lambda m: m.jit(lambda x: x if x > 0 else -x)(1.0),
        jax.errors.TracerBoolConversionError,
        ("traced",),
    ),
    (
        "jit makes an integer of a value",
        lambda m: m.jit(lambda x: range(x))(3),
        jax.errors.TracerIntegerConversionError,
        ("__index__",),
    ),
    (
        "jit makes an array of a value",
        lambda m: m.jit(lambda x: np.asarray(x))(3),
        jax.errors.TracerArrayConversionError,
        ("__array__",),
    ),
    (
        "a shape is not known",
        lambda m: m.jit(lambda n: jnp.zeros(n))(3),
        TypeError,
        ("Shapes",),
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "phrases"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_mistakes_raise_what_jax_raises_and_say_what_is_wrong(
    call: Callable[[Any], Any], error: type[Exception], phrases: tuple[str, ...]
) -> None:
    with pytest.raises(Exception) as theirs:
        call(jax)
    is_old = type(theirs.value).__name__ == "InvalidInputException"  # what jax 0.10.0 raises
    assert isinstance(theirs.value, error) or is_old
    with pytest.raises(error) as caught:
        call(covector)
    text = str(caught.value)
    assert all(phrase in text for phrase in phrases), text


X = jnp.arange(3.0)
REFUSED: dict[str, Callable[[Any], Any]] = {
    "select by a float": lambda x: jax.lax.select(x, x, x),
    "select of two shapes": lambda x: jax.lax.select(True, x, jax.lax.full((4,), 1.0)),
    "power of a flag": lambda x: jax.lax.integer_pow(x > 0, 1),
    "padding of another dtype": lambda x: jax.lax.pad(x, jnp.int32(0), [(0, 0, 0)]),
    "bits of floats": lambda x: jax.lax.bitwise_xor(x, jax.lax.full((3,), 0.0)),
    "product of two shapes": lambda x: jax.lax.mul(x, jax.lax.full((4,), 1.0)),
    "sum of two shapes": lambda x: jax.lax.sub(x, jax.lax.full((4,), 0.0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_nothing_is_checked_as_well(name: str) -> None:
    """An operation whose result is its operand is left out of programs, if it is one."""
    for m in (jax, covector):
        with pytest.raises(TypeError):
            m.jit(REFUSED[name])(X)

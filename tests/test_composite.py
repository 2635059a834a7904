"""Operations that a compiler may know by name keep it: jax.lax.composite."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.ir.errors import TypeRuleError
from covector.ir.ops.annotation import attribute_value, plain_attribute

X = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)


@partial(lax.composite, name="mine.softmax", version=3)
def softmax(x: Any, /, *, axis: int, **rest: Any) -> Any:
    return jax.nn.softmax(x, axis)


@partial(lax.composite, name="mine.scale")
def scale(x: Any, y: Any, /) -> tuple[Any, Any]:
    return jnp.sin(x) * y, x + 1


def f(x: Any) -> Any:
    y = softmax(x, axis=1, k=2.5, flag=True, text="t", table=np.arange(3.0), none=None)
    return scale(y, x)[0] * scale(x, y)[1]


def composites(text: str) -> list[str]:
    """The composite operations of a StableHLO text, without the names of values and functions."""
    lines = [line.split("stablehlo.composite", 1)[1] for line in text.splitlines() if
             "stablehlo.composite" in line]  # fmt: skip
    return [line.split(" ", 2)[1] + line[line.index("{") : line.index("decomposition")]
            for line in lines]  # fmt: skip


def versions(text: str) -> list[str]:
    return [line.split("version = ")[1].split(" ")[0] for line in text.splitlines() if
            "version = " in line and "stablehlo.composite" in line]  # fmt: skip


@pytest.mark.smoke
def test_lowered_as_in_jax() -> None:
    ours, theirs = (jitted.lower(X).as_text() for jitted in (covector.jit(f), jax.jit(f)))
    assert len(composites(theirs)) == 3
    assert composites(ours) == composites(theirs)
    assert versions(ours) == versions(theirs)


@pytest.mark.smoke
def test_kept_by_text_clean_up_and_export() -> None:
    module = covector.make_ir(f)(X)
    again = covector.parse(str(module)).verify()
    assert again == module and again.hash() == module.hash()
    for made in (module, again, covector.run_passes(module, "inline,dce,cse,fold,dce")):
        names = [e.params["name"] for e in made.main.equations if e.primitive.name == "composite"]
        assert names == ["mine.softmax", "mine.scale", "mine.scale"]
        text = jax.jit(made.as_function()).lower(X).as_text()
        assert composites(text) == composites(jax.jit(f).lower(X).as_text())
        for got in jax.tree.leaves((made.interpret(X), made.run(X))):
            np.testing.assert_allclose(got, f(X), rtol=1e-6)


def test_differs_by_attributes() -> None:
    """Equal graphs of other names are not merged."""

    def g(x: Any) -> Any:
        return sum(lax.composite(jnp.sin, name, v)(x) for name, v in [("a", 0), ("b", 0), ("a", 1)])

    module = covector.run_passes(covector.make_ir(g)(X), "cse,dce")
    assert sum(e.primitive.name == "composite" for e in module.main.equations) == 3


def test_derivatives_are_those_of_the_graph() -> None:
    """JAX has none. The value keeps its name under each; what is batched is another operation."""

    def plain(x: Any) -> Any:
        y = jax.nn.softmax(x, 1)
        return jnp.sin(y) * x * (x + 1)

    t = jnp.cos(X)
    for ours, theirs in zip(covector.jvp(f, (X,), (t,)), jax.jvp(plain, (X,), (t,)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    loss, wanted = (lambda g: lambda x: (g(x) ** 2).sum())(f), lambda x: (plain(x) ** 2).sum()
    np.testing.assert_allclose(covector.grad(loss)(X), jax.grad(wanted)(X), rtol=1e-5)
    text = covector.jit(covector.grad(loss)).lower(X).as_text()
    assert len(composites(text)) == 3
    rows = jnp.stack([X, X + 1])
    np.testing.assert_allclose(
        covector.jit(covector.vmap(covector.grad(loss)))(rows),
        jax.vmap(jax.grad(wanted))(rows),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        covector.hessian(loss)(X), jax.hessian(wanted)(X), rtol=1e-4, atol=1e-5
    )
    assert composites(covector.jit(covector.vmap(f)).lower(rows).as_text()) == []


def test_transposed() -> None:
    double = lax.composite(lambda x: 2 * x, "mine.double")
    (ct,) = covector.linear_transpose(double, X)(X)
    np.testing.assert_allclose(ct, 2 * X)


def test_effects_stay() -> None:
    seen: list[float] = []

    def loud(x: Any) -> Any:
        jax.debug.callback(lambda y: seen.append(float(y)), x)
        return x * 2

    y = covector.jit(lax.composite(loud, "mine.loud"))(1.0)
    jax.effects_barrier()
    assert (float(y), seen) == (2.0, [1.0])


VALUES: list[Any] = [
    None, True, 3, -0.5, "text", (1, (2.0, "x")), (), {"a": 1, "b": (1, 2)}, ("array", 1),
    ("dict",), ("tuple", ("tuple",)), np.arange(6).reshape(2, 3), np.float32(0.1), np.zeros((0, 2)),
    np.dtype("float32"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_attributes_are_plain_data(value: Any) -> None:
    again = attribute_value(plain_attribute(value))
    assert type(again) is type(value) and repr(again) == repr(value)
    assert getattr(again, "dtype", None) == getattr(value, "dtype", None)


def test_errors() -> None:
    with pytest.raises(TypeRuleError, match="can't be a set"):
        plain_attribute({1})

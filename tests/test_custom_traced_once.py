"""How often functions with rules of their own are traced in one recording, and that calls which
differ are never taken for equal."""

from __future__ import annotations

import contextvars
import functools
import random
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector

pytestmark = pytest.mark.smoke


def scaled(calls: list[Any]) -> Any:
    """x times a factor that is no array; notes the factors that it is traced with."""

    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def f(x: Any, factor: Any) -> Any:
        calls.append(factor)
        return x * (factor.value if isinstance(factor, Factor) else factor)

    @f.defjvp
    def rule(factor: Any, primals: Any, tangents: Any) -> Any:
        x, dx = *primals, *tangents
        return f(x, factor), f(dx, factor)

    return f


class Factor:
    """A number that can be changed."""

    def __init__(self, value: float) -> None:
        self.value = value

    def read(self) -> float:
        return self.value


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Which functions of jax.numpy ran, of those below: a function that notes itself what it does
    is run for each call."""
    noted: list[Any] = []

    def noting(name: str, own: Any, x: Any) -> Any:
        noted.append(name)
        return own(x)

    for name in ("sinh", "cosh", "tanh"):
        monkeypatch.setattr(jnp, name, functools.partial(noting, name, getattr(jnp, name)))
    return noted


def test_calls_with_equal_plain_arguments_are_traced_once(ran: list[Any]) -> None:
    f = functools.partial(jax.custom_jvp, nondiff_argnums=(1,))(lambda x, n: n * jnp.tanh(x))
    f.defjvp(lambda n, primals, tangents: (f(*primals, n), n * tangents[0]))
    y = covector.jit(lambda x: f(x, 3.0) + f(f(x, 3.0), 2.0))(jnp.full(3, 5.0))
    np.testing.assert_allclose(y, np.full(3, 3 * np.tanh(5) + 2 * np.tanh(3 * np.tanh(5))))
    assert ran == ["tanh", "tanh"]


@pytest.mark.parametrize("pair", [(0.0, -0.0), (1, True), (1, 1.0), (2.0, 2 + 0j)], ids=str)
def test_plain_arguments_that_only_compare_equal_are_told_apart(pair: Any) -> None:
    f = scaled([])
    x = jnp.arange(1, 4)

    def both(x: Any) -> Any:
        return f(x, pair[0]), f(x, pair[1])

    for ours, theirs in zip(covector.jit(both)(x), jax.jit(both)(x), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(np.signbit(np.real(ours)), np.signbit(np.real(theirs)))


def test_arguments_that_can_change_are_traced_again() -> None:
    calls: list[Any] = []
    f, factor = scaled(calls), Factor(2.0)

    def twice(x: Any) -> Any:
        factor.value = 2.0
        first = f(x, factor)
        factor.value = 5.0
        return first + f(x, factor)

    assert covector.jit(twice)(1.0) == 7
    assert calls == [factor, factor]


def test_a_function_of_the_library_is_traced_once_with_its_rules() -> None:
    calls: list[Any] = []
    f = scaled(calls)
    for function in (f.fun, f.jvp):
        function.__module__ = "jax.of_a_test"  # JAX's own functions do not branch on values

    def twice(x: Any) -> Any:
        return f(x, 3.0) + covector.grad(f)(x, 3.0) + covector.grad(covector.grad(f))(x, 3.0)

    assert covector.jit(covector.grad(twice))(2.0) == jax.grad(lambda x: 3 * x)(2.0)
    assert calls == [3.0]


def sine(rule: Any = None) -> Any:
    """Its backward rule multiplies by the cosine, or by what another `rule` says."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    def bwd(x: Any, ct: Any) -> Any:
        return (ct * (rule or (lambda x, ct: jnp.cos(x)))(x, ct),)

    f.defvjp(lambda x: (jnp.sin(x), x), bwd)
    return f


def test_rules_of_calls_that_are_differentiated_run_once_under_jit(ran: list[Any]) -> None:
    """Also with the last cotangent, 2: as in JAX, Python may not branch on it there."""
    f = jax.custom_vjp(lambda x: jnp.tanh(x))
    f.defvjp(lambda x: (jnp.sinh(x), x), lambda x, ct: (ct * jnp.cosh(x),))

    def chain(x: Any) -> Any:
        for _ in range(5):
            x = 2 * f(x)
        return x

    gradient = covector.jit(covector.grad(chain))(0.3)
    assert ran == ["sinh", "cosh"]
    ran.clear()
    np.testing.assert_allclose(covector.grad(chain)(0.3), gradient, rtol=1e-6)
    assert ran == ["sinh"] * 5 + ["cosh"] * 5  # nothing is jitted: as in JAX
    np.testing.assert_allclose(jax.grad(chain)(0.3), gradient, rtol=1e-6)


@pytest.mark.parametrize("outer", ["jit", "vmap"])
def test_shared_rules_have_the_derivatives_that_jax_finds(outer: str) -> None:
    f, x = sine(), np.linspace(0.1, 1.0, 4, dtype=np.float32)

    def h(x: Any, y: Any) -> Any:
        return f(f(x) * y) + f(y) * f(jax.lax.stop_gradient(x)) + f(f(f(x)))

    def derivatives(api: Any) -> Any:
        def all_of_them(x: Any, y: Any) -> Any:
            first = api.grad(h)(x, y), api.value_and_grad(h, (0, 1))(x, y)
            mixed = api.grad(api.grad(h), 1)(x, y)
            return first, mixed, api.grad(api.grad(api.grad(h)), 1)(x, y)

        return api.jit(all_of_them)(x[0], x[1]) if outer == "jit" else api.vmap(all_of_them)(x, x)

    for ours, theirs in zip(*map(jax.tree.leaves, map(derivatives, (covector, jax))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_python_that_branches_on_a_cotangent_sees_each() -> None:
    f = sine(lambda x, ct: 10.0 if ct > 0 else 1.0)

    def pulled(x: Any) -> Any:
        _, pull = covector.vjp(lambda x: (f(x), f(x), f(x)), x)
        return pull((np.float32(1), np.float32(-1), np.float32(2)))

    assert covector.jit(pulled)(1.0) == (29.0,)


def test_python_that_branches_on_an_operand_sees_each() -> None:
    f = sine(lambda x, ct: 10.0 if x > 0 else 1.0)

    def h(x: Any) -> Any:
        return f(x) + f(-x)

    for api in (jax, covector):
        assert api.grad(h)(1.0) == 9.0


@pytest.mark.parametrize("api", [jax, covector], ids=["jax", "covector"])
def test_python_that_branches_on_what_jit_hides_is_told(api: Any) -> None:
    f = sine(lambda x, ct: 10.0 if x > 0 else 1.0)
    with pytest.raises(jax.errors.TracerBoolConversionError):
        api.jit(api.grad(lambda x: f(x) + f(-x)))(1.0)


def test_outputs_and_residuals_nest_alike_in_calls_that_share() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return {"twice": 2 * x["a"], "n": x["n"] + 1}

    def bwd(kept: Any, ct: Any) -> Any:
        return ({"a": ct["twice"] * kept["k"][0], "n": None},)

    f.defvjp(lambda x: (f(x), {"k": (x["a"], x["n"])}), bwd)

    def h(a: Any) -> Any:
        x = {"a": a, "n": 3}
        for _ in range(3):
            x = f(x)
            x = {"a": x["twice"], "n": x["n"]}
        return x["a"] * x["n"]

    a = jnp.arange(1.0, 4.0)
    np.testing.assert_allclose(covector.jit(covector.grad(h))(a[1]), jax.grad(h)(a[1]), rtol=1e-6)
    np.testing.assert_allclose(
        covector.vmap(covector.grad(h))(a), jax.vmap(jax.grad(h))(a), rtol=1e-6
    )


# -- what functions read can change from call to call ----------------------------------------------

FACTOR = 1.0
FACTORS = [1.0]
VARIABLE = contextvars.ContextVar("VARIABLE", default=1.0)
SETTINGS: Any = types.ModuleType("settings_of_a_user")
SETTINGS.within = types.ModuleType("settings_of_a_user.within")
sys.modules["settings_of_a_user"] = SETTINGS
OBJECT = Factor(1.0)


@functools.cache
def cached_object() -> Factor:
    return Factor(1.0)


class Settings:
    factor = 1.0


def read_attribute() -> float:
    return float(read_attribute.factor)  # type: ignore[attr-defined]


class Inherited(Settings):
    pass


def read_local_import() -> float:
    from settings_of_a_user import within  # type: ignore[import-not-found]

    return float(within.factor)


def set_global(value: float) -> None:
    global FACTOR
    FACTOR = value


def read_global() -> float:
    return FACTOR


WHERE: dict[str, tuple[Any, Any]] = {
    "a global": (read_global, set_global),
    "a list": (lambda: FACTORS[-1], lambda value: FACTORS.__setitem__(0, value)),
    "a context": (lambda: VARIABLE.get(), lambda value: VARIABLE.set(value)),
    "a module": (lambda: SETTINGS.factor, lambda value: setattr(SETTINGS, "factor", value)),
    "a module in a module": (
        lambda: SETTINGS.within.factor,
        lambda value: setattr(SETTINGS.within, "factor", value),
    ),
    "a module imported inside": (
        read_local_import,
        lambda value: setattr(SETTINGS.within, "factor", value),
    ),
    "by its name": (
        lambda: getattr(SETTINGS, "fac" + "tor"),
        lambda value: setattr(SETTINGS, "factor", value),
    ),
    "an inherited attribute": (
        lambda: Inherited.factor,
        lambda value: setattr(Settings, "factor", value),
    ),
    "a class": (lambda: Settings.factor, lambda value: setattr(Settings, "factor", value)),
    "an attribute": (read_attribute, lambda value: setattr(read_attribute, "factor", value)),
    "a method": (
        functools.partial(FACTORS.__getitem__, 0),
        lambda value: FACTORS.__setitem__(0, value),
    ),
    "random numbers": (
        lambda: float(np.random.uniform()),
        lambda value: np.random.seed(int(value)),
    ),
    "other random numbers": (random.random, random.seed),
    "a bound method": (OBJECT.read, lambda value: setattr(OBJECT, "value", value)),
    "what is cached": (
        lambda: cached_object().value,
        lambda value: setattr(cached_object(), "value", value),
    ),
    "an object": (lambda: OBJECT.value, lambda value: setattr(OBJECT, "value", value)),
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("transformed", [False, True])
def test_calls_between_which_something_changes_are_traced_again(
    where: str, transformed: bool
) -> None:
    read, write = WHERE[where]
    f = sine(lambda x, ct: read() * jnp.cos(x))
    g = jax.custom_vjp(lambda x: read() * jnp.sin(x))
    g.defvjp(lambda x: (read() * jnp.sin(x), read()), lambda factor, ct: (factor * ct,))

    def chain(x: Any) -> Any:
        for factor in (2.0, 3.0, 5.0):
            write(factor)
            x = f(g(x))
        return x

    results = [api.jit(api.grad(chain) if transformed else chain)(0.3) for api in (covector, jax)]
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_what_rules_print_is_seen_as_often_as_with_jax(capsys: pytest.CaptureFixture[str]) -> None:
    f = jax.custom_vjp(lambda x: jnp.sin(x))
    f.defvjp(lambda x: (print("forward"), (jnp.sin(x), x))[1], lambda x, ct: (ct * jnp.cos(x),))
    seen = []
    for api in (covector, jax):
        api.jit(api.grad(lambda x: f(f(f(x)))))(0.3)
        seen.append(capsys.readouterr().out)
    assert seen == ["forward\n" * 3] * 2


def test_methods_of_an_object_that_changes() -> None:
    class Layer(Factor):
        def function(self, x: Any) -> Any:
            return self.value * jnp.sin(x)

        def forward(self, x: Any) -> Any:
            return self.function(x), self.value

        def backward(self, kept: Any, ct: Any) -> Any:
            return (kept * self.value * ct,)

    layer = Layer(1.0)
    f = jax.custom_vjp(layer.function)
    f.defvjp(layer.forward, layer.backward)

    def chain(x: Any) -> Any:
        for layer.value in (2.0, 3.0, 5.0):
            x = f(x)
        return x

    results = [api.jit(api.value_and_grad(chain))(0.3) for api in (covector, jax)]
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_a_variable_around_the_function_that_changes() -> None:
    factor = 1.0
    f = jax.custom_vjp(lambda x: factor * jnp.sin(x))
    f.defvjp(lambda x: (factor * jnp.sin(x), factor), lambda kept, ct: (kept * ct,))

    def chain(x: Any) -> Any:
        nonlocal factor
        for factor in (2.0, 3.0, 5.0):  # noqa: B007  # f reads it
            x = f(x)
        return x

    results = [api.jit(api.value_and_grad(chain))(0.3) for api in (covector, jax)]
    np.testing.assert_allclose(*results, rtol=1e-6)

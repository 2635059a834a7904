"""Numbers of Python, arrays of NumPy and other objects that functions are given and return beside
their outputs: un-jitted transformations leave them as they are, as JAX's do."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.frontend.staging import stage

TABLE = {3: 2.0}
COUNTS = np.arange(3)
X = jnp.float32(2.0)


class Holder:
    """No array, though JAX can make one of it."""

    factor = 3.0

    def __jax_array__(self) -> jax.Array:
        return jnp.ones(3)


def looks_up(x: Any, n: Any) -> Any:
    return x * TABLE[n]


def is_asked(x: Any, n: Any) -> Any:
    return x * 2 if isinstance(n, int) and n is not True else x * 3


def computes(x: Any, n: Any) -> Any:
    return x * jnp.sum(n + 0.5)  # NumPy adds, which strict promotion says nothing of


def is_counted_in(x: Any, n: Any) -> Any:
    return x * len(f"{n:d}" + type(n).__name__)


def has_attribute(x: Any, held: Any) -> Any:
    return x * held.factor


CALLS: dict[str, Callable[[ModuleType], Any]] = {
    "grad": lambda m: m.grad(looks_up)(X, 3),
    "a keyword": lambda m: m.grad(looks_up)(X, n=3),
    "grad by two": lambda m: m.grad(looks_up, (0, 1), allow_int=True)(X, 3)[0],
    "value_and_grad": lambda m: m.value_and_grad(is_asked)(X, 3),
    "a flag": lambda m: m.value_and_grad(is_asked)(X, True),
    "text": lambda m: m.grad(is_counted_in)(X, 300),
    "a number of NumPy's": lambda m: m.grad(is_counted_in)(X, np.int32(300)),
    "a double": lambda m: m.grad(lambda x, n: x * len(str(n.dtype)))(X, np.arange(3.0)),
    "an object": lambda m: m.grad(has_attribute)(X, Holder()),
    "an array of NumPy's": lambda m: m.grad(computes)(X, COUNTS),
    "its sum": lambda m: m.grad(lambda n: jnp.sum(n + 0.5), allow_int=True)(COUNTS).shape,
    "jvp": lambda m: m.jvp(computes, (X, COUNTS), (X, np.zeros(3, jax.dtypes.float0))),
    "vjp": lambda m: m.vjp(looks_up, X, 3)[1](X)[0],
    "linearize": lambda m: m.linearize(computes, X, COUNTS)[0],
    "jacfwd": lambda m: m.jacfwd(looks_up)(X, 3),
    "hessian": lambda m: m.hessian(lambda x, n: x**2 * TABLE[n])(X, 3),
    "vmap": lambda m: m.vmap(looks_up, in_axes=(0, None))(jnp.arange(4.0, dtype="f4"), 3),
    "vmap of sums": lambda m: m.vmap(computes, in_axes=(0, None))(
        jnp.arange(4.0, dtype="f4"), COUNTS
    ),
    "inside jit": lambda m: m.jit(lambda x: m.grad(looks_up)(x, 3))(X),
    "twice": lambda m: m.grad(lambda y: m.grad(looks_up)(y, 3) * y)(X),
}


@pytest.mark.parametrize("promotion", ["standard", "strict"])
@pytest.mark.parametrize("name", CALLS)
def test_arguments_without_derivatives_stay_what_they_are(name: str, promotion: Any) -> None:
    with jax.numpy_dtype_promotion(promotion):
        ours, theirs = CALLS[name](covector), CALLS[name](jax)
    jax.tree.map(np.testing.assert_allclose, ours, theirs)


@pytest.mark.parametrize("data", [np.ones(4, np.float32), jnp.ones(4)])
def test_an_array_is_an_input_of_the_program(data: Any) -> None:
    """Programs that differ in what it holds are one program."""
    leaves = [X, data]
    f = lambda x, data: jnp.sum(jnp.sin(x * data))
    in_tree = jax.tree.structure(((0, 0), {}))
    graph = stage(f, leaves, in_tree, as_given=[False, True]).graph
    assert all(eqn.primitive.name != "constant" for eqn in graph.equations)
    assert any(graph.inputs[1] in eqn.inputs for eqn in graph.equations)


SHOWN, HOLDER = np.ones(2), Holder()
ARRAY = jnp.ones(2)


def with_aux(x: Any) -> Any:
    aux = {"number": 3, "text": "s", "object": HOLDER, "array": SHOWN, "y": x * 2, "jax": ARRAY}
    return x * x, aux


AUX: dict[str, Callable[[ModuleType], Any]] = {
    "grad": lambda m: m.grad(with_aux, has_aux=True)(2.0)[1],
    "value_and_grad": lambda m: m.value_and_grad(with_aux, has_aux=True)(2.0)[0][1],
    "jvp": lambda m: m.jvp(with_aux, (2.0,), (1.0,), has_aux=True)[2],
    "vjp": lambda m: m.vjp(with_aux, 2.0, has_aux=True)[2],
    "linearize": lambda m: m.linearize(with_aux, 2.0, has_aux=True)[2],
    "jacrev": lambda m: m.jacrev(with_aux, has_aux=True)(2.0)[1],
    "twice": lambda m: m.grad(lambda x: m.grad(with_aux, has_aux=True)(x), has_aux=True)(2.0)[1],
}


@pytest.mark.parametrize("name", AUX)
def test_auxiliary_outputs_that_are_not_traced_stay_what_they_are(name: str) -> None:
    ours, theirs = AUX[name](covector), AUX[name](jax)
    for aux in (ours, theirs):
        assert aux["number"] == 3
        assert type(aux["number"]) is int
        assert aux["text"] == "s"
        assert aux["object"] is HOLDER
        assert aux["array"] is SHOWN
        assert aux["jax"] is ARRAY
        assert float(aux["y"]) == 4.0
        assert isinstance(aux["y"], jax.Array)


def with_rules(m: ModuleType) -> tuple[Any, Any]:
    """Functions that look a number up, with rules that do."""
    f, g = m.custom_jvp(looks_up), m.custom_vjp(looks_up)
    f.defjvp(lambda x, dx: (f(*x), dx[0] * TABLE[x[1]] * 10))
    g.defvjp(lambda x, n: (g(x, n), n), lambda n, ct: (ct * TABLE[n] * 100, None))
    return f, g


RULES: dict[str, Callable[[ModuleType, Any, Any], Any]] = {
    "grad of f": lambda m, f, g: m.grad(f)(X, 3),
    "grad of g": lambda m, f, g: m.grad(g)(X, 3),
    "grad of both": lambda m, f, g: m.grad(lambda x: f(x, 3) * g(x, 3))(X),
    "jvp": lambda m, f, g: m.jvp(lambda x: f(x, 3), (X,), (X,)),
    "vmap": lambda m, f, g: m.vmap(m.grad(lambda x: f(x, 3) + g(x, 3)))(jnp.arange(4.0)),
    "grad of vmap": lambda m, f, g: m.grad(lambda x: m.vmap(lambda y: f(y, 3) + g(y, 3))(x).sum())(
        jnp.arange(4.0)
    ),
    "hessian": lambda m, f, g: m.hessian(lambda x: f(x, 3) * x)(X),
    "grad twice": lambda m, f, g: m.grad(m.grad(lambda x: g(x, 3) * x))(X),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_get_the_numbers_that_the_caller_wrote(name: str) -> None:
    ours, theirs = RULES[name](covector, *with_rules(covector)), RULES[name](jax, *with_rules(jax))
    jax.tree.map(np.testing.assert_allclose, ours, theirs)

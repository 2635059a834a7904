"""`optimize_remat`: a forward rule does not run where nobody reads its residuals.

The rules here differ from their functions on purpose: they add 100, so that numbers tell which ran.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.ir.parser import parse
from covector.passes import run_passes


def apart(closed_over: Any = 0.0, by: float = 100.0) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x) + closed_over

    def forward(x: Any) -> Any:
        return f(x) + by, (jnp.cos(x), x)

    f.defvjp(forward, lambda kept, ct: (kept[0] * ct * 2,), optimize_remat=True)
    return f


f = apart()
MOVED = apart(jnp.asarray(3.0))

USES: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "gradient": lambda api: api.value_and_grad(f),
    "jitted gradient": lambda api: api.jit(api.value_and_grad(f)),
    "checkpoint": lambda api: api.value_and_grad(api.checkpoint(f)),
    "jitted checkpoint": lambda api: api.jit(api.value_and_grad(api.checkpoint(f))),
    "twice in a checkpoint": lambda api: api.value_and_grad(
        api.checkpoint(lambda x: f(f(x) * 0.1) * x)
    ),
    "scan of checkpoints": lambda api: api.value_and_grad(
        lambda x: lax.scan(api.checkpoint(lambda c, _: (f(c) / 2, None)), x, None, length=2)[0]
    ),
    "branch in a checkpoint": lambda api: api.value_and_grad(
        api.checkpoint(lambda x: lax.cond(x > 0, f, jnp.cos, x))
    ),
    "value of vjp": lambda api: api.jit(lambda x: api.vjp(f, x)[0]),
    "batch": lambda api: (
        lambda x: api.vmap(api.value_and_grad(api.checkpoint(f)))(jnp.stack([x, 2 * x]))
    ),
    "batch of rules": lambda api: lambda x: api.vmap(api.value_and_grad(f))(jnp.stack([x, 2 * x])),
    "closed over": lambda api: api.value_and_grad(api.checkpoint(MOVED)),
    "closed over, traced": lambda api: api.value_and_grad(
        lambda x: api.checkpoint(apart(lax.stop_gradient(jnp.sin(x)), by=0.0))(x)
    ),
}


@pytest.mark.parametrize("name", USES)
def test_as_jax(name: str) -> None:
    x = jnp.float32(0.5)
    found, wanted = (jax.tree.leaves(USES[name](api)(x)) for api in (covector, jax))
    for got, y in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, y, rtol=1e-6)


def test_second_derivatives_are_of_the_backward_rule() -> None:
    """JAX refuses to linearize a forward rule's call."""
    second = covector.grad(covector.grad(covector.checkpoint(f)))(0.5)
    np.testing.assert_allclose(second, -2 * np.sin(0.5), rtol=1e-6)


def program() -> covector.Module:
    return covector.make_ir(lambda x: covector.vjp(f, x))(jnp.float32(0.5))


def test_dead_residuals_make_a_call_of_the_function() -> None:
    module = covector.make_ir(lambda x: covector.vjp(f, x)[0])(jnp.float32(0.5))
    assert "forward_call" not in str(run_passes(module, "dce"))
    assert float(module.run(jnp.float32(0.5))) == pytest.approx(np.sin(0.5))


def test_the_rule_stays_where_residuals_are_read() -> None:
    text = str(program().verify())
    assert "num_residuals=1" in text and str(parse(text).verify()) == text
    for step in ("dce", "cse", "fold", "inline"):
        assert "forward_call" in str(run_passes(program(), step).verify()), step


def test_back_in_jax() -> None:
    module = covector.make_ir(lambda x: covector.vjp(f, x)[0])(jnp.float32(0.5))
    x = jnp.float32(0.5)
    assert "remat_opt" in str(jax.make_jaxpr(module.as_function())(x))
    for run in (module.as_function(), lambda x: module.interpret(x)[0]):
        np.testing.assert_allclose(run(x), 100 + np.sin(0.5), rtol=1e-6)


def test_effects_of_the_one_that_runs() -> None:
    seen: list[str] = []

    @jax.custom_vjp
    def noisy(x: Any) -> Any:
        jax.debug.callback(lambda: seen.append("function"))
        return x * 2

    def forward(x: Any) -> Any:
        jax.debug.callback(lambda: seen.append("rule"))
        return x * 2, x + 1

    noisy.defvjp(forward, lambda x, ct: (ct * (x + 1) / x,), optimize_remat=True)
    for run, ran in (
        (covector.grad(noisy), "rule"),
        (lambda x: covector.vjp(noisy, x)[0], "function"),
    ):
        seen.clear()
        covector.jit(run)(1.0)
        jax.effects_barrier()
        assert seen == [ran]


@pytest.mark.parametrize(("function", "message"), [("@g", "operand 0"), ("@h", "where @h makes")])
def test_ill_typed(function: str, message: str) -> None:
    text = f"""module @main {{
      func @main(x: f32[2]) -> (f32[2], f32[2]) {{
        r: f32[2], y: f32[2] = forward_call[graph=@fwd, function={function}, num_residuals=1] x
        return r, y
      }}
      func private @fwd(x: f32[2]) -> (f32[2], f32[2]) {{ return x, x }}
      func private @g(x: f32[3]) -> (f32[3]) {{ return x }}
      func private @h(x: f32[2]) -> (f32[]) {{
        z: f32[] = reduce_sum[axes=(0,)] x
        return z
      }}
    }}"""
    with pytest.raises(covector.CovectorError, match=message):
        parse(text)

"""Residuals in the host's memory: policies that move them, the moves in the program, refusals."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

import covector
from covector.frontend.offloading import check_offloaded
from covector.frontend.policies import policy_from_jax, policy_to_jax
from covector.ir.ops.placement import device_put
from covector.ir.places import moves, places_of
from covector.ir.steps import peak_bytes
from covector.lowering.emit import lower_module

_JAX = jax.checkpoint_policies
NAMES = _JAX.save_and_offload_only_these_names(
    names_which_can_be_saved=["s"],
    names_which_can_be_offloaded=["h"],
    offload_src="device",
    offload_dst="pinned_host",
)
DOTS = _JAX.offload_dot_with_no_batch_dims("device", "pinned_host")
AS_TEXT = {
    "save_and_offload_only_these_names(s;h;device;pinned_host)": NAMES,
    "offload_dot_with_no_batch_dims(device;pinned_host)": DOTS,
}
HOST, DEVICE = jax.memory.Space.Host, jax.memory.Space.Device

x = jnp.linspace(-1, 1, 12).reshape(3, 4)
w = jnp.linspace(-0.5, 0.5, 16).reshape(4, 4)


def layer(x: jax.Array, w: jax.Array) -> jax.Array:
    s = checkpoint_name(jnp.cos(x @ w), "s")
    return jnp.tanh(checkpoint_name(jnp.sin(s @ w), "h") @ w)


def straight(policy: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    region = jax.checkpoint(layer, policy=policy)
    return lambda x, w: jnp.sum(region(region(x, w), w) ** 2)


def looped(policy: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    region = jax.checkpoint(layer, policy=policy)

    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.fori_loop(0, 3, lambda _, x: region(x, w), x) ** 2)

    return loss


def compiled_text(module: covector.Module, platform: str = "cuda") -> str:
    return lower_module(covector.run_passes(module, "cse,dce"), (platform,)).as_text()


@pytest.mark.parametrize("text", AS_TEXT)
def test_policies_that_offload_have_a_text_and_come_back_as_jax_functions(text: str) -> None:
    assert policy_from_jax(AS_TEXT[text]) == text
    assert policy_from_jax(policy_to_jax(text)) == text


@pytest.mark.parametrize("policy", [*AS_TEXT.values(), *AS_TEXT])
@pytest.mark.parametrize("program", [straight, looped])
def test_what_is_offloaded_goes_to_the_host_and_comes_back(program: Any, policy: Any) -> None:
    """As in JAX's own program: as many moves out and back, and none in the other's place."""
    module = covector.make_ir(covector.grad(program(policy), 1))(x, w)
    text = compiled_text(module)
    asked = policy_to_jax(policy) if isinstance(policy, str) else policy
    theirs = jax.jit(jax.grad(program(asked), 1)).trace(x, w)
    reference = theirs.lower(lowering_platforms=("cuda",)).as_text()
    for memory in ("pinned_host", "device"):
        move = f'_xla_buffer_placement = "{memory}"'
        assert text.count(move) == reference.count(move) > 0
    assert str(covector.parse(str(module))) == str(module)


@pytest.mark.parametrize("program", [straight, looped])
@pytest.mark.parametrize("policy", AS_TEXT.values())
def test_values_stay_the_same(program: Any, policy: Any) -> None:
    """In the NumPy meaning, and under a jax.jit of somebody else's."""
    loss = program(policy)
    want = jax.grad(program(None), 1)(x, w)
    (got,) = covector.make_ir(covector.grad(loss, 1))(x, w).interpret(x, w)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jax.jit(covector.grad(loss, 1))(x, w), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("program", [straight, looped])
def test_under_other_transformations_nothing_computes_on_the_host(program: Any) -> None:
    loss = program(NAMES)
    xs = jnp.stack([x, 2 * x, -x])
    batched = covector.vmap(covector.grad(loss, 1), (0, None))
    second = covector.hessian(lambda a: loss(a * x, w))
    for module in (covector.make_ir(batched)(xs, w), covector.make_ir(second)(2.0)):
        assert "annotate_device_placement" in compiled_text(module, "tpu")


def test_a_platform_that_would_drop_the_moves_refuses() -> None:
    """XLA's CPU backend drops the transfers without a word: the values stay where they are."""
    gradient = covector.grad(straight(DOTS))
    for run in (gradient, covector.jit(gradient)):
        with pytest.raises(covector.CovectorError, match="XLA drops moves between memories on"):
            run(x, w)


def test_moves_of_the_user_are_transposed_to_moves_the_other_way() -> None:
    def loss(x: jax.Array) -> jax.Array:
        away = jax.device_put(jnp.sin(x), HOST)
        return jnp.sum(jax.device_put(away, DEVICE) * x)

    module = covector.make_ir(covector.grad(loss))(x)
    moved = [e.params["target"] for e in module.main.equations if e.primitive is device_put]
    assert moved == ["pinned_host", "device", "pinned_host", "device"]
    (got,) = module.interpret(x)
    np.testing.assert_allclose(got, np.sin(x) + x * np.cos(x), rtol=1e-5, atol=1e-6)


def test_an_operation_on_a_value_in_the_memory_of_the_host_is_an_error() -> None:
    module = covector.make_ir(lambda x: jnp.sum(jax.device_put(x, HOST) * x))(x)
    with pytest.raises(covector.CovectorError, match=r"mul meets .* in the host's memory"):
        lower_module(module, ("cuda",))


def test_an_unknown_memory_is_an_error() -> None:
    text = (
        'func @f(x: f32[2]) -> (f32[2]) {\n  y: f32[2] = device_put[target="disk"] x\n  return y\n}'
    )
    with pytest.raises(covector.CovectorError, match="device_put has no target 'disk'"):
        covector.parse(text)
    with pytest.raises(covector.CovectorError, match=r"as text it is .*\(device;pinned_host\)"):
        covector.checkpoint(layer, policy="offload_dot_with_no_batch_dims(device;disk)")


def test_the_model_of_memory_leaves_out_what_is_on_the_host() -> None:
    big = jnp.ones((256, 256))

    def peak(policy: Any) -> int:
        module = covector.make_ir(covector.grad(straight(policy), 1))(big, big)
        return peak_bytes(covector.run_passes(module, "inline,cse,dce").main)

    kept = _JAX.save_only_these_names("h")
    moved = _JAX.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=["h"],
        offload_src="device",
        offload_dst="pinned_host",
    )
    assert peak(moved) < peak(kept)


def test_outputs_on_the_host_are_known() -> None:
    module = covector.make_ir(lambda x: (jax.device_put(x, HOST), x + 1))(x)
    assert moves(module.main)
    assert places_of(module.main).outputs == (True, False)
    assert lower_module(module, ("cuda",)).out_on_host == (True, False)


def test_moves_that_a_compiler_dropped_are_an_error() -> None:
    module = covector.make_ir(covector.grad(looped(DOTS), 1))(x, w)
    kept = SimpleNamespace(host_temp_size_in_bytes=960, host_output_size_in_bytes=0)
    dropped = SimpleNamespace(host_temp_size_in_bytes=0, host_output_size_in_bytes=0)
    check_offloaded(module.main, kept)
    check_offloaded(module.main, None)
    with pytest.raises(covector.CovectorError, match="XLA dropped the moves"):
        check_offloaded(module.main, dropped)
    unmoved = covector.make_ir(covector.grad(looped(None), 1))(x, w)
    check_offloaded(unmoved.main, dropped)


@pytest.mark.parametrize("program", [straight, looped])
def test_residuals_say_where_they_are_kept(program: Any) -> None:
    saved = covector.residuals(program(NAMES), 1)(x, w)
    memories = {r.memory for r in saved}
    assert memories == {"device", "pinned_host"}
    moved = next(r for r in saved if r.memory == "pinned_host")
    assert "dot_general" in moved.why() and moved.why().endswith("kept in pinned_host")
    assert "of them on the host" in str(saved)

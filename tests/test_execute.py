"""Compiling and calling flat programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stablehlo_samples import ADD, compile_add, identity_module, identity_text, spec

from covector.lowering import jax_compat
from covector.lowering.dispatch import Plan, make_dispatcher
from covector.lowering.execute import compile_module


def test_call_returns_what_the_module_says() -> None:
    x = jnp.arange(3.0)
    (out,) = compile_add().call(x, x)
    assert isinstance(out, jax.Array) and not out.committed
    np.testing.assert_array_equal(out, [0, 2, 4])


def test_outputs_have_the_types_given() -> None:
    weak = spec((), weak=True)
    text = identity_text("tensor<f32>")
    executable = compile_module(
        jax_compat.parse_module(text), name="weak", in_types=[weak], out_types=[weak]
    )
    (out,) = executable.call(2.0)
    assert out.weak_type and out.dtype == np.float32


def test_key_types_are_words_in_the_module() -> None:
    key = jax.random.key(3)

    class KeyType:
        shape = ()

        class dtype:
            name = "key<fry>"

    text = identity_text("tensor<2xui32>")
    executable = compile_module(
        jax_compat.parse_module(text), name="k", in_types=[KeyType], out_types=[KeyType]
    )
    (out,) = executable.call(key)
    assert out.dtype == key.dtype
    np.testing.assert_array_equal(jax.random.key_data(out), jax.random.key_data(key))


def test_float0_and_empty_signatures() -> None:
    float0 = np.zeros((2,), jax.dtypes.float0)
    text = identity_text("tensor<2xi1>")
    aval = spec((2,), float0.dtype)
    executable = compile_module(
        jax_compat.parse_module(text), name="zero", in_types=[aval], out_types=[aval]
    )
    assert executable.call(float0)[0].dtype == jax.dtypes.float0
    assert compile_module(identity_module([]), name="none", in_types=[], out_types=[]).call() == []


def test_unused_arguments_are_kept() -> None:
    text = (
        "module { func.func @main(%x: tensor<f32>, %y: tensor<f32>) -> tensor<f32> { "
        "return %y : tensor<f32> } }"
    )
    scalar = spec(())
    executable = compile_module(
        jax_compat.parse_module(text), name="y", in_types=[scalar] * 2, out_types=[scalar]
    )
    assert executable.call(1.0, np.float32(5))[0] == 5


def test_analyses_and_text() -> None:
    executable = compile_add()
    assert executable.memory_analysis().argument_size_in_bytes >= 24
    assert executable.cost_analysis()["flops"] == 3
    assert "HloModule add" in executable.as_text()


def test_compiler_options_reach_xla() -> None:
    compile_add(compiler_options={"xla_disable_hlo_passes": "fusion"})
    with pytest.raises(RuntimeError, match=r"could not compile add for cpu.*xla_no_such_option"):
        compile_add(compiler_options={"xla_no_such_option": True})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3, np.float32),), "add takes 2 arrays, got 1"),
        (
            (np.zeros(3, np.float32), np.zeros(4, np.float32)),
            r"argument 1 of add is float32\[4\], .* float32\[3\]",
        ),
        ((np.zeros(3, np.int32), np.zeros(3, np.float32)), r"argument 0 of add is int32\[3\]"),
    ],
)
def test_wrong_arguments(arguments: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        compile_add().call(*arguments)


def test_types_that_disagree_with_the_module() -> None:
    module, three, four = jax_compat.parse_module(ADD), spec((3,)), spec((4,))
    with pytest.raises(TypeError, match="2 inputs, 1 types were given"):
        compile_module(module, name="add", in_types=[three], out_types=[three])
    with pytest.raises(
        TypeError, match=r"output 0 of @main of add is tensor<3xf32>, .* float32\[4\]"
    ):
        compile_module(module, name="add", in_types=[three, three], out_types=[four])


def test_unknown_platform() -> None:
    with pytest.raises(RuntimeError, match="no device to compile for on platform nonsense"):
        compile_add(platform="nonsense")


def test_persistent_cache_serves(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    events: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    settings = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        compilation_cache.reset_cache()
        for name, value in settings.items():
            jax.config.update(name, value)
        compile_add()
        assert any(tmp_path.iterdir())
        assert "/jax/compilation_cache/cache_hits" not in events
        compile_add()
        assert "/jax/compilation_cache/cache_hits" in events
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_donated_arrays_are_given_away() -> None:
    x, y = jnp.arange(3.0), jnp.ones(3)
    compile_add(donated=(0,)).call(x, y)
    assert x.is_deleted() and not y.is_deleted()


def test_donation_that_fits_no_output_warns() -> None:
    scalar, three = spec(()), spec((3,))
    text = (
        "module { func.func @main(%x: tensor<3xf32>, %y: tensor<f32>) -> tensor<f32> { "
        "return %y : tensor<f32> } }"
    )
    with pytest.warns(UserWarning, match=r"donated buffers of f were not usable: float32\[3\]"):
        compile_module(
            jax_compat.parse_module(text),
            name="f",
            in_types=[three, scalar],
            out_types=[scalar],
            donated=(0,),
        )


def test_the_module_given_is_not_changed() -> None:
    module = jax_compat.parse_module(ADD)
    before = str(module)
    compile_module(
        module, name="add", in_types=[spec((3,))] * 2, out_types=[spec((3,))], donated=(1,)
    )
    assert str(module) == before


def test_debug_nans_raises_the_public_error() -> None:
    executable = compile_add()
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match=r"nan.*add"):
        executable.call(np.array([np.inf, 0, 0], np.float32), np.array([-np.inf, 0, 0], np.float32))


def test_host_callbacks_run() -> None:
    """Callbacks and effects as JAX's own lowering reports them."""
    seen: list[float] = []
    for ordered in (False, True):
        traced = jax.jit(
            lambda x, o=ordered: (jax.debug.callback(seen.append, x, ordered=o), x)[1]
        ).trace(1.0)
        lowering = traced.lower()._lowering
        given = lowering.compile_args
        executable = compile_module(
            lowering.stablehlo(), name="cb",
            in_types=[spec((), weak=True)], out_types=[spec((), weak=True)],
            ordered_effects=given["ordered_effects"], unordered_effects=given["unordered_effects"],
            host_callbacks=given["host_callbacks"], keepalive=given["keepalive"],
        )  # fmt: skip
        executable.call(4.0)
        run = make_dispatcher(None, lambda call, e=executable: Plan(e, call.tree), name="cb")
        run(5.0), run(5.0)
        jax.effects_barrier()
    assert [float(x) for x in seen] == [4, 5, 5] * 2

"""What the stages of a compiled function say of it, beside what JAX's say."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.ir.errors import UsageError

X = jnp.ones((2, 3))
ASKED = {
    "trace": ("args_info", "donate_argnums", "in_avals", "in_tree", "out_avals", "out_info"),
    "lower": ("args_info", "donate_argnums", "in_avals", "in_tree", "out_info", "out_tree"),
    "compile": (
        "args_info", "donate_argnums", "in_avals", "in_tree", "out_info", "out_tree",
        "input_shardings", "output_shardings", "input_formats", "output_formats",
    ),
}  # fmt: skip


def scaled(x: Any, y: Any = 2.0, *, n: int) -> Any:
    return {"a": x @ x.T * n, "b": (x.sum() + y, None)}


def stages(api: Any) -> dict[str, Any]:
    compiled = api.jit(scaled, static_argnames="n", donate_argnums=0)
    traced = compiled.trace(jax.ShapeDtypeStruct((2, 3), jnp.float32), 3, n=2)
    return {"trace": traced, "lower": traced.lower(), "compile": traced.lower().compile()}


@pytest.mark.filterwarnings("ignore:Some donated buffers")
def test_stages_say_what_those_of_jax_say() -> None:
    ours, theirs = stages(covector), stages(jax)
    for stage, names in ASKED.items():
        for name in names:
            got, want = (str(getattr(s[stage], name)) for s in (ours, theirs))
            assert got == want, f"{stage}.{name}"


def test_programs_in_other_forms() -> None:
    lowered = covector.jit(jnp.sin).lower(X)
    assert "stablehlo.sine" in lowered.as_text() and "HloModule" in lowered.as_text("hlo")
    assert "stablehlo.sine" in str(lowered.compiler_ir("stablehlo"))
    assert "sine" in lowered.compiler_ir("hlo").as_hlo_text()
    assert lowered.cost_analysis() == jax.jit(jnp.sin).lower(X).cost_analysis()
    with pytest.raises(UsageError, match="not in 'tosa'"):
        lowered.as_text("tosa")
    compiled = lowered.compile()
    np.testing.assert_allclose(compiled.call(X), jnp.sin(X), rtol=1e-6)
    assert "sin" in compiled.as_text()
    assert compiled.runtime_executable().hlo_modules()
    traced = covector.jit(jnp.sin).trace(X)
    assert [eqn.primitive.name for eqn in traced.jaxpr.eqns] == ["sin"]
    assert traced.fun_name == "sin" and not traced.effects
    assert "stablehlo.sine" in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_types_without_running() -> None:
    compiled = covector.jit(lambda x, n: x[:n], static_argnums=1)
    want = jax.ShapeDtypeStruct((1, 3), jnp.float32)
    assert compiled.eval_shape(X, 1) == want
    assert jax.eval_shape(compiled, X, 1) == want
    assert covector.eval_shape(covector.jit(jnp.sin), X) == jax.ShapeDtypeStruct(X.shape, X.dtype)
    assert len(jax.make_jaxpr(covector.jit(jnp.sin))(X).eqns) == 1


def test_types_inside_of_a_trace() -> None:
    """The program reads a value of the enclosing trace: it has types, and cannot be looked at."""
    seen = []

    @covector.jit
    def outer(x: Any) -> Any:
        inner = covector.jit(lambda y: x * y)
        traced = inner.trace(2.0)
        seen.append(traced.out_info)
        with pytest.raises(UsageError, match="of an enclosing trace"):
            traced.lower()
        return inner(3.0)

    outer(X)
    assert seen == [jax.ShapeDtypeStruct(X.shape, X.dtype)]


def test_a_derivative_does_not_pass_for_the_compiled_function() -> None:
    compiled = covector.jit(lambda x: x**2)
    for derived in (covector.grad(compiled), covector.vmap(compiled), covector.jacfwd(compiled)):
        assert not hasattr(derived, "lower") and not hasattr(derived, "trace")

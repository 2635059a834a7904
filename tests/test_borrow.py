"""JAX's lowering of single primitives, merged into modules of ours."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from stablehlo_samples import spec, tensor

from covector.lowering import jax_compat
from covector.lowering.borrow import find_primitive, lower_primitive_with_jax, merge_into
from covector.lowering.execute import compile_module

HERMITIAN = np.array([[4, 1, 0], [1, 3, 1], [0, 1, 2]])


def run_borrowed(name: str, args: list[Any], params: dict[str, Any]) -> list[Any]:
    """Merge a borrowed lowering in a module that only calls it, compile that, run it."""
    avals = [jax.typeof(x) for x in args]
    outs = jax.eval_shape(lambda *xs: find_primitive(name).bind(*xs, **params), *args)
    outs = list(outs) if isinstance(outs, (list, tuple)) else [outs]
    module = jax_compat.parse_module("module @caller { func.func private @helper() { return } }")
    merged = merge_into(module, lower_primitive_with_jax(name, avals, params, ("cpu",)), "helper")
    assert merged == "helper_1"
    module = jax_compat.parse_module(
        f"{str(module).rstrip()[:-1]} {caller_text(merged, avals, outs)} }}"
    )
    return compile_module(module, name="caller", in_types=avals, out_types=outs).call(*args)


def caller_text(callee: str, avals: list[Any], outs: list[Any]) -> str:
    inputs, results = ", ".join(map(tensor, avals)), ", ".join(map(tensor, outs))
    declared = ", ".join(f"%x{i}: {tensor(a)}" for i, a in enumerate(avals))
    passed = ", ".join(f"%x{i}" for i in range(len(avals)))
    returned = ", ".join(f"%r#{i}" for i in range(len(outs)))
    return f"""func.func public @main({declared}) -> ({results}) {{
      %r:{len(outs)} = call @{callee}({passed}) : ({inputs}) -> ({results})
      return {returned} : {results} }}"""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cholesky(dtype: Any) -> None:
    with jax.enable_x64(dtype == np.float64):
        matrix = HERMITIAN.astype(dtype)
        (lower,) = run_borrowed("cholesky", [matrix], cholesky_params())
        np.testing.assert_allclose(np.tril(lower), np.linalg.cholesky(matrix), rtol=1e-5)


def cholesky_params() -> dict[str, Any]:
    jaxpr = jax.make_jaxpr(lambda x: jax.lax.linalg.cholesky(x, symmetrize_input=False))(
        HERMITIAN.astype(np.float32)
    )
    return dict(jaxpr.eqns[0].params)


def eigh_params() -> dict[str, Any]:
    jaxpr = jax.make_jaxpr(lambda x: jax.lax.linalg.eigh(x, symmetrize_input=False))(
        HERMITIAN.astype(np.float32)
    )
    return next(dict(e.params) for e in jaxpr.eqns if e.primitive.name == "eigh")


def test_eigh() -> None:
    matrix = HERMITIAN.astype(np.float32)
    vectors, values = run_borrowed("eigh", [matrix], eigh_params())
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), rtol=1e-5)
    np.testing.assert_allclose(vectors @ np.diag(values) @ np.transpose(vectors), matrix, atol=1e-5)


def test_threefry() -> None:
    words = [np.arange(4, dtype=np.uint32) + i for i in range(4)]
    outs = run_borrowed("threefry2x32", words, {})
    for ours, theirs in zip(outs, find_primitive("threefry2x32").bind(*words), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_lowering_needs_no_device(platform: str) -> None:
    square, word = spec((3, 3)), spec((4,), np.uint32)
    for name, avals, params in (
        ("cholesky", [square], cholesky_params()),
        ("cholesky", [spec((3, 3), np.float64)], cholesky_params()),
        ("eigh", [square], eigh_params()),
        ("threefry2x32", [word] * 4, {}),
    ):
        raw = lower_primitive_with_jax(name, avals, params, (platform,))
        assert raw is lower_primitive_with_jax(name, avals, params, (platform,))
        text = str(jax_compat.parse_module(raw))
        assert "@main" in text and tensor(avals[0]) in text


def test_merge_renames_only_the_newcomer() -> None:
    source = """module {
      func.func private @f(%x: tensor<f32>) -> tensor<f32> { %0 = call @f_1(%x) : (tensor<f32>) ->
      tensor<f32>
        return %0 : tensor<f32> }
      func.func private @f_1(%x: tensor<f32>) -> tensor<f32> { return %x : tensor<f32> } func.func
      public @main(%x: tensor<f32>) -> tensor<f32> { %0 = call @f(%x) : (tensor<f32>) -> tensor<f32>
        return %0 : tensor<f32> }
    }"""
    destination = jax_compat.parse_module(source)
    assert merge_into(destination, jax_compat.parse_module(source), "f") == "f_3"
    assert merge_into(destination, source, "g") == "g"
    assert destination.operation.verify()
    names = [op.sym_name.value for op in destination.body.operations]
    assert names[:3] == ["f", "f_1", "main"] and len(set(names)) == 9
    assert str(destination).count("public @main") == 1


def test_unknown_primitive() -> None:
    with pytest.raises(KeyError, match="no primitive named nonsense"):
        lower_primitive_with_jax("nonsense", [], {}, ("cpu",))

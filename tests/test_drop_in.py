"""What JAX's own tests and adversarial readers found missing beside JAX."""

from __future__ import annotations

import functools
import gc
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify, scheduling_groups, sparse

import covector
from covector.frontend.jax_compat import Primitive


def test_transposes_of_functions_of_integers() -> None:
    x, w = jnp.arange(6).reshape(2, 3), jnp.arange(12).reshape(3, 4)
    ct = jnp.arange(8).reshape(2, 4)
    (found,) = covector.linear_transpose(lambda x: x @ w, x)(ct)
    np.testing.assert_array_equal(found, ct @ w.T)
    assert found.dtype == x.dtype
    (found,) = covector.linear_transpose(jax.checkpoint(lambda x: 3 * x), x)(x)
    np.testing.assert_array_equal(found, 3 * x)
    with pytest.raises(TypeError, match="integers to integers"):
        covector.linear_transpose(lambda x: x * 1.5, x)


def test_backward_rules_may_return_another_float_dtype() -> None:
    @jax.custom_vjp
    def widen(x: Any) -> Any:
        return x.astype(jnp.float32)

    widen.defvjp(lambda x: (widen(x), None), lambda _, ct: (2 * ct,))
    x = jnp.ones(3, jnp.bfloat16)
    found = covector.grad(lambda x: widen(jnp.sin(x)).sum())(x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), 2 * np.cos(np.ones(3)), rtol=1e-2)


def test_operations_without_a_lowering_run_by_themselves() -> None:
    add_one = Primitive("add_one_by_itself")
    add_one.def_impl(lambda x: x + 1)
    add_one.def_abstract_eval(lambda x: x)
    jax.interpreters.ad.primitive_jvps[add_one] = lambda xs, dxs: (add_one.bind(*xs), dxs[0])
    f = jax.checkpoint(lambda x: jnp.sin(add_one.bind(x)))
    assert covector.grad(f)(1.0) == jnp.cos(2.0)
    with pytest.raises(covector.CovectorError, match="add_one_by_itself is not available"):
        covector.jit(covector.grad(f))(1.0)


def test_numbers_count_from_the_end_of_any_number_of_arguments() -> None:
    f = covector.jit(lambda *args: args[0] * args[-1], static_argnums=-1)
    for n in (2, 3, 2):
        assert f(*[jnp.float32(2)] * (n - 1), n) == 2 * n
    x = jnp.ones(3)
    covector.jit(lambda *args: args[0] + 1, donate_argnums=-2)(x, 1)
    assert x.is_deleted()
    name = covector.jit(functools.partial(np.sin)).__getstate__()["function_name"]
    assert name == "sin"


def test_sums_where_an_output_must_have_no_axis() -> None:
    x = jnp.arange(3.0)
    f = lambda x: (x, 1.0)
    for library in (covector, jax):
        assert library.vmap(f, out_axes=None, sum_match=True)(x) == (3.0, 1.0)


def test_documentation_says_what_was_done() -> None:
    def superfun(a: Any) -> None:
        """Does things."""

    assert covector.vmap(superfun).__doc__ == (
        "Vectorized version of superfun.\n\nOriginal documentation:\n\nDoes things."
    )
    assert covector.grad(functools.partial(superfun)).__doc__.startswith("Gradient of superfun.")


def test_policies_look_into_branches() -> None:
    save_dots = jax.checkpoint_policies.checkpoint_dots
    x = jnp.linspace(0.1, 1, 5)

    def layers(x: Any, w: Any) -> Any:
        for _ in range(3):
            x = jnp.sin(x @ w)
        return x

    def f(w: Any) -> Any:
        return jax.lax.cond(x.sum() > 0, lambda x: layers(x, w), lambda x: x, x)

    w = jnp.eye(5) * 0.5 + 0.1
    remat = jax.checkpoint(f, policy=save_dots)
    y, pull = covector.vjp(remat, w)
    text = str(jax.make_jaxpr(pull)(y))
    assert [text.count(f" {name}") for name in ("sin ", "cos ", "dot_general")] == [2, 3, 5]
    np.testing.assert_allclose(pull(y)[0], jax.vjp(f, w)[1](y)[0], rtol=1e-5)


def test_nothing_is_traced_under_no_tracing() -> None:
    f = covector.jit(lambda x: x + 1)
    assert f(1.0) == 2
    with jax.no_tracing():
        assert f(2.0) == 3
        with pytest.raises(RuntimeError, match="no_tracing"):
            f(jnp.ones(3))


def test_types_say_how_they_are_mapped() -> None:
    """Sparse arrays are registered with JAX: as arguments and as results, mapped in batches."""
    dense = jnp.arange(24.0).reshape(2, 3, 4) % 5
    whole = sparse.BCOO.fromdense(dense, n_batch=1)
    v = jnp.arange(4.0)
    found = covector.vmap(lambda m: m @ v)(whole)
    np.testing.assert_allclose(found, dense @ v, rtol=1e-6)
    made = covector.vmap(lambda x: sparse.BCOO.fromdense(x, nse=4))(dense[:, :1])
    assert made.shape == (2, 1, 4)
    np.testing.assert_array_equal(made.todense(), dense[:, :1])

    def total(data: Any) -> Any:
        m = sparse.BCOO((data, whole.indices), shape=whole.shape)
        return jnp.sum(covector.vmap(lambda m: jnp.sin(m @ v))(m))

    np.testing.assert_allclose(
        covector.grad(total)(whole.data), jax.grad(total)(whole.data), rtol=1e-6
    )


def test_what_a_users_class_makes_of_numbers_is_not_asked() -> None:
    @jax.tree_util.register_pytree_node_class
    class Named:
        def __init__(self, data: Any) -> None:
            self.data, self.rank = data, data.ndim

        def tree_flatten(self) -> tuple[tuple[Any], None]:
            return (self.data,), None

        @classmethod
        def tree_unflatten(cls, _: None, children: tuple[Any]) -> Any:
            return cls(*children)

    f = covector.jit(lambda x, *, y: x.data * y.data)
    assert f(Named(jnp.ones(2)), y=Named(jnp.ones(2))).shape == (2,)


def test_checks_are_seen_through_transformations() -> None:
    """In mapped functions; in derivatives of what checkify makes of functions with rules, which
    return fewer outputs than the functions do."""

    def root(x: Any) -> Any:
        checkify.check(x > 0, "x must be positive")
        return jnp.sqrt(x)

    mapped = covector.vmap(root)
    with pytest.raises(checkify.JaxRuntimeError, match="must be positive"):
        mapped(jnp.array([1.0, -1.0]))
    error, out = checkify.checkify(covector.grad(lambda x: mapped(x).sum()))(jnp.array([1.0, 4.0]))
    assert error.get() is None
    np.testing.assert_allclose(out, [0.5, 0.25])
    assert "positive" in checkify.checkify(mapped)(jnp.array([1.0, -1.0]))[0].get()
    with pytest.raises(ValueError, match="not functionalized"):
        covector.jit(root)(1.0)

    @jax.custom_vjp
    def doubled(x: Any) -> Any:
        return 2 * x

    doubled.defvjp(lambda x: (doubled(x), x), lambda x, ct: (3 * ct * jnp.cos(x),))
    for fun in (jax.nn.relu, doubled):
        checked = checkify.checkify(lambda x, fun=fun: fun(jnp.sin(x)), errors=checkify.all_checks)
        found = covector.grad(lambda x: checked(x)[1])(0.5)  # noqa: B023
        np.testing.assert_allclose(found, jax.grad(lambda x: fun(jnp.sin(x)))(0.5))  # noqa: B023


def test_wrappers_of_compiled_functions_do_not_take_over_their_stages() -> None:
    f = covector.jit(lambda x, n: x * n, static_argnums=1)
    outer = jax.jit(f, static_argnums=1, donate_argnums=0)
    assert isinstance(outer.trace(2.0, 3), jax.stages.Traced)
    assert outer.lower(2.0, 3).args_info[0][0].donated
    assert "mul" in str(f.trace(2.0, 3).module)


def test_compiled_functions_can_be_exported() -> None:
    f = covector.jit(lambda x, *, w: covector.grad(lambda w: jnp.sin(x * w["a"]).sum())(w))
    x, w = jnp.arange(3.0), {"a": jnp.float32(2)}
    found = jax.export.export(f)(x, w=w).call(x, w=w)
    np.testing.assert_allclose(found["a"], f(x, w=w)["a"], rtol=1e-6)


def test_nothing_is_left_to_the_garbage_collector() -> None:
    def f(x: Any) -> Any:
        return jnp.sin(x) * x.sum()

    x, ran = jnp.ones(()), (covector.linearize, covector.vjp)
    for transform in ran:
        transform(f, x)
    gc.collect()
    gc.disable()
    try:
        for transform in ran:
            transform(f, x)
        covector.jit(f)(x)
        covector.grad(f)(x)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_attention_in_half_precision() -> None:
    """It asks for an algorithm that JAX refuses on CPUs; un-jitted JAX then does without."""
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 8, 4, 8), jnp.float16) for i in range(3))

    def loss(*qkv: Any) -> Any:
        return jnp.sum(jax.nn.dot_product_attention(*qkv).astype(jnp.float32))

    expected = jax.grad(loss, (0, 1, 2))(q, k, v)
    gradient = covector.grad(loss, (0, 1, 2))
    for f in (gradient, covector.jit(gradient)):
        for found, want in zip(f(q, k, v), expected, strict=True):
            np.testing.assert_allclose(found, want, atol=2e-3)


def test_metadata_calls_of_scheduling_groups() -> None:
    called = scheduling_groups.xla_metadata_call(lambda x: jax.nn.gelu(x), inlineable="false")
    x = jnp.arange(3.0)
    found = covector.grad(lambda x: called(x).sum())(x)
    np.testing.assert_allclose(found, jax.grad(lambda x: jax.nn.gelu(x).sum())(x), rtol=1e-6)
    text = covector.jit(covector.grad(lambda x: called(x).sum())).lower(x).as_text()
    assert 'inlineable = "false"' in text
    assert jax.make_jaxpr(covector.jit(called))(x).jaxpr.eqns

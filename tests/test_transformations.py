"""The user's transformations against JAX's, on ordinary functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector


def mlp(params: Any, x: Any) -> Any:
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    w, b = params[-1]
    return jnp.mean((x @ w + b) ** 2)


def mlp_args() -> tuple[Any, Any]:
    sizes = (5, 7, 4, 1)
    keys = jax.random.split(jax.random.key(0), 4)
    params = [
        # Where tanh saturates, 1 - tanh^2 is rounding noise, which is not what is compared here.
        (jax.random.normal(k, (m, n)) / m, jnp.full(n, 0.1))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    return params, jax.random.normal(keys[3], (8, 5))


def close(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.shape(x) == np.shape(y)
        if isinstance(y, int | float):
            assert type(x) is type(y)
            assert x == y
            continue
        assert jnp.asarray(x).dtype == jnp.asarray(y).dtype or x.dtype == y.dtype
        if x.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


@pytest.mark.smoke
def test_grad_of_nested_parameters() -> None:
    args = mlp_args()
    close(covector.grad(mlp)(*args), jax.grad(mlp)(*args))
    close(covector.value_and_grad(mlp, (0, 1))(*args), jax.value_and_grad(mlp, (0, 1))(*args))


def test_grad_with_aux_and_kwargs() -> None:
    def f(x: Any, *, scale: float) -> Any:
        y = jnp.sin(x) * scale
        return y.sum(), {"y": y, "n": 3}

    x = jnp.arange(3.0)
    close(covector.grad(f, has_aux=True)(x, scale=2.0), jax.grad(f, has_aux=True)(x, scale=2.0))


def test_second_and_third_derivatives_of_scalars() -> None:
    f = lambda x: jnp.sin(x) * x**3
    ours, theirs = f, f
    for _ in range(3):
        ours, theirs = covector.grad(ours), jax.grad(theirs)
        close(ours(0.7), theirs(0.7))


def test_jvp_and_linearize() -> None:
    params, x = mlp_args()
    f = lambda x: mlp(params, x)
    dx = jnp.ones_like(x)
    close(covector.jvp(f, (x,), (dx,)), jax.jvp(f, (x,), (dx,)))
    y, push = covector.linearize(f, x)
    close((y, push(dx)), (f(x), jax.linearize(f, x)[1](dx)))


def test_vjp_leaves_a_jitted_function() -> None:
    params, x = mlp_args()
    f = lambda p: jnp.stack([mlp(p, x), mlp(p, 2 * x)])
    y, pull = covector.jit(lambda p: covector.vjp(f, p))(params)
    want, pull_jax = jax.vjp(f, params)
    close(y, want)
    close(pull(jnp.array([1.0, -2.0])), pull_jax(jnp.array([1.0, -2.0])))


@pytest.mark.parametrize("in_axes", [(0, None), (None, 1), (1, 0)])
@pytest.mark.parametrize("out_axes", [0, 1, -1])
def test_vmap_axes(in_axes: Any, out_axes: int) -> None:
    f = lambda a, b: jnp.outer(jnp.sin(a), b) + a.sum()
    a = jnp.arange(3.0) if in_axes[0] is None else jnp.arange(12.0).reshape(3, 4)
    b = jnp.arange(5.0) if in_axes[1] is None else jnp.arange(15.0).reshape(3, 5)
    if in_axes[1] == 1:
        b = b.T
    if in_axes[0] == 1:
        a = jnp.arange(12.0).reshape(4, 3)
    close(covector.vmap(f, in_axes, out_axes)(a, b), jax.vmap(f, in_axes, out_axes)(a, b))


def test_jacobians_and_hessian() -> None:
    def f(p: Any) -> Any:
        return {"u": jnp.outer(p["a"], p["a"]) * p["b"], "v": jnp.sum(p["a"]) ** 2}

    p = {"a": jnp.arange(1.0, 4.0), "b": jnp.array(2.0)}
    close(covector.jacfwd(f)(p), jax.jacfwd(f)(p))
    close(covector.jacrev(f)(p), jax.jacrev(f)(p))
    g = lambda p: f(p)["v"] * p["b"]
    close(covector.hessian(g)(p), jax.hessian(g)(p))


def test_hvp_agrees_with_the_hessian() -> None:
    f = lambda x: jnp.sum(jnp.sin(x) * x**2)
    x, v = jnp.arange(1.0, 4.0), jnp.array([1.0, 0.0, -1.0])
    gradient, product = covector.hvp(f, (x,), (v,))
    close(gradient, jax.grad(f)(x))
    close(product, jax.hessian(f)(x) @ v)


def test_nesting_with_jax_in_both_orders() -> None:
    args = mlp_args()
    want = jax.grad(mlp)(*args)
    close(jax.jit(covector.grad(mlp))(*args), want)
    close(covector.grad(jax.jit(mlp))(*args), want)
    close(covector.jit(jax.grad(mlp))(*args), want)
    params, x = args
    per_example = jax.vmap(covector.grad(mlp), (None, 0))(params, x[:, None])
    close(per_example, jax.vmap(jax.grad(mlp), (None, 0))(params, x[:, None]))
    close(covector.vmap(jax.grad(mlp), (None, 0))(params, x[:, None]), per_example)
    f = lambda x: jnp.sum(jnp.sin(x) ** 2)
    close(
        jax.grad(lambda x: covector.grad(f)(x).sum())(x),
        jax.grad(lambda x: jax.grad(f)(x).sum())(x),
    )


def test_closures_over_outer_tracers() -> None:
    def outer(ours: Any, x: Any) -> Any:
        return ours(lambda y: jnp.sin(x * y))(2.0) * x

    close(
        covector.grad(lambda x: outer(covector.grad, x))(1.5),
        jax.grad(lambda x: outer(jax.grad, x))(1.5),
    )


def test_integer_inputs_get_float0() -> None:
    f = lambda x, n: jnp.sum(x) * n
    x = jnp.arange(3.0)
    ours = covector.grad(f, (0, 1), allow_int=True)(x, 2)
    close(ours, jax.grad(f, (0, 1), allow_int=True)(x, 2))


def test_complex_conventions() -> None:
    f = lambda z: jnp.sin(z) * z**2
    z = 1.0 + 2.0j
    close(covector.grad(f, holomorphic=True)(z), jax.grad(f, holomorphic=True)(z))
    g = lambda z: jnp.real(z * jnp.conj(z)) + jnp.imag(z) ** 3
    close(covector.grad(g)(z), jax.grad(g)(z))


@pytest.mark.smoke
def test_jit_stages_and_static_arguments() -> None:
    @covector.jit
    def f(x: Any) -> Any:
        return jnp.tanh(x) + 1

    x = jnp.arange(3.0)
    close(f(x), jnp.tanh(x) + 1)
    traced = f.trace(x)
    assert "tanh" in str(traced.module)
    lowered = traced.lower()
    assert "stablehlo.tanh" in lowered.as_text()
    close(lowered.compile()(x), f(x))
    power = covector.jit(lambda x, n: x**n, static_argnums=1)
    close(power(x, 3), x**3)
    for platform in ("cuda", "rocm", "tpu"):
        assert "stablehlo.tanh" in traced.lower(platforms=(platform,)).as_text()


def test_compile_with_passes() -> None:
    params, x = mlp_args()
    compiled = covector.compile(mlp, params, x, passes="grad{wrt=0},cse,dce")
    close(compiled(params, x), jax.tree.leaves(jax.grad(mlp)(params, x)))
    assert compiled.memory_analysis() is not None


def test_equal_programs_compile_once() -> None:
    from covector.frontend import compiled as implementation

    x = jnp.arange(4.0)
    covector.jit(lambda x: jnp.cos(x) * 3)(x)
    before = len(implementation._executables)
    covector.jit(lambda x: jnp.cos(x) * 3)(x)
    assert len(implementation._executables) == before


def test_value_that_is_not_known_under_jit() -> None:
    def f(x: Any) -> Any:
        return x if x > 0 else -x

    with pytest.raises(jax.errors.TracerBoolConversionError):
        covector.jit(f)(1.0)


def message(error: Any, call: Any) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# -- forward mode through custom_vjp ---------------------------------------------------------------


@jax.custom_vjp
def clipped(x: Any) -> Any:
    return jnp.sin(x)


clipped.defvjp(lambda x: (clipped(x), x), lambda x, ct: (0.5 * jnp.cos(x) * ct,))


def test_forward_mode_of_custom_vjp_is_an_error_by_default() -> None:
    call = lambda: covector.jvp(clipped, (1.0,), (1.0,))
    text = message(TypeError, call)
    assert "forward-mode" in text and 'custom_vjp="transpose"' in text
    assert "custom_vjp" in message(
        TypeError, lambda: covector.jvp(clipped, (1.0,), (1.0,), custom_vjp="other")
    )


def test_forward_mode_of_custom_vjp_by_transposing_its_rule() -> None:
    y, dy = covector.jvp(clipped, (1.0,), (2.0,), custom_vjp="transpose")
    np.testing.assert_allclose((y, dy), (jnp.sin(1.0), jnp.cos(1.0)), rtol=1e-6)


def test_forward_mode_of_a_rule_that_is_not_linear_is_an_error() -> None:
    @jax.custom_vjp
    def squared(x: Any) -> Any:
        return x * x

    squared.defvjp(lambda x: (x * x, x), lambda x, ct: (2 * x * ct * ct,))
    text = message(
        ValueError, lambda: covector.jvp(squared, (1.0,), (1.0,), custom_vjp="transpose")
    )
    assert "not linear" in text and "mul" in text


def test_arguments_that_are_no_arrays() -> None:
    """Where nothing is asked of them, they are passed on as they are."""
    apply = lambda f, x: f(x)
    np.testing.assert_allclose(covector.grad(apply, 1)(jnp.sin, 1.0), np.cos(1.0), rtol=1e-6)
    np.testing.assert_allclose(
        covector.vmap(apply, (None, 0))(jnp.sin, jnp.arange(3.0)), np.sin(np.arange(3.0)), rtol=1e-6
    )
    with pytest.raises(TypeError):
        covector.grad(apply)(jnp.sin, 1.0)


def test_gradients_come_in_the_order_of_argnums() -> None:
    f = lambda x, y, z: x + 2 * y + 3 * z
    assert covector.grad(f, (2, 0))(1.0, 1.0, 1.0) == (3.0, 1.0)


@pytest.mark.parametrize("f", [jnp.sin, lambda x: x**3, jnp.sqrt, jax.nn.sigmoid, lambda x: 2 * x])
def test_results_are_as_weakly_typed_as_those_of_jax(f: Any) -> None:
    assert covector.grad(f)(1.0).weak_type == jax.grad(f)(1.0).weak_type
    assert covector.grad(covector.grad(f))(1.0).weak_type == jax.grad(jax.grad(f))(1.0).weak_type
    x = jnp.float32(1.0)
    assert covector.grad(f)(x).weak_type == jax.grad(f)(x).weak_type


STRONG_AND_WEAK = [
    lambda x: jax.lax.pow(x, 2.0) + x,
    lambda x: x + jax.lax.pow(x, 2.0),
    lambda x: x * jax.lax.pow(x, 2.0),
    lambda x: x * jnp.stack([x, x])[jnp.array(1)],
]


@pytest.mark.parametrize("f", STRONG_AND_WEAK)
def test_sums_of_strongly_and_weakly_typed_cotangents(f: Any) -> None:
    """Un-jitted they are weak if both are, in a trace as the first; jitted parts are traces."""

    def weakness(api: Any) -> list[bool]:
        results = [
            api.grad(f)(1.5),
            api.jit(api.grad(f))(1.5),
            api.grad(api.jit(f))(1.5),
            api.vjp(f, 1.5)[1](1.0)[0],
            api.vmap(api.grad(f))(jnp.asarray(1.5).reshape(1)),
            api.grad(api.grad(f))(1.5),
            *api.jvp(api.grad(f), (1.5,), (1.0,)),
            api.hessian(f)(1.5),
        ]
        return [x.weak_type for x in results]

    assert weakness(covector) == weakness(jax)


def test_jit_takes_what_jax_takes() -> None:
    device = jax.devices()[0]
    here = jax.sharding.SingleDeviceSharding(device)
    ways: list[dict[str, Any]] = [
        {"keep_unused": True}, {"inline": True}, {"in_shardings": here, "out_shardings": here},
        {"in_shardings": None}, {"device": device}, {"backend": device.platform},
    ]  # fmt: skip
    for way in ways:
        assert covector.jit(lambda x: x * 2, **way)(3.0) == 6.0
    inlined = covector.make_ir(lambda x: covector.jit(jnp.sin, inline=True)(x))(1.0)
    assert [eqn.primitive.name for eqn in inlined.main.equations] == ["sin"]

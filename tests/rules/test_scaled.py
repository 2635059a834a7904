"""Products of matrices in few bits, with scales."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import Case, bf16, f32, in_dtype, laws

import covector

SCALES = (0.5, 2.0)
NUMBERS = (((2,), (1,)), ((0,), (0,)))
E4M3, E8M0 = "f8_e4m3fn", "f8_e8m0fnu"


def narrow(*shapes):
    a, b, *scales = (f32(*shape) for shape in shapes)
    return [in_dtype(a, E4M3), in_dtype(b, E4M3), *(in_dtype(s, E8M0) for s in scales)]


DOT = [(2, 3, 8), (2, 8, 4), (2, 3, 2), (2, 4, 4)]
MATMUL = [(2, 3, 8), (2, 4, 8), (2, 3, 2), (2, 4, 4)]
DOMAIN = [(-2.0, 2.0), (-2.0, 2.0), SCALES, SCALES]
CASES = [
    Case("scaled_dot", narrow(*DOT), {
        "dimension_numbers": NUMBERS, "preferred_element_type": np.dtype(np.float32)},
        DOMAIN, wrt=()),
    Case("scaled_dot", [bf16(*s) for s in DOT], {"dimension_numbers": NUMBERS}, DOMAIN, wrt=()),
    Case("scaled_matmul", narrow(*MATMUL), {"preferred_element_type": np.dtype(np.float32)},
         DOMAIN, wrt=(), jax=False),
    Case("scaled_matmul", [f32(*s) for s in MATMUL], {
        "preferred_element_type": np.dtype(np.float64)}, DOMAIN, jax=False),
    Case("scaled_matmul", [f32(0, 3, 8), f32(0, 4, 8), f32(0, 3, 2), f32(0, 4, 4)], {
        "preferred_element_type": np.dtype(np.float64)}, DOMAIN, jax=False),
]  # fmt: skip


@laws(CASES)
def test_law(case, law):
    law(case)


def arrays():
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=s), jnp.float8_e4m3fn) for s in ((2, 4, 64), (2, 5, 64)))
    scales = (
        jnp.asarray(rng.uniform(0.5, 2, s), jnp.float8_e8m0fnu) for s in ((2, 4, 2), (2, 5, 2))
    )
    return a, b, *scales


def reference(a, b, a_scale, b_scale):
    wide = [x.astype(jnp.float32) for x in (a, b, a_scale, b_scale)]
    left, right = (x * jnp.repeat(s, 32, 2) for x, s in zip(wide[:2], wide[2:], strict=True))
    return jnp.einsum("bmk,bnk->bmn", left, right)


def test_public_functions():
    xs = arrays()
    np.testing.assert_allclose(covector.jit(jax.nn.scaled_matmul)(*xs), reference(*xs), rtol=1e-6)

    def dot(a, b, a_scale, b_scale):
        b, b_scale = jnp.swapaxes(b, 1, 2), jnp.swapaxes(b_scale, 1, 2)
        return jax.lax.scaled_dot(
            a, b, lhs_scale=a_scale, rhs_scale=b_scale, preferred_element_type=jnp.float32
        )

    np.testing.assert_allclose(covector.jit(dot)(*xs), jax.jit(dot)(*xs), rtol=1e-6)
    gradient = covector.grad(lambda a: dot(a, *xs[1:]).sum())(xs[0].astype(jnp.bfloat16))
    want = jax.grad(lambda a: reference(a, *xs[1:]).sum())(xs[0].astype(jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(float), want.astype(float), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("cuda", "__op$block_scaled_dot"), ("rocm", "xla.scaled_dot"), ("tpu", "dot_general")],
)
def test_kernels_of_platforms(platform, expected):
    lowered = covector.jit(jax.nn.scaled_matmul).trace(*arrays()).lower(platforms=(platform,))
    assert expected in lowered.as_text()

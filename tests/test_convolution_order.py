"""Convolutions on CPUs: in the order that XLA has a fast one for, with the numbers they had."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector

NHWC, NCHW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
FAST = re.compile(r"dim_numbers = \[b, (?:\d, )+f\]x\[(?:\d, )+i, o\]->\[b, (?:\d, )+f\]")

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]
CASES: dict[str, Case] = {
    "nhwc": ((2, 6, 5, 3), (3, 2, 3, 4), {"dimension_numbers": NHWC}),
    "nchw": ((2, 3, 6, 5), (4, 3, 3, 2), {"dimension_numbers": NCHW}),
    "mixed": ((3, 6, 2, 5), (4, 3, 3, 2), {"dimension_numbers": ("CHNW", "OIHW", "WCNH")}),
    "strided": ((2, 6, 5, 3), (3, 2, 3, 4), {"dimension_numbers": NHWC, "window_strides": (2, 1)}),
    "dilated": ((2, 6, 5, 3), (3, 2, 3, 4), {"dimension_numbers": NHWC, "rhs_dilation": (1, 2)}),
    "spread": ((2, 6, 5, 3), (3, 2, 3, 4), {"dimension_numbers": NHWC, "lhs_dilation": (2, 1)}),
    "grouped": ((2, 4, 6, 5), (4, 2, 3, 2), {"dimension_numbers": NCHW, "feature_group_count": 2}),
    "batches": ((4, 3, 6, 5), (4, 3, 3, 2), {"dimension_numbers": NCHW, "batch_group_count": 2}),
    "rows": ((2, 3, 7), (4, 3, 2), {"dimension_numbers": ("NCH", "OIH", "NCH")}),
    "cubes": ((1, 2, 4, 3, 4), (2, 2, 2, 2, 1), {"dimension_numbers": ("NCDHW", "OIDHW", "NCDHW")}),
    "depthwise": (
        (2, 6, 5, 3),
        (3, 2, 1, 3),
        {"dimension_numbers": NHWC, "feature_group_count": 3},
    ),
    "depthwise, two each": (
        (2, 3, 6, 5),
        (6, 1, 3, 2),
        {
            "dimension_numbers": NCHW,
            "feature_group_count": 3,
            "window_strides": (2, 1),
            "rhs_dilation": (1, 2),
            "padding": ((1, 0), (-1, 2)),
        },
    ),
    "depthwise, spread": (
        (2, 4, 6, 5),
        (3, 2, 1, 4),
        {
            "dimension_numbers": ("HCNW", "HWIO", "CNHW"),
            "feature_group_count": 4,
            "lhs_dilation": (2, 1),
        },
    ),
    "depthwise rows": (
        (2, 7, 3),
        (4, 1, 3),
        {"dimension_numbers": ("NHC", "HIO", "NHC"), "feature_group_count": 3, "padding": [(3, 0)]},
    ),
    "an image each": (
        (4, 3, 6, 5),
        (4, 3, 3, 2),
        {"dimension_numbers": NCHW, "batch_group_count": 4},
    ),
    "empty": ((0, 3, 6, 5), (4, 3, 3, 2), {"dimension_numbers": NCHW}),
    "no features": ((2, 0, 6, 5), (4, 0, 3, 2), {"dimension_numbers": NCHW}),
}


def loss(case: Case) -> tuple[Callable[..., Any], Any, Any]:
    """A loss with convolutions in a loop and a branch, and its weights and images."""
    x_shape, w_shape, how = case
    how = {"window_strides": (1,) * (len(x_shape) - 2), "padding": "VALID", **how}
    if how.get("lhs_dilation") and how["padding"] == "VALID":
        how["padding"] = ((1, 0), (0, 2))
    rng = np.random.default_rng(0)
    x, ws = rng.normal(size=x_shape), rng.normal(size=(2, *w_shape))

    def once(c: Any, w: Any, x: Any) -> Any:
        made = lax.conv_general_dilated(x * c.astype(x.dtype), w, **how)
        return jnp.sin(made.astype(jnp.float32)).sum() / max(made.size, 1)

    def total(ws: Any, x: Any) -> Any:
        def body(c: Any, w: Any) -> tuple[Any, None]:
            return 0.9 * c + 0.1 * once(c, w, x), None

        c, _ = lax.scan(body, jnp.float32(1), ws)
        branch = lax.cond(c < 99, lambda: once(c, ws[1], x), lambda: c)
        return c + branch + once(c, ws[0], x)

    return total, ws, x


def check(case: Case, dtype: Any, error: float) -> None:
    """Value and gradients against JAX's in float32, but for so much of the largest."""
    total, ws, x = loss(case)
    args = jnp.asarray(ws, dtype), jnp.asarray(x, dtype)
    got = covector.jit(covector.value_and_grad(total, (0, 1)))(*args)
    exact = [jnp.asarray(a, jnp.float32) for a in args]
    want = jax.jit(jax.value_and_grad(total, (0, 1)))(*exact)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        scale = float(np.abs(b).max(initial=1.0))
        np.testing.assert_allclose(np.asarray(a, np.float32), b, rtol=0, atol=error * scale)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_are_those_of_jax(case: Case) -> None:
    check(case, jnp.float32, 1e-5)


HALVES = ("nhwc", "mixed", "batches", "depthwise, two each")


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("case", [CASES[name] for name in HALVES], ids=HALVES)
def test_gradients_of_half_precision(case: Case, dtype: Any) -> None:
    check(case, dtype, 8 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_all_are_in_the_fast_order(case: Case) -> None:
    total, ws, x = loss(case)
    args = jnp.asarray(ws, jnp.float32), jnp.asarray(x, jnp.float32)
    lowered = covector.jit(covector.grad(total, (0, 1))).lower(*args)
    written = [line for line in lowered.as_text().splitlines() if "stablehlo.convolution" in line]
    assert all([FAST.search(line) for line in written]), written


def test_compiled_loops_have_fast_convolutions_only() -> None:
    total, ws, x = loss(CASES["nhwc"])
    args = jnp.asarray(ws, jnp.float32), jnp.asarray(x, jnp.float32)
    text = covector.jit(covector.grad(total, (0, 1))).lower(*args).compile().as_text()
    found = set(re.findall(r" convolution\(.*?dim_labels=([^ ,]+)", text))
    assert found == {"b01f_01io->b01f"}


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_the_order_asked_for(platform: str) -> None:
    x_shape, w_shape, how = CASES["mixed"]

    def run(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(x, w, (1, 1), "VALID", **how)

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (x_shape, w_shape)]
    for platforms in ([platform], ["cpu", platform]):
        text = covector.jit(run).trace(*shapes).lower(platforms=platforms).as_text()
        assert "dim_numbers = [f, 0, b, 1]x[o, i, 0, 1]->[1, f, b, 0]" in text
        assert "stablehlo.transpose" not in text

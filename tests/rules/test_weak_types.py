"""Derivatives of weakly typed arrays are as weakly typed as JAX's, of every primitive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from harness import Case, in_dtype, weak
from sampled import SAMPLED, sample
from sampled_laws import is_in_jax
from test_sampled import MODULES

import covector
from covector.frontend.avals import to_struct
from covector.frontend.export import eval_graph
from covector.ir.primitive import PRIMITIVES
from covector.ir.types import has_tangent

COMPLEX = (
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "cos", "cosh", "div", "exp",
    "expm1", "log", "logistic", "mul", "neg", "pow", "rsqrt", "sin", "sinh", "sqrt", "square",
    "sub", "tan", "tanh",
)  # fmt: skip
"""Whose operands may be complex too."""
SECOND = [
    "acos", "asin", "asinh", "erf", "erfc", "max", "min", "pow", "qr",
    "regularized_incomplete_beta", "scatter_mul",
]  # fmt: skip


def weakly_typed(name: str, dtype: str = "") -> Iterator[Case]:
    """Cases of the primitive whose operands that have tangents are weakly typed: all, or one."""
    low, high = SAMPLED[name].ranks
    for rank in (0, 2) if PRIMITIVES[name].elementwise else (2,):
        made = sample(name, max(low, min(high, rank)))
        if made is None or not isinstance(made.of, str):
            continue
        if made.is_differentiable and made.jax_derivative and is_in_jax(made):
            places = [i for i, t in enumerate(made.operands) if has_tangent(t)]
            for chosen in (places, places[:1])[: len(places)]:
                operands = [
                    in_dtype(t, dtype) if dtype and has_tangent(t) else t for t in made.operands
                ]
                typed = [weak(t) if i in chosen else t for i, t in enumerate(operands)]
                yield replace(made, operands=typed)


def derivatives(api: Any, case: Case) -> Callable[..., Any]:
    """Tangents and cotangents as a function of operands, tangents and cotangents."""

    def function(xs: Any, ts: Any, cts: Any) -> Any:
        moving = [x for x, a in zip(xs, case.active, strict=True) if a]
        f = smooth(case, xs)
        return api.jvp(f, tuple(moving), tuple(ts))[1], api.vjp(f, *moving)[1](cts)

    return function


def smooth(case: Case, xs: Any) -> Callable[..., list[Any]]:
    """The case's program as a function of the operands that have tangents."""

    def function(*moving: Any) -> list[Any]:
        given = iter(moving)
        full = [next(given) if a else x for x, a in zip(xs, case.active, strict=True)]
        ys = eval_graph(case.graph, full)
        return [y for y, v in zip(ys, case.graph.outputs, strict=True) if has_tangent(v.type)]

    return function


def test_derivatives_of_weakly_typed_arrays() -> None:
    assert MODULES
    compared = 0
    cases = [case for name in SAMPLED for case in weakly_typed(name)]
    cases += [case for name in COMPLEX for case in weakly_typed(name, "c64")]
    for case in cases:
        xs = [to_struct(t) for t in case.operands]
        ts = [x for x, a in zip(xs, case.active, strict=True) if a]
        cts = [to_struct(v.type) for v in case.graph.outputs if has_tangent(v.type)]
        with jax.enable_x64(any(str(t.dtype) == "int64" for t in case.operands)):
            try:
                want = jax.make_jaxpr(derivatives(jax, case))(xs, ts, cts).out_avals
            except (NotImplementedError, IndexError):  # as of select_n with one case
                continue
            made = covector.make_ir(derivatives(covector, case))(xs, ts, cts)
        compared += 1
        assert [t.weak for t in made.main.output_types] == [a.weak_type for a in want], case
    assert compared > 250


def test_second_derivatives_of_weakly_typed_arrays() -> None:
    """The cotangents of tangents; where terms are added, the first one says how weak the sum is."""
    compared = 0
    for case in (case for name in SECOND for case in weakly_typed(name)):
        xs = [to_struct(t) for t in case.operands]
        moving = [x for x, a in zip(xs, case.active, strict=True) if a]
        cts = [to_struct(v.type) for v in case.graph.outputs if has_tangent(v.type)]
        with jax.enable_x64(any(str(t.dtype) == "int64" for t in case.operands)):
            want = jax.make_jaxpr(curvature(jax, case))(xs, moving, cts).out_avals
            made = covector.make_ir(curvature(covector, case))(xs, moving, cts)
        compared += 1
        assert [t.weak for t in made.main.output_types] == [a.weak_type for a in want], case
    assert compared > 20


@pytest.mark.parametrize("shape", [(), (3,)], ids=["number", "array"])
def test_functions_made_of_what_versions_differ_in(shape: tuple[int, ...]) -> None:
    functions: list[Callable[[Any], Any]] = [
        lambda x: jnp.clip(x, -1.0, 1.0),
        lambda x: jnp.hypot(x, 2.0 * x),
        lambda x: jnp.maximum(x, 0.3),
        lambda x: jax.nn.gelu(x, approximate=False),
        jax.scipy.stats.norm.cdf, jax.nn.relu6, jnp.arcsin, jnp.arcsinh,
    ]  # fmt: skip
    x = jnp.broadcast_to(0.5, shape)
    assert x.weak_type
    for function in functions:
        want, got = (api.vjp(function, x)[1](function(x))[0] for api in (jax, covector))
        assert got.weak_type == want.weak_type, function
        want, got = (api.jvp(function, (x,), (x,))[1] for api in (jax, covector))
        assert got.weak_type == want.weak_type, function


def curvature(api: Any, case: Case) -> Callable[..., Any]:
    """The cotangents of the tangents, as a function of operands, tangents and cotangents."""

    def function(xs: Any, ts: Any, cts: Any) -> Any:
        def pushed(*moving: Any) -> Any:
            return api.jvp(smooth(case, xs), moving, tuple(ts))[1]

        moving = [x for x, a in zip(xs, case.active, strict=True) if a]
        return api.vjp(pushed, *moving)[1](cts)

    return function

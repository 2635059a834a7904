"""Every public function of JAX's traces, differentiates, batches and lowers, by our own rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from public_calls import CALLS, Call, calls, public, without
from public_functions import DISTRIBUTIONS

import covector
from covector.ir.errors import CovectorError

ALL = list(calls())
Law = Callable[..., Any]


def test_every_public_function_is_called_or_has_a_reason() -> None:
    told = {(call.module, call.name) for call in ALL} | without().keys()
    modules = (*CALLS, *(f"jax.scipy.stats.{name}" for name in DISTRIBUTIONS))
    left = [f"{m}.{name}" for m in modules for name in public(m) if (m, name) not in told]
    assert not left, "call them in tests/public_functions.py, or say there why not"


class Subject:
    """A call as a function of its inexact operands, giving its inexact results."""

    def __init__(self, call: Call) -> None:
        self.call, self.operands = call, call.operands
        self.active = [is_inexact(x) for x in self.operands]
        self.floats = [x for x, a in zip(self.operands, self.active, strict=True) if a]

    def flat(self, *operands: Any) -> list[Any]:
        return jax.tree.leaves(self.call.function(*operands))

    def smooth(self, *floats: Any) -> list[Any]:
        given = iter(floats)
        xs = [next(given) if a else x for x, a in zip(self.operands, self.active, strict=True)]
        return [y for y in self.flat(*xs) if is_inexact(y)]

    def vjp(self, api: Any, *floats: Any) -> Any:
        """The values, and what comes back for cotangents of one, two, ..."""
        ys, pull = api.vjp(self.smooth, *floats)
        return ys, pull([jnp.full_like(y, i + 1) for i, y in enumerate(ys)])

    def jvp(self, api: Any, *floats: Any) -> Any:
        return api.jvp(self.smooth, floats, [jnp.cos(x) for x in floats])

    def laws(self) -> dict[str, tuple[Law, Sequence[Any]]]:
        """By name: a function of a library and operands, and the operands."""
        rows, float_rows = in_rows(self.operands), in_rows(self.floats)
        found: dict[str, tuple[Law, Sequence[Any]]] = {
            "value": (lambda api, *xs: self.flat(*xs), self.operands),
            "batch": (lambda api, *xs: api.vmap(self.flat)(*xs), rows),
            "jvp": (self.jvp, self.floats),
            "vjp": (self.vjp, self.floats),
            "batched jvp": (
                lambda api, *xs: api.vmap(lambda *x: self.jvp(api, *x))(*xs),
                float_rows,
            ),
            "batched vjp": (
                lambda api, *xs: api.vmap(lambda *x: self.vjp(api, *x))(*xs),
                float_rows,
            ),
        }
        return {name: law for name, law in found.items() if law[1] or name == "value"}


def is_inexact(x: Any) -> bool:
    return jnp.issubdtype(getattr(x, "dtype", np.int32), jnp.inexact)


def in_rows(xs: Sequence[Any]) -> list[Any]:
    return [jnp.stack([x, x]) for x in xs]


def first_calls() -> list[Call]:
    """One call of each function."""
    return list({(call.module, call.name): call for call in reversed(ALL)}.values())


@pytest.mark.parametrize("part", range(8))
def test_all_layers(part: int) -> None:
    """What passes and lowering make of each function: its batched vjp, and if neither JAX nor we
    have that, its batched jvp or its batch."""
    failures = []
    for call in first_calls()[part::8]:
        laws = Subject(call).laws()
        for name in [n for n in ("batched vjp", "batched jvp", "batch", "value") if n in laws]:
            law, xs = laws[name]
            try:
                covector.jit(lambda *xs, law=law: law(covector, *xs)).trace(*xs).lower()
                break
            except Exception as error:
                if jax_has(law, xs):
                    failures.append(f"{name} of {call}: {error}")
    assert not failures, "\n".join(failures)


def jax_has(law: Law, xs: Sequence[Any]) -> bool:
    try:
        jax.make_jaxpr(lambda *xs: law(jax, *xs))(*xs)
    except Exception:
        return False
    return True


# Where differences say that JAX's derivatives are not those of its functions: of the sign of a
# complex number, which JAX has constant; of a decomposition that reads one triangle of a matrix, in
# directions that are not symmetric.
OTHER_THAN_JAX = {
    ("jax.lax", "sign"), ("jax.scipy.linalg", "cho_factor"), ("jax.scipy.linalg", "cholesky"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("part", range(16))
def test_numbers_as_in_jax(part: int) -> None:
    """Each call: its values, batch and derivatives are JAX's, where JAX has them."""
    failures = []
    for call in ALL[part::16]:
        for name, (law, xs) in Subject(call).laws().items():
            if not jax_has(law, xs):
                continue
            if (call.module, call.name) in OTHER_THAN_JAX and name not in ("value", "batch"):
                continue
            try:
                want = jax.jit(lambda *xs, law=law: law(jax, *xs))(*xs)
            except NotImplementedError:  # as of scaled_matmul, which JAX has on accelerators only
                continue
            try:
                compare(covector.jit(lambda *xs, law=law: law(covector, *xs))(*xs), want)
            except (CovectorError, AssertionError) as error:
                failures.append(f"{name} of {call}: {error}")
    assert not failures, "\n".join(failures)


def compare(got: Any, want: Any) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for x, y in zip(map(as_numbers, jax.tree.leaves(got)), jax.tree.leaves(want), strict=True):
        y = as_numbers(y)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        if not is_inexact(y):
            np.testing.assert_array_equal(x, y)
            continue
        wide = np.complex128 if np.iscomplexobj(y) else np.float64
        x, y = x.astype(wide), y.astype(wide)
        scale = np.max(np.abs(y[np.isfinite(y)]), initial=1)
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3 * scale)


def as_numbers(x: Any) -> np.ndarray[Any, Any]:
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)

"""Everything holds under JAX's strict settings, and where several threads trace at once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pytest
from settings_programs import USES

import covector

Context = Callable[[], contextlib.AbstractContextManager[Any]]


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


ONE_BY_ONE: dict[str, Context] = {
    "strict promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "no rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "checks": lambda: jax.enable_checks(True),
    "no NaN": lambda: jax.debug_nans(True),
    "no infinity": lambda: jax.debug_infs(True),
    "no leaks": jax.check_tracer_leaks,
    "x64": lambda: jax.enable_x64(True),
    "no x64": lambda: jax.enable_x64(False),
    "warnings": no_warnings,
    "no jit": jax.disable_jit,
    "precise": lambda: jax.default_matmul_precision("highest"),
}

STRICT = ("strict promotion", "no rank promotion", "checks", "no NaN", "no leaks", "warnings")


def agree(name: str) -> None:
    """What a use gives with covector is what it gives with JAX, types included."""
    ours, theirs = USES[name](covector), USES[name](jax)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        tol = 1e-12 if x.dtype in (np.float64, np.complex128) else 2e-5
        np.testing.assert_allclose(x, y, rtol=tol, atol=tol)


@pytest.mark.parametrize("i", range(len(USES)), ids=list(USES))
def test_all_strict_settings_together(i: int) -> None:
    name = list(USES)[i]
    with contextlib.ExitStack() as stack:
        for setting in ("x64" if i % 2 else "no x64", *STRICT):
            stack.enter_context(ONE_BY_ONE[setting]())
        agree(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("setting", ONE_BY_ONE)
def test_each_setting(name: str, setting: str) -> None:
    with ONE_BY_ONE[setting]():
        agree(name)


THREADED = ("orders", "hessian_products", "forward_rules", "backward_rules", "branches_in_python")


def test_threads_trace_at_once() -> None:
    """Each thread has settings of its own, too."""

    def run(i: int) -> list[Any]:
        with jax.enable_x64(i % 2 == 1):
            return [[np.asarray(x) for x in jax.tree.leaves(USES[n](covector))] for n in THREADED]

    with ThreadPoolExecutor(4) as pool:
        first, again = list(pool.map(run, range(4))), list(pool.map(run, range(4)))
    for i in range(4):
        alone = run(i)
        jax.tree.map(np.testing.assert_array_equal, again[i], alone)
        jax.tree.map(same_but_for_rounding, first[i], alone)


def same_but_for_rounding(x: Any, y: Any) -> None:
    """A first call runs one operation after the other, a later one as a whole."""
    eps = np.finfo(x.dtype).eps if np.issubdtype(x.dtype, np.inexact) else 0
    assert x.dtype == y.dtype
    np.testing.assert_allclose(x, y, rtol=8 * eps, atol=8 * eps)

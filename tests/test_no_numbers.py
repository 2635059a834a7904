"""float0, the dtype of integers' tangents, out of functions that JAX has traced, and in text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_programs import XS, X
from jax import lax

import covector
from covector.ir.errors import CovectorError


def counts(x: Any) -> Any:
    return x * 2.0, jnp.arange(3)


def pushed(lib: Any) -> Callable[[Any], Any]:
    return lambda x: lib.jvp(counts, (x,), (x,))


def looped(lib: Any) -> Callable[[Any], Any]:
    return lambda x: lax.scan(lambda c, _: (c * 0.5, pushed(lib)(c)), x, None, length=2)


def called(lib: Any) -> Callable[[Any], Any]:
    """JAX has traced what returns float0 before we see it."""
    return lambda x: jax.jit(pushed(jax))(x)


def branched(lib: Any) -> Callable[[Any], Any]:
    return lambda x: lax.cond(x[0] > 0, pushed(jax), pushed(jax), x)


def dtypes_and_shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: (x.dtype, x.shape), tree)


@pytest.mark.parametrize("make", [looped, called, branched])
def test_as_jax_returns_it(make: Any) -> None:
    ways: dict[str, Callable[[Any], Any]] = {
        "as it is": lambda lib: make(lib)(X),
        "jit": lambda lib: lib.jit(make(lib))(X),
        "vmap": lambda lib: lib.vmap(make(lib), out_axes=-1)(XS),
        "jvp": lambda lib: lib.jvp(make(lib), (X,), (X,)),
    }
    for name, run in ways.items():
        got, want = run(covector), run(jax)
        assert dtypes_and_shapes(got) == dtypes_and_shapes(want), name
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            if w.dtype != jax.dtypes.float0:
                np.testing.assert_allclose(g, w, rtol=1e-5)


def test_the_text_says_so_and_reads_back() -> None:
    module = covector.make_ir(pushed(covector))(X).verify()
    assert 'out_tree = (("*","*"),("*","float0[3]"))' in str(module)
    read = covector.parse(str(module))
    assert read == module
    assert read.as_function()(X)[1][1].dtype == jax.dtypes.float0


def test_nothing_is_computed_from_it() -> None:
    with pytest.raises((CovectorError, TypeError, ValueError)):
        covector.jit(lambda x: pushed(covector)(x)[1][1] + 1.0)(X)

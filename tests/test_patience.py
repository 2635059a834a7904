"""When un-jitted programs are compiled: not while a call waits that steps would serve sooner."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.frontend import execute


def deep(x: Any) -> Any:
    for _ in range(12):
        x = jnp.tanh(x @ x)
    return x.sum()


def test_the_second_call_does_not_wait_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    x = jnp.eye(7) * 0.3
    wanted = jax.grad(deep)(x)
    known = {*execute._compiled}
    for _ in range(2):
        np.testing.assert_allclose(covector.grad(lambda x: deep(x))(x), wanted, rtol=1e-5)
    assert known == {*execute._compiled}
    monkeypatch.setattr(execute, "compile_seconds", lambda _: 0.0)  # it has run for longer now
    np.testing.assert_allclose(covector.grad(lambda x: deep(x))(x), wanted, rtol=1e-5)
    assert len({*execute._compiled} - known) == 1

"""Programs nested deeply: nothing recurses too far, and nothing grows faster than the program."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from jax import lax

import covector
from covector.ir.module import Module
from covector.tools.cli import cli

X = jnp.arange(3.0) / 3
Function = Callable[[Any], Any]


def nested_calls(n: int) -> Function:
    f: Function = jnp.sin
    for _ in range(n):
        f = jax.jit(lambda x, f=f: f(x) * 1.01 + x)
    return f


def nested_scans(n: int) -> Function:
    f: Function = jnp.sin
    for _ in range(n):
        f = lambda x, f=f: lax.scan(lambda c, _: (f(c), None), x, None, length=1)[0]
    return f


def many_branches(n: int) -> Function:
    branches = [lambda x, i=i: jnp.sin(x) * i + x for i in range(n)]
    return lambda x: lax.switch((x[1] * 10).astype(int), branches, x)


def size(module: Module) -> int:
    return sum(len(graph) for graph in module.all_graphs())


@pytest.mark.parametrize(
    ("make", "n"), [(nested_calls, 200), (nested_scans, 64), (many_branches, 100)]
)
def test_every_pass(make: Callable[[int], Function], n: int) -> None:
    f = make(n)
    module, half = (covector.make_ir(g)(X).verify() for g in (f, make(n // 2)))
    for pipeline in (
        "jvp", "linearize", "vjp", "batch", "dce", "cse", "fold", "inline",
        "linearize,transpose,cse,dce", "vjp,batch,dce", "jvp,jvp", "vjp,jvp",
    ):  # fmt: skip
        whole = covector.run_passes(module, pipeline).verify()
        text = str(whole)
        assert str(covector.parse(text)) == text
        assert size(whole) < 2.3 * size(covector.run_passes(half, pipeline)) + 20, pipeline
    np.testing.assert_allclose(module.interpret(X)[0], covector.jit(f)(X), rtol=1e-5)
    assert covector.grad(lambda x: f(x).sum())(X).shape == X.shape
    assert len(module.to_jaxpr().eqns) > 0


def test_the_recursion_limit_is_left_as_it_was() -> None:
    """At a higher one, the endless recursion of other code could overflow the stack."""
    limit = sys.getrecursionlimit()
    f = nested_calls(200)
    module = covector.make_ir(f)(X)
    for pipeline in ("jvp,vjp", "batch,dce,cse"):
        covector.run_passes(module, pipeline)
        assert sys.getrecursionlimit() == limit
    covector.jit(covector.grad(lambda x: f(x).sum())).trace(X).lower()
    assert sys.getrecursionlimit() == limit


def test_commands_on_deep_programs(tmp_path: Path) -> None:
    for make, n in ((nested_calls, 200), (nested_scans, 64), (many_branches, 100)):
        path = tmp_path / "deep.cvir"
        covector.make_ir(make(n))(X).save(path)
        for command in (
            ["opt", "--passes", "vjp,cse,dce,jvp", str(path)],
            ["check", "--passes", "inline,dce,cse,fold", str(path)],
        ):
            result = CliRunner().invoke(cli, command)
            assert result.exit_code == 0, result.output[-1000:]

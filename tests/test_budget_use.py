"""How budgets are asked for and refused: bad input, other traces, plans that would not pay."""

from __future__ import annotations

import json
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import covector
from covector.frontend.budget import MemoryBudgetWarning, build_within
from covector.frontend.fitting import DOUBT
from covector.ir.errors import CovectorError, SolveError, UsageError
from covector.ir.sizes import read_size
from covector.ir.steps import peak_bytes
from covector.lowering.barriers import loses_barriers
from covector.passes import make_pass, parse_pipeline
from covector.tools.cli import main


def loss(ws: Any, x: Any) -> Any:
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.sum(x * x)


WS = [jax.random.normal(jax.random.key(i), (32, 32)) / 6 for i in range(6)]
X = jnp.ones((256, 32))


def test_outputs_that_no_step_reads() -> None:
    """Views of what is stored, and what was captured: keys are views of their words."""
    key = jax.random.key(3)

    def with_more(ws: Any, x: Any) -> Any:
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(x * x), (x.reshape(-1), key)

    plain = covector.jit(covector.grad(with_more, has_aux=True))(WS, X)
    planned = covector.grad(with_more, has_aux=True, memory_budget="160KiB")(WS, X)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (planned[0], planned[1][0]),
        (plain[0], plain[1][0]),
    )
    assert (jax.random.key_data(planned[1][1]) == jax.random.key_data(key)).all()


# -- bad input -------------------------------------------------------------------------------------


def test_a_pass_with_a_budget_prints_as_it_is_read() -> None:
    step = make_pass("checkpoint", {"budget": "8 GiB"})
    assert parse_pipeline(step.describe()) == (step,)
    assert str(step) == "checkpoint{budget=8GiB}"


@pytest.mark.parametrize("wrong", ["24 apples", "", 0, -3, True, None.__class__, [1]])
def test_a_budget_that_is_not_a_size(wrong: Any) -> None:
    for use in (
        lambda: covector.grad(loss, memory_budget=wrong),
        lambda: covector.compile(covector.grad(loss), WS, X, memory_budget=wrong),
        lambda: read_size(wrong),
    ):
        with pytest.raises(UsageError, match=r"a memory budget is .*, got"):
            use()


@pytest.mark.parametrize("wrong", [0, -1])
def test_loops_keep_one_state_at_least(wrong: int) -> None:
    def loop(x: Any) -> Any:
        return lax.scan(lambda x, _: (jnp.sin(x), ()), x, None, length=4)[0]

    with pytest.raises(UsageError, match=f"snapshots is one at least, not {wrong}"):
        covector.checkpoint_loops(loop, snapshots=wrong)
    module = covector.make_ir(loop)(1.0)
    with pytest.raises(CovectorError, match=f"one snapshot at least, not {wrong}"):
        covector.run_passes(module, f"checkpoint{{loops=revolve snapshots={wrong}}}")


def test_a_loop_that_does_not_end_within_its_bound() -> None:
    def run(x: Any) -> Any:
        return covector.while_loop(lambda x: x < 100.0, lambda x: x + 1.0, x, max_steps=5)

    with pytest.raises(SolveError, match="while_loop has not ended after 5 steps"):
        run(1.0)
    with pytest.raises(SolveError, match="raise max_steps"):
        covector.grad(run)(1.0)
    with pytest.raises(UsageError, match="max_steps is one at least, not 0"):
        covector.while_loop(lambda x: x < 1.0, lambda x: x, 0.0, max_steps=0)


def test_a_policy_that_there_is_not() -> None:
    text = """module @m {
      func @m(x: f32[3]) -> (f32[3]) {
        y: f32[3] = checkpoint[graph=@g, policy="dots_savable"] x
        return y
      }
      func private @g(x: f32[3]) -> (f32[3]) { y: f32[3] = sin x
        return y }
    }"""
    for use in (
        lambda: covector.run_passes(covector.parse(text), "linearize"),
        lambda: covector.checkpoint(jnp.sin, policy="dots_savable"),
        lambda: covector.grad(jax.checkpoint(jnp.sin, policy="dots_savable"))(1.0),
    ):
        with pytest.raises(CovectorError, match=r"policy .*dots_savable") as caught:
            use()
        assert "did you mean dots_saveable" in str(caught.value)


# -- inside of other traces ------------------------------------------------------------------------


def test_a_budget_inside_of_jax_jit_says_that_jax_undoes_it() -> None:
    """Said at once, where this backend needs its own compile repaired."""
    half = peak_bytes(covector.make_ir(covector.grad(loss))(WS, X).main) // 2
    want = covector.grad(loss)(WS, X)
    for planned in (
        covector.grad(loss, memory_budget=half),
        covector.jit(covector.grad(loss), memory_budget=half),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = jax.jit(planned)(WS, X)
        said = [w for w in caught if issubclass(w.category, MemoryBudgetWarning)]
        assert bool(said) == loses_barriers(jax.default_backend())
        assert all("compile" in str(w.message) for w in said)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_budget_inside_of_our_own_jit_is_kept() -> None:
    half = peak_bytes(covector.make_ir(covector.grad(loss))(WS, X).main) // 2
    planned = covector.jit(covector.grad(loss), memory_budget=half)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = covector.compile(lambda ws, x: planned(ws, x), WS, X)
    assert compiled.report().actual <= 1.05 * half


# -- plans that would not pay ----------------------------------------------------------------------


def test_no_plan_is_made_where_none_is_needed() -> None:
    """A budget that the model takes to be a little too small, and XLA does not."""
    graph = covector.make_ir(covector.grad(loss))(WS, X).main
    leaves = jax.tree.leaves((WS, X))
    actual = build_within(graph, leaves, 10**9).report.actual
    predicted = peak_bytes(graph)
    report = build_within(graph, leaves, max(actual, int(predicted / DOUBT) + 1)).report
    assert report.honoured
    assert report.plan.is_trivial


@pytest.mark.parametrize("share", [0.9, 0.6, 0.45])
def test_a_plan_is_never_larger_than_none(share: float) -> None:
    graph = covector.make_ir(covector.grad(loss))(WS, X).main
    leaves = jax.tree.leaves((WS, X))
    plain = build_within(graph, leaves, 10**9).report.actual
    report = build_within(graph, leaves, int(share * plain)).report
    assert report.actual <= plain
    assert report.plan.is_trivial or report.actual < plain


# -- the command line ------------------------------------------------------------------------------


def test_report_says_what_a_plan_makes_of_a_program(tmp_path: Any, capsys: Any) -> None:
    module = covector.run_passes(covector.make_ir(loss)(WS, X), "grad{wrt=0,1},cse,dce")
    path = tmp_path / "gradient.cvir"
    module.save(path)
    half = peak_bytes(module.main) // 2
    arguments = ["report", str(path), "--only", "plan", "--memory-budget", str(half)]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "planned for a memory budget" in shown
    assert "computed again" in shown
    assert run([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["plan"]
    assert data["actual"]["after"] <= 1.05 * half < data["actual"]["before"]
    assert data["predicted"]["after"] <= half < data["predicted"]["before"]
    assert data["honoured"]
    assert data["recomputed"]
    assert run([*arguments[:-1], "24 apples"]) != 0
    assert "a memory budget is a size of memory, got '24 apples'" in capsys.readouterr().err


def run(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as status:
        main(arguments)
    return status.value.code

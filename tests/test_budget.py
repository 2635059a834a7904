"""Programs that fit a memory budget: what is planned, what XLA needs, and that results stay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import covector
from covector.frontend.budget import build_within
from covector.ir.errors import UsageError
from covector.ir.sizes import read_size, show_size
from covector.ir.steps import peak_bytes
from covector.lowering.barriers import barrier_options
from covector.passes.budget.errors import BudgetError
from covector.passes.budget.plan import plan_memory

WIDTH, BATCH, LAYERS = 64, 512, 8


def arguments(layers: int = LAYERS) -> tuple[list[jax.Array], jax.Array]:
    keys = jax.random.split(jax.random.key(0), layers + 1)
    ws = [jax.random.normal(k, (WIDTH, WIDTH)) / 8 for k in keys[1:]]
    return ws, jax.random.normal(keys[0], (BATCH, WIDTH))


def tanh_net(ws: Any, x: Any) -> Any:
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.sum(x * x)


def gelu_net(ws: Any, x: Any) -> Any:
    for w in ws:
        x = jax.nn.gelu(x @ w)
    return jnp.sum(x * x)


def skip_net(ws: Any, x: Any) -> Any:
    """Long skips: the first half's outputs are read in reverse by the second half."""
    half = len(ws) // 2
    kept = []
    for w in ws[:half]:
        x = jnp.tanh(x @ w)
        kept.append(x)
    for w, skip in zip(ws[half:], reversed(kept), strict=True):
        x = jnp.sin((x + skip) @ w)
    return jnp.mean(x)


def dropout_net(ws: Any, x: Any) -> Any:
    key = jax.random.key(7)
    for i, w in enumerate(ws):
        x = jnp.tanh(x @ w)
        keep = jax.random.bernoulli(jax.random.fold_in(key, i), 0.8, x.shape)
        x = jnp.where(keep, x / 0.8, 0)
    return jnp.sum(x * x)


def scan_net(ws: Any, x: Any) -> Any:
    for w in ws:

        def step(h: Any, _: Any, w: Any = w) -> Any:
            h = jnp.tanh(h @ w)
            return h, ()

        x, _ = jax.lax.scan(step, x, None, length=3)
    return jnp.sum(x * x)


NETS = [tanh_net, gelu_net, skip_net, dropout_net, scan_net]


@pytest.mark.parametrize("net", NETS)
def test_every_budget_is_kept_and_gradients_stay(net: Any) -> None:
    """From the whole down to the smallest feasible: at most the budget, and the same gradients."""
    args = arguments()
    gradient = covector.grad(net)
    plain = covector.compile(gradient, *args)
    want = plain(*args)
    whole = plain.memory_analysis().temp_size_in_bytes
    with pytest.raises(BudgetError) as caught:
        covector.compile(gradient, *args, memory_budget=1)
    smallest = caught.value.smallest
    assert smallest < 0.7 * whole
    costs = []
    for share in (1.0, 0.6, 0.3, 0.0):
        budget = int(smallest + share * (whole - smallest))
        compiled = covector.compile(gradient, *args, memory_budget=budget)
        actual = compiled.memory_analysis().temp_size_in_bytes
        assert actual <= 1.05 * budget
        assert compiled.report().honoured
        costs.append(compiled.report().plan.after.cost)
        for got, expected in zip(compiled(*args), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


@pytest.mark.parametrize("net", NETS[:3])
def test_the_model_agrees_with_xla(net: Any) -> None:
    args = arguments()
    report = covector.compile(covector.grad(net), *args).report()
    assert report.budget is None
    assert report.predicted == pytest.approx(report.actual, rel=0.08)


def test_the_second_computation_survives_xla() -> None:
    """As many contractions are compiled as were planned; gradients are equal to the last bit."""
    args = arguments()
    plain = covector.compile(covector.grad(tanh_net), *args)
    whole = plain.memory_analysis().temp_size_in_bytes
    planned = covector.compile(covector.grad(tanh_net), *args, memory_budget=whole // 2)
    report = planned.report()
    without, with_plan = report.contractions
    assert with_plan > without
    assert report.compiled_contractions == with_plan
    for got, want in zip(planned(*args), plain(*args), strict=True):
        np.testing.assert_array_equal(got, want)
    assert "kept to the budget" in str(report)
    assert "tanh" in str(report)
    assert str(planned.program.equations).count("optimization_barrier")


def test_a_checkpoint_region_survives_xla() -> None:
    """What `jax.checkpoint` asks to compute again is computed again by the compiled program."""

    def net(ws: Any, x: Any) -> Any:
        for i in range(0, len(ws), 2):
            x = jax.checkpoint(lambda x, *two: jnp.tanh(jnp.tanh(x @ two[0]) @ two[1]))(
                x, *ws[i : i + 2]
            )
        return jnp.sum(x * x)

    args = arguments()
    saved = covector.compile(covector.grad(tanh_net), *args)
    again = covector.compile(covector.grad(net), *args)
    report = again.report()
    assert report.compiled_contractions >= saved.report().compiled_contractions + LAYERS
    assert report.actual < saved.report().actual
    assert report.predicted == pytest.approx(report.actual, rel=0.15)


def test_a_policy_is_a_constraint() -> None:
    """What a user's policy saves is not computed again, whatever the budget."""
    policy = jax.checkpoint_policies.dots_saveable

    def net(ws: Any, x: Any) -> Any:
        for w in ws:
            x = jax.checkpoint(lambda x, w: jnp.sin(x @ w), policy=policy)(x, w)
        return jnp.sum(x * x)

    def unruled(ws: Any, x: Any) -> Any:
        for w in ws:
            x = jnp.sin(x @ w)
        return jnp.sum(x * x)

    args = arguments()
    smallest = []
    for f, why in ((net, "policy"), (unruled, "too small")):
        with pytest.raises(BudgetError, match=why) as caught:
            covector.compile(covector.grad(f), *args, memory_budget="1KiB")
        smallest.append(caught.value.smallest)
    assert smallest[1] < smallest[0]
    planned = covector.compile(covector.grad(net), *args, memory_budget=smallest[0])
    again = {eqn.primitive.name for eqn, _ in planned.report().plan.again()}
    assert "dot_general" not in again
    planned = covector.compile(covector.grad(unruled), *args, memory_budget=smallest[1])
    again = {eqn.primitive.name for eqn, _ in planned.report().plan.again()}
    assert "dot_general" in again


def test_jit_takes_a_budget() -> None:
    args = arguments()
    whole = covector.compile(covector.grad(tanh_net), *args).memory_analysis().temp_size_in_bytes
    f = covector.jit(covector.grad(tanh_net), memory_budget=whole // 2)
    for got, want in zip(f(*args), covector.grad(tanh_net)(*args), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert f.lower(*args).compile().memory_analysis().temp_size_in_bytes <= 1.05 * whole / 2


def test_grad_takes_a_budget() -> None:
    """Called, and within another trace; a budget that is too small is an error of the call."""
    args = arguments()
    want = covector.grad(tanh_net)(*args)
    planned = covector.grad(tanh_net, memory_budget="1MiB")
    for got, expected in zip(planned(*args), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    compiled = covector.compile(planned, *args)
    assert compiled.memory_analysis().temp_size_in_bytes <= 1.05 * 2**20
    with pytest.raises(BudgetError) as caught:
        covector.grad(tanh_net, memory_budget=1000)(*args)
    value, _ = covector.value_and_grad(tanh_net, memory_budget=caught.value.smallest)(*args)
    np.testing.assert_allclose(value, tanh_net(*args), rtol=1e-5)


def test_residuals_say_what_is_saved_and_what_a_plan_makes_of_it() -> None:
    args = arguments()
    saved = covector.residuals(tanh_net)(*args)
    assert saved.nbytes >= LAYERS * BATCH * WIDTH * 4
    assert list(saved) == sorted(saved, key=lambda r: -r.nbytes)
    assert "tanh" in str(saved)
    assert "test_budget.py" in str(saved)
    planned = covector.residuals(tanh_net, memory_budget="1MiB")(*args)
    assert planned.plan is not None
    assert planned.plan.actual <= 1.05 * 2**20 < planned.plan.plan.before.peak
    assert "computed again" in str(planned)


def test_the_pass_plans_a_derivative_program() -> None:
    args = arguments(4)
    module = covector.make_ir(tanh_net)(*args)
    whole = covector.run_passes(module, "grad{wrt=0,1},cse,dce")
    peak = peak_bytes(whole.main)
    planned = covector.run_passes(whole, f"checkpoint{{budget={int(0.7 * peak)}}}")
    assert peak_bytes(planned.main) <= 0.7 * peak
    assert covector.parse(str(planned)) == planned
    with pytest.raises(covector.CovectorError, match="needs a budget"):
        covector.run_passes(module, "checkpoint")


def test_a_program_that_fits_is_left_alone() -> None:
    graph = covector.make_ir(covector.grad(tanh_net))(*arguments(2)).main
    assert plan_memory(graph, 10**9).order == tuple(range(len(plan_memory(graph, 10**9).order)))
    fitted = build_within(graph, jax.tree.leaves(arguments(2)), 10**9)
    assert fitted.report.honoured
    assert not fitted.report.recomputed()


@pytest.mark.parametrize(
    ("text", "size"),
    [("24MiB", 24 * 2**20), ("8 GB", 8 * 10**9), ("1.5e3", 1500), (7, 7), (np.int64(5), 5)],
)
def test_sizes(text: Any, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("wrong", ["24 apples", "", -1, 0, True, float("nan"), [1], "MiB"])
def test_what_is_not_a_size_is_an_error(wrong: Any) -> None:
    with pytest.raises(UsageError, match="memory budget"):
        covector.jit(tanh_net, memory_budget=wrong)


def test_sizes_are_shown_with_units() -> None:
    assert [show_size(n) for n in (12, 2048, 3 * 2**19)] == ["12 B", "2 KiB", "1.5 MiB"]


def test_barriers_are_kept_where_a_backend_would_drop_them() -> None:
    assert barrier_options("cpu", {}, "0.10.2") == {
        "xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting"
    }
    assert barrier_options("cpu", {}, "0.11.1") == {}
    assert barrier_options("cuda", {"a": 1}, "0.10.2") == {"a": 1}
    both = barrier_options("cpu", {"xla_disable_hlo_passes": "algsimp"}, "0.11.0")
    assert both == {
        "xla_disable_hlo_passes": "algsimp,cse_barrier_expander,small-while-loop-hoisting"
    }

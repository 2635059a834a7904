"""What is saved for the backward pass: by default, by checkpoint and by its policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_programs import (
    XS,
    W,
    X,
    checkpointed,
    checkpointed_dots,
    checkpointed_scan,
    find,
    nested_scan,
    scan_invariant,
    scan_of_cond,
    scan_reverse,
    scan_rnn,
)
from jax import lax
from jax._src.ad_checkpoint import saved_residuals  # public only as something that prints
from jax.ad_checkpoint import checkpoint_name
from laws import check_all, made

import covector
from covector.ir.errors import PassError
from covector.ir.graph import Graph, walk_graphs
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph


def residual_bytes(function: Callable[..., Any], *args: Any) -> int:
    """The bytes that the primal half hands to the linear half, inputs of the program aside."""
    graph = made(function, *args).main
    parts = linearize_graph(graph, [True] * len(args))
    return sum(r.type.nbytes for r in set(parts.residuals) - set(graph.inputs))


def jax_residual_bytes(function: Callable[..., Any], *args: Any) -> int:
    saved = saved_residuals(lambda *xs: jax.tree.leaves(function(*xs)), *args)
    return sum(aval.size * aval.dtype.itemsize for aval, why in saved if "argument" not in why)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (scan_rnn, (W, X, XS)),
        (scan_reverse, (W, X, XS)),
        (scan_invariant, (W, X)),
        (nested_scan, (W, X, XS)),
        (scan_of_cond, (X, XS)),
        (checkpointed_scan, (W, X, XS)),
    ],
)
def test_no_more_is_saved_than_jax_saves(function: Any, args: tuple[Any, ...]) -> None:
    assert residual_bytes(function, *args) <= jax_residual_bytes(function, *args)


def test_checkpoint_saves_its_inputs_only() -> None:
    parts = linearize_graph(made(checkpointed, W, X).main, (True, True))
    again = find(parts.linear, "checkpoint")
    assert [eqn.params["differentiated"] for eqn in again] == [True, True]
    assert {r.type.shape for r in parts.residuals} == {(3, 3), (3,)}
    assert len(parts.residuals) == 3  # w, x, and the first layer's output
    saving = linearize_graph(made(checkpointed_dots, W, X).main, (True, True))
    assert len(saving.residuals) == 4  # w, x, and the two products


def test_policies_by_name() -> None:
    def f(x: Any) -> Any:
        y = checkpoint_name(jnp.sin(x), "y")
        z = checkpoint_name(jnp.exp(y), "z")
        return jnp.tanh(z) * jnp.cos(y)

    counts = {}
    for policy in ("nothing_saveable", "everything_saveable", "save_only_these_names(y)"):
        title, _, names = policy.partition("(")
        chosen = getattr(jax.checkpoint_policies, title)
        chosen = chosen(names.removesuffix(")")) if names else chosen
        graph = made(jax.checkpoint(f, policy=chosen), X).main
        if not names:
            assert find(graph, "checkpoint")[0].params["policy"] == policy
        parts = linearize_graph(graph, (True,))
        counts[policy] = len(parts.residuals)
        check_all(jax.checkpoint(f, policy=chosen), X)
    assert counts["nothing_saveable"] == 1
    assert counts["save_only_these_names(y)"] == 2
    assert counts["everything_saveable"] > 2


def test_policies_look_into_loops() -> None:
    """What is saved of each iteration is stacked; the second loop reads it."""

    def f(w: Any, h: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            def inner(g: Any, y: Any) -> Any:
                return jnp.sin(jnp.cos(w @ g) + y), ()

            h = jnp.tanh(w @ h + x)
            return lax.scan(inner, h, w)[0], h.sum()

        return lax.scan(step, h, xs)

    saving = jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable)
    assert residual_bytes(saving, W, X, XS) == (4 * 3 + 4 * 3 * 3) * 4
    assert residual_bytes(saving, W, X, XS) <= jax_residual_bytes(saving, W, X, XS)
    check_all(saving, W, X, XS)
    parts = linearize_graph(made(saving, W, X, XS).main, (True, True, True))
    again = [g for g in walk_graphs(parts.linear) if find(g, "tanh")]
    assert again
    assert not any(e.inputs[0].type.shape == (3, 3) for g in again for e in find(g, "dot_general"))


def test_an_unknown_policy_is_an_error() -> None:
    graph = made(checkpointed, W, X).main
    eqn = find(graph, "checkpoint")[0]
    wrong = eqn.replace(params={**eqn.params, "policy": "dots_savable"})
    with pytest.raises(PassError, match="no checkpoint policy 'dots_savable'") as caught:
        vjp_graph(Graph(graph.inputs, [wrong], wrong.outputs), (True, True))
    assert "dots_saveable" in str(caught.value)


def test_a_small_loop_of_recomputed_steps_compiles() -> None:
    """XLA's emitter of small loops as one kernel would fail at a barrier."""

    def loss(x: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            return jnp.sin(c) * 2.0, c

        c, cs = jax.lax.scan(jax.checkpoint(step), x, None, length=3)
        return jnp.sum(c) + jnp.sum(cs)

    x = jnp.asarray([0.3, -0.7, 1.1])
    got = covector.jit(covector.grad(loss))(x)
    np.testing.assert_allclose(got, jax.grad(loss)(x), rtol=1e-5)


def test_weakly_typed_results_of_what_is_computed_again() -> None:
    """A custom rule may return a strong type where its function returns a weak one."""

    def root(a: Any) -> Any:
        def f(y: Any) -> Any:
            return y**3 + a * y - 2.0

        def solve(f: Any, y: Any) -> Any:
            return lax.fori_loop(0, 20, lambda _, y: y - f(y) / jax.grad(f)(y), y)

        return lax.custom_root(f, 1.0, solve, lambda g, b: b / g(1.0))

    check_all(jax.checkpoint(root), 1.3)


def test_rules_on_weakly_typed_numbers_in_a_region_are_differentiated_twice() -> None:
    """What a rule calls is written out on arguments that are typed strongly where it was traced on
    weakly typed ones: what reads the results goes on reading weak ones."""

    @jax.custom_vjp
    def sin(x: Any) -> Any:
        return jnp.sin(x)

    sin.defvjp(lambda x: (sin(x), x), lambda x, ct: (jnp.cos(x) * ct,))
    region = jax.checkpoint(lambda x: sin(x * 0.1) * 0.1)

    def pulled(api: Any) -> Any:
        def pull(x: Any, ct: Any) -> Any:
            return api.vjp(region, x)[1](ct)[0]

        return api.vjp(pull, 3.0, 1.0)[1](1.0)

    module = covector.make_ir(lambda x, ct: covector.vjp(region, x)[1](ct))(3.0, 1.0)
    covector.run_passes(module, "linearize,transpose,cse,dce").verify()
    np.testing.assert_allclose(pulled(covector), pulled(jax), rtol=1e-5)

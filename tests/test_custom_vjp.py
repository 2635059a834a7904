"""custom_vjp functions under every pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from custom_programs import X, Y, clipped, primitives
from laws import Checked, assert_close, interpret, made

import covector
from covector.ir.errors import CovectorError, ForwardModeError
from covector.passes import run_passes
from covector.passes.batch import batch_graph
from covector.passes.forward_rules import with_forward_rules
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph


def vjp_under_scan(x: Any, y: Any) -> Any:
    return jax.lax.scan(lambda c, a: (clipped(c, y) + a, c), x, jnp.stack([x, y]))


def vjp_under_everything(x: Any, y: Any) -> Any:
    @jax.checkpoint
    def f(x: Any, y: Any) -> Any:
        rows = jax.vmap(clipped, in_axes=(None, 0))(x, jnp.stack([x, y])).sum(0)
        return jax.lax.cond(x[0] > 0, lambda: clipped(rows, x), lambda: rows)

    return jax.jit(f)(x, y)


@pytest.mark.parametrize("function", [clipped, vjp_under_scan, vjp_under_everything])
def test_custom_vjp(function: Any) -> None:
    program = Checked(function, X, Y)
    program.value()
    program.reverse()
    program.batched()
    program.batched([True, False])
    program.batched([False, True])
    program.reverse_over_batch()
    program.cleaned()


def test_forward_mode_over_custom_vjp_is_an_error() -> None:
    graph = made(lambda x, y: clipped(x, y), X, Y).main
    joint, _ = jvp_graph(graph, (True, True))
    with pytest.raises(CovectorError, match=r"forward-mode.* clipped") as caught:
        interpret(joint, X, Y, X, Y)
    assert "test_custom_vjp.py" in str(caught.value)
    parts = linearize_graph(graph, (True, True))
    assert primitives(parts.linear)[-1] == "custom_vjp_linear"
    with pytest.raises(ForwardModeError, match="forward-mode"):
        jvp_graph(joint, (True, True, True, True))


def test_bwd_under_vmap_sums_over_unbatched_inputs() -> None:
    rows = jnp.stack([X, Y])
    graph, _ = batch_graph(made(clipped, X, Y).main, (True, False), 2)
    _, pull = jax.vjp(jax.vmap(clipped, in_axes=(0, None)), rows, Y)
    got = interpret(vjp_graph(graph, (True, True)), rows, Y, jnp.ones((2, 3)))
    assert_close(got[1:], pull(jnp.ones((2, 3))))


def test_symbolic_zeros_reach_fwd_and_bwd() -> None:
    perturbed: list[tuple[bool, ...]] = []
    zeros: list[tuple[bool, ...]] = []

    @jax.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return x * y, y

    def fwd(x: Any, y: Any) -> Any:
        perturbed.append((x.perturbed, y.perturbed))
        return (x.value * y.value, y.value), (x.value, y.value)

    def bwd(residuals: Any, cts: Any) -> Any:
        zeros.append(tuple(isinstance(c, jax.custom_derivatives.SymbolicZero) for c in cts))
        _, y = residuals
        return cts[0] * y, None

    f.defvjp(fwd, bwd, symbolic_zeros=True)
    graph = made(lambda x, y: f(x, y)[0], 2.0, 3.0).main
    assert_close(interpret(vjp_graph(graph, (True, False)), 2.0, 3.0, 1.0), [6.0, 3.0])
    assert set(perturbed) == {(True, False)}
    assert zeros[-1] == (False, True)


def test_unused_outputs_are_dropped_from_fwd_and_bwd() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x), jnp.cosh(x)

    f.defvjp(
        lambda x: ((jnp.sin(x), jnp.cosh(x)), x),
        lambda x, cts: (cts[0] * 3.0 + jnp.sinh(x) * cts[1],),
    )
    module = run_passes(made(lambda x: f(x)[0], 0.5), "dce")
    assert "cosh" not in primitives(module.main)
    assert_close(interpret(vjp_graph(module.main, (True,)), 0.5, 1.0), [jnp.sin(0.5), 3.0])


def test_integer_arguments_and_outputs() -> None:
    @jax.custom_vjp
    def f(i: Any, x: Any) -> Any:
        return i + 1, x * i

    def bwd(i: Any, cts: Any) -> Any:
        return np.zeros((), jax.dtypes.float0), cts[1] * i * 10.0

    f.defvjp(lambda i, x: ((i + 1, x * i), i), bwd)
    program = Checked(lambda i, x: f(i, x), 3, 2.0)
    program.value()
    program.reverse()
    program.batched()


def test_forward_mode_through_custom_vjp() -> None:
    """The transpose of a linear bwd is the forward rule, and is differentiated again."""

    @jax.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return jnp.sin(x) * y

    f.defvjp(
        lambda x, y: (jnp.sin(x) * y, (x, y)),
        lambda r, ct: (jnp.cos(r[0]) * r[1] * ct * 3.0, jnp.sin(r[0]) * ct),
    )

    def loop(x: Any, y: Any) -> Any:
        return jax.lax.scan(lambda c, a: (f(c, y) + a, c), x, jnp.stack([x, y]))[0]

    graph = made(loop, X, Y).main
    forward, _ = jvp_graph(with_forward_rules(graph), (True, True))
    got = interpret(forward, X, Y, Y, X)
    ct = jnp.asarray([0.3, 0.4, 0.5])
    backward = interpret(vjp_graph(graph, (True, True)), X, Y, ct)
    assert_close(np.vdot(got[1], ct), np.vdot(Y, backward[1]) + np.vdot(X, backward[2]))
    interpret(jvp_graph(forward, (True, True, True, True))[0], X, Y, Y, X, X, Y, X, Y)
    again = interpret(vjp_graph(with_forward_rules(graph), (True, True)), X, Y, ct)
    assert_close(again, backward)
    with pytest.raises(CovectorError, match="linear"):
        jvp_graph(with_forward_rules(made(clipped, X, Y).main), (True, False))


def test_a_rule_of_a_library_function_is_placed_where_it_is_called() -> None:
    """`clip` is jitted by JAX: what it is made of has no line of the user's."""
    with pytest.raises(CovectorError, match="min has no transpose") as caught:
        jvp_graph(with_forward_rules(made(clipped, X, Y).main), (True, False))
    assert "custom_programs.py" in str(caught.value)


def test_second_derivatives_with_optimize_remat() -> None:
    """The rule is kept in loops and differentiated again, as in the loop written out."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (f(x), (x,)), lambda r, ct: (ct * jnp.cos(r[0]) * 9.0,), optimize_remat=True)

    def loop(x: Any) -> Any:
        return jax.lax.scan(lambda c, _: (f(c) * 2.0, None), x, None, length=3)[0].sum()

    def written_out(x: Any) -> Any:
        return (f(f(f(x) * 2.0) * 2.0) * 2.0).sum()

    def twice(g: Any) -> Any:
        return covector.grad(lambda x: covector.grad(g)(x).sum())(X)

    assert_close(covector.grad(loop)(X), jax.grad(loop)(X))
    assert_close(twice(loop), twice(written_out), rtol=1e-3)


def test_residuals_that_are_python_numbers_come_out_of_a_branch() -> None:
    """They are weakly typed in each branch that has them, and so where the branches meet."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (f(x), (x, 2.0)), lambda r, ct: (r[1] * jnp.cos(r[0]) * ct,))

    def chosen(x: Any) -> Any:
        return jax.lax.cond(x[0] > 0, f, lambda x: f(x * x), x)

    Checked(chosen, X).reverse()
    module = covector.run_passes(made(chosen, X), "linearize").verify()
    assert covector.parse(str(module)) == module


def test_a_second_derivative_where_the_rule_calls_a_function_with_constants() -> None:
    """Arrays in a function that JAX has traced are operands of its call that do not move."""
    table = jnp.arange(3.0)

    @jax.custom_vjp
    def inner(x: Any) -> Any:
        return (jnp.sin(x) * table).sum()

    inner.defvjp(lambda x: (inner(x), x), lambda x, ct: (ct * jnp.cos(x) * table,))

    @jax.custom_vjp
    def outer(x: Any) -> Any:
        return inner(x)

    outer.defvjp(lambda x: (inner(x), x), lambda x, ct: (ct * 3 * (inner(x) + jnp.cos(x)),))
    f = jax.jit(outer)
    wanted = jax.grad(lambda x: jax.grad(f)(x).sum())(X)
    assert_close(covector.grad(lambda x: covector.grad(f)(x).sum())(X), wanted)


def test_calls_of_which_nothing_is_read_need_no_rule() -> None:
    """JAX's derivative of a loop keeps a call whose outputs it has all dropped."""

    def loss(x: Any) -> Any:
        return jax.lax.fori_loop(0, 3, lambda _, x: clipped(x, Y), x).sum()

    module = covector.make_ir(jax.grad(loss))(X)
    assert not all(e.outputs for e in module.main.equations)
    whole = run_passes(module, "materialize")
    assert all(e.outputs for e in whole.main.equations)
    assert_close(whole.run(X), jax.grad(loss)(X))

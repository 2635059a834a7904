"""The laws of the passes, checked on one program: what a test of a primitive or a rule calls.

Programs are JAX functions; their meaning and derivatives according to JAX are the reference. The
interpreter runs what covector makes of them, so nothing of ours is compiled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import covector
from covector.ir.graph import Graph
from covector.ir.interpret import evaluate
from covector.ir.module import Module, module_of
from covector.passes import run_passes
from covector.passes.batch import batch_graph
from covector.passes.jvp import jvp_graph
from covector.passes.linearize import linearize_graph
from covector.passes.reverse import vjp_graph
from covector.passes.transpose import linear_flags, transpose_graph

Function = Callable[..., Any]


def made(function: Function, *args: Any) -> Module:
    """The verified module of a function."""
    return covector.make_ir(function)(*args).verify()


def interpret(graph: Graph, *inputs: Any) -> list[np.ndarray[Any, Any]]:
    """The outputs of a verified graph."""
    module_of(graph).verify()
    return [np.asarray(x) for x in evaluate(graph, inputs)]


def assert_close(got: Any, want: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    got_leaves, want_leaves = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got_leaves) == len(want_leaves)
    for g, w in zip(got_leaves, want_leaves, strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert g.shape == w.shape, (g.shape, w.shape)
        if w.dtype == jax.dtypes.float0:
            continue
        np.testing.assert_allclose(g.astype(w.dtype), w, rtol=rtol, atol=atol)


def random_like(values: Sequence[Any], seed: int) -> list[Any]:
    """Tangents or cotangents: normal numbers in the shapes of these values."""
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=np.shape(x)), jnp.asarray(x).dtype) for x in values]


def is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))


class Checked:
    """A program with flat array arguments, its graph, and JAX's word on it.

    `reference` is the same function written otherwise, where JAX is wrong about the first.
    """

    def __init__(self, function: Function, *args: Any, reference: Function | None = None) -> None:
        leaves, tree = jax.tree.flatten(args)
        self.args = [jnp.asarray(x) for x in leaves]

        def flat(f: Function) -> Function:
            return lambda *xs: jax.tree.leaves(f(*jax.tree.unflatten(tree, xs)))

        self.flat = flat(reference or function)
        self.graph = made(flat(function), *self.args).main
        self.active = [is_inexact(x) for x in self.args]
        self.tangents = random_like([x for x in self.args if is_inexact(x)], 1)

    def _all_tangents(self) -> list[Any]:
        rest = iter(self.tangents)
        return [
            next(rest) if active else np.zeros(x.shape, jax.dtypes.float0)
            for x, active in zip(self.args, self.active, strict=True)
        ]

    def value(self) -> None:
        """The interpreter computes what JAX does."""
        assert_close(interpret(self.graph, *self.args), self.flat(*self.args))

    def forward(self) -> None:
        """jvp agrees with JAX's."""
        want, dwant = jax.jvp(self.flat, self.args, self._all_tangents())
        graph, nonzero = jvp_graph(self.graph, self.active)
        got = interpret(graph, *self.args, *self.tangents)
        assert_close(got[: len(want)], want)
        found = iter(got[len(want) :])
        for dy, is_nonzero in zip(dwant, nonzero, strict=True):
            if is_nonzero:
                assert_close(next(found), dy)
            else:
                assert dy.dtype == jax.dtypes.float0 or not np.any(dy)

    def reverse(self) -> None:
        """vjp agrees with JAX's; the linear half and its transpose are adjoint."""
        outs, pull = jax.vjp(self.flat, *self.args)
        inexact = [y for y in outs if is_inexact(y)]
        cts = random_like(inexact, 2)
        rest = iter(cts)
        all_cts = [
            next(rest) if is_inexact(y) else np.zeros(y.shape, jax.dtypes.float0) for y in outs
        ]
        want = [ct for ct, active in zip(pull(all_cts), self.active, strict=True) if active]
        got = interpret(vjp_graph(self.graph, self.active), *self.args, *cts)
        assert_close(got[: len(outs)], outs)
        assert_close(got[len(outs) :], want)

    def adjoint(self) -> None:
        """<f(t), c> = <t, f^T(c)> for the linear half f."""
        parts = linearize_graph(self.graph, self.active)
        made = interpret(parts.primal, *self.args)
        residuals = made[len(self.graph.outputs) :]
        tangents = interpret(parts.linear, *residuals, *self.tangents)
        cts = random_like(tangents, 3)
        backward, nonzero = transpose_graph(parts.linear, linear_flags(parts.linear))
        found = iter(interpret(backward, *residuals, *cts))
        left = sum(np.vdot(t, c) for t, c in zip(tangents, cts, strict=True))
        right = sum(
            np.vdot(t, next(found)) for t, nz in zip(self.tangents, nonzero, strict=True) if nz
        )
        assert_close(left, right, rtol=1e-3, atol=1e-4)

    def batched(self, which: Sequence[bool] | None = None) -> None:
        """batch agrees with jax.vmap, for these inputs batched (all, by default)."""
        flags = list(which) if which is not None else [True] * len(self.args)
        rows = [
            _rows(x) if is_batched else x for x, is_batched in zip(self.args, flags, strict=True)
        ]
        axes = [0 if f else None for f in flags]
        want = jax.vmap(self.flat, in_axes=axes)(*rows)
        graph, _ = batch_graph(self.graph, flags, 3, [True] * len(self.graph.outputs))
        assert_close(interpret(graph, *rows), want)

    def forward_over_reverse(self) -> None:
        """jvp of vjp agrees with JAX's."""
        outs = self.flat(*self.args)
        cts = random_like(outs, 4)

        def pulled(*xs: Any) -> Any:
            return jax.vjp(self.flat, *xs)[1](cts)

        want = jax.jvp(pulled, self.args, self.tangents)[1]
        backward = vjp_graph(self.graph, self.active)
        active = [*self.active, *(False for _ in cts)]
        force = [i >= len(outs) for i in range(len(backward.outputs))]
        graph, _ = jvp_graph(backward, active, force)
        got = interpret(graph, *self.args, *cts, *self.tangents)
        assert_close(got[-len(want) :], want, rtol=1e-3, atol=1e-4)

    def reverse_over_reverse(self) -> None:
        """vjp of vjp agrees with JAX's."""
        outs = self.flat(*self.args)
        cts = random_like(outs, 4)

        def pulled(*xs: Any) -> Any:
            return jax.vjp(self.flat, *xs)[1](cts)

        inner, pull = jax.vjp(pulled, *self.args)
        seeds = random_like(inner, 6)
        backward = vjp_graph(self.graph, self.active)
        active = [*self.active, *(False for _ in cts)]
        twice = vjp_graph(backward, active)
        zeros = [jnp.zeros_like(y) for y in outs]
        got = interpret(twice, *self.args, *cts, *zeros, *seeds)
        assert_close(got[len(backward.outputs) :], pull(tuple(seeds)), rtol=1e-3, atol=1e-4)

    def reverse_over_batch(self) -> None:
        """vjp of batch is the vjp of each example."""
        rows = [_rows(x) for x in self.args]
        outs = jax.vmap(self.flat)(*rows)
        cts = random_like(outs, 5)
        pulled = [
            jax.vjp(self.flat, *(r[i] for r in rows))[1]([c[i] for c in cts]) for i in range(3)
        ]
        want = [jnp.stack(each) for each in zip(*pulled, strict=True)]
        flags = [True] * len(self.graph.outputs)
        graph, _ = batch_graph(self.graph, [True] * len(rows), 3, flags)
        got = interpret(vjp_graph(graph, self.active), *rows, *cts)
        assert_close(got[len(outs) :], want, rtol=1e-3, atol=1e-4)

    def batch_of_batch(self) -> None:
        """batch of batch agrees with jax.vmap of jax.vmap."""
        rows = [jnp.stack([_rows(x), _rows(x * 0.5)]) if is_inexact(x) else None for x in self.args]
        if any(x is None for x in rows):
            return
        everywhere = [True] * len(self.graph.outputs)
        flags = [True] * len(rows)
        once, _ = batch_graph(self.graph, flags, 3, everywhere)
        twice, _ = batch_graph(once, flags, 2, everywhere)
        assert_close(interpret(twice, *rows), jax.vmap(jax.vmap(self.flat))(*rows))

    def forward_over_batch(self) -> None:
        """jvp of batch is the jvp of each example."""
        rows, tangents = [_rows(x) for x in self.args], [_rows(t) for t in self.tangents]
        if not all(self.active):
            return
        want = jax.vmap(lambda xs, ts: jax.jvp(self.flat, xs, ts)[1])(rows, tangents)
        everywhere = [True] * len(self.graph.outputs)
        batched, _ = batch_graph(self.graph, [True] * len(rows), 3, everywhere)
        graph, _ = jvp_graph(batched, self.active, everywhere)
        assert_close(interpret(graph, *rows, *tangents)[len(want) :], want, rtol=1e-3, atol=1e-4)

    def forward_over_forward(self) -> None:
        """jvp of jvp agrees with JAX's."""
        if not all(self.active):
            return
        everywhere = [True] * len(self.graph.outputs)

        def pushed(*xs: Any) -> Any:
            return jax.jvp(self.flat, list(xs), self.tangents)[1]

        want = jax.jvp(pushed, self.args, self.tangents)[1]
        once, _ = jvp_graph(self.graph, self.active, everywhere)
        active = [*self.active, *(False for _ in self.tangents)]
        twice, _ = jvp_graph(once, active, [True] * len(once.outputs))
        got = interpret(twice, *self.args, *self.tangents, *self.tangents)
        assert_close(got[-len(want) :], want, rtol=1e-3, atol=1e-4)

    def batch_of_reverse(self) -> None:
        """batch of vjp is the vjp of each example."""
        if not all(self.active):
            return
        rows = [_rows(x) for x in self.args]
        outs = jax.vmap(self.flat)(*rows)
        cts = random_like(outs, 5)
        want = jax.vmap(lambda xs, cs: jax.vjp(self.flat, *xs)[1](cs))(rows, cts)
        backward = vjp_graph(self.graph, self.active)
        flags = [True] * len(backward.inputs)
        graph, _ = batch_graph(backward, flags, 3, [True] * len(backward.outputs))
        got = interpret(graph, *rows, *cts)
        assert_close(got[len(outs) :], want, rtol=1e-3, atol=1e-4)

    def cleaned(self) -> None:
        """Clean-up passes keep the outputs, and are idempotent; the text reads back."""
        module = module_of(self.graph)
        want = interpret(self.graph, *self.args)
        for name in ("dce", "cse", "fold", "inline"):
            clean = run_passes(module, name)
            assert_close(interpret(clean.main, *self.args), want)
            assert str(run_passes(clean, name)) == str(clean), name
        text = str(module)
        assert str(covector.parse(text)) == text


def _rows(x: Any) -> Any:
    if is_inexact(x):
        return jnp.stack([x, x * 0.5, x + 0.25])
    return jnp.stack([x, x, x])


def check_all(function: Function, *args: Any, jax_reverse: bool = True) -> None:
    """Every law. Without `jax_reverse`, JAX has no reverse mode to compare with."""
    program = Checked(function, *args)
    program.value()
    program.forward()
    if jax_reverse:
        program.reverse()
    program.adjoint()
    program.batched()
    for i in range(len(program.args)):
        program.batched([j == i for j in range(len(program.args))])
    program.cleaned()

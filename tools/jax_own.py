"""What a pass makes, beside what JAX's own transformation makes of the same program.

The program before the pass goes to JAX equation by equation and JAX transforms it; what the pass
made of it is compiled and run. The two are compared on the same inputs, in the program's types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from ..ir.graph import Graph
from ..ir.types import has_tangent
from ..passes.jvp import jvp_graph
from ..passes.transpose import linear_flags, transpose_graph
from .checking import tolerance
from .trials import Arrays, Finding, Trial, difference
from .xla import run_xla, uses_64_bits

Comparison = Callable[[Trial], list[Finding]]


def compare_with_jax(trial: Trial) -> list[Finding] | None:
    """Findings about each output of the pass's result; None for a law that JAX has nothing for."""
    import jax

    compare = _COMPARISONS.get(trial.step.law)
    if compare is None:
        return None
    wide = any(uses_64_bits(g) for g in (trial.before.main, trial.after.main))
    with jax.enable_x64(bool(jax.enable_x64.value) or wide):
        return compare(trial)


def _by_jax(graph: Graph) -> Callable[..., Any]:
    """A graph as a function of flat arrays that binds JAX's primitives."""
    from ..frontend.export import eval_graph

    return lambda *arrays: tuple(eval_graph(graph, arrays))


def _findings(graph: Graph, got: Arrays, want: Arrays, first: int = 0) -> list[Finding]:
    if len(got) != len(want):
        return [
            Finding(graph.name, None, float("inf"), 0.0, f"{len(got)} outputs, not {len(want)}")
        ]
    return [
        Finding(graph.name, i, difference(a, np.asarray(b)), tolerance(graph.outputs[i].type))
        for i, (a, b) in enumerate(zip(got, want, strict=True), first)
    ]


def _select(items: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    return [x for x, flag in zip(items, flags, strict=True) if flag]


def _of_active(graph: Graph, arrays: Arrays, flags: Sequence[bool]) -> Callable[..., Any]:
    """The graph by JAX as a function of its active inputs alone."""
    f = _by_jax(graph)

    def of_active(*active: Any) -> Any:
        rest = iter(active)
        return f(*(next(rest) if flag else x for x, flag in zip(arrays, flags, strict=True)))

    return of_active


# -- one for each law ------------------------------------------------------------------------------


def _equal(trial: Trial) -> list[Finding]:
    import jax

    before, after = trial.before.main, trial.after.main
    want = jax.jit(_by_jax(before))(*trial.arrays)
    return _findings(after, run_xla(after, trial.arrays), want)


def _tangents(trial: Trial) -> tuple[Arrays, Arrays, Arrays]:
    """Tangents of the active inputs, and by JAX the outputs and their nonzero tangents."""
    import jax

    main, flags = trial.before.main, trial.flags()
    tangents = [trial.direction(t) for t in _select(main.input_types, flags)]
    f = _of_active(main, trial.arrays, flags)
    ys, dys = jax.jvp(f, tuple(map(np.asarray, _select(trial.arrays, flags))), tuple(tangents))
    return tangents, ys, _select(dys, jvp_graph(main, flags)[1])


def _jvp(trial: Trial) -> list[Finding]:
    tangents, ys, dys = _tangents(trial)
    after = trial.after.main
    return _findings(after, run_xla(after, [*trial.arrays, *tangents]), [*ys, *dys])


def _linearize(trial: Trial) -> list[Finding]:
    tangents, ys, dys = _tangents(trial)
    primal = trial.after.main
    linear = next(
        g for n, g in trial.after.graphs.items()
        if g.linear_from is not None and n not in trial.before.graphs
    )  # fmt: skip
    outputs = run_xla(primal, trial.arrays)
    n = len(ys)
    got = run_xla(linear, [*outputs[n:], *tangents])
    return _findings(primal, outputs[:n], ys) + _findings(linear, got, dys)


def _pulled(
    trial: Trial, graph: Graph, arrays: Arrays, flags: Sequence[bool]
) -> tuple[Arrays, Arrays, Arrays]:
    """Cotangents of the outputs, and by JAX the outputs and the cotangents of active inputs."""
    import jax

    cts = [trial.direction(t) for t in graph.output_types if has_tangent(t)]
    given = iter(cts)
    f = _of_active(graph, arrays, flags)
    ys, pull = jax.vjp(f, *map(np.asarray, _select(arrays, flags)))
    zero = jax.dtypes.float0
    full = [next(given) if has_tangent(t) else np.zeros(t.shape, zero) for t in graph.output_types]
    return cts, ys, pull(tuple(full))


def _vjp(trial: Trial) -> list[Finding]:
    main, after = trial.before.main, trial.after.main
    cts, ys, pulled = _pulled(trial, main, trial.arrays, trial.flags())
    return _findings(after, run_xla(after, [*trial.arrays, *cts]), [*ys, *pulled])


def _grad(trial: Trial) -> list[Finding]:
    import jax

    main, after, flags = trial.before.main, trial.after.main, trial.flags()
    f = _of_active(main, trial.arrays, flags)
    y, pull = jax.vjp(lambda *xs: f(*xs)[0], *map(np.asarray, _select(trial.arrays, flags)))
    kept = [y] if getattr(trial.step, "value", False) else []
    others = list(jax.jit(_by_jax(main))(*trial.arrays))[1:]
    want = [*kept, *others, *pull(np.ones(y.shape, y.dtype))]
    return _findings(after, run_xla(after, trial.arrays), want)


def _transpose(trial: Trial) -> list[Finding]:
    """Each linear half beside JAX's transpose of it: its pull-back, the same at every point."""
    findings: list[Finding] = []
    pairs = zip(trial.before.graphs.values(), trial.after.graphs.values(), strict=True)
    for linear, transposed in pairs:
        if linear.linear_from is None:
            continue
        flags = linear_flags(linear)
        arrays = [trial.direction(t) for t in linear.input_types]
        cts, _, pulled = _pulled(trial, linear, arrays, flags)
        residuals = [x for x, flag in zip(arrays, flags, strict=True) if not flag]
        got = run_xla(transposed, [*residuals, *cts])
        findings += _findings(transposed, got, _select(pulled, transpose_graph(linear, flags)[1]))
    return findings


def _batch(trial: Trial) -> list[Finding]:
    import jax

    before, after = trial.before.main, trial.after.main
    mapped = [a is not b for a, b in zip(after.input_types, before.input_types, strict=True)]
    arrays = [
        trial.direction(t) if flag else x
        for x, flag, t in zip(trial.arrays, mapped, after.input_types, strict=True)
    ]
    size = getattr(trial.step, "size", None)
    axes = tuple(0 if flag else None for flag in mapped)
    want = jax.vmap(_by_jax(before), in_axes=axes, axis_size=size)(*arrays)
    return _findings(after, run_xla(after, arrays), want)


_COMPARISONS: Final[dict[str, Comparison]] = {
    "equal outputs": _equal,
    "tangents agree with finite differences": _jvp,
    "the linear half agrees with finite differences": _linearize,
    "<f(t), c> = <t, transpose(f)(c)>": _transpose,
    "<jvp(t), c> = <t, vjp(c)>": _vjp,
    "<grad, t> = jvp(t)": _grad,
    "batch(f)(xs)[i] = f(xs[i])": _batch,
}
"""What JAX does, by the law of the pass that does the same."""

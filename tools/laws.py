"""The laws of the passes, checked on numbers.

A law is known by its text, which is the pass's attribute `law`: a pass of the user's own that
states one of these laws is checked like ours. A check runs both programs on the same arrays and
compares; derivatives are compared with finite differences of the program before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from ..ir.costs import graph_runs
from ..ir.graph import Graph
from ..ir.module import Module
from ..ir.types import has_tangent
from ..passes.jvp import jvp_graph
from ..passes.transpose import linear_flags, transpose_graph
from .differences import Estimate, derivative
from .trials import Arrays, Finding, Trial, difference, miscounted, noise, pairing

Law = Callable[[Trial], list[Finding]]

MANY: Final = 12
"""Inputs beyond which cotangents are first checked along one direction of all of them."""


# -- clean-up ------------------------------------------------------------------------------------


def equal_outputs(trial: Trial) -> list[Finding]:
    """Graphs of the same name return the same values."""
    findings = []
    for name, before in trial.before.graphs.items():
        after = trial.after.graphs.get(name)
        if after is None:
            continue
        arrays = _arguments(trial, before)
        findings += trial.compare(after, trial.run(after, arrays), trial.run(before, arrays))
    return findings


def _arguments(trial: Trial, graph: Graph) -> Arrays:
    """Arguments of a public graph: for one that is not the entry, its residuals where they fit."""
    if graph is trial.before.main:
        return trial.arrays
    residuals = _residuals(trial, trial.before, graph)
    return [*residuals, *(trial.direction(t) for t in graph.input_types[len(residuals) :])]


def _residuals(trial: Trial, module: Module, linear: Graph) -> Arrays:
    """The residuals that the entry returns for a linear half; none if it returns none."""
    n = linear.linear_from or 0
    main = module.main
    types = main.output_types[len(main.outputs) - n :]
    if n == 0 or len(main.outputs) < n or types != linear.input_types[:n]:
        return []
    return list(trial.run(main, trial.arrays))[-n:]


def lost_effects(trial: Trial) -> list[Finding]:
    """A finding if something that the program did (prints, callbacks, checks) is done no more.

    Clean-up does it as often as before; derivatives and batches at least once.
    """
    before, after = (_effects(m.all_graphs()) for m in (trial.narrow, trial.after))
    if trial.step.law == "equal outputs":
        before, after = _done(trial.narrow.main), _done(trial.after.main)
    gone = sorted(name for name, times in before.items() if after[name] < times)
    return miscounted(trial.after.main, f"lost: {', '.join(gone)}") if gone else []


def _effects(graphs: Sequence[Graph]) -> Counter[str]:
    """The primitives with effects of their own, each once."""
    names = {e.primitive.name for g in graphs for e in g.equations if e.primitive.effects_of(e)}
    return Counter(dict.fromkeys(names, 1))


def _done(graph: Graph) -> Counter[str]:
    """How often a run of the graph does each primitive that has effects."""
    done: Counter[str] = Counter()
    for eqn in graph.equations:
        if eqn.primitive.has_regions:
            for region, times in graph_runs(eqn):
                done += Counter({name: n * times for name, n in _done(region).items()})
        elif eqn.primitive.effects_of(eqn):
            done[eqn.primitive.name] += 1
    return done


# -- derivatives ---------------------------------------------------------------------------------


def jvp_law(trial: Trial) -> list[Finding]:
    """(x, dx) -> (y, dy): y is the program's, dy its derivative along dx."""
    flags, main = trial.flags(), trial.before.main
    nonzero = jvp_graph(trial.narrow.main, flags)[1]
    tangents = [trial.direction(t) for t in _select(main.input_types, flags)]
    after = trial.after.main
    outputs = list(trial.run(after, [*trial.arrays, *tangents]))
    n = len(main.outputs)
    findings = trial.compare(after, outputs[:n], trial.run(main, trial.arrays))
    return findings + _compare_tangents(trial, after, n, outputs[n:], flags, tangents, nonzero)


def linearize_law(trial: Trial) -> list[Finding]:
    """x -> (y, residuals) and (residuals, dx) -> dy."""
    flags, main = trial.flags(), trial.before.main
    nonzero = jvp_graph(trial.narrow.main, flags)[1]
    linear = next(
        g for n, g in trial.after.graphs.items()
        if g.linear_from is not None and n not in trial.before.graphs
    )  # fmt: skip
    primal = trial.after.main
    outputs = list(trial.run(primal, trial.arrays))
    n = len(main.outputs)
    findings = trial.compare(primal, outputs[:n], trial.run(main, trial.arrays))
    tangents = [trial.direction(t) for t in _select(main.input_types, flags)]
    got = trial.run(linear, [*outputs[n:], *tangents])
    return findings + _compare_tangents(trial, linear, 0, got, flags, tangents, nonzero)


def _compare_tangents(
    trial: Trial,
    graph: Graph,
    first: int,
    got: Arrays,
    flags: Sequence[bool],
    tangents: Arrays,
    nonzero: Sequence[bool],
) -> list[Finding]:
    """Compare tangents, outputs of `graph` from `first` on, with finite differences."""
    estimates = derivative(trial.run, trial.before.main, trial.arrays, flags, tangents)
    wanted = _select(estimates, nonzero)
    if len(got) != len(wanted):
        return miscounted(graph, f"{len(got)} tangents, not {len(wanted)}")
    return [
        Finding(graph.name, first + i, estimate.error_of(dy), trial.close)
        for i, (dy, estimate) in enumerate(zip(got, wanted, strict=True))
    ]


def vjp_law(trial: Trial) -> list[Finding]:
    """(x, ct_y) -> (y, ct_x) with <dy, ct_y> = <dx, ct_x> for every dx."""
    main, after = trial.before.main, trial.after.main
    cts = [trial.direction(t) for t in main.output_types if has_tangent(t)]
    outputs = list(trial.run(after, [*trial.arrays, *cts]))
    n = len(main.outputs)
    findings = trial.compare(after, outputs[:n], trial.run(main, trial.arrays))
    active = [has_tangent(t) for t in main.output_types]
    return findings + _compare_cotangents(trial, after, n, outputs[n:], cts, active)


def grad_law(trial: Trial) -> list[Finding]:
    """x -> ct_x with <dx, ct_x> = dy for the first output y."""
    main, after = trial.before.main, trial.after.main
    outputs = list(trial.run(after, trial.arrays))
    skipped = 0 if getattr(trial.step, "value", False) else 1
    kept = list(trial.run(main, trial.arrays))[skipped:]
    n = len(kept)
    findings = trial.compare(after, outputs[:n], kept)
    first = [i == 0 for i in range(len(main.outputs))]
    return findings + _compare_cotangents(trial, after, n, outputs[n:], [np.float64(1)], first)


def _compare_cotangents(
    trial: Trial, graph: Graph, first: int, got: Arrays, cts: Arrays, outputs: Sequence[bool]
) -> list[Finding]:
    """Compare the cotangent of each input with differences along a direction of that input."""
    flags, main = trial.flags(), trial.before.main
    wanted = [i for i, flag in enumerate(flags) if flag]
    if len(got) != len(wanted):
        return miscounted(graph, f"{len(got)} cotangents, not {len(wanted)}")

    def error_along(chosen: Sequence[int]) -> float:
        dxs = [trial.direction(main.inputs[i].type) for i in chosen]
        only = [j in chosen for j in range(len(flags))]
        estimates = _select(derivative(trial.run, main, trial.arrays, only, dxs), outputs)
        pulled = pairing(dxs, [got[wanted.index(i)] for i in chosen])
        return _least_error(pulled, estimates, cts)

    def finding(k: int, error: float) -> Finding:
        return Finding(graph.name, first + k, error, trial.close)

    if len(wanted) > MANY:
        error = error_along(wanted)
        if error <= trial.close:
            return [finding(k, error) for k in range(len(wanted))]
    return [finding(k, error_along([i])) for k, i in enumerate(wanted)]


def _least_error(pulled: float, estimates: Sequence[Estimate], cts: Arrays) -> float:
    """How far <dx, ct_x> is from <dy, ct_y>, by the best of the estimates of dy."""
    tries = list(zip(*(e.values for e in estimates), strict=True)) or [()]
    return min(difference(pulled, pairing(dys, cts), noise(dys, cts)) for dys in tries)


def transpose_law(trial: Trial) -> list[Finding]:
    """<f(t), c> = <t, transpose(f)(c)>, for each input of each linear half."""
    findings: list[Finding] = []
    halves = {n: g for n, g in trial.before.graphs.items() if g.linear_from is not None}
    if not halves or getattr(trial.step, "wrt", None) is not None:
        main, chosen = trial.before.main, trial.flags()
        nonzero = transpose_graph(trial.narrow.main, chosen)[1]
        return _adjoint(trial, main, trial.after.main, chosen, nonzero, trial.arrays)
    pairs = zip(trial.before.graphs.items(), trial.after.graphs.values(), strict=True)
    for (name, linear), transposed in pairs:
        if name in halves:
            arrays, flags = _arguments(trial, linear), linear_flags(linear)
            nonzero = transpose_graph(trial.narrow.graphs[name], flags)[1]
            findings += _adjoint(trial, linear, transposed, flags, nonzero, arrays)
    return findings


def _adjoint(
    trial: Trial,
    linear: Graph,
    transposed: Graph,
    flags: Sequence[bool],
    nonzero: Sequence[bool],
    arrays: Arrays,
) -> list[Finding]:
    """Pair each linear input's part of f(t) with c, and t with the cotangent; both agree.

    `nonzero` says which linear inputs have a cotangent among the outputs of the transpose.
    """
    active = [has_tangent(t) for t in linear.output_types]
    cts = [trial.direction(t) for t in _select(linear.output_types, active)]
    others = [x for x, flag in zip(arrays, flags, strict=True) if not flag]
    got = list(trial.run(transposed, [*others, *cts]))
    findings: list[Finding] = []
    k = 0
    for i, has_ct in zip((i for i, flag in enumerate(flags) if flag), nonzero, strict=True):
        if has_ct and k >= len(got):
            return findings + miscounted(transposed, f"only {len(got)} cotangents")
        t = trial.direction(linear.inputs[i].type)
        pushed = [
            t if j == i else np.zeros_like(x) if flags[j] else x for j, x in enumerate(arrays)
        ]
        dys = _select(trial.run(linear, pushed), active)
        pulled = pairing([t], [got[k]]) if has_ct else 0.0
        error = difference(pulled, pairing(dys, cts), noise(dys, cts))
        note = "" if has_ct else f"no cotangent of {linear.inputs[i]!r}"
        index = k if has_ct else None
        findings.append(Finding(transposed.name, index, error, trial.exact, note))
        k += has_ct
    return findings


# -- batch ---------------------------------------------------------------------------------------


def batch_law(trial: Trial) -> list[Finding]:
    """batch(f)(xs)[i] = f(xs[i])"""
    before, after = trial.before.main, trial.after.main
    batched = [a is not b for a, b in zip(after.input_types, before.input_types, strict=True)]
    size = getattr(trial.step, "size", 0)
    examples = [_example(trial, batched) for _ in range(size)]
    arrays = [
        np.stack([x[i] for x in examples]) if flag and examples else
        np.zeros(t.shape, np.asarray(x).dtype) if flag else x
        for i, (x, flag, t) in enumerate(zip(trial.arrays, batched, after.input_types, strict=True))
    ]  # fmt: skip
    got = trial.run(after, arrays)
    rows = [trial.run(before, example) for example in examples]
    if not rows:
        return []
    return trial.compare(after, got, [np.stack(column) for column in zip(*rows, strict=True)])


def _example(trial: Trial, batched: Sequence[bool]) -> Arrays:
    """Other arrays for one example of a batch: those given, shuffled within each batched one."""
    return [
        trial.random.permutation(np.ravel(x)).reshape(np.shape(x)) if flag else x
        for x, flag in zip(trial.arrays, batched, strict=True)
    ]


def _select(items: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    return [x for x, flag in zip(items, flags, strict=True) if flag]


LAWS: Final[dict[str, Law]] = {
    "equal outputs": equal_outputs,
    "tangents agree with finite differences": jvp_law,
    "the linear half agrees with finite differences": linearize_law,
    "<f(t), c> = <t, transpose(f)(c)>": transpose_law,
    "<jvp(t), c> = <t, vjp(c)>": vjp_law,
    "<grad, t> = jvp(t)": grad_law,
    "batch(f)(xs)[i] = f(xs[i])": batch_law,
}
"""The check of each law, by the text that a pass states it with."""

WITHOUT_EFFECTS: Final = frozenset({"<f(t), c> = <t, transpose(f)(c)>"})
"""Laws of passes that take apart what is linear: its effects stay with the half that is not."""

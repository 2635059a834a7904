"""`monitor`: a function's result, and statistics of its inside: of values and their cotangents."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp

from ..ir.errors import ArgumentError, UsageError, did_you_mean
from ..ir.graph import Graph, Value
from ..ir.types import TensorType, dtype_category, has_tangent, is_complex
from .arguments import check_callable
from .avals import to_aval, type_of
from .compiled import jit
from .execute import execute, is_tracing
from .linear import vjp
from .named_values import Names

Statistic = Callable[[Any], Any]
Stats = Sequence[str] | Mapping[str, Statistic]


def histogram(x: Any) -> Any:
    """How many elements have which size: counts for |x| < 2^-30, [2^-30, 2^-28), ..., >= 2^30."""
    size = jnp.abs(x).ravel().astype(jnp.float32)
    bins = jnp.digitize(size, 2.0 ** jnp.arange(-30, 32, 2))
    return jnp.zeros(32, jnp.int32).at[bins].add(1)


STATISTICS: Final[dict[str, Statistic]] = {
    "norm": lambda x: jnp.sqrt(jnp.sum(jnp.square(jnp.abs(x)))),
    "rms": lambda x: jnp.sqrt(jnp.mean(jnp.square(jnp.abs(x)))),
    "mean": jnp.mean,
    "std": jnp.std,
    "max": lambda x: jnp.max(jnp.abs(x), initial=0),
    "nans": lambda x: jnp.sum(jnp.isnan(x)),
    "infs": lambda x: jnp.sum(jnp.isinf(x)),
    "histogram": histogram,
}
"""What `stats` can name; functions of one's own stand in a dict."""


def monitor(
    f: Callable[..., Any],
    stats: Stats = ("norm", "max", "nans"),
    of: str | Sequence[str] = "*",
    cotangents: bool = True,
) -> Callable[..., tuple[Any, dict[str, dict[str, dict[str, Any]]]]]:
    """A function of f's arguments that returns f's result, and statistics of f's inside.

    The second is `{name: {"value": {stat: ...}, "cotangent": {stat: ...}}}`. `of` are names or
    patterns (`"block*.h"`) of what `intermediates` lists; of a value inside of a scan the
    statistics are of the stack over all iterations. Cotangents are those of f's result, which must
    then be a real scalar; all of them cost one gradient together. f is not edited, and all is one
    program, compiled once for arguments of the same types.
    """
    check_callable(f, "monitor")
    chosen = _statistics(stats)
    programs: dict[Any, Any] = {}
    order: dict[Any, list[str]] = {}

    def monitored(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        if is_tracing(leaves):
            return _Monitored.of(f, args, kwargs, of, chosen, cotangents)(leaves)
        key = (tree, *map(type_of, leaves))
        if key not in programs:
            made = _Monitored.of(f, args, kwargs, of, chosen, cotangents)
            programs[key] = jit(made.__call__)
            order[key] = [name for name, _ in made.names.in_order() if name in made.watched]
        result, found = programs[key](leaves)  # with the names sorted, as keys of pytrees are
        return result, {name: found[name] for name in order[key]}

    return monitored


def _statistics(stats: Stats) -> dict[str, Statistic]:
    if isinstance(stats, Mapping):
        return dict(stats)
    for name in stats:
        if name not in STATISTICS:
            hint = did_you_mean(name, STATISTICS) or f"there are {', '.join(STATISTICS)}"
            raise UsageError(f"there is no statistic {name!r}", hint=hint)
    return {name: STATISTICS[name] for name in stats}


@dataclass(frozen=True)
class _Monitored:
    """A program with a perturbation for each watched value.

    graph: (inputs, perturbations) -> (outputs, watched values).
    """

    names: Names
    graph: Graph
    watched: tuple[str, ...]
    n_perturbations: int
    stats: dict[str, Statistic]

    @classmethod
    def of(
        cls,
        f: Callable[..., Any],
        args: Any,
        kwargs: Any,
        of: str | Sequence[str],
        stats: dict[str, Statistic],
        cotangents: bool,
    ) -> _Monitored:
        names = Names.of(f, args, kwargs)
        patterns = [of] if isinstance(of, str) else list(of)
        values = {n: names.by_name[n] for n in _matching(names, patterns)}
        if cotangents:
            _check_scalar(names)
        active = [v for v in values.values() if cotangents and has_tangent(v.type)]
        opened = names.opened(values.values(), active)
        order = list(opened.added)
        watched = sorted(values, key=lambda n: _place(order, values[n]))
        outs = [opened.place(values[n]) for n in watched]
        whole = opened.graph
        graph = Graph(whole.inputs, whole.equations, (*whole.outputs, *outs), whole.name)
        return cls(names, graph, tuple(watched), len(order), stats)

    def __call__(self, leaves: Sequence[Any]) -> Any:
        staged, n = self.names.staged, len(self.names.flat.outputs)
        fixed = [*staged.captured, *leaves]
        inputs = self.graph.inputs[len(fixed) :]
        avals = [to_aval(v.type) for v in inputs]
        zeros = [jnp.zeros(aval.shape, aval.dtype) for aval in avals]

        def run(*perturbations: Any) -> tuple[Any, Any]:
            outputs = execute(self.graph, [*fixed, *perturbations])
            return outputs[0], outputs

        if zeros:
            y, pull, outputs = vjp(run, *zeros, has_aux=True)
            cts = pull(jnp.ones_like(y))
        else:
            outputs, cts = run()[1], ()
        found: dict[str, dict[str, dict[str, Any]]] = {}
        pulled = iter(cts)
        seen: dict[Value, Any] = {}
        for name, x in zip(self.watched, outputs[n:], strict=True):
            found[name] = {"value": self._of(x)}
            value = self.names.by_name[name]
            if zeros and has_tangent(value.type):
                ct = seen[value] if value in seen else seen.setdefault(value, next(pulled))
                found[name]["cotangent"] = self._of(ct)
        return jax.tree.unflatten(staged.out_tree, outputs[:n]), found

    def _of(self, x: Any) -> dict[str, Any]:
        return {name: stat(x) for name, stat in self.stats.items()}


def _is_real(type: TensorType) -> bool:
    return has_tangent(type) and not is_complex(type.dtype)


def _place(order: list[Value], value: Value) -> int:
    return order.index(value) if value in order else len(order)


def _matching(names: Names, patterns: Sequence[str]) -> list[str]:
    """The names that fit any pattern. Raises UsageError for a pattern that none fits."""
    found: dict[str, None] = {}
    # keys of random numbers have no statistics
    known = [n for n, v in names.by_name.items() if dtype_category(v.type.dtype) != "extended"]
    for pattern in patterns:
        glob = pattern.replace("[", "[[]")
        fit = [n for n in known if n == pattern or fnmatch.fnmatchcase(n, glob)]
        fit = fit or [n for n in known if n.rpartition(".")[2] == pattern]
        if not fit and pattern != "*":
            names.refuse_hidden(pattern)
            raise UsageError(
                f"no value is called {pattern!r}",
                hint=did_you_mean(pattern, names.by_name)
                or "covector.intermediates(f)(*args) lists what can be named",
            )
        found |= dict.fromkeys(fit)
    return list(found)


def _check_scalar(names: Names) -> None:
    staged = names.staged
    types = staged.graph.output_types
    if len(types) != 1 or types[0].shape or not _is_real(types[0]):
        raise ArgumentError(
            f"cotangents are those of a real scalar; {staged.graph.name} returns "
            + ", ".join(str(t) for t in staged.graph.output_types),
            hint="pass cotangents=False, or monitor the loss",
        )

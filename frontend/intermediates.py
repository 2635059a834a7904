"""Values of a function's inside, by name: `tap`, `intermediates`, and what a name stands for."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from ..ir.errors import UsageError, did_you_mean
from ..ir.graph import Atom, Graph, Location, Value, walk_graphs
from ..ir.types import TensorType
from ..passes.cut import expose
from ..passes.inline import inline_graph
from .arguments import check_callable
from .locations import Assignments, Variable, collecting_names
from .staging import Staged, stage

NAMED = "name"
"""The primitive that `tap` records: JAX's own of checkpoint_name, which every transformation and
every policy of checkpointing knows."""


def tap(x: Any, name: str) -> Any:
    """x, every array of it named for `intermediates`, `derivative` and `monitor`.

    Changes no value, and works in any JAX program. Policies of `checkpoint` know the name too.
    """
    return jax.tree.map(lambda leaf: checkpoint_name(leaf, name), x)


@dataclass(frozen=True)
class Intermediate:
    """A value that can be named.

    type: its type; inside of a scan, that of the stack over all iterations. location: its line.
    """

    name: str
    type: TensorType
    location: Location | None

    def __str__(self) -> str:
        place = f"    // {self.location}" if self.location else ""
        return f"{self.name}: {self.type}{place}"


def intermediates(f: Callable[..., Any]) -> Callable[..., list[Intermediate]]:
    """A function of f's arguments that lists what can be named in f, in the order of the program.

    Names are those of `tap`; `f.z1` for what was assigned to z1 in f, or returned to it there;
    `block[3].h` for the third call of block; `f.x[2]` for the second assignment in one call.
    Nothing is computed.
    """
    check_callable(f, "intermediates")

    def listed(*args: Any, **kwargs: Any) -> list[Intermediate]:
        return Names.of(f, args, kwargs).listing()

    return listed


class Names:
    """A traced call with calls inlined and loops opened, and its values by name."""

    def __init__(self, staged: Staged, named: Assignments) -> None:
        self.staged = staged
        places = named.places
        callers: dict[Any, list[Variable]] = {}
        for value, variables in named.passed_on.values():
            callers.setdefault(value, []).extend(variables)
        self.flat = inline_graph(staged.graph)
        self.graph, inside = expose(self.flat)
        self.inner = frozenset(inside.values())
        owners = {v: g.name for g in walk_graphs(staged.graph) for e in g.equations
                  for v in e.outputs}  # fmt: skip
        self.locations: dict[Value, Location | None] = {}
        self.by_name: dict[str, Value] = {}
        self.by_line: dict[str, Value] = {}
        self.made: dict[str, Value] = {}
        labels = _Labels()
        for value, location, tapped in _values(self.flat):
            outer = inside.get(value, value)
            self.locations[outer] = location
            if location is not None:
                self.by_line[f"{location.file}:{location.line}"] = outer
            if tapped is not None:
                labels.add(value, "", tapped, None)
            if value.name:
                function = _function_of(value, places.get(value), location) or owners.get(value)
                call = named.calls.get(value)
                labels.add(value, function or staged.graph.name, value.name, call)
            for variable, place, call in callers.get(value, ()):
                function = _function_of(value, place, None)
                labels.add(value, function or staged.graph.name, variable, call)
        for name, value in labels.names():
            self.made[name] = value
            self.by_name[name] = inside.get(value, value)

    @classmethod
    def of(cls, f: Callable[..., Any], args: Any, kwargs: Any) -> Names:
        leaves, tree = jax.tree.flatten((args, kwargs))
        with collecting_names() as named:
            staged = stage(f, leaves, tree)
        return cls(staged, named)

    def listing(self) -> list[Intermediate]:
        order = {v: i for i, v in enumerate(self.locations)}
        items = sorted(self.by_name.items(), key=lambda item: order[item[1]])
        return [Intermediate(n, v.type, self.locations[v]) for n, v in items]

    def find(self, name: str) -> Atom:
        """The value of a name: of an input, an output, a tap, a variable or a line.

        Raises UsageError with near misses.
        """
        graph = self.graph
        known: dict[str, Atom] = {v.name: v for v in graph.inputs if v.name}
        outputs = graph.outputs[: self.staged.n_out]
        known |= {f"output[{i}]": x for i, x in enumerate(outputs)}
        known |= {"output": outputs[0]} if len(outputs) == 1 else {}
        known |= self.by_name
        if name in known:
            return known[name]
        lines = {k: v for k, v in self.by_line.items() if k == name or k.endswith(f"/{name}")}
        if lines:
            return next(reversed(lines.values()))
        short = [v for k, v in self.by_name.items() if _variable(k) == name]
        if len(short) == 1:
            return short[0]
        several = [k for k in self.by_name if _variable(k) == name]
        hint = (
            f"say which: {', '.join(several)}"
            if several
            else did_you_mean(name, [*known, *map(_variable, self.by_name)])
        )
        raise UsageError(
            f"{graph.name} has no value {name!r}" if not several else f"{name!r} is ambiguous",
            hint=hint or "covector.intermediates(f)(*args) lists what can be named",
        )


class _Labels:
    """Names for values: `function[call].variable[assignment]`, numbers only where there are
    several."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[Any, int]] = {}
        self.variables: dict[tuple[str, str, Any], list[Value]] = {}

    def add(self, value: Value, function: str, variable: str, call: Any) -> None:
        """One more value. One whose call is not known (of what JAX had traced before) belongs to
        the last call, unless that has the variable."""
        numbers = self.calls.setdefault(function, {})
        if function and call is None:
            last = next(reversed(numbers), None)
            is_new = last is None or (function, variable, last) in self.variables
            call = object() if is_new else last
        numbers.setdefault(call, len(numbers) + 1)
        values = self.variables.setdefault((function, variable, call), [])
        if value not in values:
            values.append(value)

    def names(self) -> Iterator[tuple[str, Value]]:
        for (function, variable, call), values in self.variables.items():
            number = f"[{self.calls[function][call]}]" if len(self.calls[function]) > 1 else ""
            owner = f"{function}{number}." if function else ""
            for i, value in enumerate(values, 1):
                yield f"{owner}{variable}" + (f"[{i}]" if len(values) > 1 else ""), value


def _values(graph: Graph) -> Iterator[tuple[Value, Location | None, str | None]]:
    """The values that the program makes, those inside of loops and branches where they run."""
    for eqn in graph.equations:
        for region in eqn.regions() if eqn.primitive.name in ("scan", "cond", "checkpoint") else ():
            yield from _values(region)
        tapped = eqn.params["name"] if eqn.primitive.name == NAMED else None
        for v in eqn.outputs:
            yield v, eqn.location, tapped


def _variable(name: str) -> str:
    """The variable of a name, without the function."""
    return re.split(r"\.(?![^\[]*\])", name)[-1]


def _function_of(value: Value, place: Location | None, location: Location | None) -> str | None:
    """The function in which a value was assigned to its variable: around the place of the
    assignment if that is known, else around the operation, if that function assigns the name."""
    if place is not None:
        around = _around(place)
        return around[-1][0] if around else None
    found = [name for name, stored in _around(location) if value.name in stored] if location else []
    return found[-1] if found else None


def _around(place: Location) -> list[tuple[str, frozenset[str]]]:
    """The functions around a line, the innermost last, with the names that they assign."""
    return [
        (name, stored)
        for first, last, name, stored in _functions(place.file)
        if first <= place.line <= last
    ]


@lru_cache(maxsize=1024)
def _functions(file: str) -> tuple[tuple[int, int, str, frozenset[str]], ...]:
    """The functions of a file: first and last line, name, names assigned; inner ones later."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        (node.lineno, node.end_lineno or 0, node.name, frozenset(_stored(node)))
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    return tuple(sorted(found, key=lambda f: f[0]))


def _stored(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id

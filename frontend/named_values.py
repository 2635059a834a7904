"""A traced function whose values have names, wherever they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import jax

from ..ir.errors import UsageError, did_you_mean
from ..ir.graph import Atom, Equation, Graph, Location, Value, walk_graphs
from ..ir.ops.control import scan
from ..ir.types import TensorType
from ..passes.expose import OPENED, Inside, expose, unshared
from ..passes.inline import inline_graph, results_of_calls
from ..passes.perturb import Perturbations, perturb
from .labels import Labels, function_of, unnumbered, variable_of
from .local_variables import held_values
from .locations import Assignments, Variable, collecting_names
from .staged import Staged
from .staging import stage

NAMED = "name"
"""The primitive that `tap` records: JAX's own of checkpoint_name, which every transformation and
every policy of checkpointing knows."""


@dataclass(frozen=True)
class Made:
    """A value that the program makes.

    stacked: the lengths of the scans around it. tapped: what `tap` calls it. inside: the equation
    that it cannot be followed into, if there is one around it.
    """

    value: Value
    location: Location | None
    tapped: str | None
    stacked: tuple[int, ...]
    inside: Equation | None

    @property
    def type(self) -> TensorType:
        own = self.value.type
        return own.with_shape((*self.stacked, *own.shape))


class Opened(NamedTuple):
    """A program whose loops and branches return some of the values that they make.

    added: for each value that is to be moved, the input of the graph that is added to it.
    """

    graph: Graph
    added: Perturbations
    places: Inside

    def place(self, x: Atom) -> Atom:
        """Where the outermost graph has a value."""
        return self.places.get(x, x) if isinstance(x, Value) else x


class Names:
    """A traced call with its calls inlined, and its values by name, wherever they are made."""

    def __init__(self, staged: Staged, named: Assignments) -> None:
        self.staged = staged
        flat = inline_graph(staged.graph)
        self.flat, copies = unshared(flat)
        results: dict[Any, list[Any]] = {}
        for called, x in results_of_calls(flat).items():
            results.setdefault(x, []).append(called)
        self.made = {m.value: m for m in _values(self.flat)}
        labels, hidden = Labels(), Labels()
        for label in _labelled(staged, named, self.made.values(), copies, results):
            (labels if self.made[label[0]].inside is None else hidden).add(*label)
        self.by_name = dict(labels.names())
        self.hidden = dict(hidden.names())
        self.by_line = {_line(m.location): v for v, m in self.made.items() if m.inside is None}
        for v, place in _assigned_at(named, self.made, copies):
            self.by_line[_line(place)] = v

    @classmethod
    def of(cls, f: Callable[..., Any], args: Any, kwargs: Any) -> Names:
        leaves, tree = jax.tree.flatten((args, kwargs))
        with collecting_names() as named:
            staged = stage(f, leaves, tree)
        return cls(staged, named)

    def in_order(self) -> list[tuple[str, Made]]:
        """The names, in the order of the program."""
        order = {v: i for i, v in enumerate(self.made)}
        items = sorted(self.by_name.items(), key=lambda item: order[item[1]])
        return [(name, self.made[v]) for name, v in items]

    def is_inner(self, x: Atom) -> bool:
        """Whether a value is made inside of a loop, branch or checkpointed part."""
        return isinstance(x, Value) and x in self.made and x not in self._outermost

    @cached_property
    def _outermost(self) -> frozenset[Value]:
        return frozenset(v for eqn in self.flat.equations for v in eqn.outputs)

    def type_of(self, x: Atom) -> TensorType:
        """The type of a value, as `intermediates` lists it."""
        return self.made[x].type if isinstance(x, Value) and x in self.made else x.type

    def find(self, name: str) -> Atom:
        """The value of a name: of an input, an output, a tap, a variable or a line.

        Raises UsageError with near misses.
        """
        graph = self.flat
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
        several = [k for k in self.by_name if variable_of(k) == name]
        several = several or [
            k for k in self.by_name if name in (unnumbered(k), variable_of(unnumbered(k)))
        ]
        if len({self.by_name[k] for k in several}) == 1:
            return self.by_name[several[0]]
        if several:
            raise UsageError(f"{name!r} is ambiguous", hint=f"say which: {', '.join(several)}")
        self.refuse_hidden(name)
        raise UsageError(f"{graph.name} has no value {name!r}", hint=self._near(name, known))

    def _near(self, name: str, known: Iterable[str]) -> str:
        """What may be meant by a name or a line that does not exist."""
        file, is_line, number = name.rpartition(":")
        if is_line and number.isdigit():
            places = [k.rpartition(":") for k in self.by_line if k]
            lines = {int(n) for f, _, n in places if f == file or f.endswith(f"/{file}")}
            if lines:
                closest = sorted(lines, key=lambda n: abs(n - int(number)))[:3]
                return f"lines near it with values: {', '.join(map(str, sorted(closest)))}"
            files = sorted({f.rpartition("/")[2] for f, _, _ in places if f})
            return f"there are values of {', '.join(files)}"
        near = did_you_mean(name, [*known, *map(variable_of, self.by_name)])
        few = list(known)
        listed = f"there are {', '.join(few)}" if len(few) <= 8 else None
        return near or listed or "covector.intermediates(f)(*args) lists what can be named"

    def refuse_hidden(self, name: str) -> None:
        """Raises UsageError if a value of this name is made where it cannot be followed."""
        for label, value in self.hidden.items():
            inside = self.made[value].inside
            if inside is not None and name in (label, variable_of(label)):
                claim, hint = _REASONS.get(inside.primitive.name, _REASONS[""])
                place = f" ({inside.location})" if inside.location else ""
                said = claim.format(inside.primitive.name)
                raise UsageError(f"{label} is made inside of {said}{place}", hint=hint)

    def opened(self, values: Iterable[Atom], moved: Iterable[Value] = ()) -> Opened:
        """The program, with places for the values, and inputs by which some are moved."""
        sums: dict[Value, Value] = {}
        changed, added = perturb(self.flat, frozenset(moved), sums)
        wanted = [sums.get(v, v) for v in values if isinstance(v, Value) and v in self.made]
        graph, inside = expose(changed, frozenset(wanted))
        places = {v: inside.get(x, x) for v, x in sums.items()}
        return Opened(graph, added, {**inside, **places})


_REASONS: Final = {
    "while": (
        "a while loop, and nobody knows beforehand how often it runs",
        "use scan, or fori_loop with fixed bounds; or take what leaves the loop",
    ),
    "custom_jvp_call": (
        "a function with a derivative rule of its own, which knows nothing of it",
        "take what enters or leaves that function",
    ),
    "": ("{0}, which is one operation for derivatives", "take what enters or leaves it"),
}
"""Why values are not followed into what holds them, and what to do."""
_REASONS["custom_vjp_call"] = _REASONS["custom_jvp_call"]


def _labelled(
    staged: Staged,
    named: Assignments,
    values: Iterable[Made],
    copies: Inside,
    results: dict[Any, list[Any]],
) -> Iterator[tuple[Value, str, str, Any]]:
    """Value, function, variable and call, of all that is assigned or tapped. `results` are those of
    calls that each value stands for since these were inlined."""
    callers: dict[Any, list[Variable]] = {}
    for value, variables in named.passed_on.values():
        callers.setdefault(value, []).extend(variables)
    held = held_values(named.frames)
    called: dict[str, list[Any]] = {}
    for frame in named.frames:
        called.setdefault(frame.f_code.co_name, []).append(frame)
    graphs = walk_graphs(staged.graph)
    owners = {v: g.name for g in graphs for e in g.equations for v in e.outputs}
    for made in values:
        value = made.value
        origin = copies.get(value, value)
        holders = [pair for v in (origin, *results.get(origin, ())) for pair in held.get(v, ())]
        if made.tapped is not None:
            yield value, "", made.tapped, None
        if value.name:
            place = named.places.get(origin)
            function = function_of(value, place, made.location)
            if function is None and not any(variable == value.name for variable, _ in holders):
                function = owners.get(origin) or staged.graph.name
            call = named.calls.get(value)
            if call is None and len(called.get(function or "", ())) == 1:
                (call,) = called[function or ""]  # of what JAX had traced before
            if function is not None:
                yield value, function, value.name, call
        for variable, place, call in callers.get(value, ()):
            yield value, function_of(value, place, None) or staged.graph.name, variable, call
        for variable, frame in holders:
            yield value, frame.f_code.co_name, variable, frame


def _assigned_at(
    named: Assignments, made: dict[Value, Made], copies: Inside
) -> Iterator[tuple[Value, Location]]:
    """Values that are assigned to variables, and where, in the order of the program."""
    callers = dict(named.passed_on.values())
    for value, m in made.items():
        if m.inside is None:
            origin = copies.get(value, value)
            if origin in named.places:
                yield value, named.places[origin]
            yield from ((value, place) for _, place, _ in callers.get(origin, ()))


def _line(place: Location | None) -> str:
    return "" if place is None else f"{place.file}:{place.line}"


def _values(
    graph: Graph, stacked: tuple[int, ...] = (), inside: Equation | None = None
) -> Iterator[Made]:
    """The values that the program makes, those inside of loops and branches where they run."""
    for eqn in graph.equations:
        around = stacked
        if eqn.primitive is scan:
            around = (*stacked, eqn.params["length"])
        within = inside if eqn.primitive in OPENED else inside or eqn
        for region in eqn.regions():
            yield from _values(region, around, within)
        tapped = eqn.params["name"] if eqn.primitive.name == NAMED else None
        for v in eqn.outputs:
            yield Made(v, eqn.location, tapped, stacked, inside)

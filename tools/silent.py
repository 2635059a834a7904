"""Costs that a program does not show at first sight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..ir.graph import Equation, Graph, Literal, Location, Value
from ..ir.module import Module
from ..ir.ops.control import split_sizes
from ..ir.types import dtype_name
from .amounts import as_bytes


@dataclass(frozen=True)
class SilentCost:
    """kind: a word; what it costs, and what to do instead."""

    kind: str
    location: str | None
    what: str
    instead: str

    def describe(self) -> str:
        place = f"{self.location}: " if self.location else ""
        return f"{place}{self.what}; {self.instead}"


Finder = Callable[[Equation, Graph], Iterator[SilentCost]]


def silent_costs(module: Module) -> list[SilentCost]:
    """What was found, each once, callees before callers."""
    found: dict[SilentCost, None] = {}
    graphs = module.all_graphs()
    sites = call_sites(graphs)
    for graph in graphs:
        for eqn in graph.equations:
            placed = eqn if eqn.location else eqn.replace(location=sites.get(graph))
            for finder in FINDERS:
                for cost in finder(placed, graph):
                    found.setdefault(cost)
    return list(found)


def call_sites(graphs: Sequence[Graph]) -> dict[Graph, Location]:
    """A line from which each graph is called: those of libraries have none of their own inside."""
    sites: dict[Graph, Location] = {}
    for graph in reversed(graphs):  # callers first
        for eqn in graph.equations:
            place = eqn.location or sites.get(graph)
            if eqn.primitive.has_regions and place is not None:
                for region in eqn.regions():
                    sites.setdefault(region, place)
    return sites


def _at(eqn: Equation) -> str | None:
    return str(eqn.location) if eqn.location is not None else None


_UPDATES: Final = frozenset(
    {"dynamic_update_slice", "scatter", "scatter_add", "scatter_mul", "scatter_min", "scatter_max"}
)


def updated_carry(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    """A loop carries an array of which each step changes a part."""
    if eqn.primitive.name not in ("scan", "while"):
        return
    body, first, n_carry, steps = _loop(eqn)
    made = {v: e for e in body.equations for v in e.outputs}
    for i in range(n_carry):
        carried, out = body.inputs[first + i], body.outputs[i]
        update = _update_of(out, carried, made)
        if update is None:
            continue
        part = update.inputs[2 if update.primitive.name.startswith("scatter") else 1].type
        if part.size * 4 > carried.type.size:
            continue
        size = carried.type.nbytes
        total = f"{as_bytes(size * steps)} in {steps} steps" if steps else "for each step"
        yield SilentCost(
            "carried buffer",
            _at(update) or _at(eqn),
            f"the loop carries {carried.name or 'an array'}: {carried.type} and changes {part} of "
            f"it in each step: where the update is not in place, and in reverse mode, {total}",
            "return the parts as outputs of the scan (ys), which are stacked once",
        )


def _loop(eqn: Equation) -> tuple[Graph, int, int, int | None]:
    """The body of a loop, where its carry begins, its length, and how many steps there are."""
    params = eqn.params
    if eqn.primitive.name == "scan":
        return params["graph"], params["num_consts"], params["num_carry"], params["length"]
    sizes = (params["cond_nconsts"], params["body_nconsts"])
    return params["body_graph"], sizes[1], len(split_sizes(eqn.inputs, sizes)[2]), None


def _update_of(x: Any, carried: Value, made: dict[Any, Equation]) -> Equation | None:
    """The update of the carried value that leads to x, through selects and conversions."""
    for _ in range(4):
        eqn = made.get(x)
        if eqn is None:
            return None
        if eqn.primitive.name in _UPDATES and eqn.inputs[0] is carried:
            return eqn
        x = eqn.inputs[-1 if eqn.primitive.name == "select_n" else 0] if eqn.inputs else None
    return None


def batched_scatter(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    if not eqn.primitive.name.startswith("scatter") or not eqn.params.get("operand_batching_dims"):
        return
    indices = eqn.inputs[1].type
    yield SilentCost(
        "batched scatter",
        _at(eqn),
        f"a batch of scatters, {indices.size // max(indices.shape[-1], 1)} updates in all, runs "
        "update by update on most devices",
        "use a one-hot product, or segment sums, where updates are dense",
    )


def select_of_cond(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    """A branch that became a choice between results of all branches, as batching makes it."""
    if eqn.primitive.name != "select_n":
        return
    origin = eqn.origin
    ours = origin and origin.step == "batch" and origin.equation.primitive.name == "cond"
    selector = eqn.inputs[0].type  # jax.vmap numbers the branches; a where has booleans
    if ours or (selector.shape and dtype_name(selector.dtype) == "i32"):
        yield SilentCost(
            "cond as select",
            _at(eqn),
            "a cond whose predicate is batched: both branches run for every example",
            "batch only what the predicate does not depend on, or loop over examples (lax.map)",
        )


def lockstep(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    """A batched loop whose examples end at different times."""
    if eqn.primitive.name != "while":
        return
    condition = eqn.params["cond_graph"]
    if any(e.primitive.name == "reduce_or" for e in condition.equations):
        yield SilentCost(
            "loop in lockstep",
            _at(eqn),
            "a while over a batch goes on until its last example is done, for all of them",
            "sort examples by their number of steps, or loop over them (lax.map)",
        )


def unknown_steps(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    if eqn.primitive.name == "while":
        yield SilentCost(
            "unknown steps",
            _at(eqn),
            "the steps of this while are not known: it is counted as one",
            "multiply by the number of steps",
        )


def host_call(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    if eqn.primitive.name in ("pure_callback", "io_callback", "debug_callback"):
        yield SilentCost(
            "host call",
            _at(eqn),
            f"{eqn.primitive.name} leaves the device, waits for Python, and comes back",
            "keep it out of inner loops",
        )


def doubles(eqn: Equation, graph: Graph) -> Iterator[SilentCost]:
    """An array widened to double precision."""
    if eqn.primitive.name != "convert_element_type" or isinstance(eqn.inputs[0], Literal):
        return
    x, y = eqn.inputs[0].type, eqn.outputs[0].type
    widens = dtype_name(y.dtype) in _DOUBLES and dtype_name(x.dtype) not in _DOUBLES
    if widens and y.size > 1:
        yield SilentCost(
            "double precision",
            _at(eqn),
            f"{x} is widened to {y}",
            "give constants and arguments one type, if double precision is not meant",
        )


_DOUBLES: Final = ("f64", "c128")


FINDERS: Final[tuple[Finder, ...]] = (
    updated_carry, batched_scatter, select_of_cond, lockstep, unknown_steps, host_call, doubles,
)  # fmt: skip

"""Which equation of a program a symptom is about.

The program is cut after its first k equations, with all that they make as outputs, and the least k
found for which the symptom shows. Then that equation is tried by itself, on the operands that it
has there; if it holds graphs, so are they.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..ir.builder import Builder
from ..ir.graph import Constant, Equation, Graph, Literal, Value
from ..ir.interpret import as_typed, evaluate
from ..ir.module import Module
from ..ir.printer import atom_texts, equation_line
from ..ir.types import has_tangent, is_complex, real_dtype, scalar_type
from ..passes.base import Pass
from .regions import region_runs
from .symptoms import Symptom

Arrays = Sequence[Any]


@dataclass(frozen=True)
class Culprit:
    """The first equation with which a symptom shows.

    module: the smallest program found that shows it: the equation alone, or all up to it.
    passes: those under which it does; alone, an equation has all of its operands for inputs.
    """

    path: tuple[str, ...]
    position: int
    equation: Equation
    text: str
    alone: bool
    module: Module
    passes: tuple[Pass, ...]

    def describe(self) -> str:
        location = self.equation.location
        place = f"    // {location}" if location else ""
        alone = "also by itself" if self.alone else "though not by itself"
        head = f"equation {self.position} of {', '.join(self.path)} is the first, {alone}:"
        return f"{head}\n    {self.text}{place}"

    def as_json(self) -> dict[str, Any]:
        location = self.equation.location
        return {
            "path": list(self.path),
            "position": self.position,
            "equation": self.text,
            "location": str(location) if location else None,
            "alone": self.alone,
            "program": str(self.module),
        }


def find_culprit(symptom: Symptom, module: Module, arrays: Arrays) -> Culprit | None:
    """The first equation of the entry, or of a linear half, with which the symptom shows."""
    names = [module.entry, *(n for n, g in module.graphs.items() if g.linear_from is not None)]
    for name in dict.fromkeys(names):
        found = _search(symptom, module, name, arrays, ())
        if found is not None:
            return found
    return None


def _search(
    symptom: Symptom, module: Module, name: str, arrays: Arrays, path: tuple[str, ...]
) -> Culprit | None:
    graph = module.graphs[name]
    path = path or (f"@{name}",)

    def shows(k: int) -> bool:
        return symptom.shows(_prefix(symptom, module, name, k), arrays)

    if not graph.equations or not shows(len(graph)):
        return None
    low, high = 0, len(graph)  # shows(high), not shows(low)
    if shows(0):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if shows(middle):
            high = middle
        else:
            low = middle
    eqn = graph.equations[high - 1]
    inputs = arrays if name == module.entry else None
    inner = _alone(symptom, graph, high - 1, inputs, path)
    if inner is not None:
        return inner
    text = equation_line(eqn, atom_texts(graph))
    cut = _prefix(symptom, module, name, high)
    return Culprit(path, high, eqn, text, False, cut, tuple(symptom.passes))


# -- the program up to an equation -----------------------------------------------------------------


def _prefix(symptom: Symptom, module: Module, name: str, k: int) -> Module:
    """The module with all but the first k equations of one graph left out."""
    graph = module.graphs[name]
    equations = graph.equations[:k]
    made: list[Value] = [v for eqn in equations for v in eqn.outputs]
    if graph.linear_from is not None:
        linear = _linear_values(graph)
        made = [v for v in made if v in linear]
    if needs_scalar(symptom):
        return module.with_main(_scalar_sum(graph, equations, made))
    cut = Graph(graph.inputs, equations, made, graph.name, graph.linear_from)
    return module.replace(graphs={**module.graphs, name: cut}, out_tree=None)


def needs_scalar(symptom: Symptom) -> bool:
    """Whether the first pass differentiates a scalar output."""
    return any(step.law == "<grad, t> = jvp(t)" for step in symptom.passes[:1])


def _linear_values(graph: Graph) -> set[Any]:
    linear: set[Any] = set(graph.inputs[graph.linear_from or 0 :])
    for eqn in graph.equations:
        if not linear.isdisjoint(eqn.inputs):
            linear.update(eqn.outputs)
    return linear


def _scalar_sum(graph: Graph, equations: Sequence[Equation], made: Sequence[Value]) -> Graph:
    """A graph that returns the sum of all elements of the values, each times a random number."""
    random = np.random.default_rng(0)
    floats = [v for v in made if has_tangent(v.type)]
    b = Builder()
    for eqn in equations:
        b.append(eqn)
    result = real_dtype(floats[-1].type.dtype) if floats else np.dtype(np.float32)
    terms = []
    for v in floats:
        x = b.real(v) if is_complex(v.type.dtype) else v
        weights: Any = as_typed(random.standard_normal(x.type.shape), x.type)
        w = b.constant(value=Constant(weights, x.type.strong, "weights"))
        term = b.reduce_sum(b.mul(w, x), axes=tuple(range(x.type.ndim)))
        terms.append(term if term.type.dtype == result else b.convert(term, result))
    total = b.instantiate(b.sum_of(terms, scalar_type(result)))
    return b.graph(graph.inputs, [total], graph.name)


# -- one equation ----------------------------------------------------------------------------------


def _alone(
    symptom: Symptom, graph: Graph, position: int, arrays: Arrays | None, path: tuple[str, ...]
) -> Culprit | None:
    """The culprit if the equation shows the symptom by itself, or a graph that it holds does."""
    eqn = graph.equations[position]
    values = list(dict.fromkeys(x for x in eqn.inputs if not isinstance(x, Literal)))
    first_linear = None
    if graph.linear_from is not None:
        linear = _linear_values(graph)
        values.sort(key=lambda v: v in linear)
        first_linear = sum(v not in linear for v in values)
    operands = _values_of(graph, position, values, arrays)
    single = Graph(values, [eqn], eqn.outputs, graph.name, first_linear)
    module = Module({graph.name: single})
    alone = _for_any_inputs(symptom)
    if needs_scalar(symptom):
        module = Module({graph.name: _scalar_sum(single, [eqn], eqn.outputs)})
    if not alone.shows(module, operands):
        return None
    text = equation_line(eqn, atom_texts(graph))
    found = Culprit(path, position + 1, eqn, text, True, module, tuple(alone.passes))
    return (_inside(alone, eqn, values, operands, path) if operands else None) or found


def _values_of(
    graph: Graph, position: int, values: Sequence[Any], arrays: Arrays | None
) -> list[Any] | None:
    """What the values are when the graph is evaluated on the arrays; None if that is not known."""
    if arrays is None:
        return None
    try:
        return evaluate(Graph(graph.inputs, graph.equations[:position], values, graph.name), arrays)
    except Exception:
        return None


def _inside(
    symptom: Symptom, eqn: Equation, values: Sequence[Any], operands: Arrays, path: tuple[str, ...]
) -> Culprit | None:
    """The culprit within a graph that the equation holds, in the first run that shows it."""
    if not eqn.primitive.has_regions:
        return None
    env = dict(zip(values, operands, strict=True))
    arguments = [x.value if isinstance(x, Literal) else env[x] for x in eqn.inputs]
    seen: set[Graph] = set()
    for which, region, inputs in region_runs(eqn, arguments):
        if region in seen:
            continue
        seen.add(region)
        name = f"@{region.name}" + (f" ({which})" if which else "")
        found = _search(symptom, Module({region.name: region}), region.name, inputs, (*path, name))
        if found is not None:
            return found
    return None


def _for_any_inputs(symptom: Symptom) -> Symptom:
    """The symptom for programs with other inputs: passes with `wrt` and `in_axes` for all."""
    changed = tuple(_for_all(step) for step in symptom.passes)
    return replace(symptom, passes=changed)  # type: ignore[type-var]


def _for_all(step: Pass) -> Pass:
    every = {"wrt": None, "in_axes": (0,)}
    names = {f.name for f in fields(step)}
    return replace(step, **{k: v for k, v in every.items() if k in names})

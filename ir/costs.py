"""What a program costs, counted from its text alone: arithmetic and memory traffic.

An addition or multiplication of reals counts one, a complex one as what it is made of; any other
function of one element counts one too. Operations that only move data count nothing. What depends
on the data (the steps of a `while`, LAPACK's iterations) is counted once and named in `unknown`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .graph import Equation, Graph, memoised, walk_graphs
from .primitive import PRIMITIVES, Primitive, RuleTable
from .types import is_complex

if TYPE_CHECKING:
    from .module import Module


@dataclass(frozen=True)
class Cost:
    """flops; bytes read and written if every equation went to memory; what could not be counted."""

    flops: int = 0
    bytes: int = 0
    unknown: frozenset[str] = frozenset()

    def __add__(self, other: Cost) -> Cost:
        unknown = self.unknown | other.unknown
        return Cost(self.flops + other.flops, self.bytes + other.bytes, unknown)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.flops * times, self.bytes * times, self.unknown if times else frozenset())


CostRule = Callable[[Equation], Cost]
_MOVES: Final = frozenset({"shape", "indexing", "call"})
_COMPLEX: Final = {"add": 2, "sub": 2, "add_any": 2, "neg": 2, "mul": 6, "div": 11}


def module_cost(module: Module) -> Cost:
    """The cost of one run of each public graph."""
    return sum((graph_cost(g) for g in module.graphs.values()), Cost())


def graph_cost(graph: Graph) -> Cost:
    """The cost of one run of a graph, counted once for each graph that it holds."""
    for callee in walk_graphs(graph):  # callees first
        memoised(callee, "cost", lambda callee=callee: _sum(callee))
    cost: Cost = graph.derived["cost"]
    return cost


def _sum(graph: Graph) -> Cost:
    flops, size, unknown = 0, 0, set()
    for eqn in graph.equations:
        cost = equation_cost(eqn)
        flops += cost.flops
        size += cost.bytes
        unknown |= cost.unknown
    return Cost(flops, size, frozenset(unknown))


def equation_cost(eqn: Equation) -> Cost:
    """The cost of one equation, its regions included."""
    rule = costs.get(eqn.primitive)
    if rule is None:
        return Cost(0, traffic(eqn), frozenset({f"flops of {eqn.primitive.name}"}))
    return rule(eqn)


def traffic(eqn: Equation) -> int:
    """The bytes of operands and outputs."""
    return sum(x.type.nbytes for x in (*eqn.inputs, *eqn.outputs))


def _flops(count: Callable[[Equation], int]) -> CostRule:
    return lambda eqn: Cost(int(count(eqn)), traffic(eqn))


def _for_each_output(eqn: Equation) -> int:
    factor = 1
    if any(is_complex(x.type.dtype) for x in (*eqn.inputs, *eqn.outputs)):
        factor = _COMPLEX.get(eqn.primitive.name, 2)
    return factor * max(v.type.size for v in eqn.outputs)


def _for_each_input(eqn: Equation) -> int:
    return eqn.inputs[0].type.size * (2 if is_complex(eqn.inputs[0].type.dtype) else 1)


def _default(primitive: Primitive) -> CostRule | None:
    if primitive.name in ("scatter_add", "scatter_sub", "scatter_mul"):
        return _flops(lambda eqn: eqn.inputs[2].type.size)
    if primitive.family in _MOVES and not primitive.has_regions:
        return _flops(lambda eqn: 0)
    if primitive.elementwise:
        return _flops(_for_each_output)
    if primitive.family in ("reduction", "cumulative") and not primitive.has_regions:
        return _flops(_for_each_input)
    return None


costs: RuleTable[CostRule] = RuleTable("cost", _default)


def _enter(*names: str) -> Callable[[CostRule], CostRule]:
    return costs.rule(*(PRIMITIVES[name] for name in names))


# -- contractions and windows --------------------------------------------------------------------


def _multiply_add(eqn: Equation) -> int:
    return 8 if is_complex(eqn.outputs[0].type.dtype) else 2


@_enter("dot_general")
@_flops
def _dot_general(eqn: Equation) -> int:
    ((contracted, _), _) = eqn.params["dimension_numbers"]
    shape = eqn.inputs[0].type.shape
    return _multiply_add(eqn) * eqn.outputs[0].type.size * math.prod(shape[i] for i in contracted)


@_enter("conv_general_dilated")
@_flops
def _convolution(eqn: Equation) -> int:
    """Each output element sums over the window and the input features; padding counts as data."""
    kernel = eqn.inputs[1].type
    features_out = kernel.shape[eqn.params["rhs_spec"][0]]
    return _multiply_add(eqn) * eqn.outputs[0].type.size * (kernel.size // max(features_out, 1))


@_enter("reduce_window_sum", "reduce_window_max", "reduce_window_min")
@_flops
def _window(eqn: Equation) -> int:
    return eqn.outputs[0].type.size * math.prod(eqn.params["window_dimensions"])


@_enter("select_and_scatter_add", "select_and_gather_add")
@_flops
def _window_select(eqn: Equation) -> int:
    return 2 * eqn.inputs[0].type.size * math.prod(eqn.params["window_dimensions"])


# -- others --------------------------------------------------------------------------------------


@_enter("sort", "top_k")
@_flops
def _sort(eqn: Equation) -> int:
    """Comparisons, n log n along the sorted axis."""
    x = eqn.inputs[0].type
    n = x.shape[eqn.params.get("dimension", eqn.params.get("axis", -1))]
    return int(x.size * math.log2(max(n, 2)))


@_enter("fft")
@_flops
def _fft(eqn: Equation) -> int:
    """5 n log n, as FFTs are compared; half of it between real and complex arrays."""
    n = math.prod(eqn.params["fft_lengths"])
    x, y = eqn.inputs[0].type, eqn.outputs[0].type
    half = 1 if is_complex(x.dtype) and is_complex(y.dtype) else 2
    return int(5 * max(x.size, y.size) * math.log2(max(n, 2))) // half


def _square(coefficient: float) -> CostRule:
    """coefficient * n^3 for each matrix of the first operand, less what a tall one saves."""

    def count(eqn: Equation) -> int:
        x = eqn.inputs[0].type
        m, n = x.shape[-2:]
        return int(coefficient * x.size * min(m, n)) * (4 if is_complex(x.dtype) else 1)

    return _flops(count)


for _name, _coefficient in {"cholesky": 1 / 3, "lu": 2 / 3, "geqrf": 4 / 3, "qr": 8 / 3}.items():
    costs.define(PRIMITIVES[_name], _square(_coefficient))


@_enter("triangular_solve")
@_flops
def _triangular_solve(eqn: Equation) -> int:
    a, b = eqn.inputs[0].type, eqn.inputs[1].type
    return a.shape[-1] * b.size * (4 if is_complex(b.dtype) else 1)


# -- regions: those of a loop count once for each step ---------------------------------------------


@_enter("call", "checkpoint", "custom_jvp_call", "custom_vjp_call")
def _call(eqn: Equation) -> Cost:
    return graph_cost(eqn.params["graph"])


@_enter("scan")
def _scan(eqn: Equation) -> Cost:
    return graph_cost(eqn.params["graph"]) * eqn.params["length"]


@_enter("while")
def _while(eqn: Equation) -> Cost:
    step = graph_cost(eqn.params["cond_graph"]) + graph_cost(eqn.params["body_graph"])
    return step + Cost(unknown=frozenset({"steps of while"}))


@_enter("cond")
def _cond(eqn: Equation) -> Cost:
    """The dearest branch."""
    return max((graph_cost(b) for b in eqn.params["branches"]), key=lambda c: (c.flops, c.bytes))

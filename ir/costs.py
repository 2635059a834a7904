"""What a program costs, counted from its text alone: arithmetic and memory traffic.

An addition or multiplication of reals counts one, a complex one as what it is made of; any other
function of one element counts one too. Operations that only move data count nothing. What depends
on the data (the steps of a `while`, LAPACK's iterations) is counted once and named in `unknown`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from . import ops  # the primitives must be defined
from .graph import Equation, Graph, memoised, walk_graphs
from .primitive import PRIMITIVES, Primitive, RuleTable
from .revolve import advances
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
_DATA: Final = frozenset(
    {"bitcast_convert_type", "random_wrap", "random_unwrap", "layout_constraint"}
)
_READS_PART: Final = frozenset({"slice", "dynamic_slice", "gather"})
_ODES: Final = frozenset({"ode", "linear_ode", "linear_ode_back"})
_COMPLEX: Final = {"add": 2, "sub": 2, "add_any": 2, "neg": 2, "mul": 6, "div": 11}


def module_cost(module: Module) -> Cost:
    """The cost of one run of each public graph."""
    return sum((graph_cost(g) for g in module.graphs.values()), Cost())


def graph_cost(graph: Graph) -> Cost:
    """The cost of one run of a graph, counted once for each graph that it holds."""
    if "cost" not in graph.derived:
        for callee in walk_graphs(graph):  # callees first
            memoised(callee, "cost", partial(_sum, callee))
    cost: Cost = graph.derived["cost"]
    return cost


def _sum(graph: Graph) -> Cost:
    flops, size = 0, 0
    unknown: set[str] = set()
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
    """The bytes of operands and outputs; of an array that is read or written in part, that part."""
    name = eqn.primitive.name
    if name in _READS_PART:
        return 2 * eqn.outputs[0].type.nbytes + sum(x.type.nbytes for x in eqn.inputs[1:])
    if name == "dynamic_update_slice":
        return 2 * eqn.inputs[1].type.nbytes + sum(x.type.nbytes for x in eqn.inputs[2:])
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
    if primitive.name in _DATA or (primitive.family in _MOVES and not primitive.has_regions):
        return _flops(lambda eqn: 0)
    if primitive.elementwise or primitive.name in ("select_n", "clamp"):
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


def _dot_general_flops(eqn: Equation) -> int:
    ((contracted, _), _) = eqn.params["dimension_numbers"]
    length = _lengths(eqn.inputs[0].type.shape, contracted)
    return _multiply_add(eqn) * eqn.outputs[0].type.size * length


def _lengths(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[i] for i in axes)


costs.define(PRIMITIVES["dot_general"], _flops(_dot_general_flops))


@_enter("scaled_dot")
@_flops
def _scaled_dot(eqn: Equation) -> int:
    """The product; the elements of both operands are multiplied by their scales first."""
    return _dot_general_flops(eqn) + sum(x.type.size for x in eqn.inputs[:2])


@_enter("scaled_matmul")
@_flops
def _scaled_matmul(eqn: Equation) -> int:
    x, y = eqn.inputs[0].type, eqn.inputs[1].type
    return 2 * eqn.outputs[0].type.size * x.shape[-1] + x.size + y.size


@_enter("ragged_dot_general")
@_flops
def _ragged_dot(eqn: Equation) -> int:
    """Each row of lhs meets the matrix of one group."""
    ((contracted, _), _) = eqn.params["dimension_numbers"]
    x, z = eqn.inputs[0].type, eqn.outputs[0].type
    if eqn.params["lhs_ragged_dimensions"][0] in contracted:
        return _multiply_add(eqn) * math.prod(z.shape[1:]) * _lengths(x.shape, contracted)
    return _multiply_add(eqn) * z.size * _lengths(x.shape, contracted)


@_enter("conv_general_dilated")
@_flops
def _convolution(eqn: Equation) -> int:
    """Each output element sums over the window and the input features; padding counts as data."""
    kernel = eqn.inputs[1].type
    features_out: int = kernel.shape[eqn.params["rhs_spec"][0]]
    return _multiply_add(eqn) * eqn.outputs[0].type.size * (kernel.size // max(features_out, 1))


@_enter("reduce_window_sum", "reduce_window_max", "reduce_window_min")
@_flops
def _window(eqn: Equation) -> int:
    window: tuple[int, ...] = eqn.params["window_dimensions"]
    return eqn.outputs[0].type.size * math.prod(window)


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
    n = x.shape[eqn.params["dimension" if "dimension" in eqn.params else "axis"]]
    return int(x.size * math.log2(max(n, 2)))


costs.define(PRIMITIVES["approx_top_k"], _flops(_for_each_input))


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


# -- regions -------------------------------------------------------------------------------------


def graph_runs(eqn: Equation) -> list[tuple[Graph, int]]:
    """The graphs that one evaluation of an equation runs, and how often.

    Of a `while` one step, and of a solve one evaluation of its dynamics, since nobody knows how
    many there are; of a `cond` the dearest branch.
    """
    name, params = eqn.primitive.name, eqn.params
    if name == "while":
        return [(params["cond_graph"], 1), (params["body_graph"], 1)]
    if name == "cond":
        key = graph_cost
        return [(max(params["branches"], key=lambda b: (key(b).flops, key(b).bytes)), 1)]
    if name == "custom_linear_solve":
        return [(params["solve"], 1)]
    if name in ("replay", "rewind"):
        return _runs_beside(name, params)
    if "graph" not in params:
        return []
    times = 1
    if name == "scan":
        times = params["length"]
    elif name == "reduce":
        times = eqn.inputs[0].type.size
    elif name == "reduce_window":
        times = eqn.outputs[0].type.size * math.prod(params["window_dimensions"])
    elif name == "scatter_apply":
        times = eqn.inputs[-1].type.size
    return [(params["graph"], times)]


def _runs_beside(name: str, params: dict[str, Any]) -> list[tuple[Graph, int]]:
    """The steps that a replay or rewind takes again, and those that go beside them."""
    n, positions = params["length"], params["positions"]
    if name == "replay":
        return [(params["step"], n or 1), (params["push"], n or 1)]
    again = advances(n, params["snapshots"]) - positions[-1] if n else 1
    return [(params["step"], max(again, 0)), (params["pull"], n or 1)]


@_enter(
    "call", "checkpoint", "custom_jvp_call", "custom_vjp_call", "scan", "while", "cond",
    "custom_linear_solve", "reduce", "reduce_window", "replay", "rewind", "scatter_apply",
    "custom_vmap_call", "linear_call", "xla_metadata_call", "annotated", "composite",
    "forward_call",
    *_ODES,
)  # fmt: skip
def _regions(eqn: Equation) -> Cost:
    cost = sum((graph_cost(graph) * times for graph, times in graph_runs(eqn)), Cost())
    name = eqn.primitive.name
    if name == "while" or name in _ODES or eqn.params.get("length", 0) is None:
        cost += Cost(unknown=frozenset({f"steps of {name}"}))
    return cost


__all__ = ["Cost", "costs", "equation_cost", "graph_cost", "graph_runs", "module_cost", "ops"]

"""Operations with regions that are given mutable arrays: what their regions write, they return.

The graph of a region takes what each mutable array holds at first, and returns after its own
outputs what each holds in the end (see importer). A call returns that, too; a scan carries it, or
stacks it where a mutable array is scanned over; a while loop carries it; a choice returns what its
branch leaves. What is only read stays an operand. Second values of mutable arrays (carried) are
operands beside them, like mutable arrays of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Graph, Literal, Value, memoised
from ..ir.ops.call import call, checkpoint
from ..ir.ops.control import cond, scan
from ..ir.primitive import Primitive
from .carried import alike, is_carrying, with_seconds
from .cells import Cell
from .import_rules import emit_while
from .importer import Params, body_graph, graph_of, records, records_with_cells
from .jax_compat import is_inlined, scan_sizes
from .policies import policy_from_jax

Operands = tuple[Any, ...]
"""Atoms and cells."""


class Region:
    """The graph of a region whose inputs are operands, some of them cells.

    results: its own outputs. final: by the positions of the cells among its inputs that it writes,
    what they hold in the end.
    """

    def __init__(self, graph: Graph, operands: Sequence[Any]) -> None:
        places = [i for i, x in enumerate(operands) if isinstance(x, Cell)]
        n = len(graph.outputs) - len(places)
        self.graph = graph
        self.results = graph.outputs[:n]
        self.final = {
            i: x for i, x in zip(places, graph.outputs[n:], strict=True) if x is not graph.inputs[i]
        }
        _check_no_aliases(operands, self.final)

    def with_outputs(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Graph:
        """The same equations with other inputs and outputs: one object for equal ones."""
        key = ("outputs", tuple(inputs), tuple(outputs))
        name = self.graph.name
        made: Graph = memoised(
            self.graph, key, lambda: Graph(inputs, self.graph.equations, outputs, name)
        )
        return made

    def as_call(self) -> Graph:
        """The region with what it writes after its results."""
        return self.with_outputs(self.graph.inputs, (*self.results, *self.final.values()))


def _check_no_aliases(operands: Sequence[Any], written: dict[int, Any]) -> None:
    """Raise UsageError where something that is written has another name."""
    for i in written:
        if sum(x is operands[i] for x in operands) > 1:
            raise UsageError(
                "a function is given the same mutable array twice, and writes to it",
                hint="pass it once, or close over it",
            )


def _values(operands: Operands) -> list[Any]:
    return [x.read() if isinstance(x, Cell) else x for x in operands]


def _leave(b: Builder, operands: Operands, region: Region, outputs: Sequence[Any]) -> Operands:
    """Write what follows the results of a call; the results."""
    n = len(region.results)
    for i, value in zip(region.final, outputs[n:], strict=True):
        operands[i].write(b, value)
    return tuple(outputs[:n])


# -- calls -----------------------------------------------------------------------------------------


@records_with_cells("jit", "closed_call", "core_call", "call")
def _call(b: Builder, operands: Operands, params: Params) -> Operands:
    return _record_callee(b, call, operands, params)


@records_with_cells("eval_jaxpr", "remat_opt")
def _evaluation(b: Builder, operands: Operands, params: Params) -> Operands:
    return _record_callee(b, call, operands, {**params, "inline": True})


@records_with_cells("remat2")
def _checkpoint(b: Builder, operands: Operands, params: Params) -> Operands:
    how = {
        "prevent_cse": params["prevent_cse"],
        "differentiated": params["differentiated"],
        "policy": policy_from_jax(params["policy"]),
    }
    return _record_callee(b, checkpoint, operands, params, **how)


def _record_callee(
    b: Builder, primitive: Primitive, operands: Operands, params: Params, **how: Any
) -> Operands:
    body = body_graph(params, is_carrying(operands))
    operands = with_seconds(b, body, operands)
    region = Region(body, operands)
    if "inline" in params and is_inlined(params):
        outputs = b.inline(region.as_call(), _values(operands))
    else:
        outputs = list(b.emit(primitive, *_values(operands), graph=region.as_call(), **how))
    return _leave(b, operands, region, outputs)


@records("run_state")
def _run_state(b: Builder, inputs: Operands, params: Params) -> Operands:
    """A function of mutable arrays as one of what they hold at first, to what they do in the end;
    the caller's own are written."""
    if not all(params["is_initialized"]):
        raise UsageError("run_state with arrays that hold nothing at first is not supported")
    outputs = b.inline(body_graph(params), _values(inputs))
    for x, value in zip(inputs, outputs, strict=True):
        if isinstance(x, Cell):
            x.write(b, value)
    return tuple(outputs)


# -- control flow ----------------------------------------------------------------------------------


@records_with_cells("scan")
def _scan(b: Builder, operands: Operands, params: Params) -> Operands:
    """# graph    consts | carry | xs -> carry | ys
    # graph'   consts read | consts written, carry | xs -> consts written, carry | ys, xs written
    """
    n_consts, n_carry = scan_sizes(params)
    if any(isinstance(x, Cell) for x in operands[n_consts : n_consts + n_carry]):
        raise UsageError(
            "a scan carries a mutable array", hint="let its function close over the array instead"
        )
    step = graph_of(params["jaxpr"], is_carrying(operands))
    n_consts = len(with_seconds(b, step, operands[:n_consts]))
    operands = with_seconds(b, step, operands)
    region = Region(step, operands)
    n_kept = n_consts + n_carry
    carried = [i for i in region.final if i < n_consts]
    scanned = [i for i in region.final if i >= n_kept]
    read = [i for i in range(n_consts) if i not in region.final]
    order = [*read, *carried, *range(n_consts, len(operands))]
    graph = region.with_outputs(
        [region.graph.inputs[i] for i in order],
        [
            *(region.final[i] for i in carried), *region.results,
            *(region.final[i] for i in scanned),
        ],
    )  # fmt: skip
    values = _values(operands)
    outputs = b.emit(
        scan, *[values[i] for i in order], graph=graph, num_consts=len(read),
        num_carry=len(carried) + n_carry, length=params["length"], reverse=params["reverse"],
        unroll=params["unroll"],
    )  # fmt: skip
    n_first, n_last = len(carried), len(outputs) - len(scanned)
    for i, value in zip(carried, outputs[:n_first], strict=True):
        operands[i].write(b, value)
    for i, value in zip(scanned, outputs[n_last:], strict=True):
        operands[i].write(b, value)
    return tuple(outputs[n_first:n_last])


@records_with_cells("while")
def _while(b: Builder, operands: Operands, params: Params) -> Operands:
    """# body     consts | carry -> carry
    # body'    consts read | consts written, carry -> consts written, carry
    # cond'    consts not written by the body | those that are, carry -> goes on
    """
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    for_cond = operands[:n_cond]
    for_body = operands[n_cond : n_cond + n_body]
    carry = operands[n_cond + n_body :]
    if any(isinstance(x, Cell) for x in carry):
        raise UsageError("a while loop carries a mutable array", hint="close over it instead")
    test = Region(graph_of(params["cond_jaxpr"]), (*for_cond, *carry))
    if test.final:
        raise UsageError(
            "the condition of a while loop writes to a mutable array", hint="write in the body"
        )
    step = graph_of(params["body_jaxpr"], is_carrying(for_body))
    for_body = with_seconds(b, step, for_body)
    n_body = len(for_body)
    body = Region(step, (*for_body, *carry))
    written = [for_body[i] for i in body.final]
    read = [i for i in range(n_body) if i not in body.final]
    test_inputs, seen = test.graph.inputs, {id(x): i for i, x in enumerate(for_cond)}
    kept = [i for i, x in enumerate(for_cond) if not any(x is cell for cell in written)]
    shared = [
        test_inputs[seen[id(cell)]] if id(cell) in seen else _unread(test.graph, j, cell)
        for j, cell in enumerate(written)
    ]
    cond_graph = test.with_outputs(
        [*(test_inputs[i] for i in kept), *shared, *test_inputs[n_cond:]], test.results
    )
    inputs = body.graph.inputs
    graph = body.with_outputs(
        [inputs[i] for i in (*read, *body.final, *range(n_body, len(inputs)))],
        [*body.final.values(), *body.results],
    )
    given = [
        *(for_cond[i] for i in kept), *(for_body[i] for i in read), *written, *carry,
    ]  # fmt: skip
    sizes = len(kept), len(read)
    outputs = emit_while(b, tuple(_values(tuple(given))), cond_graph, graph, *sizes)
    for cell, value in zip(written, outputs, strict=False):
        cell.write(b, value)
    return tuple(outputs[len(written) :])


def _unread(graph: Graph, position: int, cell: Cell) -> Value:
    """An input for what a graph does not read."""
    made: Value = memoised(graph, ("unread", position, cell.type), lambda: Value(cell.type))
    return made


@records_with_cells("cond")
def _cond(b: Builder, operands: Operands, params: Params) -> Operands:
    """A choice that also returns what any of its branches writes."""
    index, *rest = operands
    given = tuple(rest)
    graphs = [graph_of(branch, is_carrying(given)) for branch in params["branches"]]
    graphs = alike(graphs, given)
    given = with_seconds(b, graphs[0], given)
    if isinstance(index, Literal):
        chosen = Region(graphs[min(max(int(index.value), 0), len(graphs) - 1)], given)
        return _leave(b, given, chosen, b.inline(chosen.as_call(), _values(given)))
    regions = [_Branch(graph, given) for graph in graphs]
    written = list(dict.fromkeys(given[i] for region in regions for i in region.final))
    branches = tuple(
        [
            x.with_outputs(x.graph.inputs, [*x.results, *(x.left(cell) for cell in written)])
            for x in regions
        ]
    )
    outputs = b.emit(cond, index, *_values(given), branches=branches)
    n = len(outputs) - len(written)
    for cell, value in zip(written, outputs[n:], strict=True):
        cell.write(b, value)
    return tuple(outputs[:n])


class _Branch(Region):
    """One branch of a choice: operands of several may be the same mutable array."""

    def __init__(self, graph: Graph, operands: Sequence[Any]) -> None:
        super().__init__(graph, list(_told_apart(graph, operands)))
        self.operands = operands

    def left(self, cell: Cell) -> Any:
        """What the branch leaves in a mutable array."""
        places = [i for i, x in enumerate(self.operands) if x is cell]
        found = [self.final[i] for i in places if i in self.final]
        return found[0] if found else self.graph.inputs[places[0]]


def _told_apart(graph: Graph, operands: Sequence[Any]) -> Iterator[Any]:
    """The operands, where those that a branch does not read are no others' aliases."""
    read = {x for eqn in graph.equations for x in eqn.inputs}
    n = len(graph.outputs) - sum(isinstance(x, Cell) for x in operands)
    read.update(graph.outputs[:n])
    for x, value in zip(operands, graph.inputs, strict=True):
        is_alias = isinstance(x, Cell) and value not in read
        yield Cell(x.atom, x.aval, x.type) if is_alias else x

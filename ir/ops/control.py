"""Control flow: scan, while, cond, and linear solves given by functions.

Regions are closed graphs, so every value that they read is an operand.

    scan     consts | carry | xs -> carry | ys
             graph: consts | carry | x -> carry | y
    while    cond_consts | body_consts | carry -> carry
             cond_graph: cond_consts | carry -> bool[], body_graph: body_consts | carry -> carry
    cond     index | operands -> outputs
             branches: operands -> outputs
    custom_linear_solve     consts of matvec | vecmat | solve | transpose_solve | b -> x | aux
             matvec: consts | x -> b, vecmat: its transpose, solve: consts | b -> x | aux,
             transpose_solve: consts | x -> b | aux
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..errors import TypeRuleError
from ..graph import Atom, Equation, Graph, Literal
from ..primitive import REQUIRED, Types, define
from ..types import BOOL, TensorType
from .call import check_arguments

if TYPE_CHECKING:
    from ..builder import Builder


SNAPSHOTS: Final = 64
"""How many states a `while` keeps where nobody says: enough for 2,145 steps taken twice each."""


def check_carry(name: str, graph: Graph, carry: Types, outputs: Types) -> None:
    """Raise TypeRuleError unless the loop body returns the carry that it takes."""
    for i, (start, end) in enumerate(zip(carry, outputs, strict=True)):
        if start.strong is not end.strong:
            raise TypeRuleError(
                f"{name} @{graph.name} takes {start} as carry {i} and returns {end}",
                hint="a loop body must return carries of the types that it takes",
            )


def _check_snapshots(name: str, snapshots: int | None) -> None:
    if snapshots is not None and snapshots < 1:
        raise TypeRuleError(f"{name} keeps one snapshot at least, not {snapshots}")


# -- scan ----------------------------------------------------------------------------------------


def _infer_scan(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph, length = params["graph"], params["length"]
    _check_snapshots("scan", params["snapshots"])
    n_consts, n_carry = params["num_consts"], params["num_carry"]
    fixed = n_consts + n_carry
    for i, xs in enumerate(types[fixed:]):
        if not xs.shape or xs.shape[0] != length:
            raise TypeRuleError(
                f"scan of length {length} takes xs with a first axis of that length; "
                f"xs {i} has type {xs}"
            )
    slices = tuple(t.with_shape(t.shape[1:]) for t in types[fixed:])
    check_arguments("scan", graph, (*types[:fixed], *slices))
    outputs: Types = graph.output_types
    if len(outputs) < n_carry:
        raise TypeRuleError(f"scan has {n_carry} carries, its body returns {len(outputs)} values")
    check_carry("scan", graph, graph.input_types[n_consts:fixed], outputs[:n_carry])
    stacked = tuple(t.with_shape((length, *t.shape)) for t in outputs[n_carry:])
    return (*outputs[:n_carry], *stacked)


scan = define(
    "scan",
    _infer_scan,
    defaults={
        "graph": REQUIRED,
        "num_consts": 0,
        "num_carry": 0,
        "length": REQUIRED,
        "reverse": False,
        "unroll": 1,
        "snapshots": None,
    },
    has_regions=True,
    runs=lambda eqn: eqn.regions() if eqn.params["length"] else (),
)
"""snapshots: how many states are kept to run the loop backwards; None for all that that needs."""


# -- while ---------------------------------------------------------------------------------------


def _infer_while(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    cond_graph, body_graph = params["cond_graph"], params["body_graph"]
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    _check_snapshots("while", params["snapshots"])
    cond_consts, body_consts = types[:n_cond], types[n_cond : n_cond + n_body]
    carry = types[n_cond + n_body :]
    check_arguments("the condition of while", cond_graph, (*cond_consts, *carry))
    check_arguments("the body of while", body_graph, (*body_consts, *carry))
    predicate = cond_graph.output_types
    if len(predicate) != 1 or predicate[0].shape or predicate[0].dtype != BOOL:
        raise TypeRuleError(
            f"the condition of while returns one bool[]; @{cond_graph.name} returns {predicate}"
        )
    outputs: Types = body_graph.output_types
    if len(outputs) != len(carry):
        raise TypeRuleError(
            f"while has {len(carry)} carries, its body returns {len(outputs)} values"
        )
    check_carry("while", body_graph, body_graph.input_types[n_body:], outputs)
    return outputs


while_ = define(
    "while",
    _infer_while,
    defaults={
        "cond_graph": REQUIRED,
        "body_graph": REQUIRED,
        "cond_nconsts": 0,
        "body_nconsts": 0,
        "snapshots": None,
    },
    has_regions=True,
)
"""snapshots: how many states are kept to run the loop backwards; None for `SNAPSHOTS`."""


# -- cond ----------------------------------------------------------------------------------------


def _infer_cond(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    branches: tuple[Graph, ...] = params["branches"]
    if not types or types[0].shape or types[0].dtype.name not in ("int32", "bool"):
        raise TypeRuleError("cond takes an index of type i32[] (or bool[]) first")
    if not branches or (types[0].dtype == BOOL and len(branches) != 2):
        raise TypeRuleError(f"cond by {types[0]} cannot choose among {len(branches)} branches")
    for branch in branches:
        check_arguments("cond", branch, types[1:])
    first = branches[0].output_types
    for branch in branches[1:]:
        if [t.strong for t in branch.output_types] != [t.strong for t in first]:
            raise TypeRuleError(
                f"the branches of cond return different types: {first} and {branch.output_types}"
            )
    return branch_outputs(branches)


def branch_outputs(branches: tuple[Graph, ...]) -> tuple[TensorType, ...]:
    """The types of what a cond of these branches makes: weak where all branches' are."""
    each = zip(*(branch.output_types for branch in branches), strict=True)
    return tuple(t[0] if all(u.weak for u in t) else t[0].strong for t in each)


def _fold_cond(
    b: Builder, inputs: tuple[Atom, ...], params: dict[str, Any]
) -> tuple[Atom, ...] | None:
    """A branch that is known is what the cond does."""
    index = inputs[0]
    if not isinstance(index, Literal):
        return None
    branches: tuple[Graph, ...] = params["branches"]
    return tuple(b.inline(branches[branch_number(index.value, len(branches))], inputs[1:]))


def branch_number(index: Any, n_branches: int) -> int:
    """The branch that an index chooses."""
    chosen = int(index)
    return chosen if 0 <= chosen < n_branches else n_branches - 1


cond = define(
    "cond", _infer_cond, defaults={"branches": REQUIRED}, has_regions=True, fold=_fold_cond
)
"""Branch `index` applied to the operands; an index out of range takes the last branch."""


# -- custom_linear_solve -------------------------------------------------------------------------

SOLVE_GRAPHS: Final = ("matvec", "vecmat", "solve", "transpose_solve")


def _infer_linear_solve(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    groups = split_sizes(types, params["const_lengths"])
    b = groups[-1]
    solve: Graph = params["solve"]
    check_arguments("custom_linear_solve", solve, (*groups[2], *b))
    found = solve.output_types
    solutions = [TensorType(t.shape, t.dtype, x.weak) for t, x in zip(found, b, strict=False)]
    return (*solutions, *found[len(b) :])


custom_linear_solve = define(
    "custom_linear_solve",
    _infer_linear_solve,
    defaults={
        "matvec": REQUIRED,
        "vecmat": None,
        "solve": REQUIRED,
        "transpose_solve": None,
        "const_lengths": REQUIRED,
    },
    has_regions=True,
    runs=lambda eqn: (eqn.params["solve"],),
)
"""x with matvec(x) = b, found by solve(b); transpose_solve solves the transposed system.

x is as weakly typed as b.

const_lengths: how many leading operands each of the four graphs closes over. solve may return
auxiliary values after x.
"""


# -- operand conventions -------------------------------------------------------------------------


def split_sizes(items: Sequence[Any], sizes: Sequence[int]) -> list[tuple[Any, ...]]:
    """Cut a sequence into pieces of the given sizes, and the rest."""
    pieces, start = [], 0
    for n in sizes:
        pieces.append(tuple(items[start : start + n]))
        start += n
    pieces.append(tuple(items[start:]))
    return pieces


def scan_sizes(eqn: Equation) -> tuple[int, int]:
    """(consts, carries): `split_sizes(eqn.inputs, scan_sizes(eqn))` gives consts, carry, xs."""
    return eqn.params["num_consts"], eqn.params["num_carry"]


def while_sizes(eqn: Equation) -> tuple[int, int]:
    """(condition consts, body consts): the rest of the operands are the carries."""
    return eqn.params["cond_nconsts"], eqn.params["body_nconsts"]

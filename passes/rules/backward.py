"""What the rules of loops share: the body of a transposed loop, and stacks of batches."""

from __future__ import annotations

from ...ir.builder import Builder, Operand
from ...ir.graph import Graph, Value, memoised
from ...ir.ops.control import split_sizes
from ..activity import pulled_inputs
from ..regions import Flags, grow_until_stable, widened
from ..transpose import transpose_graph


def backward_body(
    graph: Graph, sizes: tuple[int, int], linear: Flags, nonzero: Flags
) -> tuple[Graph, Flags, Flags, Flags]:
    """The body of a transposed loop: fixed consts | ct_consts ct_carry | fixed xs, ct_ys ->
    ct_consts ct_carry | ct_xs. `linear` has all carries among the linear inputs.

    Second, which inputs of the body have a cotangent; then, which carries and ys have one.
    """
    n_consts, n_carry = sizes
    ct_ys = nonzero[n_carry:]

    def step(active: Flags) -> Flags:
        in_active = pulled_inputs(graph, linear, (*active, *ct_ys))
        return widened(in_active, linear)[n_consts : n_consts + n_carry]

    ct_carry = grow_until_stable(nonzero[:n_carry], step, linear[n_consts : n_consts + n_carry])
    out_active = (*ct_carry, *ct_ys)
    key = ("scan transpose", n_consts, linear, out_active)
    made: tuple[Graph, Flags] = memoised(
        graph, key, lambda: _make_backward_body(graph, n_consts, n_carry, linear, out_active)
    )
    return (*made, ct_carry, ct_ys)


def _make_backward_body(
    graph: Graph, n_consts: int, n_carry: int, linear: Flags, out_active: Flags
) -> tuple[Graph, Flags]:
    carry = slice(n_consts, n_consts + n_carry)
    force = [carry.start <= i < carry.stop and out_active[i - n_consts] for i in range(len(linear))]
    step, found_active = transpose_graph(graph, linear, out_active, force)
    in_active = widened(found_active, linear)
    n_fixed = n_consts - sum(linear[:n_consts])
    n_others = len(linear) - sum(linear)
    others, cts = step.inputs[:n_others], step.inputs[n_others:]
    n_state = sum(out_active[:n_carry])
    ct_consts, ct_carry, ct_xs = split_sizes(
        step.outputs, (sum(in_active[:n_consts]), sum(in_active[carry]))
    )
    b = Builder()
    for eqn in step.equations:
        b.append(eqn)
    sums = [Value(ct.type, ct.name if isinstance(ct, Value) else None) for ct in ct_consts]
    totals = [b.add_any(total, ct) for total, ct in zip(sums, ct_consts, strict=True)]
    inputs = (*others[:n_fixed], *sums, *cts[:n_state], *others[n_fixed:], *cts[n_state:])
    return Graph(inputs, b.equations, (*totals, *ct_carry, *ct_xs), step.name), in_active


def swap_leading(b: Builder, x: Operand) -> Operand:
    """Exchange the first two axes: a batch of stacks is a stack of batches."""
    return b.transpose(x, permutation=(1, 0, *range(2, len(x.type.shape))))

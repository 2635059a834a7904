"""How linear functions with transposes of their own transform: each is the other's transpose."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.builder import Builder, Zero
from ...ir.errors import PassError
from ...ir.graph import Equation, Graph, Thunk, Value
from ...ir.ops.linear_call import linear_call
from .. import tables
from ..batch import batch_graph
from ..effects import guard, guarded
from ..regions import Flags, nonzero
from ..tables import Operands, materialise_batch


def _check_residuals(eqn: Equation, moving: Sequence[bool], stage: str) -> None:
    if any(moving[: eqn.params["num_residuals"]]):
        raise PassError(
            f"@{eqn.params['graph'].name} is differentiated in a residual of linear_call, of which "
            "it only says that it is a fixed value",
            eqn,
            stage=stage,
            hint="use jax.custom_vjp, or stop_gradient of the residual",
        )


@tables.jvp.rule(linear_call)
def jvp_linear_call(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """dy = f(residuals, dx)."""
    _check_residuals(eqn, nonzero(tangents), "jvp")
    n = eqn.params["num_residuals"]
    b.append(eqn)
    return b.emit(linear_call, *eqn.inputs[:n], *map(b.instantiate, tangents[n:]), **eqn.params)


@tables.transpose.rule(linear_call)
def transpose_linear_call(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """ct_x = f^T(residuals, ct_y), and f is the transpose of f^T."""
    _check_residuals(eqn, linear, "transpose")
    params, n = eqn.params, eqn.params["num_residuals"]
    swapped = {"graph": transpose_of(params), "transpose": params["graph"], "num_residuals": n}
    found = b.emit(linear_call, *eqn.inputs[:n], *map(b.instantiate, cts), **swapped)
    return [*(Zero(x.type) for x in eqn.inputs[:n]), *found]


def transpose_of(params: dict[str, Graph | Thunk]) -> Graph:
    made = params["transpose"]
    graph: Graph = made if isinstance(made, Graph) else made()
    return graph


@tables.batch.rule(linear_call)
def batch_linear_call(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """All that is linear gets a batch axis, so that the two functions stay each other's transpose.

    Of a residual without one, no cotangent is asked for, so nothing has to be summed.
    """
    params, n = eqn.params, eqn.params["num_residuals"]
    x = [materialise_batch(b, x, f, size) for x, f in zip(inputs[n:], batched[n:], strict=True)]
    n_out = len(eqn.outputs)

    def batch(graph: Graph, n_linear: int, n_results: int) -> Graph:
        flags: Flags = (*batched[:n], *(True,) * n_linear)
        return batch_graph(graph, flags, size, (True,) * n_results)[0]

    transpose = params["transpose"]
    changed = {
        "graph": batch(params["graph"], len(x), n_out),
        "transpose": batch(transpose, n_out, len(x))
        if isinstance(transpose, Graph)
        else Thunk(transpose.name, lambda: batch(transpose(), n_out, len(x))),
    }
    outputs = b.emit(linear_call, *inputs[:n], *x, **{**params, **changed})
    return outputs, (True,) * n_out


@guard.rule(linear_call)
def guard_linear_call(b: Builder, eqn: Equation, here: Value) -> Equation:
    """`here` is one more residual."""
    params, transpose = eqn.params, eqn.params["transpose"]
    changed = {
        "graph": guarded(params["graph"]),
        "transpose": guarded(transpose)
        if isinstance(transpose, Graph)
        else Thunk(transpose.name, lambda: guarded(transpose())),
        "num_residuals": params["num_residuals"] + 1,
    }
    return eqn.replace(inputs=(here, *eqn.inputs), params={**params, **changed})

"""What the transposed linear ODE is made from, be it continuous or discrete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..builder import Builder
from ..graph import Graph, Value
from ..ops.call import call
from .arithmetic import moved_axis, part
from .forward import dynamics
from .spec import Spec, split_operands

Params = dict[str, Any]

Pull = Callable[[Builder, Sequence[Any], Any, Sequence[Any]], tuple[list[Any], list[Any]]]
"""(b, y, t, ct) -> cotangents of args, of y."""


class Backward:
    """A backward pass while it is being written. Its carry begins with the cotangents of y and of
    the arguments."""

    def __init__(self, b: Builder, params: Params, inputs: Sequence[Value]) -> None:
        self.spec = Spec.of(params)
        self.params = params
        graph: Graph = params["graph"]
        pull: Graph = params["pull"]
        self.n_state = n = len(graph.outputs)
        self.args, self.state, self.ts, rest = split_operands(inputs, self.spec.n_args, n)
        self.residuals, self.cts = rest[: len(rest) - n], rest[len(rest) - n :]
        self.axis = len(self.spec.lanes)
        self.n = self.ts.type.shape[-1]
        self.slopes = dynamics(graph, self.args)
        self.arg_types = pull.output_types[: len(pull.outputs) - n]

    def pull(
        self, b: Builder, y: Sequence[Any], t: Any, ct: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """The transposed dynamics at (y, t)."""
        found = b.emit(call, *self.args, *y, t, *ct, graph=self.params["pull"])
        k = len(self.arg_types)
        return list(found[:k]), list(found[k:])

    def rows(self, b: Builder, x: Any, start: int, stop: int) -> Any:
        """Entries of what belongs to the times, as the xs of a scan."""
        return moved_axis(b, part(b, x, self.axis, start, stop), self.axis, 0)

    def no_arg_cts(self, b: Builder) -> list[Any]:
        return [b.full(t.strong, 0) for t in self.arg_types]

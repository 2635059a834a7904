"""Primitives that covector does not define: recorded opaquely, with the rules of their author.

Each rule is applied by JAX's own transformation of the one primitive, traced into a graph when a
pass asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import jax

from ..ir.builder import Builder
from ..ir.errors import MissingRule, UsageError
from ..ir.graph import Equation, Graph, Opaque, Thunk
from ..ir.ops.call import Flags
from ..ir.ops.foreign import foreign
from ..ir.types import TensorType, has_tangent
from .avals import to_aval, to_jax_dtype, to_struct, to_type
from .export_rules import binds
from .importer import Convert, Params, Record
from .jax_compat import abstract_evaluation, registered_rules
from .opaque import bound
from .trace import trace_flat

Rule = tuple[Graph, Flags]

MET: Final[set[str]] = set()
"""The names of the foreign primitives that this process has recorded."""


def record_foreign(primitive: Any, convert: Convert | None = None) -> Record:
    """How to record a primitive that covector does not define; `convert` changes its parameters."""

    def record(b: Builder, inputs: tuple[Any, ...], params: Params) -> tuple[Any, ...]:
        if convert is not None:
            params = convert(params)
        types = tuple(x.type for x in inputs)
        avals, effects = abstract_evaluation(primitive, [to_aval(t) for t in types], params)
        try:
            outputs = [to_type(aval) for aval in avals]
        except UsageError as error:
            raise MissingRule(f"{primitive.name} is not supported: {error.claim}") from None
        MET.add(primitive.name)
        rules = _Rules(primitive, dict(params), types, outputs)
        return b.emit(
            foreign,
            *inputs,
            name=primitive.name,
            target=bound(primitive.name, primitive, params, rules.thunks(), types),
            out_types=tuple((t.shape, t.dtype) for t in outputs),
            effects=tuple(sorted(map(str, effects))),
        )

    return record


class _Rules:
    """The rules of one primitive with these parameters, for operands of these types."""

    def __init__(
        self,
        primitive: Any,
        params: dict[str, Any],
        types: Sequence[TensorType],
        outputs: Sequence[TensorType],
    ) -> None:
        self.primitive, self.params = primitive, params
        self.types, self.outputs = [t.strong for t in types], [t.strong for t in outputs]

    def thunks(self) -> dict[str, Thunk]:
        rules: dict[str, Callable[..., Rule]] = {
            "jvp": self.jvp,
            "transpose": self.transpose,
            "batch": self.batch,
        }
        return {name: Thunk(self.primitive.name, rule) for name, rule in rules.items()}

    def bind(self, *operands: Any) -> tuple[Any, ...]:
        outputs = self.primitive.bind(*operands, **self.params)
        return tuple(outputs) if self.primitive.multiple_results else (outputs,)

    def jvp(self, nonzero: Flags) -> Rule:
        n = len(self.types)
        out_nonzero = tuple(map(has_tangent, self.outputs))

        def flat(*values: Any) -> list[Any]:
            primals = [x for x, f in zip(values, nonzero, strict=False) if f]
            partial = self._of_some(values[:n], nonzero)
            outputs, tangents = _pushed(partial, primals, list(values[n:]))
            return [*outputs, *_select(tangents, out_nonzero)]

        types = [*self.types, *_select(self.types, nonzero)]
        return self._trace(flat, types, "derivative (jvp) rule"), out_nonzero

    def transpose(self, linear: Flags, ct_nonzero: Flags) -> Rule:
        if "transpose" not in registered_rules(self.primitive):
            raise self._missing("transpose rule")
        n_fixed = len(linear) - sum(linear)
        real = tuple(map(has_tangent, self.outputs))  # a status beside a solution has no cotangent

        def flat(*values: Any) -> list[Any]:
            fixed, given = iter(values[:n_fixed]), iter(values[n_fixed:])
            operands = [None if is_linear else next(fixed) for is_linear in linear]
            cts = [
                next(given) if f else jax.numpy.zeros(t.shape, to_jax_dtype(t.dtype))
                for t, f in zip(self.outputs, ct_nonzero, strict=True)
            ]
            whole = self._of_some(operands, linear)
            partial = lambda *xs: _select(whole(*xs), real)
            structs = [to_struct(t) for t in _select(self.types, linear)]
            return list(jax.linear_transpose(partial, *structs)(_select(cts, real)))

        fixed = [t for t, is_linear in zip(self.types, linear, strict=True) if not is_linear]
        types = [*fixed, *_select(self.outputs, ct_nonzero)]
        return self._trace(flat, types, "transpose rule"), linear

    def batch(self, batched: Flags, size: int) -> Rule:
        axes = tuple(0 if is_batched else None for is_batched in batched)

        types = [
            t.with_shape((size, *t.shape)) if is_batched else t
            for t, is_batched in zip(self.types, batched, strict=True)
        ]
        out_axes = self._batched_outputs(axes, size, types)

        def flat(*values: Any) -> list[Any]:
            mapped = jax.vmap(self.bind, in_axes=axes, out_axes=out_axes, axis_size=size)
            return list(mapped(*values))

        made = self._trace(flat, types, "batching rule")
        return made, tuple(axis is not None for axis in out_axes)

    def _batched_outputs(
        self, axes: tuple[int | None, ...], size: int, types: Sequence[TensorType]
    ) -> tuple[int | None, ...]:
        """0 for the outputs that the author's rule makes for each example, None for the others:
        those that may leave `vmap` without an axis."""
        structs = [to_struct(t) for t in types]

        def is_shared(*chosen: int) -> bool:
            def some(*values: Any) -> list[Any]:
                outputs = self.bind(*values)
                return [outputs[i] for i in chosen]

            mapped = jax.vmap(some, in_axes=axes, out_axes=None, axis_size=size)
            try:
                jax.eval_shape(mapped, *structs)
            except Exception:  # a rule that fails says why when it is traced for good
                return False
            return True

        outputs = range(len(self.outputs))
        if is_shared(*outputs):
            return (None,) * len(outputs)
        several = len(outputs) > 1
        return tuple(None if several and is_shared(i) else 0 for i in outputs)

    def _of_some(self, operands: Sequence[Any], flags: Flags) -> Callable[..., tuple[Any, ...]]:
        """The primitive as a function of the operands that are flagged."""

        def partial(*some: Any) -> tuple[Any, ...]:
            given = iter(some)
            return self.bind(
                *[next(given) if f else x for x, f in zip(operands, flags, strict=True)]
            )

        return partial

    def _trace(
        self, flat: Callable[..., list[Any]], types: Sequence[TensorType], what: str
    ) -> Graph:
        name = self.primitive.name
        try:
            return trace_flat(flat, types, name=name).graph
        except NotImplementedError as error:
            if isinstance(error, MissingRule):
                raise
            raise self._missing(what, str(error).partition("\n")[0]) from None

    def _missing(self, what: str, hint: str | None = None) -> MissingRule:
        claim = f"{self.primitive.name} has no {what}: its author registered none with JAX"
        return MissingRule(claim, hint=hint)


def _pushed(
    partial: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """Outputs and their tangents, by the author's jvp rule or by that for linearization."""
    try:
        return jax.jvp(partial, primals, tangents)
    except NotImplementedError as error:
        try:
            outputs, push = jax.linearize(partial, *primals)
        except NotImplementedError:
            raise error from None
        return outputs, push(*tangents)


def _select(items: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    return [x for x, flag in zip(items, flags, strict=True) if flag]


@binds("foreign")
def _bind(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    target: Opaque = eqn.params["target"]
    if target.held is None:
        target()  # which says that it was read from text
    primitive, params = target.held
    outputs = primitive.bind(*arrays, **params)
    return outputs if primitive.multiple_results else [outputs]

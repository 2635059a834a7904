"""Rules of functions that have their own, traced when a derivative asks for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from ..ir.errors import ClosedOverError
from ..ir.graph import Thunk
from ..ir.ops.call import Flags
from ..ir.types import TensorType
from .avals import to_aval
from .checked_rules import Primal
from .collective_rules import MESH
from .compiler_attributes import under_these_attributes
from .flat_functions import Shared
from .jax_compat import axis_sizes, extended_axes
from .jax_compat_rules import (
    CotangentZero,
    SymbolicZero,
    instantiate_zero,
    revived,
    tracing_settings,
    under_settings,
)
from .known import KnownValues, Later
from .moving import Moving
from .no_numbers import places_of_float0
from .ref_rules import (
    Kinds,
    check_closed_over,
)
from .trace import Recording, trace_flat


def nothing() -> None:
    """A reference to what is gone."""


@dataclass
class Returned:
    """What a rule, when it was last traced, returned for the function's own outputs: how many, and
    which of them are arrays of float0."""

    n_outputs: int = 0
    empty: list[int] = field(default_factory=list)

    def note(self, outputs: Sequence[Any]) -> None:
        self.n_outputs, self.empty = len(outputs), places_of_float0(outputs)


@dataclass(frozen=True)
class Called:
    """How a function with rules is called, for its rules.

    types: of its inputs. consts: what it and its rules close over, the leading inputs.
    values: what is known of the inputs, if Python may branch on them.
    primal: the function, if it was traced.
    numbers: inputs that it gets as they are: numbers of Python's, arrays of float0.
    kinds: by position, inputs that are mutable arrays; `carried` those that have second values.
    moving: what is being differentiated in its rules.
    shared: what the recording that called it traces once, if that is still going on.
    returned: where its rules note what they return.
    lasts: whether the call is recorded once in a process: a function of JAX's own.
    """

    types: Sequence[TensorType]
    symbolic_zeros: bool
    consts: Sequence[Any] = ()
    values: Sequence[Later | None] | None = None
    primal: Primal | None = None
    numbers: Mapping[int, Any] = field(default_factory=dict)
    kinds: Kinds = field(default_factory=dict)
    carried: tuple[int, ...] = ()
    moving: Moving | None = None
    shared: Callable[[], Shared | None] = nothing
    returned: Returned = field(default_factory=Returned)
    lasts: bool = False


def trace_rule(
    flat_rule: Callable[..., Sequence[Any]],
    types: Sequence[TensorType],
    name: str,
    aliases: Sequence[Any],
    known: KnownValues | None,
    kinds: Kinds | None = None,
    moving: Moving | None = None,
    shared: Shared | None = None,
) -> Recording:
    """Record a rule, which may read `aliases`; `kinds` are those of inputs that are mutable arrays,
    `moving` says what is being differentiated, `shared` what is traced only once.

    Raises ClosedOverError if it reads a value of another recording: a function that JAX has traced
    does not tell which of its operands that is.
    """
    made = trace_flat(
        flat_rule, types, name=name, aliases=aliases, known=known, refs=kinds, moving=moving,
        shared=shared,
    )  # fmt: skip
    check_closed_over(name, made.written)
    if made.captured:
        types_read = ", ".join(str(v.type) for v in made.graph.inputs[: len(made.captured)])
        raise ClosedOverError(
            f"the rule {name} closes over a value ({types_read}) that is computed around the "
            "function",
            hint="pass the value to the function as an argument; it is known to the rule then",
        )
    return made


def as_called_now(make: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that is traced later, with the axis names, mesh, settings and attributes of operations
    that are in force now."""
    make, sizes, settings = under_these_attributes(make), axis_sizes(), tracing_settings()
    mesh, around = MESH.get(), jax.sharding.get_abstract_mesh()

    def make_later(*signature: Flags) -> Any:
        token = MESH.set(mesh)
        try:
            with under_settings(settings), extended_axes(sizes), use_mesh(around):
                return make(*signature)
        finally:
            MESH.reset(token)

    return make_later


def let_read(rules: Iterable[Thunk], maps: Sequence[Any]) -> None:
    """Let rules that are traced later read values of JAX's maps that are over by then."""

    def reading(make: Callable[..., Any]) -> Callable[..., Any]:
        def make_later(*signature: Flags) -> Any:
            with revived(maps):
                return make(*signature)

        return make_later

    if maps:
        for rule in rules:
            rule.make = reading(rule.make)


def use_mesh(around: Any) -> contextlib.AbstractContextManager[Any]:
    """In the mesh that a shard_map has around it, if there is one."""
    return contextlib.nullcontext() if around.empty else jax.sharding.use_abstract_mesh(around)


def absent(type: TensorType, symbolic: bool) -> Any:
    """What a rule gets for a tangent that there is none of."""
    aval = to_aval(type).to_tangent_aval()
    return SymbolicZero(aval) if symbolic else instantiate_zero(aval)


def is_absent(tangent: Any) -> bool:
    """Whether a rule returned a symbolic zero, or the tangent of an integer."""
    if tangent is None or isinstance(tangent, SymbolicZero | CotangentZero):
        return True
    return bool(getattr(tangent, "dtype", None) == jax.dtypes.float0)


def known_of(values: Sequence[Any] | None, n_more: int = 0) -> KnownValues | None:
    """The values of a nested recording's inputs, of which the last `n_more` have none."""
    return None if values is None else KnownValues([*values, *[None] * n_more])


def numbers_among(operands: Sequence[Any]) -> dict[int, Any]:
    """By position, the operands of an un-jitted call that are numbers of Python's: the function and
    its rules get them as they are, and may look them up in dictionaries."""
    return {i: x for i, x in enumerate(operands) if isinstance(x, (bool, int, float, complex))}


def with_numbers(values: Sequence[Any], numbers: Mapping[int, Any] | None) -> Sequence[Any]:
    """The inputs of a rule, with those numbers in their places."""
    return [numbers.get(i, x) for i, x in enumerate(values)] if numbers else values

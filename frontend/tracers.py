"""What a recorded function computes with: tracers of atoms, and of mutable arrays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.graph import Atom
from ..ir.types import TensorType
from .avals import AVALS, to_aval, to_type
from .cells import Cell, contents_type, is_ref
from .jax_compat import Tracer, computing_now, hands_on, perturbed, register_tracer
from .locations import find_site

if TYPE_CHECKING:
    from .graph_trace import GraphTrace


class GraphTracer(Tracer):  # type: ignore[misc]
    """Stands for an atom of the graph being recorded while Python computes with it."""

    __slots__ = ("atom",)
    _trace: GraphTrace
    aval: Any

    def __init__(self, trace: GraphTrace, atom: Atom) -> None:
        self._trace = trace  # type: ignore[misc]  # the slots are the base's
        self.atom = atom
        type = atom.type
        aval = AVALS.get(type)
        self.aval = aval if aval is not None else to_aval(type)

    def to_concrete_value(self) -> Any | None:
        """The value, where the recording has values and nothing unknown is needed for this one."""
        trace = self._trace
        if trace.known is None:
            return None
        found = trace.known.value_of(trace, self.atom)
        return found if found is None or not hands_on(sys._getframe(1)) else in_full(found)

    def _array(self) -> Any | None:
        """The value, where JAX has an array and not a tracer: in backward rules, and where nothing
        that is differentiated by or mapped over has a part in it."""
        trace = self._trace
        known = trace.known
        if known is None or not (known.has_arrays or not trace.may_move(self.atom)):
            return None
        return self.to_concrete_value()

    def full_lower(self) -> GraphTracer:
        """Itself: no constant in disguise. (jax 0.10.0 asks that of what it jits.)"""
        return self

    def __float__(self) -> float:
        value = self._array()
        return float(super().__float__() if value is None else value)

    def __complex__(self) -> complex:
        value = self._array()
        return complex(super().__complex__() if value is None else value)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        value = self._array()
        if value is None:
            return super().__array__(*args, **kwargs)
        return np.asarray(value, *args, **kwargs)

    def __format__(self, spec: str) -> str:
        value = self._array()
        return super().__format__(spec) if value is None else format(in_full(value), spec)

    def tolist(self) -> Any:
        value = self._array()
        return super().tolist() if value is None else value.tolist()

    def __repr__(self) -> str:
        """The type, and the value where Python may know it: debuggers show it."""
        shown = f"{type(self).__name__}<{self.aval.str_short()}>"
        value = self.to_concrete_value() if self._trace.known is not None else None
        return shown if value is None else f"{shown}({value})"

    def _origin_msg(self) -> str:
        origin: str = self._trace.describe_origin(self.atom)
        site, _ = find_site(sys._getframe(1))
        return origin if site is None else f"{origin}\nIts value is asked for at {site.location}."

    def _contents(self) -> Sequence[tuple[str, Any]]:
        """What JAX looks through to find whether a derivative by this value may be wanted: it may,
        if it depends on an input that can have one, for nobody knows yet."""
        stand_in = (("tangent", perturbed()),) if self._trace.may_move(self.atom) else ()
        return (("atom", self.atom), *stand_in)

    @property
    def _debug_info(self) -> SimpleNamespace:
        """What JAX's error for a tracer that outlived its trace says of it."""
        where = self._trace.describe_origin(self.atom).strip("\n.")
        return SimpleNamespace(func_src_info=self._trace.name, traced_for=f"covector. {where}")


class RefTracer(GraphTracer):
    """Stands for a mutable array: one that the function has made, or was given."""

    __slots__ = ("cell",)

    def __init__(self, trace: GraphTrace, cell: Cell) -> None:
        self._trace = trace  # type: ignore[misc]  # the slots are the base's
        self.cell = cell
        self.aval = cell.aval

    def get_referent(self) -> Any:
        """What two tracers of one mutable array have in common."""
        return self.cell

    @property
    def atom(self) -> Atom:  # type: ignore[override]  # what it holds now
        return self.cell.read()


register_tracer(GraphTracer)
register_tracer(RefTracer)


def type_of_tracer(x: Any) -> TensorType:
    if is_ref(x):
        return contents_type(x.aval)
    return x.atom.type if x.__class__ is GraphTracer else to_type(x.aval)


def in_full(found: Any) -> Any:
    """A value that is known, computed by now."""
    from .known import forced  # which evaluates graphs, with this file

    return forced(found)


def held_now(ref: Any) -> Any:
    """What is known of what a mutable array holds now: a value, or a way to one."""
    from .known import Later  # which evaluates graphs, with this file

    if ref.__class__ is RefTracer:
        return Later(ref._trace, ref.atom)
    if isinstance(ref, Tracer):
        return None
    with computing_now():
        return ref[...]

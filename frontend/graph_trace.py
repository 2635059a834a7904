"""The trace that records: what JAX asks of one, answered by equations in a builder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..ir.builder import Builder
from ..ir.errors import CovectorError, UsageError
from ..ir.graph import Atom, Graph, Literal, Value
from ..ir.types import TensorType, has_tangent
from .avals import AVALS, to_aval, to_type
from .captures import constant_atom, constant_behind, find_name, identity_of
from .compiler_attributes import attributes_in_force, record_annotated
from .hidden_rules import expands, flat_told, holds_hidden_rule, may_expand
from .importer import rule_for
from .jax_compat import (
    Trace,
    Tracer,
    escaped_tracer_error,
    evaluate,
    evaluates_now,
    perturbed,
    register_tracer,
    set_current_trace,
    source_in_force,
    stage_now,
)
from .locations import (
    Naming,
    Site,
    find_named_site,
    find_site,
    find_user_frame,
    follow_names,
    place_of,
    site_of_traceback,
)
from .no_numbers import FLOAT0, with_float0

if TYPE_CHECKING:
    from .known import KnownValues


_MAY_EXPAND: Final[dict[Any, bool]] = {}


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
        return None if trace.known is None else trace.known.value_of(trace, self.atom)

    def _array(self) -> Any | None:
        """The value, where JAX has an array and not a tracer: in backward rules."""
        known = self._trace.known
        return self.to_concrete_value() if known is not None and known.has_arrays else None

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


register_tracer(GraphTracer)


class GraphTrace(Trace):  # type: ignore[misc]
    """Records operations into `builder`.

    captured: tracers of enclosing traces that the function read, with the values that stand for
    them; `aliases` maps tracers of a trace that is over to values of this one (custom rules are
    traced late, and may have closed over what was being traced then).
    known: where the concrete values of this recording can be had, if Python may ask for them.
    lent: the identities of tracers that rules hold on to, see `leaks`.
    shared: what one recording, with all that is nested in it, traces only once.
    still: the inputs by which nobody can differentiate.
    """

    __slots__ = (
        "_arrays", "_naming", "aliases", "builder", "captured", "finished", "inputs", "known",
        "lent", "name", "shared", "still",
    )  # fmt: skip

    def __init__(self, name: str, outer: GraphTrace | None = None) -> None:
        super().__init__()
        # What JAX would expand comes to us too, see `_expanded`.
        self.requires_low = False  # type: ignore[misc]  # the slots are the base's
        self.name = name
        self.shared: dict[Any, Any] = outer.shared if outer is not None else {}
        self.builder = Builder()
        self.inputs: list[Value] = []
        self.captured: dict[int, tuple[Any, Value]] = {}
        self.aliases: dict[int, Atom] = {}
        self.lent: set[int] = set()
        self.still: set[Value] = set()
        self.finished = False
        self.known: KnownValues | None = None
        self._arrays: dict[int, tuple[Any, Atom]] = {}
        self._naming: Naming | None = None

    # -- what JAX asks of a trace ------------------------------------------------------------------

    def process_primitive(self, primitive: Any, tracers: Any, params: Any, /) -> Any:
        """Record one operation; its outputs as tracers."""
        may = _MAY_EXPAND.get(primitive)
        if may is None:
            may = _MAY_EXPAND[primitive] = may_expand(primitive)
        if may and expands(primitive, tracers, params) and not holds_hidden_rule(params):
            return self._expanded(primitive, tracers, params)
        if evaluates_now(tracers):
            return evaluate(primitive, tracers, params)
        if params.get("new_dtype") == FLOAT0:
            return np.zeros(np.shape(tracers[0]), FLOAT0)
        source = source_in_force()
        traceback = source.traceback
        if traceback is None:
            site, inner = find_site(sys._getframe(1))
        else:
            site, inner = site_of_traceback(traceback), None
        inputs = tuple(
            [
                x.atom if x.__class__ is GraphTracer and x._trace is self else self.atom(x)
                for x in tracers
            ]
        )
        b = self.builder
        b.location = place_of(site, source.name_stack)
        try:
            record = rule_for(primitive)
            attributes = attributes_in_force()
            if attributes:
                outputs = record_annotated(b, record, inputs, params, attributes)
            else:
                outputs = record(b, inputs, params)
        except CovectorError as error:
            if error.location is None:
                error.location = b.location
            raise
        if inner is not None and site is not None and site.names is not None:
            self._name(site, inner, outputs)
        if primitive.multiple_results:
            return with_float0([GraphTracer(self, x) for x in outputs], params)
        return GraphTracer(self, outputs[0])

    def _expanded(self, primitive: Any, operands: Any, params: Any) -> Any:
        """Record the operations that JAX expands this one to, or a function that has its rule."""
        with set_current_trace(self):
            function = flat_told(params["_prim"]) if "_prim" in params else None
            if function is not None:
                return function(*operands)
            return primitive.to_lojax(*operands, **params)

    def stage_value(self, val: Any) -> Any:
        if evaluates_now((val,)):
            return stage_now(val)
        return self.tracer(self.atom(val))

    def process_custom_jvp_call(
        self, _primitive: Any, fun: Any, jvp: Any, tracers: Any, /, *, symbolic_zeros: bool
    ) -> list[Any]:
        from .custom_rules import record_custom_jvp  # which traces rules, with this file

        return record_custom_jvp(self, fun, jvp, tracers, symbolic_zeros)

    def process_custom_vjp_call(
        self,
        _primitive: Any,
        fun: Any,
        fwd: Any,
        bwd: Any,
        tracers: Any,
        /,
        *,
        out_trees: Any,
        symbolic_zeros: bool,
    ) -> list[Any]:
        from .custom_rules import record_custom_vjp

        return record_custom_vjp(self, fun, fwd, bwd, tracers, out_trees, symbolic_zeros)

    def process_shard_map(self, primitive: Any, f: Any, tracers: Any, /, **params: Any) -> Any:
        from .shard_map_rules import record_shard_map

        return record_shard_map(self, primitive, f, tracers, params)

    def cur_qdd(self, x: Any) -> Any:
        """The state of a mutable value. Raises UsageError: none is of a type that is known here."""
        raise UsageError(f"values of type {x.aval} are not supported: only arrays and keys are")

    def process_call(self, _primitive: Any, f: Any, tracers: Any, _params: Any, /) -> Any:
        """A call of a function that JAX has not traced: its body is recorded in place."""
        with set_current_trace(self):
            return f.call_wrapped(*tracers)

    # -- atoms and tracers -------------------------------------------------------------------------

    def tracer(self, atom: Atom) -> GraphTracer:
        return GraphTracer(self, atom)

    def emit(self, primitive: Any, *inputs: Any, **params: Any) -> list[Any]:
        """Record an equation of ours at the user's current line; its outputs as tracers."""
        site, inner = find_site(sys._getframe(1))
        self.builder.location = place_of(site, source_in_force().name_stack)
        outputs = self.builder.emit(primitive, *inputs, **params)
        if site is not None and site.names is not None:
            self._name(site, inner, outputs)
        return [GraphTracer(self, x) for x in outputs]

    def atom(self, x: Any) -> Atom:
        """The atom of an operand: a tracer of this or an enclosing trace, or a concrete value."""
        if isinstance(x, Tracer):
            return x.atom if x._trace is self else self._capture(x)
        if isinstance(x, int | float):
            return constant_atom(self.builder, x)
        key, keeper = identity_of(x)
        known = self._arrays.get(key)
        if known is not None:
            return known[1]
        made = constant_atom(self.builder, x)
        if made.__class__ is Value:
            constant = constant_behind(self.builder, made)
            if constant is not None and made.name is None:
                name = find_name(keeper, find_user_frame(sys._getframe(1)))
                constant.name = made.name = name
            self._arrays[key] = (keeper, made)
        return made

    def _capture(self, x: Any) -> Atom:
        """The input that stands for a tracer of an enclosing trace."""
        alias = self.aliases.get(id(x))
        if alias is not None:
            return alias
        if x.__class__ is GraphTracer and x._trace.finished:
            raise escaped_tracer_error(x)
        known = self.captured.get(id(x))
        if known is None:
            name = x.atom.name if x.__class__ is GraphTracer else None
            if name is None:
                name = find_name(x, find_user_frame(sys._getframe(1)), default=None)
            known = self.captured[id(x)] = (x, Value(type_of_tracer(x), name))
        return known[1]

    def may_move(self, atom: Atom) -> bool:
        """Whether a derivative by this atom may be wanted, now or later."""
        stack, seen = [atom], set()
        while stack:
            x = stack.pop()
            if x in seen or x in self.still or not has_tangent(x.type) or isinstance(x, Literal):
                continue
            seen.add(x)
            made = self.builder.definition(x)
            if made is None:
                return True
            stack += made.inputs
        return False

    # -- names -------------------------------------------------------------------------------------

    def _name(self, site: Site, inner: FrameType | None, outputs: tuple[Any, ...]) -> None:
        """Note the outputs of an operation whose expression is assigned or returned."""
        place, inner = find_named_site(site, inner)
        if place is not site and len(place.names or ()) not in (1, len(outputs)):
            return  # which of several targets a function's last operation belongs to, nobody knows
        site = place
        naming = self._naming
        if naming is not None:
            if naming.frame is inner and naming.site is site:
                naming.operations.append(outputs)
                return
            naming.apply()
        self._naming = Naming(site, inner, [outputs])
        follow_names(site, inner, outputs)

    def finish(self, outputs: Sequence[Any]) -> Graph:
        """Close the graph."""
        atoms = [self.atom(x) for x in outputs]
        if self._naming is not None:
            self._naming.apply()
            self._naming = None
        self.finished = True
        inputs = (*(value for _, value in self.captured.values()), *self.inputs)
        return Graph(inputs, self.builder.equations, atoms, self.name)

    # -- errors ------------------------------------------------------------------------------------

    def describe_origin(self, atom: Atom) -> str:
        """Where an atom came from, for JAX's errors about values that are not known yet."""
        where = f" while recording {self.name}"
        if atom in self.inputs:
            name = getattr(atom, "name", None)
            return f"\nIt is {f'the input {name}' if name else 'an input'}{where}."
        made = self.builder.definition(atom)
        if made is None:
            return f"\nIt was met{where}."
        at = f" at {made.location}" if made.location is not None else ""
        named = [v.name for v in self._inputs_behind(atom) if v.name]
        inputs = f", and depends on {' and '.join(named)}" if named else ""
        return f"\nIt was made by {made.primitive.name}{at}{where}{inputs}."

    def _inputs_behind(self, atom: Atom) -> list[Value]:
        """The inputs that an atom depends on."""
        needed = {atom}
        for eqn in reversed(self.builder.equations):
            if not needed.isdisjoint(eqn.outputs):
                needed.update(eqn.inputs)
        return [v for v in self.inputs if v in needed]


def type_of_tracer(x: Any) -> TensorType:
    return x.atom.type if x.__class__ is GraphTracer else to_type(x.aval)

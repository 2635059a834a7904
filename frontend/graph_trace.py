"""The trace that records: what JAX asks of one, answered by equations in a builder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np

from ..ir.builder import Builder
from ..ir.errors import CovectorError, UsageError
from ..ir.graph import Atom, Graph, Literal, Value
from ..ir.types import has_tangent
from .captures import constant_atom, constant_behind, find_name, identity_of
from .carried import Carried, carried_by
from .cells import Cell, contents_type, is_ref, ref_aval
from .compiler_attributes import record_in_context
from .flat_functions import Shared
from .hidden_rules import expands, flat_told, holds_hidden_rule, may_expand
from .importer import WITH_CELLS, outer_refs, rule_for
from .jax_compat import (
    Trace,
    Tracer,
    escaped_tracer_error,
    evaluate,
    evaluates_now,
    set_current_trace,
    source_in_force,
    stage_now,
)
from .jax_primitives import BORROWERS
from .lent import lend_values
from .locations import (
    Naming,
    Site,
    collected_names,
    find_named_site,
    find_site,
    find_user_frame,
    place_of,
    site_of_traceback,
)
from .no_numbers import FLOAT0, with_float0
from .tracers import GraphTracer, RefTracer, held_now, type_of_tracer

if TYPE_CHECKING:
    from .known import KnownValues
    from .moving import Moving

__all__ = ["GraphTrace", "GraphTracer", "RefTracer", "type_of_tracer"]

_MAY_EXPAND: Final[dict[Any, bool]] = {}


class GraphTrace(Trace):  # type: ignore[misc]
    """Records operations into `builder`.

    captured: tracers of enclosing traces that the function read, with the values that stand for
    them; `aliases` maps tracers of a trace that is over to values of this one (custom rules are
    traced late, and may have closed over what was being traced then).
    known: where the concrete values of this recording can be had, if Python may ask for them.
    lent: the identities of tracers that rules hold on to, see `leaks`.
    moving: which values are being differentiated, if Python may see which functions run.
    shared: what one recording traces once, with what is nested in it, and its rules meanwhile.
    still: the inputs by which nobody can differentiate.
    eager: whether in JAX the operations would be run one by one, nothing being jitted.
    refs: mutable arrays that were not made here, with `cells` that stand for them; `carries` says
    that they have second values where these are asked for (carried).
    """

    __slots__ = (
        "_arrays", "_collected", "_naming", "aliases", "builder", "captured", "carries", "cells",
        "eager", "finished", "inputs", "known", "lent", "moving", "name", "refs", "shared", "still",
    )  # fmt: skip

    def __init__(self, name: str, outer: GraphTrace | None = None) -> None:
        super().__init__()
        # What JAX would expand comes to us too, see `_expanded`.
        self.requires_low = False  # type: ignore[misc]  # the slots are the base's
        self.name = name
        self.shared: Shared = outer.shared if outer is not None else Shared()
        self.builder = Builder()
        self.inputs: list[Value] = []
        self.captured: dict[int, tuple[Any, Value]] = {}
        self.aliases: dict[int, Atom] = {}
        self.cells: dict[int, Cell] = {}
        self.refs: dict[int, Any] = {}
        self.lent: set[int] = set()
        self.still: set[Value] = set()
        self.finished = self.carries = self.eager = False
        self.known: KnownValues | None = None
        self.moving: Moving | None = None
        self._arrays: dict[int, tuple[Any, Atom]] = {}
        self._naming: Naming | None = None
        self._collected = collected_names()

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
                x.atom if x.__class__ is GraphTracer and x._trace is self else self.operand(x)
                for x in tracers
            ]
        )
        if primitive.name in WITH_CELLS:
            inputs = (*map(self.operand, outer_refs(primitive.name, params)), *inputs)
        b = self.builder
        b.location = place_of(site, source.name_stack)
        try:
            record, given = rule_for(primitive), params
            if primitive.name in BORROWERS:
                inputs, given = lend_values(self, primitive.name, inputs, params)
            outputs = record_in_context(b, record, inputs, given)
        except CovectorError as error:
            if error.location is None:
                error.location = b.location
            raise
        if inner is not None and site is not None:
            if self._collected is not None:
                self._collected.see(inner.f_back)
            if site.names is not None:
                self._name(site, inner, outputs)
        if primitive.multiple_results:
            return with_float0([self.tracer(x) for x in outputs], params)
        return self.tracer(outputs[0])

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

    def tracer(self, atom: Any) -> GraphTracer:
        if atom.__class__ is not Cell:
            return GraphTracer(self, atom)
        atom.origin = f"was created on line {self.builder.location}"
        return RefTracer(self, atom)

    def operand(self, x: Any) -> Any:
        """The atom of an operand; of a mutable array its cell."""
        if x.__class__ is RefTracer and x._trace is self:
            return x.cell
        return self._outer_cell(x) if is_ref(x) else self.atom(x)

    def _outer_cell(self, ref: Any) -> Cell:
        """The cell of a mutable array that was not made in this recording."""
        found = self.cells.get(id(ref))
        if found is not None:
            found.is_closed_over = True
        else:
            type = contents_type(ref.aval)
            value = self.aliases.get(id(ref))
            if value is None:
                value = Value(type, find_name(ref, find_user_frame(sys._getframe(1)), default=None))
                self.captured[id(ref)] = ref, value
                if self.known is not None:
                    self.known.note(value, held_now(ref))
            found = self._add_cell(ref, Cell(value, ref.aval, type))
            found.is_closed_over = True
        return found

    def _add_cell(self, ref: Any, cell: Cell) -> Cell:
        """Note the cell of a mutable array that was not made here."""
        self.cells[id(ref)], self.refs[id(ref)] = cell, ref
        if self.carries:
            cell.carry = lambda cell: self._carried(ref, cell)
        return cell

    def _carried(self, ref: Any, cell: Cell) -> Cell:
        """The second value of a mutable array: one more that is captured, and left changed."""
        carried = Carried(ref, cell.type)
        value = Value(cell.type)
        self.captured[id(carried)] = carried, value
        self.refs[id(carried)] = carried
        second = self.cells[id(carried)] = Cell(value, cell.aval, cell.type)
        return second

    def seconds(self, operands: Sequence[Any]) -> list[Any]:
        """The operands of a function's program, with the second values that mutable arrays have
        here."""
        found = []
        for x in operands:
            second = carried_by(self.operand(x.ref)) if x.__class__ is Carried else None
            found.append(x if second is None else GraphTracer(self, second.read()))
        return found

    def leave_seconds(self, written: Sequence[Any], values: Sequence[Any]) -> None:
        """Note those among what a function wrote."""
        for x, value in zip(written, values, strict=True):
            second = carried_by(self.operand(x.ref)) if x.__class__ is Carried else None
            if second is not None:
                second.write(self.builder, self.atom(value))

    def take_ref(self, value: Value, ref: Any) -> RefTracer:
        """The tracer of an argument that is a mutable array, which holds `value` at first."""
        cell = self.cells.get(id(ref))
        if cell is None:
            cell = self._add_cell(ref, Cell(value, ref_aval(value.type, ref), value.type))
            cell.is_argument = True
            cell.origin = f"was passed in as the argument {value.name}"
        return RefTracer(self, cell)

    def emit(self, primitive: Any, *inputs: Any, **params: Any) -> list[Any]:
        """Record an equation of ours at the user's current line; its outputs as tracers."""
        site, inner = find_site(sys._getframe(1))
        self.builder.location = place_of(site, source_in_force().name_stack)
        outputs = self.builder.emit(primitive, *inputs, **params)
        if site is not None and site.names is not None:
            self._name(site, inner, outputs)
        return [GraphTracer(self, x) for x in outputs]

    def atom(self, x: Any, is_users: bool = True) -> Atom:
        """The atom of a traced or concrete value; a user's variable may name it if `is_users`."""
        if isinstance(x, Tracer):
            if x._trace is self:
                atom: Atom = x.atom
                return atom
            return self._outer_cell(x).read() if is_ref(x) else self._capture(x, is_users)
        if isinstance(x, int | float):
            return constant_atom(self.builder, x)
        if x.__class__ is jax.Ref:
            return self._outer_cell(x).read()
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

    def note_array(self, x: Any, atom: Atom) -> None:
        """Let an input stand for an array that the function is given as it is."""
        is_narrowed = isinstance(x, np.ndarray) and x.dtype != atom.type.dtype
        if isinstance(x, (np.ndarray, jax.Array)) and not is_narrowed:
            key, keeper = identity_of(x)
            self._arrays[key] = keeper, atom

    def _capture(self, x: Any, is_users: bool) -> Atom:
        """The input that stands for a tracer of an enclosing trace, called as the user calls it."""
        alias = self.aliases.get(id(x))
        if alias is not None:
            return alias
        if x.__class__ is GraphTracer and x._trace.finished:
            raise escaped_tracer_error(x)
        known = self.captured.get(id(x))
        if known is None:
            name = x.atom.name if x.__class__ is GraphTracer else None
            if name is None and is_users:
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
            if made is None and self._input_may_move(x):
                return True
            if made is not None and made.primitive.not_differentiable is None:
                stack += made.inputs
        return False

    def _input_may_move(self, value: Value) -> bool:
        outer = next((x for x, v in self.captured.values() if v is value), None)
        return outer.__class__ is not GraphTracer or bool(outer._trace.may_move(outer.atom))

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
                if self._collected is not None and inner is not None:
                    self._collected.calls.update(dict.fromkeys(outputs, inner.f_back))
                return
            naming.apply()
        self._naming = Naming(site, inner, [outputs])
        if self._collected is not None:
            self._collected.follow(site, inner, outputs)

    def finish(self, outputs: Sequence[Any]) -> Graph:
        """Close the graph. After the outputs comes what `written` mutable arrays hold."""
        atoms = [self.atom(x) for x in outputs]
        atoms += [self.cells[id(ref)].atom for ref in self.written()]
        if self._naming is not None:
            self._naming.apply()
            self._naming = None
        self.finished = True
        inputs = (*(value for _, value in self.captured.values()), *self.inputs)
        return Graph(inputs, self.builder.equations, atoms, self.name)

    def written(self) -> list[Any]:
        """The mutable arrays that were not made here and hold something else now."""
        return [ref for key, ref in self.refs.items() if self.cells[key].is_written]

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

"""Reverse mode in two walks over a program.

Forward, the primal equations are kept, and beside each what its linear half will read. Backward, in
reverse, the cotangents of outputs become those of inputs. It is what linearize and transpose make
of the program, equation by equation: of those that have a kind by its pull-back (see `pullback`),
of all others (regions, effects, a user's rules) by linearize and transpose themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir.builder import Builder, Operand, Zero
from ..ir.errors import CovectorError
from ..ir.graph import Equation, Graph, LinearOrigin, Value
from ..ir.types import has_tangent
from .apart import take_apart
from .dce import remove_dead
from .jvp import tangent_name
from .linearize import joint
from .pullback import Backward, CotangentTypes, Pullback, find_pullback
from .transpose import collect, locate, pull

Saved = tuple[Equation, Pullback, list[Any]]


class Tape:
    """One program on its way forward and back.

    b: the builder of the derivative program.
    holders: for each value with a tangent, under what its cotangents are collected: itself, a
      tangent that a rule has made, or the holder of an operand with the same tangent.
    tangents: the tangents of holders that are values of the program, where rules have read them;
      `held` has the holders by tangent.
    linear: all values that depend on tangents.
    entries: of each equation that takes tangents on, what leads back: its linear equations, or what
      was saved for its pull-back.
    repeated: what is computed between the walks: primals that are not kept, but made again.
    is_pruned: whether what equations with regions read may have become less.
    """

    def __init__(self, graph: Graph, active: Sequence[bool], out_cts: Sequence[Operand]) -> None:
        self.b = Builder()
        self.program = graph
        self.out_cts = out_cts
        self.holders: dict[Any, Value] = {}
        self.tangents: dict[Value, Value] = {}
        self.held: dict[Any, Value] = {}
        self.linear: set[Any] = set()
        self.cts: dict[Any, list[Any]] = {}
        self.entries: list[Saved | Equation] = []
        self.repeated: list[Equation] = []
        self.is_pruned = False
        self.inputs = [
            v for v, flag in zip(graph.inputs, active, strict=True) if flag and has_tangent(v.type)
        ]
        for value in self.inputs:
            self.holders[value] = value

    # -- forward ---------------------------------------------------------------------------------

    def forward(self) -> None:
        """Keep the primal equations that outputs need, and make what leads back."""
        needed, wanted = self._reached()
        holders, b = self.holders, self.b
        for eqn in self.program.equations:
            if needed.isdisjoint(eqn.outputs) and not eqn.effects:
                continue
            for x in eqn.inputs:
                if x in holders:
                    self._enter(eqn, needed, wanted)
                    break
            else:
                b.derive("jvp", eqn)
                b.append(eqn)

    def _reached(self) -> tuple[set[Any], set[Any]]:
        """The values that outputs or effects need, and those that cotangents can reach."""
        needed: set[Any] = set(self.program.outputs)
        pairs = zip(self.program.outputs, self.out_cts, strict=True)
        wanted = {v for v, ct in pairs if ct.__class__ is not Zero}
        for eqn in reversed(self.program.equations):
            is_wanted = not wanted.isdisjoint(eqn.outputs)
            if is_wanted and eqn.primitive.not_differentiable is None:
                wanted.update(eqn.inputs)
                needed.update(eqn.inputs)
            elif is_wanted or not needed.isdisjoint(eqn.outputs) or eqn.effects:
                needed.update(eqn.inputs)
        return needed, wanted

    def _enter(self, eqn: Equation, needed: set[Any], wanted: set[Any]) -> None:
        """Append an equation that reads values with tangents."""
        holders, b = self.holders, self.b
        pullback = find_pullback(b, eqn, holders, needed, wanted)
        if pullback is None:
            self._enter_alone(eqn, needed, wanted)
            return
        b.derive("jvp", eqn)
        if not pullback.restates:
            b.append(eqn)
        leads_back = pullback.last is not None and not wanted.isdisjoint(eqn.outputs)
        if leads_back or pullback.restates:
            self.entries.append((eqn, pullback, pullback.save(b, eqn)))
        if pullback.is_simple:
            y = eqn.outputs[0]
            holders[y] = y
            return
        for y, type, shared in zip(eqn.outputs, pullback.tangents, pullback.shared, strict=True):
            if shared is not None:
                holders[y] = holders[eqn.inputs[shared]]
            elif type is not None:
                holders[y] = y if type is y.type else Value(type, tangent_name(y.name))

    # -- equations that are derived on their own -------------------------------------------------

    def _enter_alone(self, eqn: Equation, needed: set[Any], wanted: set[Any]) -> None:
        """Push tangents through an equation, drop those that are not wanted, and take what is left
        apart."""
        self.is_pruned = True
        linear = self.linear
        dxs = [self._tangent(x) for x in eqn.inputs]
        unknown, dys = take_apart(self.b, eqn, dxs, needed, wanted, linear)
        if not linear.isdisjoint(eqn.outputs):
            raise joint(self.program)
        for new in unknown:
            made = self.repeated if linear.isdisjoint(new.inputs) else self.entries
            made.append(new)
        for y, dy in zip(eqn.outputs, dys, strict=True):
            if dy is not None:
                self.holders[y] = self.held.get(dy, dy)
                if dy is not y:
                    dy.name = dy.name or tangent_name(y.name)

    def _tangent(self, x: Any) -> Operand:
        """The tangent of an operand, as a value that rules can read. It shares its cotangents with
        the value of the program that holds them."""
        holder = self.holders.get(x)
        if holder is None:
            return Zero(x.type)
        if holder in self.linear:
            return holder
        tangent = self.tangents.get(holder)
        if tangent is None:
            tangent = self.tangents[holder] = Value(holder.type, tangent_name(holder.name))
            self.held[tangent] = holder
            self.linear.add(tangent)
            self.cts[tangent] = self.cts.setdefault(holder, [])
        return tangent

    # -- backward --------------------------------------------------------------------------------

    def backward(self) -> list[Operand]:
        """Make the equations that lead back; the cotangents of the active inputs."""
        holders, cts = self.holders, self.cts
        for y, ct in zip(self.program.outputs, self.out_cts, strict=True):
            if y in holders and ct.__class__ is not Zero:
                cts.setdefault(holders[y], []).append(ct)
        for eqn in self.repeated:
            self.b.append(eqn)
        for entry in reversed(self.entries):
            if isinstance(entry, Equation):
                pull(self.b, entry, cts, self.linear)
            else:
                self._go_back(*entry)
        return [self._collect(v) for v in self.inputs]

    def _go_back(self, eqn: Equation, pullback: Pullback, values: list[Any]) -> None:
        """Make the equations that lead back from an equation with a kind."""
        cts, holders, b = self.cts, self.holders, self.b
        if pullback.is_simple:
            y = eqn.outputs[0]
            terms = cts.pop(y, None)
            if not terms:
                return
            ct = terms[0]
            if len(terms) > 1:
                self._derive(eqn, pullback)
                ct = b.sum_of(terms, y.type)
            if ct.__class__ is Value and ct.name is None and y.name is not None:
                ct.name = f"ct_{y.name}"
            values.append(ct)
            backward = pullback.only if ct.type is y.type else None
            backward = backward or self._steps_back(eqn, pullback, (ct.type,))
        else:
            self._derive(eqn, pullback)
            out_cts = self._cotangents(eqn, pullback)
            if not any(out_cts):
                return
            values += out_cts
            types = tuple([ct and ct.type for ct in out_cts])
            backward = self._steps_back(eqn, pullback, types)
        backward.run(b, eqn, values)
        inputs = eqn.inputs
        for i, at in backward.terms:
            holder = holders[inputs[i]]
            terms = cts.get(holder)
            if terms is None:
                cts[holder] = [values[at]]
            else:
                terms.append(values[at])

    def _derive(self, eqn: Equation, pullback: Pullback) -> None:
        """What is emitted next leads back to the outputs of an equation."""
        self.b.location = eqn.location
        self.b.origin = LinearOrigin(pullback.last or eqn, eqn)

    def _steps_back(self, eqn: Equation, pullback: Pullback, types: CotangentTypes) -> Backward:
        try:
            return pullback.backward(types)
        except CovectorError as error:
            locate(error, eqn)
            raise

    def _cotangents(self, eqn: Equation, pullback: Pullback) -> list[Any]:
        """The cotangents of the outputs that have tangents of their own; None for others."""
        found: list[Any] = []
        for y, type, shared in zip(eqn.outputs, pullback.tangents, pullback.shared, strict=True):
            ct = self._collect(y) if type is not None and shared is None else None
            found.append(None if ct.__class__ is Zero else ct)
        return found

    def _collect(self, y: Value) -> Operand:
        """The whole cotangent of a value of the program."""
        holder = self.holders[y]
        if holder in self.linear:
            return collect(self.b, holder, self.cts)
        terms = self.cts.pop(holder, None)
        if not terms:
            return Zero(holder.type)
        ct = terms[0] if len(terms) == 1 else self.b.sum_of(terms, holder.type)
        if ct.__class__ is Value and ct.name is None and y.name is not None:
            ct.name = f"ct_{y.name}"
        return ct

    def graph_of(self, inputs: Sequence[Value], outputs: Sequence[Operand], name: str) -> Graph:
        """The derivative program with these inputs and outputs."""
        made = self.b.graph(inputs, outputs, name)
        return remove_dead(made) if self.is_pruned else made

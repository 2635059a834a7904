"""Pull-backs of single equations, derived once for each kind of equation.

Reverse mode through one equation is linearize and transpose of a program that has nothing else: a
few equations beside the primal (what the linear half will read) and a few that take the cotangents
of its outputs to those of its operands. They depend on the primitive, its parameters and the types
of its operands alone, so that they are derived for the first equation of a kind and made again for
the others.

    y = sin x        beside it  c = cos x        backward  ct_x = mul ct_y c

Equations with regions, effects or rules of a user's have no kind: each is derived on its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..ir.builder import Builder, Zero
from ..ir.errors import CovectorError
from ..ir.graph import Equation, Graph, LinearOrigin, Literal, Thunk, Value
from ..ir.memo import room_to_nest
from ..ir.ops.call import call, checkpoint, custom_jvp_call
from ..ir.types import TensorType
from .apart import take_apart
from .kinds import OncePerKind, complete_kind, first_places, has_kinds, moving_kind
from .replay import Recorder, Step, literals_of, replay
from .tables import reads_uniforms
from .transpose import pull

CotangentTypes = tuple[TensorType | None, ...]
"""The type of the cotangent of each output, None where there is none."""


class Backward:
    """From the cotangents of some outputs of an equation to those of its operands.

    parts: equations of the linear half, last first, with the steps that transpose each.
    terms: positions of operands, each with that of a cotangent of it.
    """

    __slots__ = ("literals", "parts", "terms")

    def __init__(
        self,
        parts: Sequence[tuple[Equation, tuple[Step, ...]]],
        literals: Sequence[Literal],
        terms: Sequence[tuple[int, int]],
    ) -> None:
        self.parts = tuple([(eqn, steps) for eqn, steps in parts if steps])
        self.literals = tuple(literals)
        self.terms = tuple(terms)

    def run(self, b: Builder, eqn: Equation, values: list[Any]) -> None:
        """Make the backward equations of `eqn`, given what was saved for it, then the cotangents of
        its outputs; what they make is added to the values, where `terms` finds it."""
        values += self.literals
        b.location = eqn.location
        for linear, steps in self.parts:
            b.origin = LinearOrigin(linear, eqn)
            replay(b, steps, values)


class Pullback:
    """What the equations of one kind have in common.

    beside: the steps that make what the linear half reads; where the primal is restated, the
      primal outputs too.
    tangents: the type of each output's tangent, None where it has none.
    shared: of each output whose tangent is an operand's own, the position of that operand.
    last: the linear equation that cotangents of the outputs reach first.
    is_simple: whether there is one output, with a tangent of its own and the output's type.
    only: then the steps back from a cotangent of that type, once they are known.
    """

    __slots__ = (
        "_after", "_backward", "_literals", "_model", "beside", "is_simple", "last", "only",
        "restates", "shared", "tangents",
    )  # fmt: skip

    def __init__(self, eqn: Equation, model: _Model) -> None:
        self.restates = eqn.primitive.has_regions and bool(model.known)
        beside = model.known if self.restates else model.known[1:]
        self._literals = tuple(literals_of(beside))
        self._after = Recorder((*eqn.inputs, *eqn.outputs, *self._literals))
        self.beside = tuple([self._after.step(made) for made in beside])
        self._model = model
        self.last = model.unknown[-1] if model.unknown else None
        self.tangents = tuple([None if t is None else t.type for t in model.tangents])
        self.shared = tuple([model.operands.get(t) for t in model.tangents])
        types = tuple([y.type for y in eqn.outputs])
        self.is_simple = self.tangents == types and self.shared == (None,)
        self.only: Backward | None = None
        self._backward: dict[CotangentTypes, Backward] = {}

    def save(self, b: Builder, eqn: Equation) -> list[Any]:
        """Make what the linear half reads; all that the backward steps start from."""
        values = [*eqn.inputs, *eqn.outputs, *self._literals]
        if self.beside:
            replay(b, self.beside, values)
        return values

    def holds(self, thing: Any) -> bool:
        """Whether steps hold this graph or rule: it would be kept by what is kept with it."""
        equations = (*self._model.known, *self._model.unknown)
        return any([value is thing for eqn in equations for value in eqn.params.values()])

    def backward(self, types: CotangentTypes) -> Backward:
        """The steps back from cotangents of these types, which may be as weak as others are than
        the tangents."""
        found = self._backward.get(types)
        if found is None:
            found = self._backward[types] = self._model.transposed(self._after, types)
            if self.is_simple and types == self.tangents:
                self.only = found
        return found


class _Model:
    """The first equation of a kind, on values of its own, taken apart.

    operands: the position of the operand that each tangent is of. tangents: those of the outputs,
    None where there is none.
    """

    def __init__(
        self,
        known: list[Equation],
        unknown: list[Equation],
        operands: dict[Any, int],
        tangents: Sequence[Any],
    ) -> None:
        self.known = [bare(eqn) for eqn in known]
        self.unknown = [bare(eqn) for eqn in unknown]
        self.operands = operands
        self.tangents = tangents

    def transposed(self, after: Recorder, types: CotangentTypes) -> Backward:
        """Transpose the linear equations for cotangents of the outputs of these types."""
        b = Builder()
        for eqn in self.known:
            b.append(eqn)
        linear = {*self.operands, *(y for eqn in self.unknown for y in eqn.outputs)}
        cts: dict[Any, list[Any]] = {}
        out_cts = []
        for tangent, type in zip(self.tangents, types, strict=True):
            ct = None if type is None else Value(type)
            out_cts.append(ct)
            if ct is not None:
                cts.setdefault(tangent, []).append(ct)
        parts = []
        for eqn in reversed(self.unknown):
            before = len(b.equations)
            pull(b, eqn, cts, linear)
            parts.append((eqn, b.equations[before:]))
        terms = [(i, ct) for dx, i in self.operands.items() for ct in cts.get(dx, ())]
        literals = literals_of([e for _, made in parts for e in made], [ct for _, ct in terms])
        recorder = after.copy()
        recorder.enter(out_cts)
        recorder.enter(literals)
        steps = [(eqn, tuple([recorder.step(e) for e in made])) for eqn, made in parts]
        return Backward(steps, literals, [(i, recorder.position[ct]) for i, ct in terms])


def bare(eqn: Equation) -> Equation:
    """An equation that does not remember what it was derived from: a call, and with it the graph
    that this is kept with."""
    return eqn.replace(origin=None)


_PULLBACKS: Final[OncePerKind[Pullback | None]] = OncePerKind()


def find_pullback(
    b: Builder,
    eqn: Equation,
    holders: Mapping[Any, Value],
    needed: set[Any],
    wanted: set[Any],
) -> Pullback | None:
    """The pull-back of all equations of this kind, where the operands among `holders` have
    tangents of the types of their holders. None if the equation has to be derived on its own.

    Of calls and checkpoints, those are of a kind that have one graph, or one rule, of whose outputs
    the same are needed, and have wanted tangents: what they have in common is kept with the graph
    or rule.
    """
    keeper = _KEEPERS.get(eqn.primitive)
    if keeper is not None:
        return _find_call(eqn, eqn.params[keeper], holders, needed, wanted)
    if not has_kinds(eqn.primitive):
        return None
    if eqn.primitive in reads_uniforms and not b.uniforms.keys().isdisjoint(eqn.inputs):
        return None
    operands = moving_kind(eqn, holders)
    if operands is None:
        return None
    if len(eqn.outputs) > 1:
        operands += [y in wanted for y in eqn.outputs]
    kind = complete_kind([eqn.primitive, *operands], eqn)
    found = _PULLBACKS.get(kind, _PULLBACKS)
    if found is _PULLBACKS:
        outputs = {*eqn.outputs}
        read = outputs if len(outputs) == 1 else wanted
        found = _PULLBACKS.keep(kind, _derive(eqn, holders, outputs, read))
    return found  # type: ignore[return-value]  # _PULLBACKS stands for what is not there


_KEEPERS: Final = {call: "graph", checkpoint: "graph", custom_jvp_call: "jvp"}
"""The parameter with which it is kept what calls have in common."""


def _find_call(
    eqn: Equation,
    keeper: Graph | Thunk,
    holders: Mapping[Any, Value],
    needed: set[Any],
    wanted: set[Any],
) -> Pullback | None:
    operands = None if eqn.effects else moving_kind(eqn, holders)
    if operands is None:
        return None
    flags = [y in outputs for outputs in (needed, wanted) for y in eqn.outputs]
    params = [value for value in eqn.params.values() if value is not keeper]
    key = ("pullback", *params, *flags, *operands, *first_places(eqn.inputs))
    if key in keeper.derived:
        made: Pullback | None = keeper.derived[key]
        return made
    with room_to_nest(eqn.params["graph"]):
        found = _derive(eqn, holders, needed, wanted)
    if found is not None and found.holds(keeper):
        found = None
    keeper.derived[key] = found
    return found


def _derive(
    eqn: Equation, holders: Mapping[Any, Value], needed: set[Any], wanted: set[Any]
) -> Pullback | None:
    """None where something is wrong with the rules: whoever derives the equation itself will say
    what, and at which line."""
    keeps_literals = eqn.primitive in reads_uniforms
    own: dict[Any, Any] = {
        x: x if keeps_literals and x.__class__ is Literal else Value(x.type) for x in eqn.inputs
    }
    outputs = tuple([Value(y.type) for y in eqn.outputs])
    inputs = tuple([own[x] for x in eqn.inputs])
    model = Equation(eqn.primitive, inputs, outputs, eqn.params)
    moving = {own[x]: Value(x.type) for x in eqn.inputs if x in holders}
    dxs = [moving.get(x) or Zero(x.type) for x in inputs]
    linear: set[Any] = {*moving.values()}
    of_model = dict(zip(eqn.outputs, outputs, strict=True))
    b = Builder()
    try:
        unknown, tangents = take_apart(
            b,
            model,
            dxs,
            {of_model[y] for y in eqn.outputs if y in needed},
            {of_model[y] for y in eqn.outputs if y in wanted},
            linear,
        )
    except CovectorError:
        return None
    if not linear.isdisjoint(outputs) or any([linear.isdisjoint(e.inputs) for e in unknown]):
        return None
    known = b.equations
    if not unknown and [made.params for made in known] == [eqn.params]:
        known = []  # nothing has a tangent: the equation stays as it is
    places = dict(zip(inputs, first_places(inputs), strict=True))
    operands = {dx: places[x] for x, dx in moving.items()}
    return Pullback(model, _Model(known, unknown, operands, tangents))

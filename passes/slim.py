"""Slim: the primal half of a program hands less to the linear half.

    h = tanh a; d = 1 - h*h (residuals h, d)        |  d dx
=>
    h = tanh a (residual h)                         |  d = 1 - h*h; d dx

What is saved is chosen anew, as a minimum cut of bytes: of the values of the primal half, those
from which operations that cost next to nothing give all that the linear half reads. It is for
halves that are apart, whose residuals are arrays in memory; in one program compilers decide that.

Law: the same outputs, and the same linear map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..ir.builder import Builder
from ..ir.graph import Atom, Equation, Graph, Thunk, Value, memoised
from .dce import remove_dead
from .handed_on import is_cheap
from .inline import inline_graph, written_out_within
from .min_cut import cheapest_cut

WORTH: Final = 1 << 16
"""Bytes from which on two halves are changed: small ones are run sooner as they are."""

WRITTEN_OUT: Final = 1000
"""Equations up to which what the primal half calls is written out, to choose among its values."""

Halves = tuple[Graph, Graph] | tuple[()]


def slimmed(primal: Graph, linear: Graph, least: int = WORTH) -> tuple[Graph, Graph]:
    """primal  x -> y, residuals;  linear  residuals | dx -> dy: the same with fewer bytes of
    residuals, if that saves `least` at least."""
    n_residuals = linear.linear_from or 0
    if not n_residuals or nbytes(primal.outputs[-n_residuals:]) < least:
        return primal, linear
    made: Halves = memoised(linear, ("slim", least), lambda: _Slimming(primal, linear).build(least))
    return made or (primal, linear)


def nbytes(atoms: Sequence[Atom]) -> int:
    """What arrays take, each counted once; constants of the program take nothing."""
    return sum(x.type.nbytes for x in dict.fromkeys(atoms) if isinstance(x, Value))


class _Slimming:
    """wanted: what the linear half reads, by its inputs; those that operations make out of others
    for next to nothing may be computed there."""

    def __init__(self, primal: Graph, linear: Graph) -> None:
        primal = inline_graph(primal, written_out_within(primal, WRITTEN_OUT))
        self.primal, self.linear = primal, linear
        self.n_residuals = linear.linear_from or 0
        self.n_outputs = len(primal.outputs) - self.n_residuals
        self.wanted: tuple[Atom, ...] = primal.outputs[self.n_outputs :]
        self.makers: dict[Atom, Equation] = {v: e for e in primal.equations for v in e.outputs}

    def build(self, least: int) -> Halves:
        """The new halves; nothing where the old ones stay."""
        primal = self.primal
        if not any(self._reads(x) is not None for x in self.wanted) or self._asks():
            return ()
        saved = self._saved()
        if nbytes(self.wanted) - nbytes(saved) < max(least, 1):
            return ()
        outputs = (*primal.outputs[: self.n_outputs], *saved)
        slim = Graph(primal.inputs, primal.equations, outputs, primal.name)
        return remove_dead(slim), self._linear(saved)

    def _asks(self) -> bool:
        """Whether a rule that is still Python may want to see what it is given."""
        return any(isinstance(e.params.get("bwd"), Thunk) for e in self.linear.equations)

    def _reads(self, x: Atom) -> list[Value] | None:
        """What a value can be computed from for next to nothing; None for what can't."""
        maker = self.makers.get(x)
        if maker is None or not is_cheap(maker):
            return None
        return [y for y in maker.inputs if isinstance(y, Value)]

    def _saved(self) -> list[Value]:
        """The values that take the least memory, and that all that is wanted can be had from."""
        number: dict[Value, int] = {}
        stack = [x for x in dict.fromkeys(self.wanted) if isinstance(x, Value)]
        reads: dict[Value, list[Value] | None] = {}
        while stack:
            v = stack.pop()
            if v not in number:
                number[v] = len(number)
                reads[v] = self._reads(v)
                stack.extend(reads[v] or ())
        cut = cheapest_cut(
            [v.type.nbytes for v in number],
            [None if (r := reads[v]) is None else [number[x] for x in r] for v in number],
            [number[x] for x in dict.fromkeys(self.wanted) if isinstance(x, Value)],
        )
        values = list(number)
        return [values[k] for k in cut]

    def _linear(self, saved: list[Value]) -> Graph:
        b, old = Builder(), self.linear
        env: dict[Any, Any] = {v: Value(v.type, v.name) for v in saved}
        inputs = list(env.values())
        for eqn in self._again(set(saved)):
            copy = eqn.replace(
                inputs=tuple([env.get(x, x) for x in eqn.inputs]),
                outputs=tuple([Value(v.type, v.name) for v in eqn.outputs]),
            )
            env.update(zip(eqn.outputs, copy.outputs, strict=True))
            b.append(copy)
        known = [env.get(x, x) for x in self.wanted]
        tangents = [Value(v.type, v.name) for v in old.inputs[self.n_residuals :]]
        outputs = b.inline(old, [*known, *tangents])
        return Graph([*inputs, *tangents], b.equations, outputs, old.name, len(saved))

    def _again(self, saved: set[Value]) -> list[Equation]:
        """The equations of the primal half that the linear half repeats, in program order."""
        needed: set[Equation] = set()
        stack = [x for x in self.wanted if x not in saved]
        while stack:
            maker = self.makers.get(stack.pop())
            if maker is not None and maker not in needed:
                needed.add(maker)
                stack.extend(x for x in maker.inputs if x not in saved)
        return [e for e in self.primal.equations if e in needed]

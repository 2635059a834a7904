"""Derivatives between any two values of a function: `derivative(f, of="z2", wrt="z1")(*args)`.

The program is cut at the values: only the part between them is differentiated, and only what it
needs is computed before. With x fixed and y = f(x, z), the derivative of y by z is that at fixed x.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Graph, Value
from ..ir.types import has_tangent
from ..passes.cut import Cut, cut_graph
from ..passes.dce import remove_dead
from .arguments import check_callable
from .avals import to_aval
from .execute import execute
from .forward import jvp
from .jacobians import jacfwd, jacrev
from .linear import vjp
from .named_values import Names

Which = str | Sequence[str]


class NoPathWarning(UserWarning):
    """No value of `wrt` reaches a value of `of`: its derivative is exactly zero."""


class Derivative:
    """The derivative of some values by others, at the values that one call gives them.

    Vectors and results nest as `of` and `wrt` were given: one array for a name, a list for a list.
    """

    def __init__(
        self,
        cut: Cut,
        before: Sequence[Any],
        of: Which,
        wrt: Which,
        at: Callable[[], Sequence[Any]] | None = None,
    ) -> None:
        self.of, self.wrt = of, wrt
        self._cut, self._found_at = cut, at
        n = len(_listed(wrt))
        self._at = tuple(before[:n])
        self._residuals = tuple(before[n : n + cut.n_residuals])
        self._fixed = tuple(before[n + cut.n_residuals :])

    @property
    def dependent(self) -> bool | list[bool]:
        """Whether each value of `of` depends on any of `wrt`; where not, the derivative is 0."""
        return list(self._cut.reached) if not isinstance(self.of, str) else self._cut.reached[0]

    @property
    def value(self) -> Any:
        """The values of `of`."""
        return _nested(self.of, self._between(*self._at))

    @property
    def at(self) -> Any:
        """The values of `wrt`."""
        return _nested(self.wrt, self._at if self._found_at is None else self._found_at())

    def jvp(self, v: Any) -> Any:
        """Push tangents of `wrt` forward: the tangents of `of`."""
        tangents = self._checked("jvp", v, self.wrt, self._at)
        return _nested(self.of, jvp(self._between, self._at, tangents)[1])

    def vjp(self, u: Any) -> Any:
        """Pull cotangents of `of` back: the cotangents of `wrt`."""
        outputs, pull = vjp(self._between, *self._at)
        return _nested(self.wrt, pull(self._checked("vjp", u, self.of, outputs)))

    def jacobian(self) -> Any:
        """All partial derivatives, of shape `of.shape + wrt.shape`: by columns if these are fewer.

        For lists, a list over `of` of lists over `wrt`.
        """
        outputs = jax.eval_shape(self._between, *self._at)
        columns, rows = (sum(int(np.prod(x.shape)) for x in xs) for xs in (self._at, outputs))
        by = tuple(range(len(self._at)))
        transform = jacfwd if columns <= rows else jacrev
        return _nested(
            self.of, [_nested(self.wrt, row) for row in transform(self._between, by)(*self._at)]
        )

    def _between(self, *at: Any) -> tuple[Any, ...]:
        """The values of `of` as a function of those of `wrt`."""
        made = iter(execute(self._cut.between, [*self._residuals, *at]))
        fixed = iter(self._fixed)
        return tuple(next(made) if flag else next(fixed) for flag in self._cut.dependent)

    def _checked(self, method: str, given: Any, names: Which, like: Sequence[Any]) -> Any:
        vectors = [given] if isinstance(names, str) else list(given)
        if len(vectors) != len(like):
            raise ArgumentError(f"{method} takes {len(like)} arrays, got {len(vectors)}")
        for name, v, x in zip(_listed(names), vectors, like, strict=True):
            if np.shape(v) != np.shape(x):
                raise ArgumentError(
                    f"{method} takes an array shaped as {name}, {np.shape(x)}; got {np.shape(v)}"
                )
        return tuple(jnp.asarray(v, jnp.result_type(x)) for v, x in zip(vectors, like, strict=True))

    def __repr__(self) -> str:
        zero = [n for n, d in zip(_listed(self.of), self._cut.reached, strict=True) if not d]
        said = f"; no path to {', '.join(zero)}: zero" if zero else ""
        return f"<derivative of {self.of} by {self.wrt}{said}>"


def derivative(
    f: Callable[..., Any], of: Any = "output", wrt: Any = None, *, pairs: Any = None
) -> Callable[..., Any]:
    """A function of f's arguments that returns the `Derivative` of `of` by `wrt` there.

    Names are those that `intermediates` lists, those of inputs (`x`, `params.w`), `output` and
    `output[1]`, and lines (`"model.py:12"`); lists of names are taken together. With
    `pairs=[(of, wrt), ...]` it returns a list of derivatives, which share one trace.

    Works under jit, vmap and inside of other transformations. Of a value inside of a scan, `of` and
    `wrt` are the stack over its iterations. The program is not cut inside of loops, branches and
    checkpointed parts: there `wrt` moves the value that is made, and all that is made of it
    follows, the same value in later iterations too.

    Raises UsageError for a name that does not exist, and for values inside of while loops and of
    functions with derivative rules of their own; warns with NoPathWarning where nothing of `wrt`
    reaches a value of `of`.
    """
    check_callable(f, "derivative")
    if pairs is None and wrt is None:
        raise ArgumentError("derivative needs wrt, the values to differentiate by")
    wanted = [(of, wrt)] if pairs is None else list(pairs)
    for pair in wanted:
        _check_pair(pair)

    def at(*args: Any, **kwargs: Any) -> Any:
        names = Names.of(f, args, kwargs)
        leaves = [*names.staged.captured, *jax.tree.leaves((args, kwargs))]
        made = [_derivative(names, leaves, *pair) for pair in wanted]
        return made[0] if pairs is None else made

    return at


def _check_pair(pair: Any) -> None:
    """Raises ArgumentError unless this is (of, wrt), each a name or a sequence of names."""
    if isinstance(pair, str) or len(pair) != 2:
        raise ArgumentError(f"pairs are of the form (of, wrt); got {pair!r}")
    for names in pair:
        is_sequence = isinstance(names, Sequence) and all(isinstance(n, str) for n in names)
        if not is_sequence or not names:
            raise ArgumentError(f"of and wrt are names, or lists of names; got {names!r}")


def _derivative(names: Names, leaves: Sequence[Any], of: Which, wrt: Which) -> Derivative:
    at = [_variable(names, name) for name in _listed(wrt)]
    outputs = [names.find(name) for name in _listed(of)]
    for name, x in zip((*_listed(of), *_listed(wrt)), (*outputs, *at), strict=True):
        if not has_tangent(x.type):
            raise UsageError(f"{name} is {names.type_of(x)}, which has no derivatives")
    moved = [v for v in at if names.is_inner(v)]
    opened = names.opened((*outputs, *moved), moved)
    places = [opened.place(x) for x in outputs]
    cut = cut_graph(opened.graph, [opened.added.get(v, v) for v in at], places)
    for name, flag in zip(_listed(of), cut.reached, strict=True):
        if not flag:
            text = f"{name} does not depend on {', '.join(_listed(wrt))}: the derivative is zero"
            warnings.warn(text, NoPathWarning, stacklevel=4)
    zeros = [jnp.zeros(a.shape, a.dtype) for a in (to_aval(v.type) for v in opened.added.values())]
    given = [*leaves, *zeros]

    def values() -> list[Any]:
        graph = opened.graph
        found = Graph(graph.inputs, graph.equations, [opened.place(v) for v in at], graph.name)
        return execute(remove_dead(found), given)

    return Derivative(cut, execute(cut.before, given), of, wrt, values if moved else None)


def _variable(names: Names, name: str) -> Value:
    """The value of a name, to differentiate by. Raises UsageError."""
    value = names.find(name)
    if not isinstance(value, Value):
        raise UsageError(f"{name} is the number {value}, which nothing can be differentiated by")
    return value


def _listed(names: Which) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _nested(names: Which, values: Any) -> Any:
    return next(iter(values)) if isinstance(names, str) else list(values)

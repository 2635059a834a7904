"""Derivatives between any two values of a function: `derivative(f, of="z2", wrt="z1")(*args)`.

The program is cut at the values: only the part between them is differentiated, and only what it
needs is computed before. With x fixed and y = f(x, z), the derivative of y by z is that at fixed x.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Value
from ..ir.types import has_tangent
from ..passes.cut import Cut, cut_graph
from .arguments import check_callable
from .execute import execute
from .forward import jvp
from .intermediates import Names
from .jacobians import jacfwd, jacrev
from .linear import vjp

Which = str | Sequence[str]


class NoPathWarning(UserWarning):
    """No value of `wrt` reaches a value of `of`: its derivative is exactly zero."""


class Derivative:
    """The derivative of some values by others, at the values that one call gives them.

    Vectors and results nest as `of` and `wrt` were given: one array for a name, a list for a list.
    """

    def __init__(self, cut: Cut, before: Sequence[Any], of: Which, wrt: Which) -> None:
        self.of, self.wrt = of, wrt
        self._cut = cut
        n = len(_listed(wrt))
        self._at = tuple(before[:n])
        self._residuals = tuple(before[n : n + cut.n_residuals])
        self._fixed = tuple(before[n + cut.n_residuals :])

    @property
    def dependent(self) -> bool | list[bool]:
        """Whether each value of `of` depends on any of `wrt`; where not, the derivative is 0."""
        return list(self._cut.dependent) if not isinstance(self.of, str) else self._cut.dependent[0]

    @property
    def value(self) -> Any:
        """The values of `of`."""
        return _nested(self.of, self._between(*self._at))

    @property
    def at(self) -> Any:
        """The values of `wrt`."""
        return _nested(self.wrt, self._at)

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
        return tuple(
            jax.numpy.asarray(v, jax.numpy.result_type(x))
            for v, x in zip(vectors, like, strict=True)
        )

    def __repr__(self) -> str:
        zero = [n for n, d in zip(_listed(self.of), self._cut.dependent, strict=True) if not d]
        said = f"; no path to {', '.join(zero)}: zero" if zero else ""
        return f"<derivative of {self.of} by {self.wrt}{said}>"


def derivative(
    f: Callable[..., Any], of: Any = "output", wrt: Any = None, *, pairs: Any = None
) -> Callable[..., Any]:
    """A function of f's arguments that returns the `Derivative` of `of` by `wrt` there.

    Names are those that `intermediates` lists, those of inputs (`x`, `params.w`), `output` and
    `output[1]`, and lines (`"model.py:12"`); lists of names are taken together. With
    `pairs=[(of, wrt), ...]` it returns a list of derivatives, which share one trace.

    Works under jit, vmap and inside of other transformations. Values inside of loops and branches
    may be `of` (as stacks over the iterations), not `wrt`. Raises UsageError for a name that does
    not exist, and warns with NoPathWarning where nothing of `wrt` reaches a value of `of`.
    """
    check_callable(f, "derivative")
    if pairs is None and wrt is None:
        raise ArgumentError("derivative needs wrt, the values to differentiate by")
    wanted = [(of, wrt)] if pairs is None else list(pairs)

    def at(*args: Any, **kwargs: Any) -> Any:
        names = Names.of(f, args, kwargs)
        leaves = [*names.staged.captured, *jax.tree.leaves((args, kwargs))]
        made = [_derivative(names, leaves, *pair) for pair in wanted]
        return made[0] if pairs is None else made

    return at


def _derivative(names: Names, leaves: Sequence[Any], of: Which, wrt: Which) -> Derivative:
    at = [_cuttable(names, name) for name in _listed(wrt)]
    outputs = [names.find(name) for name in _listed(of)]
    for name, x in zip((*_listed(of), *_listed(wrt)), (*outputs, *at), strict=True):
        if not has_tangent(x.type):
            raise UsageError(f"{name} is {x.type}, which has no derivatives")
    cut = cut_graph(names.graph, at, outputs)
    for name, flag in zip(_listed(of), cut.dependent, strict=True):
        if not flag:
            text = f"{name} does not depend on {', '.join(_listed(wrt))}: the derivative is zero"
            warnings.warn(text, NoPathWarning, stacklevel=4)
    return Derivative(cut, execute(cut.before, leaves), of, wrt)


def _cuttable(names: Names, name: str) -> Value:
    """The value of a name at which the program can be cut. Raises UsageError."""
    value = names.find(name)
    if not isinstance(value, Value):
        raise UsageError(f"{name} is the number {value}, which nothing can be differentiated by")
    if value in names.inner:
        raise UsageError(
            f"{name} is made inside of a loop or branch, where the program cannot be cut",
            hint="take what enters or leaves it, or monitor its cotangents from outside",
        )
    return value


def _listed(names: Which) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _nested(names: Which, values: Any) -> Any:
    return next(iter(values)) if isinstance(names, str) else list(values)

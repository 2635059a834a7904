"""What `vjp` returns: a pull-back with its residuals, as a pytree whose parts can be looked at.

Residuals that are arguments of the function are kept apart from those that it computed: who has the
arguments anyway (gathered weights, say) takes them out of `args_res`, and puts them back before the
pull-back is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from ..ir.errors import ArgumentError, UsageError
from ..ir.graph import Atom, Graph, memoised
from ..lowering.jax_compat import boundary
from .jax_compat import DidntWant, DontWant, GradRef, NotNeeded

if TYPE_CHECKING:
    from .linear import PullBack

Sources = tuple[int | None, ...]


def sources(primal: Graph, n_out: int, n_captured: int) -> Sources:
    """For each residual of a primal half the number of the argument that it is, or None."""

    def find() -> Sources:
        number: dict[Atom, int] = {x: i for i, x in enumerate(primal.inputs[n_captured:])}
        return tuple([number.get(r) for r in primal.outputs[n_out:]])

    found: Sources = memoised(primal, ("sources", n_out, n_captured), find)
    return found


@jax.tree_util.register_pytree_node_class
class Pulled:
    """Maps a cotangent of the output to cotangents of the primals; JAX has the same attributes.

    `args_res` lists the arguments, with NotNeeded for leaves that are not residuals, and tuples for
    the containers (nothing may be assumed of a user's class); it may be assigned to, with arguments
    as they were passed. `opaque_residuals` are the residuals that the function computed.
    """

    def __init__(
        self, apply: PullBack, origin: Sources, args_res: list[Any], opaque_residuals: list[Any]
    ) -> None:
        self._apply, self._origin = apply, origin
        self.args_res, self.opaque_residuals = args_res, opaque_residuals

    @classmethod
    def at(cls, apply: PullBack, origin: Sources, residuals: Sequence[Any]) -> Pulled:
        """The pull-back with these residuals."""
        known = {i: r for i, r in zip(origin, residuals, strict=True) if i is not None}
        leaves = [known.get(i, NotNeeded()) for i in range(len(apply.types))]
        opaque = [r for r, i in zip(residuals, origin, strict=True) if i is None]
        trees: Any = apply.in_tree.children()[0].children()
        start, args = 0, []
        for tree in trees:
            stop = start + tree.num_leaves
            args.append(tree.walk(_as_tuple, _itself, leaves[start:stop]))
            start = stop
        return cls(apply, origin, args, opaque)

    @boundary
    def __call__(self, *cotangents: Any) -> tuple[Any, ...]:
        return self._apply(self._residuals(), *cotangents)

    def with_refs(self, *wanted: Any) -> jax.tree_util.Partial:
        """The pull-back that treats each primal's cotangent as its counterpart in `wanted` says.

        A `jax.Ref` is added to, and `jax.ad.GradRef()` returned; `jax.ad.DontWant()` saves the work
        and gives `jax.ad.DidntWant()`; anything else (`jax.ad.GradValue()`) stands for the value.
        """
        tree: Any
        flat, tree = jax.tree.flatten((wanted, {}))
        if tree != self._apply.in_tree:
            raise ArgumentError(
                f"with_refs takes what is nested as the primals of {self._apply.name}: "
                f"{self._apply.in_tree.children()[0]}, got {tree.children()[0]}"
            )
        kinds = ["ref" if isinstance(x, jax.Ref) else _kind(x) for x in flat]
        refs = [x for x in flat if isinstance(x, jax.Ref)]
        return jax.tree_util.Partial(Accumulating(tuple(kinds)), self, refs)

    def _residuals(self) -> list[Any]:
        opaque, given = iter(self.opaque_residuals), self._arguments()
        return [next(opaque) if i is None else given[i] for i in self._origin]

    def _arguments(self) -> dict[int, Any]:
        """The leaves of the arguments of which some are residuals, by number."""
        trees: Any = self._apply.in_tree.children()[0].children()
        if len(self.args_res) != len(trees):
            raise ArgumentError(
                f"args_res of the vjp of {self._apply.name} has {len(self.args_res)} items, for "
                f"{len(trees)} arguments"
            )
        found: dict[int, Any] = {}
        used, start = set(self._origin), 0
        for i, (tree, given) in enumerate(zip(trees, self.args_res, strict=True)):
            numbers = range(start, start + tree.num_leaves)
            start = numbers.stop
            if used.isdisjoint(numbers):
                continue
            leaves, got = jax.tree.flatten(given, is_leaf=lambda x: isinstance(x, NotNeeded))
            if len(leaves) != tree.num_leaves:
                raise ArgumentError(
                    f"args_res[{i}] of the vjp of {self._apply.name} is nested as {got}; the "
                    f"argument is nested as {tree}",
                    hint="put what was taken out of args_res back before calling the pull-back",
                )
            found.update(zip(numbers, leaves, strict=True))
        return found

    def tree_flatten(self) -> tuple[tuple[list[Any], list[Any]], tuple[PullBack, Sources]]:
        return (self.args_res, self.opaque_residuals), (self._apply, self._origin)

    @classmethod
    def tree_unflatten(
        cls, static: tuple[PullBack, Sources], parts: tuple[list[Any], list[Any]]
    ) -> Pulled:
        return cls(*static, *parts)


def _as_tuple(children: Any, _: Any) -> tuple[Any, ...]:
    return tuple(children)


def _itself(x: Any) -> Any:
    return x


def _kind(x: Any) -> str:
    return "none" if isinstance(x, DontWant) else "value"


@dataclass(frozen=True)
class Accumulating:
    """A pull-back whose cotangents go where `kinds` says: to a ref, to the caller, nowhere."""

    kinds: tuple[str, ...]

    def __call__(self, pulled: Pulled, refs: Sequence[Any], *cotangents: Any) -> tuple[Any, ...]:
        apply = pulled._apply
        wanted = tuple([kind != "none" for kind in self.kinds])
        flat = apply.flat_cotangents(pulled._residuals(), cotangents, wanted)
        left, out = iter(refs), []
        for kind, ct in zip(self.kinds, flat, strict=True):
            if kind == "ref":
                ref = next(left)
                if ref.shape != ct.shape or ref.dtype != ct.dtype:
                    raise UsageError(
                        f"a ref of type {ref.dtype}{list(ref.shape)} cannot hold a cotangent of "
                        f"type {ct.dtype}{list(ct.shape)}"
                    )
                jax.ref.addupdate(ref, ..., ct)
                out.append(GradRef())
            else:
                out.append(DidntWant() if kind == "none" else ct)
        args: tuple[Any, ...] = jax.tree.unflatten(apply.in_tree, out)[0]
        return args

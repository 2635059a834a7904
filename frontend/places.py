"""Where `jit` is asked to take its arguments, and to leave its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental.layout import Format

from ..lowering.call_spec import Call
from .arguments import check_nesting
from .avals import to_struct
from .staged import Staged


@dataclass(frozen=True)
class Places:
    """The shardings asked for, of all arguments and all results; None where none is. Whether they
    are of a device for the whole function, to which its compiled stage moves arguments, too."""

    ins: tuple[Any, ...]
    outs: tuple[Any, ...] | None = None
    is_for_all: bool = False

    def placed(self, arguments: Sequence[Any]) -> list[Any]:
        """What stands for arguments where they will be: an array that is on another device is
        moved, as JAX moves it; of one on several, that is refused later."""
        ins = (*(None,) * (len(arguments) - len(self.ins)), *self.ins)
        return [_placed(x, s) for x, s in zip(arguments, ins, strict=True)]


NOWHERE = Places(())


def asked_for(name: str, call: Call, traced: Staged, asked: tuple[Any, Any, Any]) -> Places:
    """What a device for all arguments (or None), shardings of the positional ones and shardings of
    the results ask for.

    Raises UsageError where shardings do not nest as what they are of.
    """
    device, ins, outs = asked
    if all(place is None for place in asked):
        return NOWHERE
    args = jax.tree.unflatten(call.tree, call.leaves)[0]
    own: tuple[Any, ...] = ()
    if ins is not None:
        own = _of_leaves(name, "in_shardings", ins, args)
    elif device is not None:
        own = (jax.sharding.SingleDeviceSharding(device),) * len(call.leaves)
    structs = [to_struct(t) for t in traced.graph.output_types]
    results = jax.tree.unflatten(traced.out_tree, structs[: traced.n_results])
    made = () if outs is None else _of_leaves(name, "out_shardings", outs, results)
    rest = (None,) * (len(structs) - len(made))
    taken = (*own, *(None,) * (len(call.leaves) - len(own)))
    return Places(taken, (*made, *rest) if any(made) else None, device is not None)


def _of_leaves(called: str, what: str, chosen: Any, tree: Any) -> tuple[Any, ...]:
    check_nesting(called, what, chosen, tree)
    of_all = jax.tree.leaves(jax.tree.broadcast(chosen, tree, is_leaf=_is_none), is_leaf=_is_none)
    all_leaves = jax.tree.leaves(tree, is_leaf=_is_none)
    pairs = zip(all_leaves, of_all, strict=True)
    return tuple([_sharding(place) for x, place in pairs if x is not None])


def _is_none(x: Any) -> bool:
    return x is None


def _sharding(place: Any) -> Any:
    """A sharding among devices; None for what does not say which."""
    place = place.sharding if isinstance(place, Format) else place
    is_somewhere = not isinstance(getattr(place, "mesh", None), jax.sharding.AbstractMesh)
    return place if isinstance(place, jax.sharding.Sharding) and is_somewhere else None


def _placed(x: Any, sharding: Any) -> Any:
    if sharding is None or is_parted(x):
        return x
    aval = jax.typeof(x)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=sharding)


def is_parted(x: Any) -> bool:
    """Whether the user has put an array on several devices."""
    return getattr(x, "committed", False) and len(x.sharding.device_set) > 1

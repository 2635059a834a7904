"""Someone else's primitives: the lowering that their author registered with JAX.

Those of a program are lowered in one module, so that what their lowerings have in common (functions
that they all call) is made once, as where JAX lowers the program; one by one where that fails, so
that an error is that of its equation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...ir.errors import CovectorError, NotAvailable, UsageError
from ...ir.graph import Equation, Graph, Opaque, walk_graphs
from ...ir.ops.foreign import foreign
from .. import borrow
from ..context import Context, MlirValue
from ..ordered import borrow_with_host
from ..tables import lower

Operands = Sequence[MlirValue]


@lower.rule(foreign)
def lower_foreign(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    target: Opaque = eqn.params["target"]
    if target.held is None:
        target()  # which says that it was read from text
    primitive, params = target.held
    types = [x.type for x in eqn.inputs], [v.type for v in eqn.outputs]
    key = _key(eqn)
    if ctx.together is not None:
        program, ctx.together = ctx.together, None
        _lower_together(ctx, program)
    try:
        return borrow_with_host(ctx, primitive, *types, operands, params, key)
    except NotImplementedError as error:
        platforms = " and ".join(ctx.platforms)
        raise NotAvailable(
            f"{eqn.params['name']} is not available on {platforms}",
            eqn,
            stage="lowering",
            hint=str(error).partition("\n")[0],
        ) from None
    except CovectorError:
        raise
    except ValueError as error:  # what its author has to say to users
        claim = f"{eqn.params['name']} is refused: {error}"
        raise UsageError(claim, eqn, stage="lowering") from error


def _key(eqn: Equation) -> Any:
    """What makes two operations of one primitive the same: what they hold, and types."""
    return (eqn.params["target"], *[x.type.strong for x in eqn.inputs])


def _lower_together(ctx: Context, program: Graph) -> None:
    """Lower all such operations of a program, those of 64-bit types apart."""
    if len(ctx.platforms) > 1:
        return  # functions would have to be handed the platform
    groups: dict[bool, dict[Any, borrow.Bound]] = {}
    for eqn in _all_in(program):
        primitive, params = eqn.params["target"].held
        types = tuple([x.type.strong for x in eqn.inputs])
        group = groups.setdefault(borrow.is_wide(types), {})
        group[primitive, _key(eqn)] = primitive, types, params
    for group in groups.values():
        if len(group) > 1:
            _take_over(ctx, group)


def _all_in(program: Graph) -> Iterator[Equation]:
    """The operations of a program that can be lowered. (Those with effects are on their own.)"""
    for graph in walk_graphs(program):
        for eqn in graph.equations:
            if eqn.primitive is foreign and eqn.params["target"].held and not eqn.effects:
                yield eqn


def _take_over(ctx: Context, group: Mapping[Any, borrow.Bound]) -> None:
    try:
        source, parts, names = borrow.lower_together([*group.values()], ctx.platforms)
    except Exception:  # raised again by the one that it is of
        return
    if parts.ordered_effects:  # which none of them has said that it has
        return
    wanted = dict(zip(names, [str(primitive) for primitive, _ in group], strict=True))
    made = ctx.merge(ctx.host.add(source, parts, ()), wanted)
    for key, name in zip(group, names, strict=True):
        ctx.borrowed[key] = made[name]

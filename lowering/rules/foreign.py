"""Someone else's primitives: the lowering that their author registered with JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.errors import CovectorError, NotAvailable, UsageError
from ...ir.graph import Equation, Opaque
from ...ir.ops.foreign import foreign
from ...ir.types import TensorType
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
    key = _key(types[0], params) or target
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


def _key(types: Sequence[TensorType], params: Mapping[str, Any]) -> Any:
    """What makes two operations of one primitive the same; None where that can't be told."""
    key = (*[t.strong for t in types], *[(k, type(v), v) for k, v in params.items()])
    try:
        hash(key)
    except TypeError:
        return None
    return key

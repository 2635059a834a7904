"""The check of a second emission: which equation became what MLIR refuses?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jaxlib.mlir import ir

from ..ir.errors import CovectorError
from ..ir.graph import Equation

if TYPE_CHECKING:
    from .context import Context


def check(ctx: Context, eqn: Equation, results: Sequence[Any]) -> None:
    """Verify what one equation became. Raises CovectorError naming it."""
    if len(results) != len(eqn.outputs):
        claim = (
            f"{eqn.primitive.name} was lowered to {len(results)} values, it has {len(eqn.outputs)}"
        )
        raise CovectorError(claim, eqn, stage="lowering")
    for value, output in zip(results, eqn.outputs, strict=True):
        if value.type != ctx.types[output.type]:
            claim = f"{eqn.primitive.name} was lowered to {value.type}, its output is {output.type}"
            raise CovectorError(claim, eqn, stage="lowering")
        owner = value.owner
        if isinstance(owner, ir.Block):
            continue
        try:
            owner.operation.verify()
        except ir.MLIRError as error:
            raise CovectorError(
                f"{eqn.primitive.name} was lowered to an operation that MLIR refuses: {error}",
                eqn,
                stage="lowering",
            ) from None

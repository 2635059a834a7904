"""Moves between memories: XLA's own annotation, which its host offloading carries out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jaxlib.mlir import ir

from ...ir.errors import CovectorError
from ...ir.graph import Equation
from ...ir.ops import placement as ops
from ..context import Context, MlirValue
from ..frontend_attributes import ATTRIBUTES
from ..tables import lower

Operands = Sequence[MlirValue]

_TARGET: Final = "annotate_device_placement"
_MEMORY: Final = "_xla_buffer_placement"


@lower.rule(ops.device_put)
def lower_device_put(ctx: Context, eqn: Equation, operands: Operands) -> Operands:
    """On the platform cpu nothing can have left the device's memory."""
    source, target = eqn.params["source"], eqn.params["target"]
    if ctx.is_on("cpu"):
        if target == ops.DEVICE:
            return operands
        raise CovectorError(
            f"XLA drops moves between memories on the platform cpu: nothing would go from "
            f"{source} to {target}",
            eqn,
            stage="lowering",
            hint="run on a GPU or TPU, or choose a checkpoint policy that offloads nothing; "
            "memory_budget keeps less on any platform",
        )
    memory = ir.DictAttr.get({_MEMORY: ctx.attributes.text(target)}, ctx.module.context)
    attributes = {
        "call_target_name": ctx.attributes.text(_TARGET),
        "has_side_effect": ctx.attributes.flag(True),
        ATTRIBUTES: memory,
    }
    return [ctx.op("stablehlo.custom_call", eqn.outputs[0].type, *operands, **attributes)]

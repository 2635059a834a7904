"""Which memory of its device holds a value: moves between the device's own memory and the host's.

A value is in the memory of its device unless a move took it elsewhere. Elsewhere it can be kept,
stacked, cut and moved back, and nothing else: see `ir/places.py`.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import TypeRuleError
from ..primitive import REQUIRED, Types, define
from ..types import TensorType

DEVICE: Final = "device"
HOST: Final = "pinned_host"
MEMORIES: Final = (DEVICE, HOST)
"""The memories, as JAX and XLA name them: HOST is what a device can reach of the host's."""


def _infer_device_put(types: Types, params: dict[str, Any]) -> TensorType:
    for name in ("source", "target"):
        if params[name] not in MEMORIES:
            raise TypeRuleError(
                f"device_put has no {name} {params[name]!r}",
                hint=f"the memories are {', '.join(MEMORIES)}",
            )
    return types[0]


device_put = define(
    "device_put",
    _infer_device_put,
    defaults={"source": DEVICE, "target": REQUIRED},
    linear_in=(0,),
    jointly_linear=True,
)
"""The operand, moved from the memory `source` to the memory `target` of the same device."""

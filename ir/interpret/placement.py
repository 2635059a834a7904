"""Here all values are in one memory."""

from __future__ import annotations

from typing import Any

from ..ops import placement as ops
from . import means


@means(ops.device_put)
def device_put(x: Any, *, source: str, target: str) -> Any:
    return x

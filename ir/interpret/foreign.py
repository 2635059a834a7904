"""The meaning of someone else's primitive: its author's evaluation of it."""

from __future__ import annotations

from typing import Any

from ..graph import Opaque
from ..ops.foreign import foreign
from . import means


@means(foreign)
def evaluate_foreign(*inputs: Any, target: Opaque, **params: Any) -> list[Any]:
    return list(target(*inputs))

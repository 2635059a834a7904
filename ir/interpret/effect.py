"""The meaning of callbacks: the Python function is called."""

from __future__ import annotations

from typing import Any

from ..graph import Opaque
from ..ops import effect as e
from . import means


@means(e.debug_callback, e.debug_print)
def look_on(*inputs: Any, callback: Opaque, **params: Any) -> tuple[()]:
    callback(*inputs)
    return ()


@means(e.pure_callback, e.io_callback)
def call_back(*inputs: Any, callback: Opaque, **params: Any) -> list[Any]:
    return list(callback(*inputs))

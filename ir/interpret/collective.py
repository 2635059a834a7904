"""Collectives mean nothing for one example alone."""

from __future__ import annotations

from typing import Any, NoReturn

from ..errors import InterpretError
from ..ops import collective as c
from . import means


@means(*c.COLLECTIVES)
def alone(*inputs: Any, **params: Any) -> NoReturn:
    axes = ", ".join(map(str, c.axes_of(params)))
    raise InterpretError(f"a collective over {axes}", hint=c.NO_AXIS)

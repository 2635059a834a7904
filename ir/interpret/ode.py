"""The meaning of solves: the program that each stands for, evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import ode as o
from ..primitive import Primitive
from ..solvers.expansion import expand_for
from ..types import TensorType
from . import evaluate, means


def _enter(primitive: Primitive) -> None:
    @means(primitive)
    def solve(*inputs: Any, **params: Any) -> list[Any]:
        types = tuple(TensorType(np.shape(x), np.asarray(x).dtype) for x in inputs)
        return evaluate(expand_for(primitive, params, types), inputs)


for _primitive in (o.ode, o.linear_ode, o.linear_ode_back):
    _enter(_primitive)

"""What tests of recording share."""

from __future__ import annotations

from typing import Any

import jax
import jax.extend
import numpy as np

from covector.frontend.modules import make_ir
from covector.ir.graph import Equation, Graph
from covector.ir.types import FLOAT32, TensorType

F32 = TensorType((3,), FLOAT32)
X = np.arange(3, dtype=np.float32)


def record(f: Any, *args: Any, **kwargs: Any) -> Graph:
    graph: Graph = make_ir(f)(*args, **kwargs).verify().main
    return graph


def named(graph: Graph) -> dict[str, str]:
    """The primitive that made each named value."""
    return {v.name: eqn.primitive.name for eqn in graph.equations for v in eqn.outputs if v.name}


def find(graph: Graph, primitive: str) -> Equation:
    (found,) = [eqn for eqn in graph.equations if eqn.primitive.name == primitive]
    return found


def same(actual: Any, expected: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), actual, expected)

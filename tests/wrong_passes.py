"""Passes that are wrong on purpose, for tests of the tools that find such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from covector.ir.graph import Graph
from covector.ir.module import Module
from covector.ir.primitive import PRIMITIVES
from covector.passes import Pass
from covector.passes.batch import Batch
from covector.passes.jvp import Jvp
from covector.passes.linearize import Linearize
from covector.passes.reverse import Grad, Vjp
from covector.passes.transpose import Transpose


def swapped(module: Module, old: str, new: str) -> Module:
    """The module with one primitive in place of another, in all public graphs."""

    def change(graph: Graph) -> Graph:
        return graph.with_equations(
            eqn.replace(primitive=PRIMITIVES[new]) if eqn.primitive.name == old else eqn
            for eqn in graph.equations
        )

    return module.replace(graphs={n: change(g) for n, g in module.graphs.items()})


@dataclass(frozen=True)
class WrongJvp(Jvp):
    """d sin = -sin."""

    name: ClassVar[str] = "wrong-jvp"

    def run(self, module: Module) -> Module:
        return swapped(super().run(module), "cos", "sin")


@dataclass(frozen=True)
class WrongLinearize(Linearize):
    """d sin = -sin."""

    name: ClassVar[str] = "wrong-linearize"

    def run(self, module: Module) -> Module:
        return swapped(super().run(module), "cos", "sin")


@dataclass(frozen=True)
class WrongTranspose(Transpose):
    """Forgets to negate."""

    name: ClassVar[str] = "wrong-transpose"

    def run(self, module: Module) -> Module:
        return swapped(super().run(module), "neg", "copy")


@dataclass(frozen=True)
class WrongVjp(Vjp):
    """d sin = -sin."""

    name: ClassVar[str] = "wrong-vjp"

    def run(self, module: Module) -> Module:
        return swapped(super().run(module), "cos", "sin")


@dataclass(frozen=True)
class WrongGrad(Grad):
    """d sin = -sin."""

    name: ClassVar[str] = "wrong-grad"

    def run(self, module: Module) -> Module:
        return swapped(super().run(module), "cos", "sin")


@dataclass(frozen=True)
class WrongBatch(Batch):
    """Confuses sin and cos."""

    name: ClassVar[str] = "wrong-batch"

    def run(self, module: Module) -> Module:
        return swapped(super().run(module), "sin", "cos")


@dataclass(frozen=True)
class WrongFold(Pass):
    """x - y = x + y"""

    name: ClassVar[str] = "wrong-fold"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return swapped(Module({graph.name: graph}), "sub", "add").main


@dataclass(frozen=True)
class CrashOnTanh(Pass):
    """Raises where there is a tanh of an array."""

    name: ClassVar[str] = "crash-on-tanh"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        for eqn in graph.equations:
            if eqn.primitive.name == "tanh" and eqn.outputs[0].type.shape:
                raise KeyError(eqn.outputs[0].name)
        return graph


@dataclass(frozen=True)
class Mute(Pass):
    """States a law that nobody knows."""

    name: ClassVar[str] = "mute"
    law: ClassVar[str] = "all is well"

    def run_graph(self, graph: Graph) -> Graph:
        return graph


WRONG: dict[str, Any] = {
    cls.name: cls
    for cls in (
        WrongJvp, WrongLinearize, WrongTranspose, WrongVjp, WrongGrad, WrongBatch, WrongFold,
        CrashOnTanh, Mute,
    )
}  # fmt: skip

"""A program, and passes that fail, for the tests of the pass manager."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from covector.ir.graph import Graph
from covector.ir.module import Module
from covector.passes import PASSES, Pass

PROGRAM = """module @main {
  func @f(x: f32[3], w: f32[3]) -> (f32[3]) {
    a: f32[3] = mul x w        // model.py:2:4
    b: f32[3] = mul x w        // model.py:3:4
    c: f32[3] = exp b          // model.py:4:4
    d: f32[3] = add a c        // model.py:5:4
    e: f32[3] = tanh d         // model.py:6:4
    return d
  }
}
"""
BANNER = re.compile(r"// -----// IR Dump (Before|After) (.+) //----- //")


@dataclass(frozen=True)
class Spoil(Pass):
    """Return a program that is none."""

    name: ClassVar[str] = "test-spoil"
    law: ClassVar[str] = "equal outputs"

    def run_graph(self, graph: Graph) -> Graph:
        return Graph(graph.inputs, graph.equations[1:], graph.outputs, graph.name)


@dataclass(frozen=True)
class Crash(Pass):
    """Raise."""

    name: ClassVar[str] = "test-crash"
    law: ClassVar[str] = "equal outputs"

    def run(self, module: Module) -> Module:
        raise KeyError("deep inside")


@contextmanager
def own_passes() -> Iterator[None]:
    """These passes are known inside, and nowhere else."""
    PASSES.update({Spoil.name: Spoil, Crash.name: Crash})
    yield
    del PASSES[Spoil.name], PASSES[Crash.name]


for name in (Spoil.name, Crash.name):
    del PASSES[name]


def banners(text: str) -> list[tuple[str, str]]:
    return BANNER.findall(text)

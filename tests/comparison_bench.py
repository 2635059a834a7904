"""The programs and passes that the rows of the table beside other tools are tried on."""

from __future__ import annotations

import pytest

from covector.tools import cli

PROGRAM = """module @m {
  func @f(x: f32[3], w: f32[3]) -> (f32[]) {
    a: f32[3] = mul x w                     // m.py:1:4
    b: f32[3] = mul x w                     // m.py:2:4
    c: f32[3] = constant[value=$k]          // m.py:3:4
    d: f32[3] = add a b                     // m.py:4:4
    e: f32[3] = tanh d                      // m.py:5:4
    g: f32[3] = mul e c                     // m.py:6:4
    s: f32[] = reduce_sum[axes=(0,)] g      // m.py:7:4
    return s
  }

  constant $k: f32[3] = dense [1.0, 2.0, 3.0]
}
"""
BAD = """func @f(x: f32[3], y: f32[4]) -> (f32[3]) {
  z: f32[3] = add x y
  return z
}
"""
MINE = """
from dataclasses import dataclass
from covector.ir.primitive import PRIMITIVES
from covector.passes import Pass

@dataclass(frozen=True)
class Wrong(Pass):
    \"\"\"Take every tanh for a sine.\"\"\"
    name = "row-wrong"
    law = "equal outputs"
    def run_graph(self, graph):
        return graph.with_equations(
            e.replace(primitive=PRIMITIVES["sin"]) if e.primitive.name == "tanh" else e
            for e in graph.equations)

@dataclass(frozen=True)
class Crash(Pass):
    \"\"\"Raise.\"\"\"
    name = "row-crash"
    law = "equal outputs"
    def run_graph(self, graph):
        raise KeyError("deep inside")
"""
FOREIGN = """import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

twice = Primitive("row_twice")
twice.def_impl(lambda x: x * 2)
twice.def_abstract_eval(lambda x: x)
lowered = jax.interpreters.mlir.lower_fun(lambda x: x * 2, False)
jax.interpreters.mlir.register_lowering(twice, lowered)

def doubles(x):
    return twice.bind(x)

def example_args():
    return {"doubles": (jnp.ones(3),)}
"""
TRAIN = """import covector
import jax.numpy as jnp
covector.jit(covector.grad(lambda x: jnp.sin(x)))(1.0)
"""


class Bench:
    """Commands run in the folder that holds the programs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, command: str, *more: str, status: int = 0) -> str:
        """What a command prints, on both streams."""
        with pytest.raises(SystemExit) as exit_:
            cli.main([*command.split(), *more])
        out, err = self.capsys.readouterr()
        assert int(exit_.value.code or 0) == status, err
        return out + err


FILES = {
    "f.cvir": PROGRAM, "bad.cvir": BAD, "mine.py": MINE, "foreign.py": FOREIGN, "train.py": TRAIN,
}  # fmt: skip

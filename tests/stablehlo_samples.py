"""Hand-written StableHLO programs, so that execution is tested without any other layer."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from covector.lowering import jax_compat
from covector.lowering.execute import Executable, compile_module

ADD = """
module @add {
  func.func public @main(%x: tensor<3xf32>, %y: tensor<3xf32>) -> tensor<3xf32> {
    %0 = stablehlo.add %x, %y : tensor<3xf32>
    return %0 : tensor<3xf32>
  }
}
"""
MLIR_NAMES = {
    "float32": "f32",
    "float64": "f64",
    "int32": "i32",
    "int64": "i64",
    "bool": "i1",
    "uint32": "ui32",
}


def spec(shape: tuple[int, ...], dtype: Any = np.float32, weak: bool = False) -> Any:
    return jax.core.ShapedArray(shape, np.dtype(dtype), weak_type=weak)


def tensor(aval: Any) -> str:
    return "tensor<" + "".join(f"{n}x" for n in aval.shape) + MLIR_NAMES[aval.dtype.name] + ">"


def identity_module(avals: list[Any]) -> Any:
    """`@main` returns its arguments, each plus itself."""
    types = [tensor(a) for a in avals]
    inputs = ", ".join(f"%x{i}: {t}" for i, t in enumerate(types))
    body = "".join(f"%y{i} = stablehlo.add %x{i}, %x{i} : {t}\n" for i, t in enumerate(types))
    results = ", ".join(f"%y{i}" for i in range(len(types)))
    end = f"return {results} : {', '.join(types)}" if types else "return"
    signature = f"({inputs}) -> ({', '.join(types)})"
    text = f"module @double {{ func.func public @main{signature} {{ {body} {end} }} }}"
    return jax_compat.parse_module(text)


def compile_add(**options: Any) -> Executable:
    three = spec((3,))
    return compile_module(
        jax_compat.parse_module(ADD),
        name="add",
        in_types=[three, three],
        out_types=[three],
        **options,
    )


def identity_text(type_: str) -> str:
    """A module that returns its one argument, of this MLIR type."""
    return f"module {{ func.func public @main(%x: {type_}) -> {type_} {{ return %x : {type_} }} }}"

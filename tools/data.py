"""Arrays for running programs: random ones, or those of an `.npz` file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.errors import UsageError
from ..ir.graph import Graph
from ..ir.types import ExtendedDtype, TensorType, dtype_category


def random_inputs(graph: Graph, seed: int = 0) -> list[Any]:
    """An array for each input of a graph: normal floats, small integers, fair booleans."""
    random = np.random.default_rng(seed)
    return [random_array(t, random) for t in graph.input_types]


def random_array(type: TensorType, random: np.random.Generator) -> Any:
    """One array of a type. Raises UsageError for dtypes that have no random values here."""
    if isinstance(type.dtype, ExtendedDtype):
        raise UsageError(f"cannot make random values of type {type}; give inputs in a file")
    category = dtype_category(type.dtype)
    if category == "bool":
        return random.integers(0, 2, type.shape).astype(type.dtype)
    if category in ("int", "uint"):
        return random.integers(0, 4, type.shape).astype(type.dtype)
    values = random.standard_normal(type.shape)
    if category == "complex":
        values = values + 1j * random.standard_normal(type.shape)
    return np.asarray(values).astype(type.dtype)


def load_inputs(graph: Graph, path: str) -> list[Any]:
    """The inputs of a graph from an `.npz` file, by name, or by position (`arr_0`, ...).

    Raises UsageError naming what is missing or of the wrong type.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read inputs from {path}: {error}") from None
    inputs = []
    for i, v in enumerate(graph.inputs):
        name = next((n for n in (v.name, f"arr_{i}") if n in arrays), None)
        if name is None:
            raise UsageError(
                f"{path} has no array for input {i} of @{graph.name} ({v!r})",
                hint=f"its arrays: {', '.join(arrays) or 'none'}",
            )
        array = arrays[name]
        if array.shape != v.type.shape:
            raise UsageError(
                f"array {name} of {path} has shape {array.shape}; the input {v!r} needs "
                f"{v.type.shape}"
            )
        inputs.append(array.astype(v.type.dtype))
    return inputs


def describe_outputs(graph: Graph, outputs: Sequence[Any]) -> str:
    """The outputs of a run: a line for a scalar, an array's values summarised below its type."""
    lines = []
    for i, (v, x) in enumerate(zip(graph.outputs, outputs, strict=True)):
        array = np.asarray(x)
        label = f"{v.name or f'output {i}'}: {v.type}"
        if array.ndim == 0:
            lines.append(f"{label} = {array}")
        else:
            values = np.array2string(array, threshold=40, edgeitems=3, prefix="  ")
            lines.append(f"{label} =\n  {values}")
    return "\n".join(lines)

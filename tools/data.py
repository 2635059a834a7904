"""Arrays for running programs: random ones, or those of an `.npz` file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from ..ir.errors import InterpretError, UsageError, did_you_mean
from ..ir.graph import Graph
from ..ir.types import ExtendedDtype, TensorType, dtype_category

Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]

DRAWS: Final[tuple[Draw, ...]] = (
    lambda random, shape: random.standard_normal(shape),
    lambda random, shape: random.uniform(0.5, 2.0, shape),
    lambda random, shape: random.uniform(-0.8, 0.8, shape),
    lambda random, shape: random.uniform(0.1, 0.9, shape),
)
"""Floats to try: normal ones, then those in the domains of log, asin and logit."""


def random_inputs(graph: Graph, seed: int = 0, draw: Draw = DRAWS[0]) -> list[Any]:
    """An array for each input of a graph: normal floats, small integers, fair booleans."""
    random = np.random.default_rng(seed)
    return [random_array(t, random, draw) for t in graph.input_types]


def finite_inputs(graph: Graph, seed: int, run: Callable[..., Any]) -> list[Any]:
    """Random inputs on which the outputs are finite, or as many of them as any draw makes so."""
    best: tuple[int, list[Any]] | None = None
    for draw in DRAWS:
        arrays = random_inputs(graph, seed, draw)
        try:
            bad = sum(count_nonfinite(y) for y in run(graph, arrays))
        except InterpretError:  # a program that cannot be evaluated has inputs nevertheless
            return arrays
        if best is None or bad < best[0]:
            best = bad, arrays
        if bad == 0:
            break
    assert best is not None
    return best[1]


def count_nonfinite(x: Any) -> int:
    """How many elements are NaN or infinite."""
    array = np.asarray(x)
    if array.dtype.kind == "V":  # small floats
        array = array.astype(np.float32)
    return int(np.sum(~np.isfinite(array))) if array.dtype.kind in "fc" else 0


def random_array(type: TensorType, random: np.random.Generator, draw: Draw = DRAWS[0]) -> Any:
    """One array of a type. Raises UsageError for dtypes that have no random values here."""
    if isinstance(type.dtype, ExtendedDtype):
        return _random_keys(type, random)
    category = dtype_category(type.dtype)
    if category == "bool":
        return random.integers(0, 2, type.shape).astype(type.dtype)
    if category in ("int", "uint"):
        return random.integers(0, 4, type.shape).astype(type.dtype)
    values = draw(random, type.shape)
    if category == "complex":
        values = values + 1j * draw(random, type.shape)
    return np.asarray(values).astype(type.dtype)


def _random_keys(type: TensorType, random: np.random.Generator) -> Any:
    """Keys of random words. Raises UsageError for a type that is not one of keys."""
    from ..ir.interpret.keys import wrap
    from ..ir.ops.random import KEY_SHAPES, key_tag

    tag = key_tag(type.dtype)
    if tag not in KEY_SHAPES:
        raise UsageError(f"cannot make random values of type {type}")
    words = random.integers(0, 2**32, (*type.shape, *KEY_SHAPES[tag]), dtype=np.uint32)
    return wrap(words, tag)


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


def given_inputs(graph: Graph, file: str | None, at: str | None, seed: int) -> list[Any] | None:
    """The inputs of a file, or random ones, with the numbers of `at` in place of some or all; None
    if neither is given."""
    if file is None and at is None:
        return None
    arrays = load_inputs(graph, file) if file is not None else random_inputs(graph, seed)
    return filled(graph, arrays, at) if at is not None else arrays


def choose_inputs(
    graph: Graph, file: str | None, at: str | None, examples: Sequence[Any] | None, seed: int
) -> list[Any]:
    """The inputs that a command was given: a file's, else examples that fit, else random ones; of
    these, numbers that `at` gives take the place of some or all."""
    if file is not None:
        arrays = load_inputs(graph, file)
    elif examples is not None and [np.shape(x) for x in examples] == [
        t.shape for t in graph.input_types
    ]:
        arrays = list(examples)
    else:
        arrays = random_inputs(graph, seed)
    return filled(graph, arrays, at) if at is not None else arrays


def filled(graph: Graph, arrays: Sequence[Any], at: str, *, lenient: bool = False) -> list[Any]:
    """The arrays, those that `100` or `x=0, n=3` speaks of filled with numbers.

    Raises UsageError for what is no number, or, if not lenient, no input of the graph.
    """
    names = [v.name or str(i) for i, v in enumerate(graph.inputs)]
    result = list(arrays)
    for part in at.split(","):
        name, equals, text = part.rpartition("=")
        try:
            number = complex(text) if "j" in text else float(text)
        except ValueError:
            raise UsageError(
                f"{text.strip()!r} in --at is no number", hint='write "100", or "x=0, n=3"'
            ) from None
        name = name.strip()
        chosen = [i for i, n in enumerate(names) if not equals or name in (n, str(i))]
        if not chosen and not lenient:
            hint = did_you_mean(name, names) or f"inputs: {', '.join(names)}"
            raise UsageError(f"@{graph.name} has no input {name!r}", hint=hint)
        for i in chosen:
            t = graph.inputs[i].type
            if equals or dtype_category(t.dtype) in ("float", "complex"):
                result[i] = np.full(t.shape, number).astype(t.dtype)  # type: ignore[arg-type]
    return result


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


def outputs_as_json(graph: Graph, outputs: Sequence[Any]) -> str:
    """The outputs of a run as JSON: name, type, and values nested like the array."""
    rows = [
        {"name": v.name, "type": str(v.type), "values": _plain(np.asarray(x))}
        for v, x in zip(graph.outputs, outputs, strict=True)
    ]
    return json.dumps(rows, indent=1)


def _plain(array: Any) -> Any:
    """Numbers that JSON can hold: complex ones as pairs, infinities and NaN by name."""
    if array.ndim:
        return [_plain(row) for row in array]
    if array.dtype.kind == "c":
        return [_plain(array.real), _plain(array.imag)]
    if array.dtype.kind in "biu":
        return array.item()
    number = float(array)
    return number if np.isfinite(number) else str(number)

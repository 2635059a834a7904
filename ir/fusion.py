"""What a compiler makes of single equations: which cost no memory, which are fused into readers.

XLA writes a chain of elementwise operations, broadcasts and slices as one loop, so that only its
last value is ever stored. These predicates say what may take part, as XLA's own instruction fusion
decides it; `liveness` puts them together.
"""

from __future__ import annotations

from typing import Final

from .graph import Equation, Literal, Value
from .ops.random import key_tag
from .types import dtype_category, is_complex

VIEWS: Final = frozenset(
    {
        "reshape",
        "squeeze",
        "name",
        "random_wrap",
        "random_unwrap",
        "stop_gradient",
        "copy",
        "copy_p",
    }
)
"""The operand under another type: no element moves."""

MOVES: Final = frozenset(
    {
        "broadcast_in_dim", "transpose", "concatenate", "pad", "rev", "split", "tile", "stack",
        "unstack", "slice", "dynamic_slice", "gather", "select_n", "clamp", "reduce_precision",
        "bitcast_convert_type", "convert_element_type",
    }
)  # fmt: skip
"""Moved, selected and converted elements: computed where they are read."""

SOURCES: Final = frozenset({"iota", "empty", "empty2", "iota_2x32_shape"})
"""Read no value: they are computed wherever they are read."""

IN_PLACE: Final = frozenset(
    {
        "dynamic_update_slice", "scatter", "scatter_add", "scatter_sub", "scatter_mul",
        "scatter_min", "scatter_max",
    }
)  # fmt: skip
"""Write into their first operand where nobody else reads it."""

_CHEAP: Final = frozenset(
    {
        "neg", "add", "add_any", "sub", "mul", "max", "min", "square", "one_minus_square", "floor",
        "ceil", "round", "real", "imag", "complex", "conj", "eq", "ne", "lt", "le", "gt", "ge",
        "lt_to", "le_to", "eq_to", "is_finite", "not", "and", "or", "xor", "population_count",
        "clz", "shift_left", "shift_right_arithmetic", "shift_right_logical", "nextafter", "mulhi",
        "convert_element_type", "integer_pow",
    }
)  # fmt: skip
_CHEAP_IF_REAL: Final = frozenset({"abs", "sign"})


def is_view(eqn: Equation) -> bool:
    """Whether the output is the operand's memory, read in another shape."""
    if eqn.primitive.name in VIEWS:
        return True
    if eqn.primitive.name == "broadcast_in_dim":  # axes of length 1 only
        axes = eqn.params["broadcast_dimensions"]
        return eqn.inputs[0].type.size == eqn.outputs[0].type.size and list(axes) == sorted(axes)
    return False


def passes_on(eqn: Equation) -> bool:
    """Whether the outputs are the operands, at a certain time: barriers."""
    return eqn.primitive.name == "optimization_barrier"


def is_fusible(eqn: Equation) -> bool:
    """Whether each output element is computed where it is read, if the readers allow it."""
    primitive = eqn.primitive
    if primitive.effects and eqn.effects:
        return False
    return (
        (primitive.elementwise and primitive.family in ("elementwise", "special"))
        or primitive.name in MOVES
        or primitive.name in SOURCES
    )


def fuses_operands(eqn: Equation) -> bool:
    """Whether operands may be computed inside: what is fusible, and reductions."""
    return is_fusible(eqn) or (eqn.primitive.family == "reduction")


def repeats_operand(eqn: Equation) -> bool:
    """Whether an operand's element is read for many elements of the output."""
    return any(
        x.type.size * 2 <= eqn.outputs[0].type.size and x.type.shape != () for x in eqn.inputs
    ) and eqn.primitive.name in ("broadcast_in_dim", "tile", "gather")


def is_expensive(eqn: Equation) -> bool:
    """Whether a compiler would rather store the result than compute it once for each reader."""
    name = eqn.primitive.name
    if name in MOVES or name in SOURCES or name in VIEWS:
        return name == "gather"
    is_of_complex = any(is_complex(x.type.dtype) for x in (*eqn.inputs, *eqn.outputs))
    if name == "div":
        return dtype_category(eqn.outputs[0].type.dtype) in ("float", "complex")
    if name in _CHEAP_IF_REAL:
        return is_of_complex
    return name not in _CHEAP


_HASHED: Final = 8
"""Bytes of the two words of a block of Threefry-2x32, which each number is combined from."""


def stored_bytes(eqn: Equation, v: Value) -> int:
    """Bytes of a result that is stored for readers which operands can be fused into.

    They combine the two words that a random number is made of, so that both are stored.
    """
    makes_words = eqn.primitive.name == "random_bits" and eqn.params["partitionable"]
    if makes_words and key_tag(eqn.inputs[0].type.dtype) == "fry":
        return max(_HASHED * int(v.type.size), int(v.type.nbytes))
    return int(v.type.nbytes)


def gathers(eqn: Equation) -> bool:
    """Whether a second computation would read more memory than its result takes.

    Operands that are smaller than the result, and broadcast to it, do not count.
    """
    out = eqn.outputs[0].type
    operands = {x: x.type for x in eqn.inputs if not isinstance(x, Literal)}
    whole = [t for t in operands.values() if len(t.shape) >= len(out.shape) and t.size > 1]
    return len(whole) > 1 and sum(t.nbytes for t in operands.values()) > out.nbytes

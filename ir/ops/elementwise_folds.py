"""What the builder simplifies as it makes elementwise equations: identities, and scalar literals.

Each function returns the outputs that replace the equation, or None. All of it is exact in floating
point, signs of zeros included (x - 0 is x, x + 0 is not for x = -0), and keeps the type, weakness
included. Constants are computed only where every machine computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import ml_dtypes
import numpy as np

from ..graph import Atom, Literal
from ..primitive import PRIMITIVES
from ..types import BOOL, Dtype, TensorType, dtype_category

if TYPE_CHECKING:
    from ..builder import Builder

Folded = tuple[Atom, ...] | None
Inputs = tuple[Atom, ...]
Params = dict[str, Any]
Fold = Callable[["Builder", Inputs, Params], Folded]

_EXACT: Final = frozenset({"bool", "int", "uint"})


# -- literals ------------------------------------------------------------------------------------


def uniform(b: Builder, x: Atom) -> Literal | None:
    """The literal that all elements of x are, if it is known to be one."""
    return x if isinstance(x, Literal) else b.uniforms.get(x)


@cache
def _smallest_normal(dtype: Dtype) -> float:
    return float(ml_dtypes.finfo(dtype).smallest_normal)


def _is_certain(value: Any) -> bool:
    """Whether a number is the same on every machine: not one that some flush to zero."""
    if dtype_category(value.dtype) in _EXACT:
        return True
    if value.dtype.name not in ("float32", "float64"):
        return False  # small floats may be computed in larger ones
    size = abs(float(value))
    return size == 0 or _smallest_normal(value.dtype) <= size < float("inf")


@lru_cache(maxsize=4096)
def _compute(function: Callable[..., Any], literals: tuple[Any, ...], dtype: Dtype) -> Folded:
    """The literal that a function gives on literals, if that is certain."""
    values = [x.value for x in literals]
    if not all(map(_is_certain, values)):
        return None
    with np.errstate(all="ignore"):
        value = np.asarray(function(*values)).astype(dtype)  # type: ignore[arg-type]
    if not _is_certain(value):
        return None
    weak = False not in [x.type.weak for x in literals]
    return (Literal(value, TensorType((), dtype, weak)),)


# -- arithmetic ----------------------------------------------------------------------------------


def _is_number(literal: Literal, value: float) -> bool:
    """Whether a real literal is this number, sign of zero included."""
    x = literal.value
    if x != value or dtype_category(x.dtype) == "complex":
        return False
    if value != 0 or dtype_category(x.dtype) in _EXACT:
        return True
    return bool(np.signbit(x.astype(np.float64)) == np.signbit(value))


def _binary(
    name: str, function: Callable[..., Any], left: float | None, right: float | None
) -> Fold:
    """The fold of an operation with a left and a right identity.

    An operand whose elements are all one literal becomes that literal, which broadcasts.
    """

    def fold(b: Builder, inputs: Inputs, params: Params) -> Folded:
        x, y = inputs
        lx = x if x.__class__ is Literal else b.uniforms.get(x)
        ly = y if y.__class__ is Literal else b.uniforms.get(y)
        if (lx is None and ly is None) or params.get("out_dtype") is not None:
            return None
        if lx is x and ly is y:
            is_integer_division = name == "div" and dtype_category(x.type.dtype) in _EXACT
            if is_integer_division or x.type.dtype != y.type.dtype:
                return None
            return _compute(function, inputs, x.type.dtype)
        if ly is not None and y.type.shape in ((), x.type.shape):
            if right is not None and _is_number(ly, right) and _keeps_type(x, ly):
                return (x,)
            if ly is not y:
                return b.emit(PRIMITIVES[name], x, ly, **params)
        if lx is not None and x.type.shape in ((), y.type.shape):
            if left is not None and _is_number(lx, left) and _keeps_type(y, lx):
                return (y,)
            if lx is not x:
                return b.emit(PRIMITIVES[name], lx, y, **params)
        return None

    return fold


def _alike(fold: Fold) -> Fold:
    """The fold where both operands are weakly typed, or neither is."""

    def fold_alike(b: Builder, inputs: Inputs, params: Params) -> Folded:
        x, y = inputs
        return fold(b, inputs, params) if x.type.weak is y.type.weak else None

    return fold_alike


def _keeps_type(x: Atom, other: Atom) -> bool:
    """Whether an operation of x with a scalar of its dtype has the type of x."""
    return x.type.dtype == other.type.dtype and (other.type.weak or not x.type.weak)


def fold_neg(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """neg(neg(x)) is x."""
    (x,) = inputs
    if x.__class__ is Literal:
        return _compute(np.negative, inputs, x.type.dtype)
    return _undone(b, x, "neg")


def _undone(b: Builder, x: Atom, name: str) -> Folded:
    """The operand of the operation `name` that makes x, if it has the type of x."""
    made = b.definition(x)
    if made is not None and made.primitive.name == name and made.inputs[0].type is x.type:
        return made.inputs
    return None


def fold_integer_pow(b: Builder, inputs: Inputs, params: Params) -> Folded:
    is_number = dtype_category(inputs[0].type.dtype) != "bool"
    return inputs if params["y"] == 1 and is_number else None


def fold_pow(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """x to the power of 1 is x."""
    x, y = inputs
    if y.__class__ is Literal and dtype_category(x.type.dtype) == "float":
        return (x,) if y.value == 1 and (y.type.weak or not x.type.weak) else None
    return None


# -- comparisons and bits ------------------------------------------------------------------------


def _comparison(function: Callable[..., Any]) -> Fold:
    """The fold of a comparison: of two literals."""

    def fold(b: Builder, inputs: Inputs, params: Params) -> Folded:
        x, y = inputs
        if x.__class__ is Literal and y.__class__ is Literal and x.type.dtype == y.type.dtype:
            return _compute(function, inputs, BOOL)
        return None

    return fold


def _logical(function: Callable[..., Any], identity: int) -> Fold:
    """The fold of and, or, xor: with all bits set, or none."""

    def fold(b: Builder, inputs: Inputs, params: Params) -> Folded:
        x, y = inputs
        if dtype_category(x.type.dtype) not in _EXACT:
            return None  # which the type rule refuses
        if x.__class__ is Literal and y.__class__ is Literal and x.type.dtype == y.type.dtype:
            return _compute(function, inputs, x.type.dtype)
        for kept, other in ((x, y), (y, x)):
            literal = uniform(b, other)
            if literal is None or other.type.shape not in ((), kept.type.shape):
                continue
            if literal.value == _bits(identity, literal.type.dtype) and _keeps_type(kept, literal):
                return (kept,)
        return None

    return fold


def _bits(pattern: int, dtype: Dtype) -> Any:
    return np.asarray(pattern != 0) if dtype == BOOL else np.asarray(pattern).astype(dtype)  # type: ignore[arg-type]


def fold_not(b: Builder, inputs: Inputs, params: Params) -> Folded:
    (x,) = inputs
    if x.__class__ is Literal:
        return _compute(np.invert, inputs, x.type.dtype)
    return _undone(b, x, "not")


# -- complex numbers -----------------------------------------------------------------------------


def fold_real(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """real(complex(a, b)) is a; real(conj(x)) is real(x)."""
    made = b.definition(inputs[0])
    if made is None:
        return None
    if made.primitive.name == "conj":
        (x,) = made.inputs
        is_complex = dtype_category(x.type.dtype) == "complex"
        return b.emit(PRIMITIVES["real"], x) if is_complex else made.inputs
    return _part(made, 0, inputs[0])


def fold_imag(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """imag(complex(a, b)) is b."""
    made = b.definition(inputs[0])
    return None if made is None else _part(made, 1, inputs[0])


def _part(made: Any, i: int, x: Atom) -> Folded:
    if made.primitive.name != "complex":
        return None
    part: Atom = made.inputs[i]
    fits = part.type.shape == x.type.shape and part.type.weak == x.type.weak
    return (part,) if fits else None


def fold_complex(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """complex(real(x), imag(x)) is x."""
    re, im = map(b.definition, inputs)
    if re is None or im is None or re.inputs != im.inputs:
        return None
    return re.inputs if (re.primitive.name, im.primitive.name) == ("real", "imag") else None


def fold_conj(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """conj(conj(x)) is x."""
    return _undone(b, inputs[0], "conj")


# -- conversion and selection --------------------------------------------------------------------


@cache
def is_lossless(old: Dtype, new: Dtype) -> bool:
    """Whether a dtype holds every value of another."""
    if old == new or "extended" in (dtype_category(old), dtype_category(new)):
        return old == new
    from_integer, to_integer = (dtype_category(d) in ("int", "uint") for d in (old, new))
    if from_integer and not to_integer and old.itemsize == 8:
        return False  # numpy calls int64 -> float64 safe, which it is not
    return bool(np.can_cast(old, new, "safe"))  # type: ignore[arg-type]


def fold_convert(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """A conversion to x's own type is x; one after a lossless one is one conversion."""
    (x,) = inputs
    new, weak = params["new_dtype"], params["weak_type"]
    if new == x.type.dtype and (weak is x.type.weak):
        return inputs
    if x.__class__ is Literal:
        return _convert_literal(x, new, weak)
    made = b.definition(x)
    if made is None or made.primitive.name != "convert_element_type":
        return None
    (source,) = made.inputs
    if not is_lossless(source.type.dtype, x.type.dtype):
        return None
    return b.emit(made.primitive, source, new_dtype=new, weak_type=weak)


@lru_cache(maxsize=4096)
def _convert_literal(x: Literal, new: Dtype, weak: bool) -> Folded:
    if {dtype_category(x.type.dtype), dtype_category(new)} & {"complex", "extended"}:
        return None
    with np.errstate(all="ignore"):
        value = x.value.astype(new)  # type: ignore[arg-type]
        is_exact = bool(value.astype(np.float64) == x.value.astype(np.float64))
    is_rounded = value.dtype.name in ("float32", "float64") and _is_certain(value)
    if is_exact or is_rounded or new == BOOL:
        return (Literal(value, TensorType((), new, weak)),)
    return None


def fold_select(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """A literal selects one case; equal cases need no selector."""
    which, *cases = inputs
    case = cases[0]
    kinds = {(c.type.shape, c.type.dtype) for c in cases}
    if len(kinds) > 1 or dtype_category(which.type.dtype) not in _EXACT:
        return None  # which the type rule refuses
    if which.__class__ is Literal:
        case = cases[min(max(int(which.value), 0), len(cases) - 1)]
    elif any(other is not case for other in cases):
        return None
    is_typed = case.type.weak is (False not in [c.type.weak for c in cases])
    return (case,) if is_typed else None


def fold_stop_gradient(b: Builder, inputs: Inputs, params: Params) -> Folded:
    (x,) = inputs
    made = b.definition(x)
    is_stopped = made is not None and made.primitive.name == "stop_gradient"
    return inputs if is_stopped or x.__class__ is Literal else None


def fold_reduction(b: Builder, inputs: Inputs, params: Params) -> Folded:
    """A reduction over no axes is x."""
    return inputs if not params["axes"] else None


FOLDS: Final[dict[str, Fold]] = {
    "add": _binary("add", np.add, -0.0, -0.0),
    "add_any": _alike(_binary("add_any", np.add, -0.0, -0.0)),
    "sub": _binary("sub", np.subtract, None, 0.0),
    "mul": _binary("mul", np.multiply, 1, 1),
    "div": _binary("div", np.divide, None, 1),
    "neg": fold_neg,
    "integer_pow": fold_integer_pow,
    "pow": fold_pow,
    "eq": _comparison(np.equal),
    "ne": _comparison(np.not_equal),
    "lt": _comparison(np.less),
    "le": _comparison(np.less_equal),
    "gt": _comparison(np.greater),
    "ge": _comparison(np.greater_equal),
    "and": _logical(np.bitwise_and, -1),
    "or": _logical(np.bitwise_or, 0),
    "xor": _logical(np.bitwise_xor, 0),
    "not": fold_not,
    "real": fold_real,
    "imag": fold_imag,
    "complex": fold_complex,
    "conj": fold_conj,
    "convert_element_type": fold_convert,
    "select_n": fold_select,
    "stop_gradient": fold_stop_gradient,
}
"""By the primitive's name."""

"""How each primitive is bound in JAX: by default the JAX primitive of the same name and parameters.

A rule is `(eqn, arrays) -> outputs`. Primitives with regions, and those whose JAX parameters
differ, have entries of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import numpy as np
from jax import lax

from ..ir.errors import MissingRule
from ..ir.graph import Equation
from ..ir.primitive import Primitive
from ..ir.types import ExtendedDtype
from ..lowering.jax_compat import key_implementation
from .avals import to_jax_dtype
from .jax_primitives import jax_primitives

Bind = Callable[[Equation, Sequence[Any]], Sequence[Any]]
ToJax = Callable[[dict[str, Any]], dict[str, Any]]

_SPECIAL: Final[dict[str, Bind]] = {}
_CONVERT: Final[dict[str, ToJax]] = {}
_RULES: Final[dict[Primitive, Bind]] = {}

_JAX_NAMES: Final = {
    "checkpoint": "remat2",
    "call": "jit",
    "scatter_add": "scatter-add",
    "scatter_sub": "scatter-sub",
    "scatter_mul": "scatter-mul",
    "scatter_min": "scatter-min",
    "scatter_max": "scatter-max",
}

_ENUMS: Final[dict[str, Any]] = {
    "rounding_method": lax.RoundingMethod,
    "mode": lax.GatherScatterMode,
    "fft_type": jax.lax.FftType,
    "algorithm": lax.RandomAlgorithm,
}


def rule_for(primitive: Primitive) -> Bind:
    """How to bind a primitive in JAX. Raises MissingRule for one that JAX does not have."""
    found = _RULES.get(primitive)
    if found is None:
        found = _RULES[primitive] = _SPECIAL.get(primitive.name) or _default(primitive)
    return found


def binds(*names: str) -> Callable[[Bind], Bind]:
    """`@binds("scan")`: enter (eqn, arrays) -> outputs."""

    def enter(rule: Bind) -> Bind:
        for name in names:
            _SPECIAL[name] = rule
        return rule

    return enter


def converts(*names: str) -> Callable[[ToJax], ToJax]:
    """`@converts("gather")`: enter (our params) -> JAX's params."""

    def enter(convert: ToJax) -> ToJax:
        for name in names:
            _CONVERT[name] = convert
        return convert

    return enter


def _default(primitive: Primitive) -> Bind:
    theirs = _jax_primitive(primitive)
    if theirs is None:
        raise MissingRule(f"{primitive.name} has no counterpart in JAX {jax.__version__}")
    convert = _CONVERT.get(primitive.name, _plain_params)

    def bind(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
        outputs = theirs.bind(*arrays, **convert(eqn.params))
        return outputs if theirs.multiple_results else (outputs,)

    return bind


def jax_operation(eqn: Equation) -> tuple[Any, dict[str, Any]]:
    """The JAX primitive and parameters of an equation; no primitive where JAX has none."""
    convert = _CONVERT.get(eqn.primitive.name, _plain_params)
    return _jax_primitive(eqn.primitive), convert(eqn.params)


def _jax_primitive(primitive: Primitive) -> Any | None:
    return jax_primitives().get(_JAX_NAMES.get(primitive.name, primitive.name))


def _plain_params(params: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(name, value) for name, value in params.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, ExtendedDtype):
        return to_jax_dtype(value)
    if isinstance(value, str) and name in _ENUMS:
        return _ENUMS[name][value]
    return value


def adding(**fixed: Any) -> ToJax:
    """Our parameters, and some of JAX's that are not kept."""
    return lambda params: {**_plain_params(params), **fixed}


def accepted(
    sample: Callable[..., Any], *shapes: tuple[int, ...], ours: ToJax = _plain_params
) -> ToJax:
    """The parameters that this version of JAX takes, learnt from an equation that it traces itself.

    What it takes beyond ours has the sample's value; what it does not take yet must be our default.
    """

    @functools.cache
    def known() -> dict[str, Any]:
        specs = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
        return dict(jax.make_jaxpr(sample)(*specs).eqns[-1].params)

    def convert(params: dict[str, Any]) -> dict[str, Any]:
        plain = ours(params)
        return {name: plain.get(name, value) for name, value in known().items()}

    return convert


# -- parameters ----------------------------------------------------------------------------------

for _name in ("broadcast_in_dim", "iota", "convert_element_type"):
    _CONVERT[_name] = adding(sharding=None)
_CONVERT["reshape"] = adding(dimensions=None, sharding=None)
for _name in ("sum", "prod", "max", "min"):
    _CONVERT[f"reduce_{_name}"] = accepted(
        functools.partial(getattr(lax, f"reduce_{_name}"), axes=(0,)), (2,)
    )
_CONVERT["top_k"] = accepted(lambda x: lax.top_k(x, 1), (2,))
_CONVERT["erfc"] = accepted(lax.erfc, (2,))


def precision_to_jax(precision: Any) -> Any:
    """None, a pair of names, the name of a preset, or an algorithm's seven properties."""
    if isinstance(precision, str):
        return lax.DotAlgorithmPreset[precision]
    if precision is not None and len(precision) > 2:
        return lax.DotAlgorithm(*precision)
    return precision and tuple(lax.Precision[name] for name in precision)


@converts("dot_general")
def _dot_general(params: dict[str, Any]) -> dict[str, Any]:
    precision = precision_to_jax(params["precision"])
    return {**params, "precision": precision, "out_sharding": None}


@converts("conv_general_dilated")
def _conv(params: dict[str, Any]) -> dict[str, Any]:
    rest = dict(params)
    specs = [rest.pop(f"{side}_spec") for side in ("lhs", "rhs", "out")]
    rest["precision"] = precision_to_jax(rest["precision"])
    numbers = lax.ConvDimensionNumbers(*specs)
    return {**rest, "dimension_numbers": numbers, "out_sharding": None}


@converts("gather")
def _gather(params: dict[str, Any]) -> dict[str, Any]:
    return with_numbers(lax.GatherDimensionNumbers, params)


@binds("gather")
def _bind_gather(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """Through JAX's own function: it finds the value that fills where none is given."""
    return [lax.gather(*arrays, **_gather(eqn.params))]


def with_numbers(numbers: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with those that belong to a dimension-numbers object gathered into one."""
    own = set(numbers._fields)
    rest = {k: v for k, v in params.items() if k not in own}
    rest["mode"] = lax.GatherScatterMode[rest["mode"]]
    return {**rest, "dimension_numbers": numbers(**{k: params[k] for k in params if k in own})}


@converts("scatter", "scatter_add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max")
def _scatter_params(params: dict[str, Any]) -> dict[str, Any]:
    numbers = with_numbers(lax.ScatterDimensionNumbers, params)
    return {**numbers, "update_jaxpr": None, "update_consts": ()}


@binds("scatter", "scatter_add", "scatter_sub", "scatter_mul", "scatter_min", "scatter_max")
def _scatter(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """Through JAX's own function: it traces the function that combines old and new elements."""
    params = with_numbers(lax.ScatterDimensionNumbers, eqn.params)
    return [getattr(lax, eqn.primitive.name)(*arrays, **params)]


@binds("add_any")
def _add_any(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """JAX's takes two of one type, ours scalars beside arrays too, and one row beside many."""
    type = eqn.outputs[0].type
    dtype = to_jax_dtype(type.dtype)
    axes = range(len(type.shape))

    def whole(x: Any) -> Any:
        if np.shape(x) == type.shape:
            return x
        if not np.shape(x):
            return lax.full(type.shape, x, dtype)
        return lax.broadcast_in_dim(x, type.shape, axes)

    return [jax_primitives()["add_any"].bind(*map(whole, arrays))]


@binds("linear_recurrence")
def _recurrence(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    """A tree over its affine steps."""

    def after(first: Any, then: Any) -> Any:
        return first[0] * then[0], then[0] * first[1] + then[1]

    return [lax.associative_scan(after, tuple(arrays), **eqn.params)[1]]


@binds("constant")
def _constant(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    return [eqn.params["value"].array]


_LINALG_ENUMS: Final[dict[str, tuple[str, Any]]] = {
    "eig": ("implementation", lax.linalg.EigImplementation),
    "eigh": ("algorithm", lax.linalg.EighImplementation),
    "svd": ("algorithm", lax.linalg.SvdAlgorithm),
}


def _with_algorithm(key: str, algorithms: Any) -> ToJax:
    def convert(params: dict[str, Any]) -> dict[str, Any]:
        return {**params, key: params[key] and algorithms[params[key]]}

    return convert


for _name, _algorithm in _LINALG_ENUMS.items():
    _CONVERT[_name] = _with_algorithm(*_algorithm)
_CONVERT["eig"] = accepted(lax.linalg.eig, (2, 2), ours=_CONVERT["eig"])
_CONVERT["empty2"] = adding(memory_space=jax.memory.Space.Device)
_CONVERT["schur"] = adding(select_callable=None)
_CONVERT["rng_bit_generator"] = adding(out_sharding=None)


@converts("random_seed", "random_wrap")
def _with_generator(params: dict[str, Any]) -> dict[str, Any]:
    return {"impl": key_implementation(params["impl"])}


@binds("random_split", "random_bits", "random_gamma")
def _with_numbering(eqn: Equation, arrays: Sequence[Any]) -> Sequence[Any]:
    params = dict(eqn.params)
    with jax.threefry_partitionable(params.pop("partitionable")):
        return [jax_primitives()[eqn.primitive.name].bind(*arrays, **params)]

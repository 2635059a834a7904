"""What a compile knows and a program does not: check `@main` against its types, write donation and
shardings on it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from jaxlib.mlir import ir

from ..ir.ops.placement import HOST
from . import jax_compat

Avals = tuple[Sequence[Any], Sequence[Any]]
Shardings = tuple[Sequence[Any], Sequence[Any]]


def main_function(module: ir.Module) -> Any:
    """The public entry of a module."""
    op: Any
    for op in module.body.operations:
        if op.operation.name == "func.func" and op.sym_name.value == "main":
            return op
    raise TypeError("the module has no function @main")


def check_signature(module: ir.Module, name: str, avals: Avals, tokens: int = 0) -> None:
    """Types that disagree with the module would be a crash inside the runtime; say it here instead.

    The first `tokens` inputs and outputs thread ordered effects and have no type of ours.
    """
    function_type = main_function(module).type
    for word, types, want in (
        ("input", function_type.inputs, avals[0]),
        ("output", function_type.results, avals[1]),
    ):
        have = list(types)[tokens:]
        if len(have) != len(want):
            raise TypeError(
                f"@main of {name} has {len(have)} {word}s, {len(want)} types were given"
            )
        for i, (type_, aval) in enumerate(zip(have, want, strict=True)):
            if type_ != _tensor_type(aval, module.context):
                raise TypeError(
                    f"{word} {i} of @main of {name} is {type_}, "
                    f"the type given is {aval.str_short()}"
                )


def _tensor_type(aval: Any, context: ir.Context) -> ir.Type:
    shape, dtype = jax_compat.base_shape_dtype(aval)
    element = jax_compat.element_type(dtype, context)
    return ir.RankedTensorType.get(shape, element, loc=ir.Location.unknown(context))


def annotate(
    module: ir.Module,
    name: str,
    avals: Avals,
    shardings: Shardings,
    in_layouts: Sequence[Any] = (),
    *,
    donated: Sequence[int] = (),
    n_devices: int = 1,
    tokens: int = 0,
) -> ir.Module:
    """The module as it is compiled: a copy, unless there is nothing to write."""
    kinds = _memory_kinds(shardings)
    is_named = "sym_name" in module.operation.attributes
    is_usual = not any(map(any, kinds)) and not any(in_layouts)
    if is_named and not donated and n_devices == 1 and is_usual:
        return module
    copy = jax_compat.parse_module(jax_compat.module_bytes(module), module.context)
    with copy.context, ir.Location.unknown():
        _annotate_module(copy, name, n_devices)
        main = main_function(copy)
        if n_devices > 1:
            _annotate_shardings(main, avals, shardings, tokens)
            jax_compat.run_mlir_passes(copy, "sdy-lift-inlined-meshes")
        _annotate_memories(main, kinds, tokens)
        for i, layout in enumerate(in_layouts):
            if layout is not None:
                text = jax_compat.layout_text(layout, avals[0][i])
                _set_argument(main, tokens + i, "mhlo.layout_mode", ir.StringAttr.get(text))
        unused = _annotate_donation(main, avals, donated, tokens, n_devices)
    if unused:
        warnings.warn(
            f"Some donated buffers of {name} were not usable: {', '.join(unused)}", stacklevel=3
        )
    return copy


def _annotate_module(module: ir.Module, name: str, n_devices: int) -> None:
    i32 = ir.IntegerType.get_signless(32)
    attributes = module.operation.attributes
    if "sym_name" not in attributes:
        attributes["sym_name"] = ir.StringAttr.get(name)
    attributes["mhlo.num_replicas"] = ir.IntegerAttr.get(i32, 1)
    attributes["mhlo.num_partitions"] = ir.IntegerAttr.get(i32, n_devices)


def _extend(attributes: Any, index: int, count: int, key: str, value: ir.Attribute) -> ir.ArrayAttr:
    """An array of attribute dictionaries with one more entry in one of them."""
    dictionaries: list[Any] = (
        list(attributes) if attributes is not None else [ir.DictAttr.get({})] * count
    )
    entries = {named.name: named.attr for named in dictionaries[index]}
    dictionaries[index] = ir.DictAttr.get({**entries, key: value})
    return ir.ArrayAttr.get(dictionaries)


def _set_argument(main: Any, index: int, key: str, value: ir.Attribute) -> None:
    current = main.arg_attrs if "arg_attrs" in main.attributes else None
    main.arg_attrs = _extend(current, index, len(main.type.inputs), key, value)


def _set_result(main: Any, index: int, key: str, value: ir.Attribute) -> None:
    current = main.result_attrs if "res_attrs" in main.attributes else None
    main.attributes["res_attrs"] = _extend(current, index, len(main.type.results), key, value)


def _memory_kinds(shardings: Shardings) -> list[list[str | None]]:
    """For inputs and outputs, the memory of each that is in the host's."""
    kinds = [[getattr(s, "memory_kind", None) for s in group] for group in shardings]
    return [[kind if kind == HOST else None for kind in group] for group in kinds]


def _annotate_memories(main: Any, kinds: Sequence[Sequence[str | None]], tokens: int) -> None:
    for setter, group in zip((_set_argument, _set_result), kinds, strict=True):
        for i, kind in enumerate(group):
            if kind is not None:
                setter(main, tokens + i, "mhlo.memory_kind", ir.StringAttr.get(kind))


def _annotate_shardings(main: Any, avals: Avals, shardings: Shardings, tokens: int) -> None:
    for setter, group, chosen in zip((_set_argument, _set_result), avals, shardings, strict=True):
        for i, (aval, sharding) in enumerate(zip(group, chosen, strict=True)):
            if sharding is not None:
                rank = len(jax_compat.base_shape_dtype(aval)[0])
                setter(
                    main,
                    tokens + i,
                    "sdy.sharding",
                    ir.Attribute.parse(_shardy_text(sharding, rank)),
                )


def _shardy_text(sharding: Any, rank: int) -> str:
    """A NamedSharding in Shardy's words: `#sdy.sharding<mesh<["x"=2]>, [{"x"}, {}]>`."""
    if sharding.is_fully_replicated:
        axes, dims = "", ["{}"] * rank
    elif isinstance(sharding, jax.sharding.NamedSharding):
        if getattr(sharding.spec, "unreduced", None) or getattr(sharding.spec, "reduced", None):
            raise TypeError(
                f"an argument has a sharding with the spec {sharding.spec}: the terms of a sum "
                "over devices are no arguments; sum them with jax.reshard"
            )
        axes = ", ".join(f'"{axis}"={size}' for axis, size in sharding.mesh.shape.items())
        parts = [*sharding.spec, *[None] * rank][:rank]
        dims = [_dimension_text(part) for part in parts]
    else:
        raise TypeError(
            f"an argument has a {type(sharding).__name__}; "
            "give it a NamedSharding with jax.device_put"
        )
    return f"#sdy.sharding<mesh<[{axes}]>, [{', '.join(dims)}]>"


def _dimension_text(part: Any) -> str:
    if part is jax.sharding.PartitionSpec.UNCONSTRAINED:
        return "{?}"
    names = () if part is None else (part,) if isinstance(part, str) else tuple(part)
    return "{" + ", ".join(f'"{name}"' for name in names) + "}"


def _annotate_donation(
    main: Any, avals: Avals, donated: Sequence[int], tokens: int, n_devices: int
) -> list[str]:
    """Pair each donated input with an output of its type, else of its size; returns those that fit
    none.

    With several devices the layout of an output over them is XLA's choice, so the pairing is too.
    """
    free = list(range(len(avals[1])))
    unused: list[str] = []
    for i in donated:
        given = avals[0][i]
        same_type = [o for o in free if _base(avals[1][o]) == _base(given)]
        fits = same_type or [o for o in free if _size(avals[1][o]) == _size(given)]
        if not fits:
            unused.append(given.str_short())
            continue
        free.remove(fits[0])
        if same_type and n_devices == 1:
            alias = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), tokens + fits[0])
            _set_argument(main, tokens + i, "tf.aliasing_output", alias)
        else:
            _set_argument(main, tokens + i, "jax.buffer_donor", ir.BoolAttr.get(True))
    return unused


def _base(aval: Any) -> tuple[Any, Any]:
    return jax_compat.base_shape_dtype(aval)


def _size(aval: Any) -> int:
    shape, dtype = jax_compat.base_shape_dtype(aval)
    return math.prod(shape) * int(dtype.itemsize)

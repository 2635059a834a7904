"""JAX's primitives that covector neither defines nor can carry as they are, and why."""

from __future__ import annotations

from typing import Final

from .jax_primitives import is_of_kernels

_MEMORY = "it holds memory by hand, and what a program holds where is chosen when it is compiled"
_KERNEL = "it stands only inside of a Pallas kernel"
_OF_KERNELS: Final = ("pallas_call", "custom_fusion")
_MESH = "it stands only inside of shard_map"
_SHAPES = "it stands for a dimension of unknown size, and shapes here are known"
_HIGH = "its operands are of a type that is not an array"

REFUSED: Final[dict[str, str]] = {
    **dict.fromkeys(("pin", "unpin", "create_linear"), _MEMORY),
    "run_scoped": "its mutable arrays are the memory of a Pallas kernel",
    **dict.fromkeys(
        (
            "program_id", "num_programs", "masked_load", "masked_swap", "delay", "multiple_of",
            "semaphore_read", "semaphore_signal", "semaphore_wait", "reciprocal", "jaxpr_call",
            "core_map", "mpmd_map", "with_memory_space_constraint", "get_global",
        ),
        _KERNEL,
    ),
    **dict.fromkeys(
        (
            "all_gather_reduced", "preduced", "psend",
            "precv", "ragged_all_to_all", "pbroadcast_dynamic", "unreduced_psum", "unreduced_pmax",
            "unreduced_pmin", "unreduced_reduce_scatter", "reduced_vary_cast",
            "reduced_vary_cast_p", "vary_unreduced_cast", "vary_unreduced_cast_p",
        ),
        _MESH,
    ),
    **dict.fromkeys(("dim_as_value", "dimension_size", "shape_assertion"), _SHAPES),
    **dict.fromkeys(
        (
            "box_get", "box_set", "new_box", "new_log", "log_extend", "log_read",
            "call_hi_primitive_linearized", "to_edtype", "from_edtype",
        ),
        _HIGH,
    ),
    **dict.fromkeys(
        ("create_token", "after_all"), "tokens are not values here: effects keep their own order"
    ),
    "inspect_sharding": "a program's shardings are chosen when it is compiled",
    "custom_jvp_call_jaxpr": "it stands only between two steps of JAX's own transformations",
    "stage": "it stands only between two steps of JAX's own transformations",
    "relayout": "memory layouts are not part of types here: use with_layout_constraint",
    "unreachable": "it stands only between two steps of JAX's own transformations",
}  # fmt: skip


def refusal(name: str) -> str | None:
    """Why a primitive of JAX's is refused by its name; None if it is not."""
    if name.endswith(("_start", "_done")):
        return "it is one half of an asynchronous collective, which stands only inside of shard_map"
    return REFUSED.get(name)


def kernel_refusal(name: str) -> str | None:
    """The same for one of Pallas's many, which no name here has to list. (It is slow.)"""
    return _KERNEL if name not in _OF_KERNELS and is_of_kernels(name) else None

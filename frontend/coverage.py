"""What becomes of each of JAX's primitives: a row for each, or it is nowhere."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final

from ..ir.primitive import PRIMITIVES
from . import importer
from .jax_compat import registered_rules
from .jax_primitives import jax_primitives, scan_primitives
from .refused import kernel_refusal, refusal

MODULES: Final = (
    "jax.numpy", "jax.scipy", "jax.lax.linalg", "jax.nn", "jax.random", "jax.export", "jax.ffi",
    "jax.extend.core.primitives", "jax.experimental.checkify", "jax.experimental.pallas",
    "jax.experimental.custom_partitioning", "jax.experimental.sparse",
)  # fmt: skip
"""What a program may import, so that all of JAX's primitives are there to be seen."""

CARRIED: Final[dict[str, str]] = {
    "check": "a check of checkify's, which takes it away or runs it by itself",
    "call_exported": "a program that jax.export has saved",
    "cudnn_fusion": "a fusion for cuDNN",
    "custom_fusion": "a function that Pallas may fuse into a kernel",
    "custom_partitioning": "a function with a partitioning rule of its own",
    **dict.fromkeys(
        (
            "dot_product_attention_bwd", "dot_product_attention_bwd_wrapper",
            "dot_product_attention_fp8_bwd", "dot_product_attention_fp8_bwd_wrapper",
            "dot_product_attention_fp8_fwd", "dot_product_attention_fp8_fwd_wrapper",
            "dot_product_attention_fwd", "dot_product_attention_fwd_wrapper",
        ),
        "a call of cuDNN, inside of a custom_vjp whose rules are native",
    ),
    "buffer_callback": "a Python function that is given buffers",
    "tpu_custom_call": "a compiled kernel for TPUs",
    "ffi_call": "a function of a foreign library",
    "pallas_call": "a Pallas kernel",
}  # fmt: skip
"""JAX's primitives that are carried as foreign ones, and what they are. (Those of other people are
carried as well.)"""


BECOMES: Final[dict[str, str]] = {
    **dict.fromkeys(("jit", "closed_call", "core_call", "eval_jaxpr"), "becomes a call"),
    **dict.fromkeys(
        ("reshard", "sharding_constraint", "pvary"),
        "becomes its operand: a program is of one device",
    ),
    **dict.fromkeys(
        ("new_ref", "empty_ref", "free_ref", "freeze", "accum_grad_in_ref"),
        "becomes nothing: a program holds the values of mutable arrays",
    ),
    "get": "becomes an indexing operation on what a mutable array holds",
    **dict.fromkeys(("swap", "addupdate"), "becomes an update of what a mutable array holds"),
    "run_state": "becomes its body, of what its mutable arrays hold",
    "broadcast_to": "becomes a broadcast_in_dim",
    "all_gather_invariant": "becomes a psum_invariant of parts in their places",
    "compute_on": "becomes an xla_metadata_call, and moves of its results between memories",
    "custom_lin": "becomes a custom_vjp_linear",
    "platform_index": "becomes a cond that lowering decides",
    "zeros_like": "becomes a constant",
    "remat_opt": "becomes a forward_call",
    "call_hi_primitive": "becomes a function with rules, or its expansion",
}
"""JAX's primitives that programs express otherwise."""


@dataclass(frozen=True)
class Row:
    """A primitive of JAX's: native, foreign or refused, and a note.

    Of a foreign one, `registered` says which of jvp, transpose and batch JAX has rules for.
    """

    primitive: str
    kind: str
    note: str = ""
    registered: frozenset[str] = frozenset()


def coverage() -> tuple[list[Row], list[str]]:
    """The rows, and the names of the primitives that have none."""
    for module in MODULES:
        importlib.import_module(module)
    rows, missing = [], []
    for name in sorted(scan_primitives()):
        row = find_row(name)
        if row is None:
            missing.append(name)
        else:
            rows.append(row)
    return rows, missing


def find_row(name: str) -> Row | None:
    """What becomes of the primitive of this name."""
    if name in importer.SPECIAL:
        return Row(name, "native", BECOMES.get(name, ""))
    reason = refusal(name)
    if reason is not None:
        return Row(name, "refused", reason)
    ours = importer.RENAMED.get(name, name.replace("-", "_"))
    if ours in PRIMITIVES:
        return Row(name, "native", "" if ours == name else f"as {ours}")
    if name not in CARRIED:
        reason = kernel_refusal(name)
        return None if reason is None else Row(name, "refused", reason)
    primitive = jax_primitives().get(name)
    rules = frozenset(registered_rules(primitive)) if primitive is not None else frozenset()
    return Row(name, "foreign", CARRIED[name], rules)

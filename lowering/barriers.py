"""Optimization barriers that last: what each backend needs so that they hold until the end.

Backends expand barriers into nothing once the passes that must not see across them have run. XLA's
CPU backend of jaxlib up to 0.11.0 does so before its last elimination of common subexpressions,
which merges what was computed again with what was computed first. There the expansion is left out:
what remains of a barrier costs nothing. Loops so small that this backend would make one kernel of
them stay loops then: its emitter for such kernels fails at a barrier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jaxlib.version import __version__ as JAXLIB

from ..ir.versions import version_parts

_REPAIRED: Final = (0, 11, 1)
_DISABLED: Final = "xla_disable_hlo_passes"
_LEFT_OUT: Final = ("cse_barrier_expander", "small-while-loop-hoisting")


def loses_barriers(platform: str, version: str = JAXLIB) -> bool:
    """Whether a compile that nobody repairs, as `jax.jit`'s, drops barriers too early."""
    return platform == "cpu" and version_parts(version) < _REPAIRED


def barrier_options(
    platform: str, options: Mapping[str, Any], version: str = JAXLIB, in_loops: bool = True
) -> dict[str, Any]:
    """Compiler options with what a program with barriers, in its loops too, needs on a platform."""
    if not loses_barriers(platform, version):
        return dict(options)
    disabled = [name for name in str(options.get(_DISABLED, "")).split(",") if name]
    left_out = _LEFT_OUT if in_loops else _LEFT_OUT[:1]
    disabled += [name for name in left_out if name not in disabled]
    return {**options, _DISABLED: ",".join(disabled)}

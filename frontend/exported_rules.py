"""Programs that jax.export has saved, called in a program."""

from __future__ import annotations

import dataclasses
from typing import Any, Final
from weakref import WeakKeyDictionary

import jax.export

from .avals import to_dtype
from .importer import Params, converts
from .jax_compat import ShapedArray
from .no_numbers import is_float0

_RETYPED: Final[WeakKeyDictionary[jax.export.Exported, jax.export.Exported]] = WeakKeyDictionary()


@converts("call_exported")
def _call_exported(params: Params) -> dict[str, Any]:
    """Where the saved program has float0, the dtype of no numbers, it takes and gives booleans, as
    the operands and results are here: to XLA both are the same."""
    exported = params["exported"]
    if not any(map(is_float0, (*exported.in_avals, *exported.out_avals))):
        return dict(params)
    found = _RETYPED.get(exported)
    if found is None:
        found = _RETYPED[exported] = dataclasses.replace(
            exported,
            in_avals=tuple(map(_with_booleans, exported.in_avals)),
            out_avals=tuple(map(_with_booleans, exported.out_avals)),
        )
    return {**params, "exported": found}


def _with_booleans(aval: Any) -> Any:
    return ShapedArray(aval.shape, to_dtype(aval.dtype)) if is_float0(aval) else aval

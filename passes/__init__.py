"""The passes: functions from modules to modules.

Each is a class in a file of its own, a step of pipeline strings, and a function here:
`passes.linearize(module, wrt=0)`. (The functions have the names of the files; what else a file
holds is imported from it: `from covector.passes.jvp import jvp_graph`.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir import ops
from ..ir.module import Module
from . import batch as _batch
from . import checkpoint as _checkpoint
from . import cse as _cse
from . import dce as _dce
from . import fold as _fold
from . import forward_rules as _forward_rules
from . import inline as _inline
from . import jvp as _jvp
from . import linearize as _linearize
from . import masks as _masks
from . import materialize as _materialize
from . import outline as _outline
from . import reverse as _reverse
from . import rules
from . import stacks as _stacks
from . import transpose as _transpose
from .base import PASSES, Pass, find_pass, make_pass
from .observers import Observer
from .pipeline import Pipeline, parse_pipeline, run_passes
from .settings import Settings


def _function(cls: type[Pass]) -> Callable[..., Module]:
    def apply(module: Module, **options: Any) -> Module:
        return Pipeline((make_pass(cls.name, options),)).run(module)

    apply.__name__ = cls.name
    apply.__doc__ = cls.__doc__
    return apply


batch = _function(_batch.Batch)
checkpoint = _function(_checkpoint.Checkpoint)
cse = _function(_cse.Cse)
dce = _function(_dce.Dce)
fold = _function(_fold.Fold)
forward_rules = _function(_forward_rules.ForwardRules)
grad = _function(_reverse.Grad)
inline = _function(_inline.Inline)
jvp = _function(_jvp.Jvp)
linearize = _function(_linearize.Linearize)
masks = _function(_masks.Masks)
materialize = _function(_materialize.Materialize)
stacks = _function(_stacks.Stacks)
outline = _function(_outline.Outline)
transpose = _function(_transpose.Transpose)
vjp = _function(_reverse.Vjp)

__all__ = [
    "PASSES",
    "Observer",
    "Pass",
    "Pipeline",
    "Settings",
    "batch",
    "checkpoint",
    "cse",
    "dce",
    "find_pass",
    "fold",
    "forward_rules",
    "grad",
    "inline",
    "jvp",
    "linearize",
    "make_pass",
    "masks",
    "materialize",
    "ops",
    "outline",
    "parse_pipeline",
    "rules",
    "run_passes",
    "stacks",
    "transpose",
    "vjp",
]

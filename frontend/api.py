"""The public transformations, in one place."""

from __future__ import annotations

from .autodiff import grad, jvp, linearize, value_and_grad, vjp
from .compiled import Compiled, Lowered, Traced, compile, jit
from .jacobians import hessian, hvp, jacfwd, jacobian, jacrev
from .modules import as_function, from_jaxpr, make_ir, to_jaxpr
from .vectorize import vmap

__all__ = [
    "Compiled",
    "Lowered",
    "Traced",
    "as_function",
    "compile",
    "from_jaxpr",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linearize",
    "make_ir",
    "to_jaxpr",
    "value_and_grad",
    "vjp",
    "vmap",
]

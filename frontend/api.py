"""The public transformations, in one place.

Rules and markers that a function carries (`custom_jvp`, `custom_vjp`, `stop_gradient`, the regions
of `checkpoint`) are JAX's own objects: what is marked for JAX is marked for covector.
"""

from __future__ import annotations

from jax import closure_convert, custom_gradient, custom_jvp, custom_vjp, eval_shape
from jax.lax import stop_gradient

from .between import Derivative, derivative
from .checkpoint import checkpoint
from .compiled import compile, jit
from .forward import jvp
from .gradients import grad, value_and_grad
from .implicit import custom_linear_solve, custom_root, linear_solve
from .intermediates import Intermediate, intermediates, tap
from .jacobians import hessian, hvp, jacfwd, jacobian, jacrev
from .linear import linear_transpose, linearize, vjp
from .loops import checkpoint_loops, while_loop
from .minimization import minimize
from .modules import as_function, from_jaxpr, make_ir, to_jaxpr
from .monitor import monitor
from .ode import Solution, odeint, solve_ode
from .residuals import residuals
from .root_finding import fixed_point, newton
from .stages import Compiled, Lowered, Traced
from .vectorize import vmap

remat = checkpoint

__all__ = [
    "Compiled",
    "Derivative",
    "Intermediate",
    "Lowered",
    "Solution",
    "Traced",
    "as_function",
    "checkpoint",
    "checkpoint_loops",
    "closure_convert",
    "compile",
    "custom_gradient",
    "custom_jvp",
    "custom_linear_solve",
    "custom_root",
    "custom_vjp",
    "derivative",
    "eval_shape",
    "fixed_point",
    "from_jaxpr",
    "grad",
    "hessian",
    "hvp",
    "intermediates",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linear_solve",
    "linear_transpose",
    "linearize",
    "make_ir",
    "minimize",
    "monitor",
    "newton",
    "odeint",
    "remat",
    "residuals",
    "solve_ode",
    "stop_gradient",
    "tap",
    "to_jaxpr",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]

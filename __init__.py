"""A staged autodiff compiler for JAX programs: the public names.

Nothing is imported before it is asked for, so that `import covector.ir` and the command line on a
program in text form start without loading JAX.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What _HOME says, for readers of types; a test compares the two.
    from .frontend.between import NoPathWarning as NoPathWarning
    from .frontend.between import derivative as derivative
    from .frontend.budget import MemoryBudgetWarning as MemoryBudgetWarning
    from .frontend.checkpoint import checkpoint as checkpoint
    from .frontend.checkpoint import remat as remat
    from .frontend.compiled import compile as compile
    from .frontend.compiled import jit as jit
    from .frontend.forward import jvp as jvp
    from .frontend.gradients import grad as grad
    from .frontend.gradients import value_and_grad as value_and_grad
    from .frontend.implicit import custom_linear_solve as custom_linear_solve
    from .frontend.implicit import custom_root as custom_root
    from .frontend.implicit import linear_solve as linear_solve
    from .frontend.intermediates import intermediates as intermediates
    from .frontend.intermediates import tap as tap
    from .frontend.jacobians import hessian as hessian
    from .frontend.jacobians import hvp as hvp
    from .frontend.jacobians import jacfwd as jacfwd
    from .frontend.jacobians import jacobian as jacobian
    from .frontend.jacobians import jacrev as jacrev
    from .frontend.linear import linear_transpose as linear_transpose
    from .frontend.linear import linearize as linearize
    from .frontend.linear import vjp as vjp
    from .frontend.loops import checkpoint_loops as checkpoint_loops
    from .frontend.loops import while_loop as while_loop
    from .frontend.markers import closure_convert as closure_convert
    from .frontend.markers import custom_gradient as custom_gradient
    from .frontend.markers import custom_jvp as custom_jvp
    from .frontend.markers import custom_vjp as custom_vjp
    from .frontend.markers import eval_shape as eval_shape
    from .frontend.markers import stop_gradient as stop_gradient
    from .frontend.minimization import minimize as minimize
    from .frontend.modules import from_jaxpr as from_jaxpr
    from .frontend.modules import make_ir as make_ir
    from .frontend.monitor import monitor as monitor
    from .frontend.ode import odeint as odeint
    from .frontend.ode import solve_ode as solve_ode
    from .frontend.residuals import residuals as residuals
    from .frontend.root_finding import fixed_point as fixed_point
    from .frontend.root_finding import newton as newton
    from .frontend.vectorize import vmap as vmap
    from .ir.errors import CovectorError as CovectorError
    from .ir.files import load as load
    from .ir.module import Module as Module
    from .ir.parser import parse as parse
    from .passes import Pipeline as Pipeline
    from .passes import run_passes as run_passes
    from .passes.budget.errors import BudgetError as BudgetError

__version__ = "0.1.0"

_HOME = {
    "frontend.between": ("NoPathWarning", "derivative"),
    "frontend.budget": ("MemoryBudgetWarning",),
    "frontend.checkpoint": ("checkpoint", "remat"),
    "frontend.compiled": ("compile", "jit"),
    "frontend.forward": ("jvp",),
    "frontend.gradients": ("grad", "value_and_grad"),
    "frontend.implicit": ("custom_linear_solve", "custom_root", "linear_solve"),
    "frontend.intermediates": ("intermediates", "tap"),
    "frontend.jacobians": ("hessian", "hvp", "jacfwd", "jacobian", "jacrev"),
    "frontend.linear": ("linear_transpose", "linearize", "vjp"),
    "frontend.loops": ("checkpoint_loops", "while_loop"),
    "frontend.markers": (
        "closure_convert",
        "custom_gradient",
        "custom_jvp",
        "custom_vjp",
        "eval_shape",
        "stop_gradient",
    ),
    "frontend.minimization": ("minimize",),
    "frontend.modules": ("from_jaxpr", "make_ir"),
    "frontend.monitor": ("monitor",),
    "frontend.ode": ("odeint", "solve_ode"),
    "frontend.residuals": ("residuals",),
    "frontend.root_finding": ("fixed_point", "newton"),
    "frontend.vectorize": ("vmap",),
    "ir.errors": ("CovectorError",),
    "ir.files": ("load",),
    "ir.module": ("Module",),
    "ir.parser": ("parse",),
    "passes": ("Pipeline", "run_passes"),
    "passes.budget.errors": ("BudgetError",),
}
_HOME_OF = {name: home for home, names in _HOME.items() for name in names}
_FOLDERS = ("frontend", "ir", "lowering", "passes", "tools")

__all__ = ["__version__", *_HOME_OF, "passes"]  # noqa: PLE0604 - it is a list of strings


def __getattr__(name: str) -> Any:
    """Fetch a public name from its home on first use, then keep it here."""
    if name in _HOME_OF:
        value = getattr(_module(_HOME_OF[name]), name)
    elif name in _FOLDERS:
        value = _module(name)
    else:
        raise AttributeError(_unknown(name))
    globals()[name] = value
    return value


def _module(name: str) -> ModuleType:
    """A module of ours. What an import makes stays: to look for garbage among it, and among all of
    jax, would take a third of the time of ours."""
    from .ir.memory import collector_paused

    with collector_paused():
        return importlib.import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted({*__all__, *_FOLDERS})


def _unknown(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, [*_HOME_OF, *_FOLDERS], n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"module {__name__!r} has no attribute {name!r}{hint}"

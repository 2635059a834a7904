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
    from .frontend.api import checkpoint as checkpoint
    from .frontend.api import checkpoint_loops as checkpoint_loops
    from .frontend.api import closure_convert as closure_convert
    from .frontend.api import compile as compile
    from .frontend.api import custom_gradient as custom_gradient
    from .frontend.api import custom_jvp as custom_jvp
    from .frontend.api import custom_linear_solve as custom_linear_solve
    from .frontend.api import custom_root as custom_root
    from .frontend.api import custom_vjp as custom_vjp
    from .frontend.api import derivative as derivative
    from .frontend.api import eval_shape as eval_shape
    from .frontend.api import fixed_point as fixed_point
    from .frontend.api import from_jaxpr as from_jaxpr
    from .frontend.api import grad as grad
    from .frontend.api import hessian as hessian
    from .frontend.api import hvp as hvp
    from .frontend.api import intermediates as intermediates
    from .frontend.api import jacfwd as jacfwd
    from .frontend.api import jacobian as jacobian
    from .frontend.api import jacrev as jacrev
    from .frontend.api import jit as jit
    from .frontend.api import jvp as jvp
    from .frontend.api import linear_solve as linear_solve
    from .frontend.api import linear_transpose as linear_transpose
    from .frontend.api import linearize as linearize
    from .frontend.api import make_ir as make_ir
    from .frontend.api import minimize as minimize
    from .frontend.api import monitor as monitor
    from .frontend.api import newton as newton
    from .frontend.api import odeint as odeint
    from .frontend.api import remat as remat
    from .frontend.api import residuals as residuals
    from .frontend.api import solve_ode as solve_ode
    from .frontend.api import stop_gradient as stop_gradient
    from .frontend.api import tap as tap
    from .frontend.api import value_and_grad as value_and_grad
    from .frontend.api import vjp as vjp
    from .frontend.api import vmap as vmap
    from .frontend.api import while_loop as while_loop
    from .frontend.between import NoPathWarning as NoPathWarning
    from .frontend.budget import MemoryBudgetWarning as MemoryBudgetWarning
    from .ir.errors import CovectorError as CovectorError
    from .ir.files import load as load
    from .ir.module import Module as Module
    from .ir.parser import parse as parse
    from .passes import Pipeline as Pipeline
    from .passes import run_passes as run_passes
    from .passes.budget.errors import BudgetError as BudgetError

__version__ = "0.1.0"

_HOME = {
    "frontend.api": (
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
        "value_and_grad",
        "vjp",
        "vmap",
        "while_loop",
    ),
    "frontend.between": ("NoPathWarning",),
    "frontend.budget": ("MemoryBudgetWarning",),
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

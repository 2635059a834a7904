"""Calls: a graph applied to operands. A graph called in several places is one shared object.

Custom derivative rules
-----------------------

`custom_jvp_call` and `custom_vjp_call` keep a function together with the rules that replace its
derivatives. A rule is a `Thunk`: Python that yields a graph when a derivative pass asks for one.
All flags below are tuples of bools, one for each input or output *of the equation* (the
`num_consts` leading inputs are what the function closed over: rules see their values, but they have
no tangents, so their flags are always False). Only floats and complex numbers are ever flagged.

    jvp(nonzero)         -> (graph, out_nonzero)
        graph: (inputs, tangents of nonzero inputs) -> (outputs, tangents of out_nonzero outputs)

    fwd(nonzero)         -> graph
        graph: inputs -> (outputs, residuals)

    bwd(nonzero, ct_nonzero) -> (graph, in_nonzero)
        graph: (residuals of fwd(nonzero), cotangents of the ct_nonzero outputs)
                -> cotangents of the in_nonzero inputs
        An input for which the rule returns no cotangent (None, or a symbolic zero) is not in
        in_nonzero; neither is any input that is not in `nonzero`, if the rule can tell.

`nonzero` says which inputs have a tangent and `ct_nonzero` which outputs have a cotangent. With
`symbolic_zeros` they say so exactly, as the rule was written to be told. Without it, the passes ask
with every float and complex input (`num_consts` aside) and every such output flagged, and
materialise the zeros: a thunk is then called with one signature only.

The last `carried` inputs and outputs of a custom_vjp function are second values of mutable arrays,
which go through it as they are. Their cotangents are what the arrays hold in the backward pass, for
bwd to change; their flags are always exact. They alone do not ask for the rules.

In place of a thunk, each rule may also be a `Graph` (what the pass `materialize` makes of it, and
what can be written as text). It is the graph of the thunk for all flags set, with all cotangents or
tangents returned; `rule_graph` and its siblings read both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..errors import TypeRuleError
from ..graph import Equation, Graph, Location, Thunk
from ..primitive import REQUIRED, Types, define
from ..types import TensorType, has_tangent

Flags = tuple[bool, ...]


def check_arguments(name: str, graph: Graph, types: Types) -> None:
    """Raise TypeRuleError unless the types fit the graph's inputs, weakness aside."""
    if len(types) != len(graph.inputs):
        raise TypeRuleError(
            f"{name} of @{graph.name} takes {len(graph.inputs)} operands, got {len(types)}"
        )
    for i, (got, value) in enumerate(zip(types, graph.inputs, strict=True)):
        if got.strong is not value.type.strong:
            raise TypeRuleError(
                f"operand {i} of {name} @{graph.name} has type {got}, its input is {value.type}"
            )


def _infer_call(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("call", graph, types)
    return graph.output_types


call = define(
    "call",
    _infer_call,
    defaults={"graph": REQUIRED, "outlined": False, "kernel": False},
    has_regions=True,
)
"""`call[graph=@f] x y`: what `jax.jit` inside a traced function becomes.

outlined: the compiler is not to write the function where it is called, but to compile it once.
kernel: on a CPU, the function is one kernel (`lowering.kernels`).
"""


def _infer_constant(types: Types, params: dict[str, Any]) -> TensorType:
    kind: TensorType = params["value"].type
    return kind


constant = define(
    "constant",
    _infer_constant,
    defaults={"value": REQUIRED},
    not_differentiable="it reads no value",
)
"""`constant[value=$w]`: a captured array of the module's table, by name."""


# -- checkpoint ----------------------------------------------------------------------------------


def _infer_checkpoint(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("checkpoint", graph, types)
    return graph.output_types


checkpoint = define(
    "checkpoint",
    _infer_checkpoint,
    defaults={
        "graph": REQUIRED,
        "prevent_cse": True,
        "differentiated": False,
        "policy": None,
    },
    has_regions=True,
)
"""A call whose intermediate values are computed again by the backward pass, not saved.

prevent_cse: whether the second computation is kept from being merged with the first; or a flag for
each input, whether it is hidden from the compiler for that purpose. differentiated: whether this is
a second computation.

policy: what may be saved nevertheless. None (nothing); the name of one of `jax.checkpoint_policies`
(`"dots_saveable"`), with its arguments if it takes names (`"save_only_these_names(a,b)"`); or a
Thunk called with an `Equation` of the region that says whether its outputs are saved.
"""


name = define(
    "name",
    lambda types, params: types[0],
    defaults={"name": REQUIRED},
    elementwise=True,
    linear_in=(0,),
    family="call",
)
"""The operand, under a name that policies of checkpoint can refer to."""


# -- custom rules --------------------------------------------------------------------------------


def function_alone(eqn: Equation) -> tuple[Graph, ...]:
    """What runs of a function with rules of its own while no pass has asked for them."""
    return (eqn.params["graph"],)


def _infer_custom_call(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    graph: Graph = params["graph"]
    check_arguments("the custom-derivative function", graph, types)
    return graph.output_types


custom_jvp_call = define(
    "custom_jvp_call",
    _infer_custom_call,
    defaults={"graph": REQUIRED, "jvp": REQUIRED, "num_consts": 0, "symbolic_zeros": False},
    has_regions=True,
    user_rules=True,
    runs=function_alone,
)
"""A call of a function with a forward rule of its own (see the top of this file)."""

custom_vjp_call = define(
    "custom_vjp_call",
    _infer_custom_call,
    defaults={
        "graph": REQUIRED,
        "fwd": REQUIRED,
        "bwd": REQUIRED,
        "num_consts": 0,
        "symbolic_zeros": False,
        "carried": 0,
    },
    has_regions=True,
    user_rules=True,
    runs=function_alone,
)
"""A call of a function with a reverse rule of its own (see the top of this file)."""


def _infer_custom_vjp_linear(types: Types, params: dict[str, Any]) -> tuple[TensorType, ...]:
    expected = params["num_residuals"] + sum(params["nonzero"])
    if len(types) != expected:
        raise TypeRuleError(f"custom_vjp_linear takes {expected} operands here, got {len(types)}")
    outputs = tuple(TensorType(shape, dtype) for shape, dtype in params["out_types"])
    return tuple(t for t in outputs if has_tangent(t))


custom_vjp_linear = define(
    "custom_vjp_linear",
    _infer_custom_vjp_linear,
    defaults={
        "name": "",
        "bwd": REQUIRED,
        "num_residuals": REQUIRED,
        "nonzero": REQUIRED,
        "out_types": REQUIRED,
        "symbolic_zeros": False,
        "carried": 0,
    },
    has_regions=True,
    user_rules=True,
    runs=lambda eqn: (),
)
"""residuals | tangents of the nonzero inputs -> tangents of the outputs that have one

The linear map of which the rule bwd of the custom_vjp function `name` is the transpose. Nothing but
its transpose is known: it stands in linear programs until they are transposed, and cannot be
evaluated. out_types: (shape, dtype) of each output of the function.
"""

FORWARD_MODE_HINT: Final = (
    "only reverse mode is known for it: use grad or vjp, give the function a custom_jvp rule, or "
    'derive one by jvp(..., custom_vjp="transpose") or the pass forward_rules'
)
SOLVE_HINT: Final = (
    "only reverse mode is known for it: use grad or vjp, or solve by covector.odeint, of the same "
    "signature, which has forward mode too"
)
LIBRARY_HINT: Final = (
    "; if this is a Diffrax solve, adjoint=diffrax.ForwardMode() or DirectAdjoint() lets forward "
    "mode through, and covector.solve_ode has both modes"
)


def forward_mode_hint(name: str, location: Location | None = None, rule: str = "") -> str:
    """The ways out of a missing forward mode. `rule`: the name of the function's backward rule."""
    if name == "_odeint" or rule == "odeint_rev":  # the second, where the first was batched
        return SOLVE_HINT
    in_equinox = location is not None and "equinox" in location.file.replace("\\", "/").split("/")
    return FORWARD_MODE_HINT + (LIBRARY_HINT if in_equinox else "")


def forward_mode_claim(name: str) -> str:
    """What is wrong when a custom_vjp function is differentiated in forward mode."""
    return f"can't apply forward-mode autodiff (jvp) to a custom_vjp function, {name}"


def inexact_flags(types: Sequence[TensorType], num_consts: int = 0) -> Flags:
    """Which of these can have tangents, the leading `num_consts` aside."""
    return tuple(i >= num_consts and has_tangent(t) for i, t in enumerate(types))


def jvp_rule_graph(rule: Thunk | Graph, primal: Graph, nonzero: Flags) -> tuple[Graph, Flags]:
    """The graph of a `jvp` rule for these flags, and which outputs it gives tangents of."""
    if isinstance(rule, Graph):
        return rule, inexact_flags(primal.output_types)
    made: tuple[Graph, Flags] = rule(nonzero)
    return made


def fwd_rule_graph(rule: Thunk | Graph, nonzero: Flags) -> Graph:
    """The graph of a `fwd` rule for these flags."""
    made: Graph = rule if isinstance(rule, Graph) else rule(nonzero)
    return made


def bwd_rule_graph(rule: Thunk | Graph, nonzero: Flags, ct_nonzero: Flags) -> tuple[Graph, Flags]:
    """The graph of a `bwd` rule for these flags, and which inputs it gives cotangents of."""
    if isinstance(rule, Graph):
        return rule, nonzero
    made: tuple[Graph, Flags] = rule(nonzero, ct_nonzero)
    return made

"""How functions with derivative rules of their own transform.

The rule stays beside its function through every pass until a derivative pass uses it: jvp calls the
graph that the rule gives. Passes that change the function change what its rule gives alike
(`custom_thunks`). The protocol of rules is stated in `ir/ops/call.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ...ir.builder import Builder, Zero
from ...ir.errors import ClosedOverError, ForwardModeError, PassError
from ...ir.graph import Equation, Graph, Thunk, Value
from ...ir.ops import call as c
from ...ir.ops.call import Flags, call, custom_jvp_call, custom_vjp_call, custom_vjp_linear
from .. import tables
from ..asking import ask_backward
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..effects import guard, guarded
from ..regions import append_typed, define_joint, instantiated, nonzero, select, spread
from ..tables import Operands, materialise_batch
from . import custom_thunks as thunks


def asked(eqn: Equation, flags: Sequence[bool], rule: str) -> Flags:
    """The inputs whose tangents the rule is asked about, given which of them are nonzero."""
    params = eqn.params
    n_consts = params["num_consts"]
    refuse_reading(eqn, params["graph"], flags[:n_consts])
    if params["symbolic_zeros"] and isinstance(params[rule], Thunk):
        return tuple(flags)
    inexact = c.inexact_flags([x.type for x in eqn.inputs], n_consts)
    carried = params.get("carried", 0)
    if carried:
        inexact = (*inexact[:-carried], *flags[-carried:])
    if rule == "fwd" and isinstance(params[rule], Thunk):  # JAX's own refuse what they close over
        return tuple([f and moves for f, moves in zip(inexact, flags, strict=True)])
    return inexact


def refuse_reading(eqn: Equation, graph: Graph, moving: Sequence[bool]) -> None:
    """Raise ClosedOverError if the function, or what its rule gave, reads one of its leading inputs
    that is `moving`: a value being differentiated that it closes over."""
    if not any(moving):
        return
    _, needed = dce_graph(graph)
    if any([is_moving and is_read for is_moving, is_read in zip(moving, needed, strict=False)]):
        raise ClosedOverError(
            f"@{eqn.params['graph'].name} has a derivative rule of its own, which says nothing "
            "about a value being differentiated that it closes over",
            eqn,
            stage="jvp",
            hint="pass the value as an argument, so that the rule can give its derivative too",
        )


@contextlib.contextmanager
def placed(eqn: Equation) -> Iterator[None]:
    """What a rule that is asked for raises about what it closes over names the call."""
    try:
        yield
    except ClosedOverError as error:
        if error.equation is not None:
            raise
        raise ClosedOverError(error.claim, eqn, stage="jvp", hint=error.hint) from None


# -- jvp -----------------------------------------------------------------------------------------


@tables.jvp.rule(custom_jvp_call)
def jvp_custom_jvp(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A call of the rule's graph, which makes primals and tangents."""
    params, moving = eqn.params, nonzero(tangents)
    active = asked(eqn, moving, "jvp")
    if not any(moving[params["num_consts"] :]):  # only what no function of it reads
        return unmoved(b, eqn)
    with placed(eqn):
        rule, out_active = c.jvp_rule_graph(params["jvp"], params["graph"], active)
    refuse_reading(eqn, rule, moving[: params["num_consts"]])
    if not any(out_active) and not rule.effects:
        return unmoved(b, eqn)
    dxs = instantiated(b, tangents, active)
    dys = select(eqn.outputs, out_active)
    what = f"jvp rule of @{params['graph'].name}"
    check_rule(eqn, what, rule, (*eqn.inputs, *dxs), (*eqn.outputs, *dys))
    called = call.complete({"graph": rule})
    return define_joint(b, eqn, (*eqn.inputs, *dxs), called, out_active, call)


@tables.jvp.rule(custom_vjp_call)
def jvp_custom_vjp(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """A call of fwd, then a linear map of which only the transpose is known, bwd:

    y, residuals = fwd(x)        dy = custom_vjp_linear[bwd](residuals, dx)
    """
    params, moving = eqn.params, nonzero(tangents)
    active = asked(eqn, moving, "fwd")
    n_own = len(tangents) - params["carried"]
    if not any(moving[params["num_consts"] : n_own]):
        return [*unmoved(b, eqn)[: len(eqn.outputs) - params["carried"]], *tangents[n_own:]]
    with placed(eqn):
        fwd = c.fwd_rule_graph(params["fwd"], active)
    refuse_reading(eqn, fwd, moving[: params["num_consts"]])
    made = fwd.outputs[len(eqn.outputs) :]
    what = f"fwd rule of @{params['graph'].name}"
    check_rule(eqn, what, fwd, eqn.inputs, (*eqn.outputs, *made))
    residuals = [Value(x.type, x.name) for x in made]
    called = call.complete({"graph": fwd})
    append_typed(b, eqn.replace(primitive=call, outputs=(*eqn.outputs, *residuals), params=called))
    dys = b.emit(
        custom_vjp_linear,
        *(*residuals, *instantiated(b, tangents, active)),
        name=params["graph"].name,
        bwd=params["bwd"],
        num_residuals=len(residuals),
        nonzero=active,
        out_types=tuple((v.type.shape, v.type.dtype) for v in eqn.outputs),
        symbolic_zeros=params["symbolic_zeros"],
        carried=params["carried"],
    )
    return spread(dys, c.inexact_flags([v.type for v in eqn.outputs]), eqn.outputs)


def unmoved(b: Builder, eqn: Equation) -> Operands:
    """The tangents of a call none of whose arguments has one."""
    b.append(eqn)
    return [Zero(v.type) for v in eqn.outputs]


def check_rule(
    eqn: Equation, what: str, rule: Graph, inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Raise PassError unless the graph that a rule gave takes and returns values of these types."""
    for verb, wanted, got in (("takes", inputs, rule.inputs), ("returns", outputs, rule.outputs)):
        if [x.type.strong for x in wanted] != [x.type.strong for x in got]:
            expected = ", ".join(str(x.type) for x in wanted)
            found = ", ".join(str(x.type) for x in got)
            raise PassError(f"the {what} {verb} ({found}), where ({expected}) is needed", eqn)


@tables.jvp.rule(custom_vjp_linear)
def jvp_custom_vjp_linear(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """Linear in its tangents: theirs go through it. What it is in its residuals is not known."""
    name, n = eqn.params["name"], eqn.params["num_residuals"]
    if not any(nonzero(tangents[:n])):
        asked_for = (*(False,) * n, *(True,) * (len(tangents) - n))
        dxs = instantiated(b, tangents, asked_for)
        b.append(eqn)
        return b.emit(custom_vjp_linear, *eqn.inputs[:n], *dxs, **eqn.params)
    hint = c.forward_mode_hint(name, eqn.location, eqn.params["bwd"].name)
    raise ForwardModeError(c.forward_mode_claim(name), eqn, stage="jvp", hint=hint)


@tables.jvp.rule(c.name)
def jvp_name(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    """Tangents have no names: a policy speaks of primal values."""
    return tangents


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(custom_vjp_linear)
def transpose_custom_vjp_linear(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    """A call of bwd: residuals | cotangents of the outputs -> cotangents of the inputs."""
    params = eqn.params
    active, n_residuals, carried = params["nonzero"], params["num_residuals"], params["carried"]
    if carried and not any(nonzero(cts)[:-carried]):
        return _passed(eqn, cts[-carried:])
    given = thunks.ct_flags(params["out_types"], nonzero(cts))
    if not params["symbolic_zeros"] or isinstance(params["bwd"], Graph):
        given = thunks.ct_flags(params["out_types"], [True] * len(cts))
    if carried and isinstance(params["bwd"], Thunk):
        given = (*given[:-carried], *nonzero(cts)[-carried:])
    out_cts = instantiated(b, cts, select(given, thunks.ct_flags(params["out_types"])))
    operands = (*eqn.inputs[:n_residuals], *out_cts)
    backward, in_active = ask_backward(b, params["bwd"], operands, active, given)
    check_rule(eqn, f"bwd rule of @{params['name']}", backward, operands, backward.outputs)
    found = iter(b.emit(call, *operands, graph=backward))
    made = [next(found) if has_ct else None for has_ct in in_active]
    in_cts = [ct for ct, is_asked in zip(made, active, strict=True) if is_asked]
    flags = (*(False,) * n_residuals, *(ct is not None for ct in in_cts))
    pairs = zip(in_cts, eqn.inputs[n_residuals:], strict=True)
    return spread([_of_type(b, ct, x) for ct, x in pairs if ct is not None], flags, eqn.inputs)


def _passed(eqn: Equation, cts: Operands) -> Operands:
    """The cotangents of a call of which only second values of mutable arrays have one: there is
    nothing for its rule to do."""
    moves = eqn.params["nonzero"][-len(cts) :]
    own = eqn.inputs[: len(eqn.inputs) - sum(moves)]
    return [*(Zero(x.type) for x in own), *select(cts, moves)]


def _of_type(b: Builder, ct: Any, x: Any) -> Any:
    """A cotangent in the dtype of its primal: JAX lets bwd rules return another float dtype."""
    wanted = x.type.dtype
    return ct if ct.type.dtype == wanted else b.convert_element_type(ct, new_dtype=wanted)


@tables.unary_transpose(c.name)
def transpose_name(b: Builder, eqn: Equation, ct: Any) -> Any:
    return ct


# -- batch ---------------------------------------------------------------------------------------


@tables.batch.rule(custom_jvp_call, custom_vjp_call)
def batch_custom(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    """A batch of calls is a call of the batched function, whose rule is batched when it is asked.

    All outputs get a batch axis: what the function gives and what its rule gives must agree.
    """
    params, flags = eqn.params, tuple(batched)
    everywhere = (True,) * len(eqn.outputs)
    changed: dict[str, Any] = {"graph": batch_graph(params["graph"], flags, size, everywhere)[0]}
    if eqn.primitive is custom_jvp_call:
        changed["jvp"] = thunks.batch_jvp(params, flags, size)
    else:
        changed["fwd"], changed["bwd"] = thunks.batch_vjp(params, flags, size)
    return b.emit(eqn.primitive, *inputs, **{**params, **changed}), everywhere


@tables.batch.rule(custom_vjp_linear)
def batch_custom_vjp_linear(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    params = eqn.params
    n = params["num_residuals"]
    tangents = [
        materialise_batch(b, x, is_b, size) for x, is_b in zip(inputs[n:], batched[n:], strict=True)
    ]
    bwd = thunks.batch_bwd_everywhere(params, tuple(batched[:n]), size)
    out_types = tuple(((size, *shape), dtype) for shape, dtype in params["out_types"])
    outputs = b.emit(
        custom_vjp_linear, *inputs[:n], *tangents, **{**params, "bwd": bwd, "out_types": out_types}
    )
    return outputs, (True,) * len(outputs)


@guard.rule(custom_jvp_call, custom_vjp_call)
def guard_custom(b: Builder, eqn: Equation, here: Value) -> Equation:
    """`here` is one more value that the function closes over, for its rules too."""
    params = eqn.params
    changed: dict[str, Any] = {
        "graph": guarded(params["graph"]), "num_consts": params["num_consts"] + 1
    }  # fmt: skip
    if eqn.primitive is custom_jvp_call:
        changed["jvp"] = thunks.guard_jvp(params)
    else:
        changed["fwd"], changed["bwd"] = thunks.guard_vjp(params)
    return eqn.replace(inputs=(here, *eqn.inputs), params={**params, **changed})


@guard.rule(custom_vjp_linear)
def guard_custom_vjp_linear(b: Builder, eqn: Equation, here: Value) -> Equation:
    params = eqn.params
    changed = {"bwd": thunks.guard_bwd(params), "num_residuals": params["num_residuals"] + 1}
    return eqn.replace(inputs=(here, *eqn.inputs), params={**params, **changed})


# -- dead code -----------------------------------------------------------------------------------


@tables.dce.rule(custom_jvp_call, custom_vjp_call)
def prune_custom(eqn: Equation, used: Flags) -> Equation:
    """Drop outputs that nobody reads, from the rule too. Inputs stay: the rule may need them."""
    params = eqn.params
    graph: Graph = params["graph"]
    carried = params.get("carried", 0)
    if carried:  # a rule that finds no second value refuses to write
        used = (*used[:-carried], *[True] * carried)
    changed: dict[str, Any] = {"graph": region_of(graph, used, (True,) * len(graph.inputs))}
    if not all(used):
        if eqn.primitive is custom_jvp_call:
            changed["jvp"] = thunks.prune_jvp(params, used)
        else:
            changed["fwd"], changed["bwd"] = thunks.prune_vjp(params, used)
    return eqn.replace(outputs=tuple(select(eqn.outputs, used)), params={**params, **changed})

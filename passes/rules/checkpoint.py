"""How checkpoint transforms: the unknown half computes again what it needs of the known half.

    known     known inputs                         -> known outputs, saved values
    unknown   saved values | known inputs | unknown inputs -> unknown outputs

Nothing else crosses over. A policy says which values are saved. The unknown half and its transpose
are marked `differentiated`: they are lowered behind an optimization barrier (`prevent_cse`), so
that the compiler neither merges the second computation with the first nor starts it before the
backward pass gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.builder import Builder
from ...ir.errors import PassError, did_you_mean
from ...ir.graph import Equation, Graph, Thunk, Value, memoised
from ...ir.ops.call import checkpoint, name
from ...ir.ops.contraction import conv_general_dilated, dot_general
from .. import tables
from ..batch import batch_graph
from ..dce import dce_graph, region_of
from ..inline import inline_graph
from ..jvp import jvp_graph
from ..partial_eval import split_graph
from ..regions import Flags, equation, nonzero, reject, select, spread, widened
from ..tables import Operands
from ..transpose import transpose_graph
from .call import define_joint_call
from .scan_split import Halves

Policy = Callable[[Equation], bool]


@tables.jvp.rule(checkpoint)
def jvp_checkpoint(b: Builder, eqn: Equation, tangents: Operands) -> Operands:
    flags = nonzero(tangents)
    forward, out_nonzero = jvp_graph(eqn.params["graph"], flags)
    dxs = select(tangents, flags)
    barriers = _barriers(eqn, [*range(len(flags)), *(None for _ in dxs)])
    params = {**eqn.params, "prevent_cse": barriers}
    del params["graph"]
    return define_joint_call(b, eqn, forward, dxs, out_nonzero, checkpoint, **params)


@tables.batch.rule(checkpoint)
def batch_checkpoint(
    b: Builder, eqn: Equation, inputs: Operands, batched: Sequence[bool], size: int
) -> tuple[Operands, Sequence[bool]]:
    graph, out_batched = batch_graph(eqn.params["graph"], batched, size)
    return b.emit(checkpoint, *inputs, **{**eqn.params, "graph": graph}), out_batched


@tables.dce.rule(checkpoint)
def prune_checkpoint(eqn: Equation, used: Flags) -> Equation:
    graph, used_inputs = dce_graph(eqn.params["graph"], used)
    barriers = _barriers(eqn, select(range(len(eqn.inputs)), used_inputs))
    return eqn.replace(
        inputs=tuple(select(eqn.inputs, used_inputs)),
        outputs=tuple(select(eqn.outputs, used)),
        params={**eqn.params, "graph": graph, "prevent_cse": barriers},
    )


def _barriers(eqn: Equation, positions: Sequence[int | None]) -> bool | Flags:
    """`prevent_cse` for inputs that stood at these positions, or are new (None)."""
    flags = eqn.params["prevent_cse"]
    if isinstance(flags, bool):
        return flags
    return tuple([i is None or flags[i] for i in positions])


# -- partial evaluation --------------------------------------------------------------------------


@tables.split.rule(checkpoint)
def split_checkpoint(eqn: Equation, unknown: Sequence[bool]) -> Halves:
    graph: Graph = eqn.params["graph"]
    policy = find_policy(eqn)
    key = ("split checkpoint", tuple(unknown), eqn.params["policy"])
    known, again, unknown_out = memoised(graph, key, lambda: _split(graph, unknown, policy))
    outputs = reject(eqn.outputs, unknown_out)
    saved = [Value(v.type, v.name) for v in known.outputs[len(outputs) :]]
    operands = reject(eqn.inputs, unknown)
    first: list[Equation] = []
    if outputs or saved or known.effects:
        positions = reject(range(len(eqn.inputs)), unknown)
        params = {**eqn.params, "graph": known, "prevent_cse": _barriers(eqn, positions)}
        first = [equation(checkpoint, operands, (*outputs, *saved), params, eqn)]
    made = select(eqn.outputs, unknown_out)
    if not made:
        return first, [], unknown_out
    inputs = (*saved, *operands, *select(eqn.inputs, unknown))
    places = range(len(eqn.inputs))
    barriers = _barriers(
        eqn, [*(None for _ in saved), *reject(places, unknown), *select(places, unknown)]
    )
    params = {**eqn.params, "graph": again, "differentiated": True, "prevent_cse": barriers}
    second = equation(checkpoint, inputs, made, params, eqn)
    return first, [prune_checkpoint(second, (True,) * len(made))], unknown_out


def _split(graph: Graph, unknown: Sequence[bool], policy: Policy) -> tuple[Graph, Graph, Flags]:
    """The known half, the half that computes again, and which outputs are unknown."""
    split = split_graph(inline_graph(graph), unknown)
    n_known = len(split.unknown_out) - sum(split.unknown_out)
    before, after = split.known.equations, set(split.unknown.equations)  # some are in both
    keep = {e for e in before if e not in after and (e.effects or _is_saved(e, policy))}
    repeated = [e for e in before if e not in keep]
    first = set(repeated)
    equations = (*repeated, *(e for e in split.unknown.equations if e not in first))
    needed = set(split.unknown.outputs)
    for e in reversed(equations):
        if not needed.isdisjoint(e.outputs):
            needed.update(e.inputs)
    saved = [v for e in before if e in keep for v in e.outputs if v in needed]
    waiting = split.unknown.inputs[len(split.residuals) :]
    inputs, outputs = split.known.inputs, split.known.outputs[:n_known]
    known = Graph(inputs, split.known.equations, (*outputs, *saved), graph.name)
    again = Graph((*saved, *inputs, *waiting), equations, split.unknown.outputs, graph.name)
    everything = (True,) * len(known.outputs), (True,) * len(known.inputs)
    return region_of(known, *everything), again, split.unknown_out


# -- transpose -----------------------------------------------------------------------------------


@tables.transpose.rule(checkpoint)
def transpose_checkpoint(
    b: Builder, eqn: Equation, cts: Operands, linear: Sequence[bool]
) -> Operands:
    backward, in_active = transpose_graph(eqn.params["graph"], linear, nonzero(cts))
    given = select(cts, nonzero(cts))
    positions = [*reject(range(len(linear)), linear), *(None for _ in given)]
    params = {**eqn.params, "graph": backward, "prevent_cse": _barriers(eqn, positions)}
    found = b.emit(checkpoint, *reject(eqn.inputs, linear), *given, **params)
    return spread(found, widened(in_active, linear), eqn.inputs)


# -- policies ------------------------------------------------------------------------------------


def find_policy(eqn: Equation) -> Policy:
    """What the equation's `policy` says of an equation inside: whether its outputs are saved."""
    policy = eqn.params["policy"]
    if policy is None:
        return _nothing
    if isinstance(policy, Thunk):
        return policy
    title, parenthesis, rest = policy.partition("(")
    names = frozenset(n.strip() for n in rest.removesuffix(")").split(",") if n.strip())
    if parenthesis and title in BY_NAME:
        choose = BY_NAME[title]
        return lambda e: e.primitive is name and choose(e.params["name"], names)
    if not parenthesis and title in POLICIES:
        return POLICIES[title]
    raise PassError(
        f"there is no checkpoint policy {policy!r}",
        eqn,
        hint=did_you_mean(title, [*POLICIES, *BY_NAME]),
    )


def _is_saved(eqn: Equation, policy: Policy) -> bool:
    """Policies speak of operations; a loop or branch is saved only with everything."""
    return policy is _everything or (not eqn.primitive.has_regions and policy(eqn))


def _nothing(eqn: Equation) -> bool:
    return False


def _everything(eqn: Equation) -> bool:
    return True


def _dots(eqn: Equation) -> bool:
    return eqn.primitive in (dot_general, conv_general_dilated)


def _dots_without_batch(eqn: Equation) -> bool:
    return eqn.primitive is dot_general and not any(eqn.params["dimension_numbers"][1])


POLICIES: dict[str, Policy] = {
    "nothing_saveable": _nothing,
    "everything_saveable": _everything,
    "dots_saveable": _dots,
    "checkpoint_dots": _dots,
    "dots_with_no_batch_dims_saveable": _dots_without_batch,
    "checkpoint_dots_with_no_batch_dims": _dots_without_batch,
}

BY_NAME: dict[str, Callable[[str, frozenset[str]], bool]] = {
    "save_only_these_names": lambda given, names: given in names,
    "save_any_names_but_these": lambda given, names: given not in names,
}

"""What JAX's contexts say to the compiler of the operations inside them.

`compute_on` says which kind of processor is to run them, `set_xla_metadata` what else XLA is told.
Both are frontend attributes of the operations. A context's operations are recorded in regions that
carry them, so that derivatives and batches have them too, as in JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jax.experimental.xla_metadata import set_xla_metadata

from ..ir.builder import Builder
from ..ir.errors import UsageError
from ..ir.graph import Value
from ..ir.ops.annotation import Pairs, annotated
from .jax_compat import compiler_contexts

Atoms = tuple[Any, ...]

PROCESSORS: Final = {"device_host": "host", "device": "dense", "tpu_sparsecore": "sparseoffload"}
"""By JAX's name for a kind of processor, XLA's."""
STREAM: Final = "gpu_stream:"


def attributes_in_force() -> Pairs:
    """Those of the operations that are recorded now."""
    processor, metadata = compiler_contexts()
    if processor is None and metadata is None:
        return ()
    told = texts(metadata.val.items()) if metadata is not None and metadata.val else ()
    return (*told, *(processor_attributes(processor) if processor is not None else ()))


def texts(pairs: Any) -> Pairs:
    """Values as XLA is told them."""
    return tuple((k, str(v).lower() if isinstance(v, bool) else str(v)) for k, v in pairs)


def processor_attributes(processor: str) -> Pairs:
    if processor.startswith(STREAM):
        stream = processor.removeprefix(STREAM)
        return ("_xla_stream_annotation", stream), ("inlineable", "false")
    if processor not in PROCESSORS:
        raise UsageError(f"compute_on {processor!r} is not supported")
    return (("_xla_compute_type", PROCESSORS[processor]),)


def under_these_attributes(make: Callable[..., Any]) -> Callable[..., Any]:
    """A rule that is traced later, with the attributes that are in force now."""
    pairs = attributes_in_force()
    if not pairs:
        return make

    def make_later(*signature: Any) -> Any:
        with set_xla_metadata(**dict(pairs)):
            return make(*signature)

    return make_later


def record_annotated(
    b: Builder, record: Callable[..., Atoms], inputs: Atoms, params: Any, attributes: Pairs
) -> Atoms:
    """What an operation becomes, in a region with attributes."""
    inner = Builder()
    inner.location = b.location
    own = {x: Value(x.type, x.name) for x in inputs if isinstance(x, Value)}
    outputs = record(inner, tuple([own.get(x, x) for x in inputs]), params)
    if not inner.equations:
        outer = {value: x for x, value in own.items()}
        return tuple([outer.get(x, x) for x in outputs])
    graph = inner.graph(own.values(), outputs, inner.equations[0].primitive.name)
    if all(eqn.params.get("attributes") == attributes for eqn in graph.equations):
        return tuple(b.inline(graph, list(own)))  # all that a jitted function is was traced here
    return b.emit(annotated, *own, graph=graph, attributes=attributes)


def has_context(eqn: Any) -> bool:
    """Whether what an operation is depends on options of JAX's under which it was traced."""
    ctx = eqn.ctx
    return bool(
        ctx.compute_type is not None
        or ctx.xla_metadata
        or eqn.primitive.name.startswith("random_")  # which numbers a key gives
    )


def record_in_context(
    b: Builder, record: Callable[..., Atoms], inputs: Atoms, params: Any
) -> Atoms:
    """What an operation becomes under the attributes that are in force."""
    attributes = attributes_in_force()
    if attributes:
        return record_annotated(b, record, inputs, params, attributes)
    return record(b, inputs, params)

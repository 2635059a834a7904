"""What XLA says of a compiled program, beside what was counted from its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ir.graph import Graph
from .progress import say
from .xla import uses_64_bits


@dataclass(frozen=True)
class Figure:
    """A quantity as counted and as XLA has it; None where it is unknown."""

    name: str
    unit: str
    counted: float | None
    xla: float | None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """XLA's figure less the counted one, relative to the latter."""
        if self.counted is None or self.xla is None or not self.counted:
            return None
        return (self.xla - self.counted) / self.counted

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "difference": self.difference}


def analyse(graph: Graph) -> dict[str, float]:
    """XLA's `memory_analysis` and `cost_analysis` of a graph, compiled for the default device.

    Keys: flops, bytes, transcendentals, arguments, outputs, temporaries, aliased, code; those that
    the backend does not know are missing.
    """
    import jax

    from ..frontend.execute import default_platform, tidy
    from ..lowering.emit import lower_graph
    from ..lowering.execute import compile_module

    say("compiling with XLA")
    with jax.enable_x64(bool(jax.enable_x64.value) or uses_64_bits(graph)):
        lowered = lower_graph(tidy(graph), (default_platform(()),))
        executable = compile_module(
            lowered.mlir_module,
            name=lowered.name,
            in_types=lowered.in_types,
            out_types=lowered.out_types,
            ordered_effects=lowered.host.ordered_effects,
            unordered_effects=lowered.host.unordered_effects,
            host_callbacks=lowered.host.callbacks,
            keepalive=lowered.host.keepalive,
            has_barriers=lowered.has_barriers,
            has_borders=lowered.has_borders,
        )
    return _memory(executable) | _costs(executable)


def _memory(executable: Any) -> dict[str, float]:
    found = executable.memory_analysis()
    names = {
        "arguments": "argument_size_in_bytes", "outputs": "output_size_in_bytes",
        "temporaries": "temp_size_in_bytes", "aliased": "alias_size_in_bytes",
        "code": "generated_code_size_in_bytes",
    }  # fmt: skip
    values = {name: getattr(found, attribute, None) for name, attribute in names.items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def _costs(executable: Any) -> dict[str, float]:
    found = executable.cost_analysis() or {}
    names = {"flops": "flops", "bytes": "bytes accessed", "transcendentals": "transcendentals"}
    return {name: float(found[key]) for name, key in names.items() if key in found}

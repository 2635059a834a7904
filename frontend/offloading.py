"""Were values really moved to the host's memory? A compiler may leave them on the device."""

from __future__ import annotations

from typing import Any

from ..ir.errors import CovectorError
from ..ir.graph import Graph
from ..ir.places import places_of
from ..ir.sizes import show_size
from ..passes.dce import remove_dead


def check_offloaded(graph: Graph, analysis: Any) -> None:
    """Raise CovectorError if a program keeps values in the host's memory and XLA's account of its
    memory (`memory_analysis()`, None where the platform has none) knows of no bytes there.
    """
    if analysis is None:
        return
    wanted = host_bytes(remove_dead(graph))
    found = analysis.host_temp_size_in_bytes + analysis.host_output_size_in_bytes
    if wanted and not found:
        raise CovectorError(
            f"XLA dropped the moves of @{graph.name} to the host's memory: {show_size(wanted)} of "
            "its values would stay on the device",
            stage="compile",
            hint="choose a checkpoint policy that offloads nothing, or give a memory_budget",
        )


def host_bytes(graph: Graph) -> int:
    """Bytes of the values at a graph's own level that are on the host without being inputs."""
    on_host = places_of(graph).on_host
    return sum(v.type.nbytes for eqn in graph.equations for v in eqn.outputs if v in on_host)

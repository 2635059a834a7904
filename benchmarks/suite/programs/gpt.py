"""The GPT of examples/gpt.py: its blocks unrolled, scanned, and its Hessian-vector product."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .program import Program

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))
import gpt


def arguments(blocks: int) -> tuple[Any, Any]:
    """Parameters and a batch for a GPT small enough that staging is what takes the time."""
    config = gpt.Config(blocks=blocks, width=64, context=32, batch=4)
    tokens = np.random.default_rng(0).integers(0, config.vocabulary, (4, 33), dtype=np.int32)
    return gpt.init(config), tokens


def stacked(blocks: int) -> tuple[Any, Any]:
    """The same, the parameters of all blocks in arrays with a leading axis."""
    params, tokens = arguments(blocks)
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params["blocks"])
    return {**params, "blocks": together}, tokens


def scanned_loss(params: Any, tokens: Any) -> Any:
    """`gpt.loss` with a scan over the blocks."""
    inputs = tokens[:, :-1]
    x = params["embedding"][inputs] + params["position"][: inputs.shape[1]]
    x, _ = jax.lax.scan(lambda x, p: (gpt.block(p, x, 4), None), x, params["blocks"])
    scores = jax.nn.log_softmax(gpt.layer_norm(params["norm"], x) @ params["embedding"].T)
    return -jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1).mean()


def hvp(library: Any, fun: Any) -> Any:
    """Forward over reverse, in the direction of the parameters themselves."""

    def product(params: Any, tokens: Any) -> Any:
        return library.jvp(lambda p: library.grad(fun)(p, tokens), (params,), (params,))[1]

    return product


def programs(quick: bool) -> list[Program]:
    large = not quick
    return [
        Program("GPT, 12 blocks", gpt.loss, arguments(12), repeats=True),
        Program("GPT, 48 blocks", gpt.loss, arguments(48), compiles=large, repeats=True),
        Program("GPT, scan of 12 blocks", scanned_loss, stacked(12)),
        Program("GPT, scan of 48 blocks", scanned_loss, stacked(48), compiles=large),
        Program(
            "hvp of GPT, 12 blocks", gpt.loss, arguments(12), hvp, "higher",
            compiles=large, repeats=True,
        ),
    ]  # fmt: skip

"""The main example: trained by covector and by JAX, the losses are the same."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import covector

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import gpt

SMALL = gpt.Config(context=16, width=32, heads=4, blocks=2, batch=4)


def test_losses_equal_those_of_jax() -> None:
    ours = gpt.train(SMALL, 12, "covector", progress=False)
    theirs = gpt.train(SMALL, 12, "jax", progress=False)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    assert ours[-1] < ours[0]


@pytest.mark.slow
def test_losses_equal_those_of_jax_for_fifty_steps() -> None:
    ours = gpt.train(gpt.Config(), 50, "covector", progress=False)
    theirs = gpt.train(gpt.Config(), 50, "jax", progress=False)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.mark.smoke
def test_every_stage_reads_back() -> None:
    params = gpt.init(SMALL)
    tokens = next(iter(gpt.batches(SMALL, 1)))
    module = covector.make_ir(gpt.loss)(params, tokens)
    assert any(v.name == "hidden" for e in module.main.equations for v in e.outputs)
    for step in ("", "inline", "linearize{wrt=0}", "transpose", "cse", "dce", "fold"):
        module = covector.run_passes(module, step) if step else module
        text = str(module)
        assert covector.parse(text) == module
        assert str(covector.parse(text)) == text


def test_plot_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    gpt.plot({"covector": [3.0, 2.0], "jax": [3.0, 2.0]}, str(tmp_path / "loss.png"))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")

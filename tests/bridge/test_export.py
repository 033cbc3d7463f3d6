"""Exported programs, read back from their files, against the models that they were made of."""

import json
import typing

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from fnet_jax.bridge import export
from fnet_jax.bridge.inputs import input_spec
from fnet_jax.core.schema import Head
from fnet_jax.nn.heads import make_model
from tests.bridge.made import made

SIZES = {"batch": 3, "predictions": 5, "choices": 4}


def inputs_of(loaded, **sizes):
    """Random inputs by name, some of them padding."""
    model = loaded.config.model
    below = {"type_ids": model.type_vocab_size, "masked_lm_positions": model.max_seq_length}
    rng = np.random.default_rng(1)
    spec = input_spec(loaded.head, model.max_seq_length, **(sizes or SIZES))
    return {
        name: rng.integers(0, below.get(name, model.vocab_size), field.shape, np.int32)
        for name, field in spec.items()
    }


def ours(loaded, inputs):
    model = make_model(loaded.head, loaded.config.model)
    outputs = jax.jit(model.apply, static_argnames="deterministic")(
        loaded.variables, *inputs.values(), deterministic=True
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(outputs)]


def call(folder, inputs):
    """As docs/export.md says: with JAX and safetensors, without this project."""
    program = jax.export.deserialize((folder / "model.stablehlo").read_bytes())
    return program.call(load_file(folder / "model.safetensors"), *inputs.values())


@pytest.mark.parametrize("head", typing.get_args(Head))
def test_stablehlo_of_every_head(tmp_path, head):
    loaded = made(head)
    export.write(loaded, str(tmp_path), "stablehlo")
    manifest = json.loads((tmp_path / "export.json").read_text())
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    for sizes in (SIZES, {"batch": 1, "predictions": 1, "choices": 2}):
        inputs = inputs_of(loaded, **sizes)
        assert [field["name"] for field in manifest["inputs"]] == list(inputs)
        found = call(tmp_path, inputs)
        expected = ours(loaded, inputs)
        assert [field["name"] for field in manifest["outputs"]] == list(found)
        for a, b, field in zip(found.values(), expected, manifest["outputs"], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
            assert len(field["shape"]) == b.ndim
            letters = dict(zip(field["shape"], b.shape, strict=True))
            assert letters["B"] == sizes["batch"]

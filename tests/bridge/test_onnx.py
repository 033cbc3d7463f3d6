"""ONNX files in ONNX Runtime against the models that they were made of; skipped without jax2onnx."""

import json
import typing

import numpy as np
import pytest

from fnet_jax.bridge import export
from fnet_jax.core.config import Head
from tests.bridge.made import made
from tests.bridge.test_export import check, inputs_of

pytest.importorskip("jax2onnx", reason="jax2onnx is not installed; see docs/export.md")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
onnxruntime.set_default_logger_severity(3)  # it warns of every constant that it can do without


def run(folder, inputs):
    """As docs/export.md says, without JAX."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("head", typing.get_args(Head))
def test_every_head(tmp_path, head):
    loaded = made(head)
    export.write(loaded, str(tmp_path), "onnx")
    for sizes in ({"batch": 3, "predictions": 5, "choices": 4}, {"batch": 1, "predictions": 1, "choices": 2}):
        inputs = inputs_of(loaded, **sizes)
        check(run(tmp_path, inputs), loaded, inputs)
    manifest = json.loads((tmp_path / export.MANIFEST).read_text())
    assert [field["name"] for field in manifest["outputs"]] == list(export.OUTPUTS[head])


@pytest.mark.parametrize(
    "changes",
    [
        {"mixer": "hartley"},
        {"mixer": "hadamard"},
        {"mixer": "linear", "num_attention_layers": 1},
        {"mixer": "random"},
        {"mixer": "ff_only", "pooling": "mean"},
        {"d_emb": 12, "max_seq_length": 15, "d_model": 18, "fourier_impl": "split"},
    ],
)
def test_other_models(tmp_path, changes):
    loaded = made("sequence", **changes)
    export.write(loaded, str(tmp_path), "onnx")
    inputs = inputs_of(loaded, batch=2)
    check(run(tmp_path, inputs), loaded, inputs)


def test_bfloat16_becomes_float32(tmp_path):
    loaded = made("encoder", dtype="bfloat16")
    export.write(loaded, str(tmp_path), "onnx")
    inputs = inputs_of(loaded)
    outputs = run(tmp_path, inputs)
    assert {output.dtype for output in outputs.values()} == {np.dtype(np.float32)}
    check(outputs, loaded, inputs, 0.05)

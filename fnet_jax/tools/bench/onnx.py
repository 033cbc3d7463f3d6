"""Exported models in ONNX Runtime on the CPU, where it and jax2onnx are installed (docs/export.md)."""

import importlib
import os
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fnet_jax.bridge import export
from fnet_jax.bridge.loaded import Loaded
from fnet_jax.core.config import Config, Mixer
from fnet_jax.tools.bench.timing import TimedProgram

MODELS: dict[str, Mixer] = {"ONNX FNet": "fourier", "ONNX BERT": "attention"}  # name of the case -> mixer
PACKAGES = ("jax2onnx", "onnxruntime")


def inference(config: Config, variables: Mapping[str, Any], batch: Mapping[str, np.ndarray]) -> TimedProgram:
    """The logits of a classifier for a batch of texts, by as many threads as there are cores.

    Args:
        config: of the model.
        variables: of the model.
        batch: `input_ids` and `type_ids`, [B, L].

    Raises:
        ValueError: for bfloat16, which ONNX files are not written in.
    """
    if config.model.dtype != "float32":
        raise ValueError("ONNX files are in float32")
    onnxruntime = importlib.import_module("onnxruntime")
    onnxruntime.set_default_logger_severity(3)  # it warns of every constant that it can do without
    with tempfile.TemporaryDirectory() as folder:
        export.write(Loaded(config, "sequence", dict(jax.device_get(variables)), None), folder, "onnx")
        start = time.perf_counter()
        path = os.path.join(folder, export.PROGRAMS["onnx"])
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    seconds = time.perf_counter() - start

    def run(calls: int) -> None:
        for _ in range(calls):
            session.run(None, batch)

    return TimedProgram(run, compile_seconds=seconds)

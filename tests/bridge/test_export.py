"""Exported programs, read back from their files, against the models that they were made of."""

import json
import typing

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from fnet_jax.bridge import export, portable
from fnet_jax.bridge.inputs import input_spec
from fnet_jax.core.config import Head
from fnet_jax.core.errors import UserError
from fnet_jax.nn.heads import make_model
from tests.bridge.made import changed, made
from tests.conftest import run
from tests.nn.reference import relative_errors

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


def check(outputs, loaded, inputs, tolerance=1e-5):
    """Compares outputs by name with the model's, in units of their root mean square."""
    expected = dict(zip(export.OUTPUTS[loaded.head], ours(loaded, inputs), strict=True))
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        value = value.astype(np.float64)
        assert relative_errors(outputs[name], value)[1] < tolerance


@pytest.mark.parametrize("head", typing.get_args(Head))
def test_stablehlo_of_every_head(tmp_path, head):
    loaded = made(head)
    export.write(loaded, str(tmp_path), "stablehlo", ["cpu"])
    inputs = inputs_of(loaded)
    outputs = call(tmp_path, inputs)
    check(outputs, loaded, inputs)

    manifest = json.loads((tmp_path / export.MANIFEST).read_text())
    letters = dict(zip("BPK", SIZES.values(), strict=True))
    for fields, arrays in ((manifest["inputs"], inputs), (manifest["outputs"], outputs)):
        assert {field["name"] for field in fields} == arrays.keys()
        for field in fields:
            array = arrays[field["name"]]
            assert field["dtype"] == array.dtype
            assert tuple(letters.get(size, size) for size in field["shape"]) == array.shape
    assert [field["name"] for field in manifest["outputs"]] == list(export.OUTPUTS[head])


@pytest.mark.parametrize(
    "changes",
    [
        {"mixer": "random", "num_attention_layers": 1},  # has constants too
        {"mixer": "dct", "dtype": "bfloat16"},
    ],
)
def test_stablehlo_for_all_platforms(tmp_path, changes):
    loaded = made("sequence", **changes)
    export.write(loaded, str(tmp_path), "stablehlo")
    inputs = inputs_of(loaded, batch=1)
    check(call(tmp_path, inputs), loaded, inputs, 0.02 if "dtype" in changes else 1e-5)


def test_a_kernel_of_one_platform_stays_behind(tmp_path):
    loaded = made("encoder")
    export.write(changed(loaded, fourier_impl="pallas"), str(tmp_path), "stablehlo", ["cpu"])
    inputs = inputs_of(loaded)
    check(call(tmp_path, inputs), loaded, inputs)


def test_stablehlo_has_no_parameters_inside(tmp_path):
    loaded = made("sequence", vocab_size=20_000)
    export.write(loaded, str(tmp_path), "stablehlo", ["cpu"])
    program, parameters = (
        (tmp_path / name).stat().st_size for name in ("model.stablehlo", "model.safetensors")
    )
    assert parameters > 1_000_000 > 10 * program


def test_each_platform_gets_its_mixing():
    """The FFT on the CPU; on a TPU, for a length of 24, matrix products."""
    for platform, has_fft in (("cpu", True), ("tpu", False)):
        module = export.stablehlo(made("encoder"), [platform]).mlir_module()
        assert ("stablehlo.fft" in module) == has_fft


@pytest.mark.parametrize(
    ("changes", "message"),
    [({}, "needs jax2onnx, which is not installed"), ({"mixer": "dct"}, "mixer='dct' has no way to ONNX")],
)
def test_onnx_that_cannot_be(tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=message):
        export.write(made("sequence", **changes), str(tmp_path), "onnx")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path):
    """From a portable folder; what is wrong with the flags is one sentence, before anything is read."""
    portable.write(made("sequence"), str(make(tmp_path / "model")))
    command = ("python", "-m", "fnet_jax.tools.export", f"--model={tmp_path}/model", f"--dst={tmp_path}/out")
    done = run(*command, "--format=stablehlo", "--platforms=cpu")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.stablehlo",
        "model.safetensors",
        "config.json",
        "export.json",
    }
    for flags, message in (
        (("--format=stablehlo",), "out is there already; name a new folder"),
        (("--format=stablehlo", "--platforms=cpu,rocm"), "--platforms=cpu,rocm: valid are cpu, cuda, tpu"),
        (("--format=onnx", "--platforms=cpu"), "--platforms has an effect with --format=stablehlo only"),
        ((), "--format is not given"),
    ):
        failed = run(*command, *flags)
        assert failed.returncode == 2
        assert message in failed.stderr
        assert failed.stderr.count("error:") == 1


def make(folder):
    folder.mkdir()
    return folder

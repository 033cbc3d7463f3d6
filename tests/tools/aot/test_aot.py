"""Steps of tiny models, compiled by libtpu for TPUs that are not there."""

import importlib.util
import json
import math
import re

import jax
import jax.numpy as jnp
import pytest

from fnet_jax.configs import glue, pretrain
from fnet_jax.core import config_dict
from fnet_jax.core.chips import find_chip
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import batch_sharding, create_mesh
from fnet_jax.nn.heads import param_count
from fnet_jax.tools.aot import compile as aot_compile
from fnet_jax.tools.aot.env import ENVIRONMENT
from fnet_jax.tools.aot.hlo import Collective, HloProgram, Shape
from fnet_jax.tools.aot.report import TimeBound, analyse, is_activation_gather, sent_bytes
from fnet_jax.tools.aot.text import describe, show_seconds
from fnet_jax.train.concrete import facts_without_data
from fnet_jax.train.setup import set_up
from tests.conftest import run
from tests.in_process import run_in_process
from tests.train import synthetic

has_libtpu = pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is for Linux x86-64")
AOT = ("python", "-m", "fnet_jax.tools.aot", "--config=configs/pretrain.py:smoke")

B, L, D, F, V, P, LAYERS, DEVICES = 16, 32, 64, 128, 1000, 6, 3, 4


@pytest.fixture(scope="module", autouse=True)
def environment():
    """libtpu's; and Optax needs jax's ordinary promotion."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


def compile_report(config, topology, step):
    devices = aot_compile.topology_devices(topology)
    setup = set_up(config, training=step == "train", devices=devices, facts=facts_without_data(config))
    return setup, analyse(aot_compile.compile_step(setup, step), topology)


@pytest.fixture(scope="module")
def trained():
    """A training step whose mixer is two trained matrices, so that every product can be counted by hand."""
    c = pretrain.get_config("smoke")
    c.model.update(
        {"mixer": "linear", "num_layers": LAYERS, "d_model": D, "d_emb": D, "d_ff": F, "dtype": "bfloat16"}
    )
    assert (c.train.train_batch_size, c.model.max_seq_length, c.data.max_predictions_per_seq) == (B, L, P)
    return compile_report(config_dict.parse(c), "v5e:2x2", "train")


@has_libtpu
def test_flops_of_a_training_step(trained):
    """By hand: every product once forward and twice backward."""
    _, report = trained
    layer = 2 * L * D * (L + D) + 2 * L * D * F * 2
    heads = 2 * D * D + 2 * D * 2 + 2 * P * D * D + 2 * P * D * V
    by_hand = 3 * (LAYERS * layer + 2 * L * D * D + heads) * B / DEVICES
    assert report.flops == pytest.approx(by_hand, rel=1e-9)
    assert report.flops == pytest.approx(report.model_flops, rel=2e-3)  # which leaves out next sentence


@has_libtpu
def test_memory_of_a_training_step(trained):
    setup, report = trained
    memory = report.memory
    assert memory.parameters == 4 * param_count(setup.abstract.params)
    assert memory.optimizer == 2 * memory.parameters + 8  # two moments, two counters
    assert memory.batch == sum(4 * math.prod(x.shape) for x in setup.batch_structs().values()) / DEVICES
    assert memory.peak >= memory.parameters + memory.optimizer
    assert memory.available == 16 * 2**30
    assert report.fits
    # Each parameter and each moment is read and written; activations are so small that they stay on the chip.
    assert 0.9 < report.bytes / (2 * (memory.parameters + memory.optimizer)) < 2


@has_libtpu
def test_communication_of_a_training_step(trained):
    """Gradients and sums are reduced once, those of the layers in the loop; nothing else moves."""
    setup, report = trained
    assert {found.kind for found in report.collectives} == {"all-reduce"}
    assert not report.gathered
    reduced = sum(found.executions * sum(s.size for s in found.shapes) for found in report.collectives)
    count = param_count(setup.abstract.params)
    embeddings = V * D  # input and output use of the tied table are reduced apart
    assert count <= reduced <= count + embeddings + 64
    assert {found.executions for found in report.collectives if found.in_loop} == {LAYERS}


@has_libtpu
def test_divided_parameters():
    """Each matrix is gathered along fsdp alone, and the report says where it lies."""
    config = synthetic.config(mesh__data=1, mesh__fsdp=4, model__vocab_size=1000)
    setup, report = compile_report(config, "v5e:2x2", "train")
    whole = 4 * param_count(setup.abstract.params)
    assert whole / 4 < report.memory.parameters < whole / 3  # vectors are not divided
    assert not report.gathered
    assert {found.group for found in report.collectives} <= {0, 2, 4}
    text = describe(report)
    assert "mesh         fsdp=4" in text
    assert re.search(r"encoder/layers_0/feed_forward/output/kernel +2 x 64 x 32 +- - fsdp +4.0 KiB", text)


@has_libtpu
def test_the_bound_of_a_training_step(trained):
    _, report = trained
    chip = find_chip("TPU v5 lite")
    assert report.bound.compute == report.flops / chip.bf16_flops
    assert report.bound.memory == report.bytes / chip.hbm_bandwidth
    assert report.tokens_per_second == pytest.approx(B * L / report.bound.seconds)
    assert report.days_per_million_steps == pytest.approx(report.bound.seconds * 1e6 / 86400)
    text = describe(report)
    assert "3 layers of linear" in text
    assert "no time here was measured" in text
    values = json.loads(json.dumps(report.to_dict()))
    assert values["fits"] is True
    assert values["devices"] == DEVICES
    assert len(values["collectives"]) == len(report.collectives)


@has_libtpu
def test_evaluation_of_a_labelled_task():
    c = glue.get_config("task=mnli,smoke")
    setup, report = compile_report(config_dict.parse(c), "v6e:2x2", "eval")
    assert setup.config.model.num_outputs == 3
    assert report.memory.optimizer == 0
    assert "fourier (dft)" in describe(report)
    assert "million steps" not in describe(report)
    (logits,) = (found for found in report.collectives if found.kind == "all-gather")
    assert logits.num_bytes == 16 * 3 * 4
    assert not report.gathered


@has_libtpu
def test_a_step_that_does_not_fit(tmp_path):
    large = ["--config.model.vocab_size=16000000", "--config.model.d_model=512", "--config.model.d_emb=512"]
    flags = ["--topology=v5e:2x2", *large, f"--json={tmp_path}/a.json"]
    result = run(*AOT, *flags)
    assert result.returncode == 1, result.stderr
    said = result.stderr.splitlines()
    assert len(said) == 2
    assert said[1].startswith("v5e:2x2: does not fit: the step needs ")
    assert "GiB of HBM" in said[1]
    assert "15.75 GiB are available" in said[1]
    assert not list(tmp_path.iterdir())


@has_libtpu
def test_the_command(tmp_path):
    path = tmp_path / "a.json"
    result = run(*AOT, "--topology=v4:2x2x1", "--mesh=data=4", "--step=eval", f"--json={path}")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == 1  # that it compiles, and nothing of libtpu's
    assert "v4:2x2x1: 4 devices, TPU v4" in result.stdout
    assert json.loads(path.read_text())["mesh"] == {"data": 4, "fsdp": 1, "seq": 1, "tensor": 1}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "--topology is not given"),
        pytest.param(["--topology=v5e:4x5", "--mesh=data=20"], "did you mean v5e:4x", marks=has_libtpu),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(flags, says):
    result = run_in_process(*AOT[2:], *flags)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


@pytest.mark.parametrize("mesh", ["rows=4", "data", "data=0", "data=x", "data=4,4"])
def test_bad_mesh(mesh):
    with pytest.raises(UserError, match=f"--mesh={mesh}: .* is not AXIS=SIZE with an axis of data"):
        aot_compile.with_mesh(synthetic.config(), mesh)


def test_mesh():
    assert aot_compile.with_mesh(synthetic.config(), "data=4").mesh.data == 4
    both = aot_compile.with_mesh(synthetic.config(), "data=2,fsdp=-1").mesh
    assert (both.data, both.fsdp, both.seq) == (2, -1, 1)
    assert aot_compile.with_mesh(synthetic.config(), "").mesh.data == -1


@has_libtpu
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"mesh__data": 8}, r"mesh\.data=8, .* do not multiply to the 16 devices"),
        ({"train__train_batch_size": 24}, r"train\.train_batch_size=24 does not divide over 16 devices"),
    ],
)
def test_what_does_not_fit_the_devices(overrides, says):
    devices = aot_compile.topology_devices("v5e:4x4")
    with pytest.raises(UserError, match=says):
        config = synthetic.config(**overrides)
        set_up(config, devices=devices, facts=facts_without_data(config))


@has_libtpu
@pytest.mark.parametrize(
    ("name", "count"), [("v2:2x2", 8), ("v4:2x2x2", 8), ("v5p:2x2x1", 4), ("v6e:2x4", 8), ("tpu7x:2x2x1", 8)]
)
def test_every_topology_is_made_of_known_chips(name, count):
    """Two devices a chip on v2 and 7x, one on the others."""
    devices = aot_compile.topology_devices(name)
    assert len(devices) == count
    assert find_chip(devices[0].device_kind) is not None


def test_without_libtpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "fnet_jax\[tpu\]"'):
        aot_compile.topology_devices("v5e:4x4")


def test_a_gathered_activation_is_found():
    """An FFT that is left to the partitioner gathers the batch; the same program per device does not."""
    mesh = create_mesh()
    x = jax.ShapeDtypeStruct((16, 8, 12), jnp.float32, sharding=batch_sharding(mesh))
    with jax.set_mesh(mesh):
        text = jax.jit(lambda x: jnp.fft.fft2(x).real).lower(x).compile().as_text()
    found = HloProgram(text).collectives()
    activation = 16 // mesh.size * 8 * 12 * 4
    assert any(is_activation_gather(collective, activation, set()) for collective in found)


@pytest.mark.parametrize(
    ("kind", "dims", "origin", "found"),
    [
        ("all-gather", (4, 8, 12), "", True),
        ("all-gather", (4, 8, 11), "", False),  # smaller
        ("all-reduce", (4, 8, 12), "", False),
        ("all-gather", (20, 24), "model", False),  # a parameter
        ("all-gather", (1, 24, 20), "model", False),  # a layer of one, transposed
        ("all-gather", (2, 10, 24), "", False),  # one in pieces: the end of a sum over slices
        ("all-gather", (2, 10, 24), "model", True),
    ],
)
def test_what_is_an_activation_sized_gather(kind, dims, origin, found):
    collective = Collective(kind, (Shape("f32", dims),), 1, False, 0, origin)
    assert is_activation_gather(collective, 4 * 8 * 12 * 4, {(20, 24)}) == found


def test_bytes_that_have_to_be_sent():
    """A ring of 4 in units of a quarter: an all-reduce passes on 3 quarters twice, a gather 3 once."""
    array = (Shape("f32", (100,)),)
    assert sent_bytes([Collective("all-reduce", array, 1, False, 0, "")], 4) == 600
    assert sent_bytes([Collective("all-reduce", array, 1, False, 2, "")], 4) == 400  # two groups of two
    assert sent_bytes([Collective("all-gather", array, 5, True, 4, "")], 4) == 5 * 300
    assert sent_bytes([Collective("reduce-scatter", array, 1, False, 0, "")], 4) == 1200
    assert sent_bytes([], 4) == 0


def test_the_slowest_unit_sets_the_bound():
    assert (TimeBound(3.0, 2.0, None).seconds, TimeBound(3.0, 2.0, None).limit) == (3.0, "compute")
    assert (TimeBound(3.0, 2.0, 4.0).seconds, TimeBound(3.0, 2.0, 4.0).limit) == (4.0, "links")


def test_figures_for_a_person():
    assert [show_seconds(s) for s in (0.0123, 0.00045)] == ["12.3 ms", "450 µs"]

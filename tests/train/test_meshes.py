"""Every way to lay a model out over 8 devices trains as one device does, and talks no more than it must."""

import collections
import functools
import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

from fnet_jax.tools.aot.hlo import HloProgram
from tests.train.synthetic import Trainer, config, random_batch

GOLDEN = pathlib.Path(__file__).with_name("golden_collectives.json")
AXES = ("data", "fsdp", "seq", "tensor")
STEPS = 3
BATCH = 64
PREDICTIONS = 8

# All ordered factorings of 8 into four sizes.
MESHES = [sizes for sizes in itertools.product((1, 2, 4, 8), repeat=4) if np.prod(sizes) == 8]
MODELS = {
    "fft": {"model__fourier_impl": "fft"},
    "dft": {"model__fourier_impl": "dft"},
    "folded": {"model__fourier_impl": "folded"},
    "split": {"model__fourier_impl": "split"},
    "hartley": {"model__mixer": "hartley"},
    "dct": {"model__mixer": "dct"},
    "hadamard": {"model__mixer": "hadamard"},
    "linear": {"model__mixer": "linear"},
    "random": {"model__mixer": "random"},
    "attention": {"model__mixer": "attention", "model__num_heads": 8},
    "hybrid": {"model__num_attention_layers": 1, "model__num_heads": 8},
}
GOLDEN_CASES = [*(("dft", mesh) for mesh in MESHES), ("fft", (1, 1, 8, 1)), ("attention", (1, 2, 2, 2))]
# All the others are tried by: pytest -m exhaustive
QUICK = {("dft", m) for m in [(8, 1, 1, 1), (1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (2, 4, 1, 1)]}
QUICK |= {("fft", (1, 1, 8, 1)), *((name, (1, 2, 2, 2)) for name in MODELS if name != "hybrid")}


def cases():
    for name, mesh in itertools.product(MODELS, MESHES):
        marks = [] if (name, mesh) in QUICK else [pytest.mark.exhaustive]
        yield pytest.param(name, mesh, id=f"{name}-{'x'.join(map(str, mesh))}", marks=marks)


def make(name, num_devices=1, **mesh):
    """With dropout: its masks must not depend on the mesh."""
    cfg = config(data__max_predictions_per_seq=PREDICTIONS, **MODELS[name])
    return Trainer(cfg, num_devices, **mesh), random_batch(cfg, BATCH)


def losses(trainer, batch):
    return [trainer.train(batch) for _ in range(STEPS)]


@functools.cache
def one_device(name):
    return losses(*make(name))


@pytest.mark.parametrize(("name", "mesh"), list(cases()))
def test_trains_as_on_one_device(name, mesh):
    trainer, batch = make(name, 8, **dict(zip(AXES, mesh, strict=True)))
    for step, (here, there) in enumerate(zip(losses(trainer, batch), one_device(name), strict=True)):
        for key in there:
            np.testing.assert_allclose(here[key], there[key], rtol=2e-5, atol=1e-6, err_msg=f"{key}, {step}")
    hlo = trainer.hlo(batch)
    assert_nothing_large_is_gathered(hlo, trainer, mesh)
    golden = json.loads(GOLDEN.read_text())
    if (key := golden_key(name, mesh)) in golden:
        assert collectives(hlo) == golden[key]


def assert_nothing_large_is_gathered(hlo, trainer, mesh):
    """Nothing as large as a device's part of [B, L, D], but, with `seq`, its examples' masked positions."""
    data, fsdp, seq, _ = mesh
    cfg = config()
    row = 4 * BATCH * cfg.model.d_model // (data * fsdp)
    length = cfg.model.max_seq_length // seq
    assert max(leaf.nbytes // 2 for leaf in jax.tree.leaves(trainer.state.params)) < row * length
    gathers = [c for c in HloProgram(hlo).collectives() if c.kind in ("all-gather", "collective-permute")]
    allowed = [row * PREDICTIONS] if seq > 1 else []
    assert all(c.num_bytes < row * length or c.num_bytes in allowed for c in gathers), gathers


def collectives(hlo):
    """Such as {"all-reduce 1,024 B, 2 times": 3}: places in the program by kind, bytes and executions."""
    found = collections.Counter(
        f"{c.kind} {c.num_bytes:,} B, {c.executions} time{'s' * (c.executions > 1)}"
        for c in HloProgram(hlo).collectives()
    )
    return dict(sorted(found.items()))


def golden_key(name, mesh):
    return ", ".join([name, *(f"{axis}={size}" for axis, size in zip(AXES, mesh, strict=True) if size > 1)])


def test_golden_file_has_every_case():
    assert set(json.loads(GOLDEN.read_text())) == {golden_key(*case) for case in GOLDEN_CASES}


if __name__ == "__main__":  # write the golden file anew, on 8 devices
    found = {}
    for name, mesh in GOLDEN_CASES:
        trainer, batch = make(name, 8, **dict(zip(AXES, mesh, strict=True)))
        found[golden_key(name, mesh)] = collectives(trainer.hlo(batch))
    GOLDEN.write_text(json.dumps(found, indent=2) + "\n")

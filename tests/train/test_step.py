import json
import pathlib
import typing

import jax
import numpy as np
import pytest

from fnet_jax.core.config import Mixer
from tests.hlo import collective_kinds
from tests.train.synthetic import Trainer, config, random_batch

MIXERS = typing.get_args(Mixer)
GOLDEN = pathlib.Path(__file__).with_name("golden_step.json")


@pytest.mark.parametrize("mixer", MIXERS)
def test_golden_first_steps(mixer):
    """Loss and gradient norm of the first two steps are what they were.

    After a change that is meant to change the numbers, write what the failure shows into
    golden_step.json and say why in the commit.
    """
    cfg = config(
        model__mixer=mixer,
        model__dropout_rate=0.0,
        model__mixing_dropout_rate=0.0,
        optim__num_warmup_steps=0,
    )
    trainer = Trainer(cfg)
    batch = random_batch(cfg, 8)
    got = [trainer.train(batch) for _ in range(2)]
    got = [[step["loss"], step["grad_norm"]] for step in got]
    want = json.loads(GOLDEN.read_text()).get(mixer, [[0, 0], [0, 0]])
    np.testing.assert_allclose(got, want, rtol=2e-4, err_msg=f'"{mixer}": {json.dumps(got)}')


@pytest.mark.parametrize("mixer", ["fourier", "attention"])
def test_overfits_one_batch(mixer):
    cfg = config(
        model__mixer=mixer, model__dropout_rate=0.0, optim__learning_rate=1e-2, train__num_train_steps=200
    )
    trainer = Trainer(cfg)
    batch = random_batch(cfg, 8)
    before = trainer.train(batch)
    after = trainer.train(batch, steps=150)
    assert before["masked_lm_loss"] > 4.0
    assert after["masked_lm_loss"] < 0.1
    assert after["masked_lm_accuracy"] == 1.0
    assert after["next_sentence_accuracy"] == 1.0


@pytest.mark.parametrize("num_devices", [1, 8])
def test_accumulation_equals_the_large_batch(num_devices):
    """Parts hold different numbers of predictions, so a mean of means would differ."""
    batch = random_batch(config(), 32)
    results = []
    for parts in (1, 4):
        cfg = config(train__train_batch_size=32, train__gradient_accum_steps=parts, model__dropout_rate=0.0)
        trainer = Trainer(cfg, num_devices)
        trainer.train(batch, steps=2)
        results.append((trainer.train(batch), trainer.state.params))
    (whole, whole_params), (accumulated, accumulated_params) = results
    assert whole.keys() == accumulated.keys()
    for name in whole:
        np.testing.assert_allclose(accumulated[name], whole[name], rtol=2e-4, err_msg=name)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), whole_params, accumulated_params)


@pytest.mark.parametrize("mixer", MIXERS)
def test_mesh_does_not_change_the_step(mixer):
    cfg = config(model__mixer=mixer)  # with dropout: its masks must not depend on the mesh
    batch = random_batch(cfg, 16)
    one, eight = (Trainer(cfg, n).train(batch, steps=2) for n in (1, 8))
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("impl", ["fft", "dft"])
@pytest.mark.parametrize("parts", [1, 2])
def test_no_activation_is_gathered(impl, parts):
    """The only collectives of a data-parallel step are sums of gradients and of metrics."""
    cfg = config(model__fourier_impl=impl, train__gradient_accum_steps=parts)
    hlo = Trainer(cfg, 8).hlo(random_batch(cfg, 16))
    assert collective_kinds(hlo) == {"all-reduce"}


def test_dropout_depends_on_seed_and_step_only():
    cfg = config()
    batch = random_batch(cfg, 8)
    first, again = Trainer(cfg), Trainer(cfg)
    assert first.train(batch, steps=3) == again.train(batch, steps=3)
    other_step = again.train(batch)["masked_lm_loss"]
    other_seed = Trainer(config(seed=1)).train(batch, steps=4)["masked_lm_loss"]
    assert len({first.train(batch)["masked_lm_loss"], other_step, other_seed}) == 2


def test_constants_are_not_trained():
    cfg = config(model__mixer="random")
    trainer = Trainer(cfg)
    before = jax.device_get(trainer.state.constants)
    params = jax.device_get(trainer.state.params)
    trainer.train(random_batch(cfg, 8), steps=3)
    assert jax.tree.leaves(before)
    jax.tree.map(np.testing.assert_array_equal, before, trainer.state.constants)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != np.asarray(b))), params, trainer.state.params)
    assert all(jax.tree.leaves(moved))

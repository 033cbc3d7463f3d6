import jax
import numpy as np
import pytest

from fnet_jax.tasks.kinds import make_objective
from fnet_jax.train.perf import Stopwatch, mixing_flops, peak_flops, train_flops_per_example
from tests.train.synthetic import config


@pytest.mark.parametrize("mixer", ["linear", "attention", "ff_only"])
def test_flops_against_the_compiler(mixer):
    """XLA counts the forward pass of one layer, at sizes where matrix products are nearly all of it."""
    cfg = config(
        model__mixer=mixer, model__num_layers=1, model__d_model=128, model__d_emb=128, model__d_ff=512,
        model__max_seq_length=128, model__vocab_size=1000, data__max_predictions_per_seq=20,
    )  # fmt: skip
    objective = make_objective(cfg)
    variables = jax.eval_shape(objective.init, jax.random.key(0))
    compiled = jax.jit(objective.apply).lower(variables, objective.batch_spec(4)).compile()
    ours = train_flops_per_example(cfg.model, cfg.data.max_predictions_per_seq) / 3
    assert compiled.cost_analysis()["flops"] / 4 == pytest.approx(ours, rel=0.12)


def test_fast_transforms_count_as_fast():
    assert mixing_flops("fourier", 512, 768) == 2.5 * 512 * 768 * np.log2(512 * 768)
    assert mixing_flops("hadamard", 4, 8) == 32 * 5
    assert mixing_flops("ff_only", 512, 768) == 0


def test_peaks_are_found_by_the_longest_name():
    device = type("Device", (), {"device_kind": "TPU v5 lite"})()
    assert peak_flops(device, "bfloat16") == 197e12
    assert peak_flops(device, "float32") is None
    assert peak_flops(jax.devices()[0], "bfloat16") is None


def test_stopwatch_counts_parts():
    watch = Stopwatch()
    with watch.part("steps"):
        sum(range(1_000_000))
        with watch.part("data"):
            sum(range(1_000))
    parts = watch.read()
    assert 0 < parts["data"] < parts["steps"]  # the inner part's time is its own
    assert watch.read()["data"] == 0
    shares = watch.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares.keys() == {"restart", "steps", "data"}


def test_stopwatch_says_what_begins():
    names: list[str] = []
    watch = Stopwatch(entered=names.append)
    with watch.part("steps"), watch.part("data"):
        pass
    assert names == ["steps", "data", "steps", "restart"]

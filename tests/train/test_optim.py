import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import path_str
from fnet_jax.train.optim import check_rules, is_matrix, make_optimizer, make_schedule, parse_rules
from tests.train.synthetic import Trainer, config, random_batch

PEAK, WARMUP, STEPS = 0.5, 10, 110


def reference(schedule: str, step: int) -> float:
    if step < WARMUP:
        return PEAK * step / WARMUP
    progress = min(1.0, (step - WARMUP) / (STEPS - WARMUP))
    return {
        "linear": PEAK * (1 - progress),
        "cosine": PEAK * 0.5 * (1 + np.cos(np.pi * progress)),
        "rsqrt": PEAK * np.sqrt(WARMUP / step),
        "constant": PEAK,
    }[schedule]


@pytest.mark.parametrize("name", ["linear", "cosine", "rsqrt", "constant"])
def test_schedules(name):
    cfg = config(optim__schedule=name, optim__learning_rate=PEAK, optim__num_warmup_steps=WARMUP)
    schedule = make_schedule(cfg.optim, STEPS)
    steps = [0, 1, 9, 10, 11, 60, 109, 110, 111, 500]  # past the end too: nothing wraps around
    got = [float(schedule(jnp.int32(step))) for step in steps]
    np.testing.assert_allclose(got, [reference(name, step) for step in steps], rtol=1e-5, atol=1e-7)


def test_no_warmup():
    cfg = config(optim__num_warmup_steps=0, optim__learning_rate=PEAK)
    assert float(make_schedule(cfg.optim, STEPS)(jnp.int32(0))) == PEAK


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_adamw_against_float64(clip):
    """Three steps of the update rule written out in NumPy."""
    cfg = config(
        optim__learning_rate=0.1, optim__schedule="constant", optim__num_warmup_steps=0,
        optim__clipped_grad_norm=clip,
    )  # fmt: skip
    o = cfg.optim
    optimizer = make_optimizer(o, 100)
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    state = optimizer.init(jax.tree.map(jnp.float32, params))
    ours = jax.tree.map(jnp.float32, params)
    m = {name: np.zeros_like(value) for name, value in params.items()}
    v = {name: np.zeros_like(value) for name, value in params.items()}
    for step in range(1, 4):
        grads = {name: rng.normal(size=value.shape) for name, value in params.items()}
        updates, state = optimizer.update(jax.tree.map(jnp.float32, grads), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        scale = min(1.0, clip / norm) if clip else 1.0
        for name, value in params.items():
            g = grads[name] * scale
            m[name] = o.adam_b1 * m[name] + (1 - o.adam_b1) * g
            v[name] = o.adam_b2 * v[name] + (1 - o.adam_b2) * g**2
            m_hat, v_hat = m[name] / (1 - o.adam_b1**step), v[name] / (1 - o.adam_b2**step)
            update = m_hat / (np.sqrt(v_hat) + o.adam_eps) + o.weight_decay * value
            params[name] = value - o.learning_rate * update
    for name in params:
        np.testing.assert_allclose(ours[name], params[name], rtol=1e-5, atol=1e-6)


def test_decay_mask_names_every_matrix_of_every_mixer():
    for mixer in ("linear", "attention"):
        params = Trainer(config(model__mixer=mixer)).state.params
        for path, decayed in jax.tree_util.tree_leaves_with_path(is_matrix(params)):
            name = jax.tree_util.keystr(path[-1:], simple=True)
            assert decayed == (name not in ("bias", "scale", "output_bias")), path


def rules_config(rules: str):
    return config(
        optim__learning_rate_rules=rules, optim__schedule="constant", optim__num_warmup_steps=0,
        model__num_layers=3,
    )  # fmt: skip


def updates(rules: str) -> dict[str, np.ndarray]:
    """How far each parameter moves in the first step."""
    cfg = rules_config(rules)
    trainer = Trainer(cfg)
    before = jax.device_get(trainer.state.params)
    trainer.train(random_batch(cfg, 8))
    after = jax.device_get(trainer.state.params)
    moved = jax.tree.map(np.subtract, after, before)
    return {path_str(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(moved)}


def test_rules_scale_and_freeze_by_first_match():
    plain = updates("")
    rules = "encoder/embedder/word=0,encoder/embedder=0.5,encoder/layer_0/=0,encoder/layer_1/=0.25"
    for path, moved in updates(rules).items():
        assert np.any(plain[path]), path
        if path.startswith("encoder/layers_0/"):  # three layers on one axis
            factors = np.array([0, 0.25, 1]).reshape(3, *[1] * (moved.ndim - 1))
        elif path.startswith("encoder/embedder/word"):
            factors = 0
        else:
            factors = 0.5 if path.startswith("encoder/embedder") else 1
        np.testing.assert_allclose(moved, plain[path] * factors, atol=2e-7, err_msg=path)


@pytest.mark.parametrize("rules", ["encoder", "encoder=", "=0.5", "encoder=x", "encoder=-1", "enc[=1"])
def test_rules_that_cannot_be_read(rules):
    with pytest.raises(UserError, match="is no REGEX=FACTOR"):
        parse_rules(rules)


def test_a_rule_that_matches_nothing_is_refused():
    params = Trainer(rules_config("")).state.params
    check_rules("encoder/layer_2/=0.1,classification=2", params)
    with pytest.raises(UserError, match="'encoder/layer_3/' matches no parameter"):
        check_rules("encoder/layer_3/=0.1", params)

"""Loss sums against float64 NumPy, and that they add up over parts of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.core.config import Config
from fnet_jax.nn.heads import PretrainLogits
from fnet_jax.nn.losses import label_sums, mean, pretrain_sums
from fnet_jax.tasks.kinds import make_objective
from tests.nn import reference

CONFIG = reference.tiny_config()
OBJECTIVE = make_objective(Config(model=CONFIG))


def random_logits(batch, seed=1, scale=3.0):
    rng = np.random.default_rng(seed)
    shape = (*batch["masked_lm_ids"].shape, CONFIG.vocab_size)
    masked_lm = scale * rng.normal(size=shape).astype(np.float32)
    # Make about half of the answers right, or accuracies would be next to nothing.
    right = rng.integers(0, 2, shape[:2])
    np.put_along_axis(masked_lm, batch["masked_lm_ids"][..., None], 20.0 * right[..., None] - 1, axis=-1)
    next_sentence = rng.normal(size=(shape[0], 2)).astype(np.float32)
    return PretrainLogits(jnp.asarray(masked_lm), jnp.asarray(next_sentence))


def part(tree, start, stop):
    return jax.tree.map(lambda leaf: leaf[start:stop], tree)


def test_sums_match_float64():
    batch = reference.tiny_batch(CONFIG, batch_size=8)
    logits = random_logits(batch)
    masked_lm, next_sentence = (np.asarray(leaf, np.float64) for leaf in logits)
    weights, examples = batch["masked_lm_weights"], batch["example_weights"]
    tokens = np.take_along_axis(batch["input_ids"], batch["masked_lm_positions"], axis=1)
    mask_weights = weights * (tokens == 6)
    assert 0 < mask_weights.sum() < weights.sum()
    assert 0 < examples.sum() < examples.size

    loss = reference.cross_entropy(masked_lm, batch["masked_lm_ids"])
    hit = masked_lm.argmax(-1) == batch["masked_lm_ids"]
    order_loss = reference.cross_entropy(next_sentence, batch["next_sentence_labels"])
    order_hit = next_sentence.argmax(-1) == batch["next_sentence_labels"]
    expected = {
        "masked_lm_loss": (np.sum(loss * weights), weights.sum()),
        "masked_lm_accuracy": (np.sum(hit * weights), weights.sum()),
        "mask_token_loss": (np.sum(loss * mask_weights), mask_weights.sum()),
        "mask_token_accuracy": (np.sum(hit * mask_weights), mask_weights.sum()),
        "next_sentence_loss": (np.sum(order_loss * examples), examples.sum()),
        "next_sentence_accuracy": (np.sum(order_hit * examples), examples.sum()),
    }
    actual = pretrain_sums(logits, batch)
    assert actual.keys() == expected.keys()
    for name, pair in expected.items():
        assert all(value.dtype == jnp.float32 and value.shape == () for value in actual[name])
        np.testing.assert_allclose(actual[name], pair, rtol=1e-5, err_msg=name)

    total = OBJECTIVE.loss(actual, OBJECTIVE.normalizers(batch))
    np.testing.assert_allclose(
        total,
        np.sum(loss * weights) / weights.sum() + np.sum(order_loss * examples) / examples.sum(),
        rtol=1e-6,
    )


def test_losses_and_gradients_of_parts_add_up_to_those_of_the_batch():
    batch = reference.tiny_batch(CONFIG, batch_size=8)
    logits = random_logits(batch)
    normalizers = OBJECTIVE.normalizers(batch)

    def loss(logits, batch, normalizers):
        return OBJECTIVE.loss(pretrain_sums(logits, batch), normalizers)

    loss_and_gradient = jax.jit(jax.value_and_grad(loss))
    whole, gradient = loss_and_gradient(logits, batch, normalizers)
    parts = [
        loss_and_gradient(part(logits, i, j), part(batch, i, j), normalizers) for i, j in ((0, 3), (3, 8))
    ]
    np.testing.assert_allclose(sum(value for value, _ in parts), whole, rtol=1e-6)
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(g for _, g in parts))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), joined, gradient)

    # The mean of the means of the parts is something else: the parts do not weigh the same.
    means = [loss(part(logits, i, j), b, OBJECTIVE.normalizers(b)) for i, j in ((0, 3), (3, 8))
             for b in [part(batch, i, j)]]  # fmt: skip
    assert abs(np.mean(means) - whole) > 1e-3


def test_a_batch_of_fillers_has_loss_and_gradient_zero():
    batch = reference.tiny_batch(CONFIG, batch_size=2)
    batch["masked_lm_weights"] = np.zeros_like(batch["masked_lm_weights"])
    batch["example_weights"] = np.zeros_like(batch["example_weights"])

    def loss(logits):
        return OBJECTIVE.loss(pretrain_sums(logits, batch), OBJECTIVE.normalizers(batch))

    value, gradient = jax.value_and_grad(loss)(random_logits(batch))
    assert value == 0
    assert not any(np.any(leaf) for leaf in gradient)


def test_filler_examples_do_not_count():
    batch = reference.tiny_batch(CONFIG, batch_size=4)
    assert batch["example_weights"][-1] == 0
    logits = random_logits(batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        pretrain_sums(logits, batch),
        pretrain_sums(part(logits, 0, 3), part(batch, 0, 3)),
    )


def test_cross_entropy_survives_large_logits():
    batch = reference.tiny_batch(CONFIG, batch_size=4)
    logits = random_logits(batch)
    expected = pretrain_sums(logits, batch)["masked_lm_loss"][0]
    shifted = logits._replace(masked_lm_BPV=logits.masked_lm_BPV + 1024)
    np.testing.assert_allclose(pretrain_sums(shifted, batch)["masked_lm_loss"][0], expected, rtol=1e-3)


@pytest.mark.parametrize(("pair", "value"), [((6.0, 4.0), 1.5), ((1.0, 0.5), 2.0), ((0.0, 0.0), 0.0)])
def test_mean(pair, value):
    assert mean(tuple(jnp.float32(number) for number in pair)) == value


def test_label_sums_match_float64():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(8, 3)).astype(np.float32), rng.integers(0, 3, 8).astype(np.int32)
    weights = np.float32([1, 1, 1, 0, 1, 1, 0, 0])
    actual = label_sums(jnp.asarray(logits), {"labels": labels, "example_weights": weights})
    loss = reference.cross_entropy(logits.astype(np.float64), labels)
    np.testing.assert_allclose(actual["cross_entropy"], (np.sum(loss * weights), 5), rtol=1e-6)
    hits = np.sum((logits.argmax(-1) == labels) * weights)
    np.testing.assert_allclose(actual["accuracy"], (hits, 5))


def test_float_labels_are_a_regression():
    """Were [B, 1] and [B] broadcast to [B, B], the mean would be of all pairs of examples."""
    logits, labels = np.float32([[1.0], [2.0], [4.0]]), np.float32([1.5, 0.0, 9.0])
    weights = np.float32([1, 1, 0])
    actual = label_sums(jnp.asarray(logits), {"labels": labels, "example_weights": weights})
    assert actual.keys() == {"squared_error"}
    np.testing.assert_allclose(actual["squared_error"], (0.25 + 4.0, 2))

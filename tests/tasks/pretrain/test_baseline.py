import numpy as np

from fnet_jax.core.special_tokens import MASK_ID
from fnet_jax.tasks.metrics import compute, merge_all
from fnet_jax.tasks.pretrain.baseline import UnigramBaseline
from tests.train.synthetic import config


def test_baseline_by_hand(tmp_path):
    """Four tokens counted 1, 2, 3, 94 (plus one each): what is answered, and with what probability."""
    counts = np.zeros(12, np.int64)
    counts[[7, 8, 9, 10]] = [1, 2, 3, 94]
    np.save(tmp_path / "token_counts.npy", counts)
    baseline = UnigramBaseline.from_dataset(str(tmp_path), config().data)
    total = counts.sum() + 12
    batch = {
        "input_ids": np.array([[4, MASK_ID, 8, 9, MASK_ID, 5]]),
        "masked_lm_positions": np.array([[1, 2, 3, 4, 0]]),
        "masked_lm_ids": np.array([[10, 8, 7, 9, 0]]),
        "masked_lm_weights": np.array([[1.0, 1.0, 1.0, 1.0, 0.0]]),
    }
    got = compute(merge_all(map(baseline.sums, [batch, batch])))
    # At [MASK] the answer is 10: right, then wrong. The visible 8 was kept: right; 9 was random: wrong.
    assert got["masked_lm_accuracy"] == 2 / 4
    assert got["mask_token_accuracy"] == 1 / 2
    # A visible token was kept with chance 0.1 / (0.1 + 0.1).
    probabilities = [95 / total, 0.5 + 0.5 * 3 / total, 0.5 * 2 / total, 4 / total]
    np.testing.assert_allclose(got["masked_lm_loss"], -np.log(probabilities).mean())
    np.testing.assert_allclose(got["mask_token_loss"], -np.log([probabilities[0], probabilities[3]]).mean())

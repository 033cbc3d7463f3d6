"""The honest baseline of masked LM: what can be had without looking at the context."""

import dataclasses
import math
import os

import numpy as np

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import DataConfig
from fnet_jax.core.special_tokens import MASK_ID
from fnet_jax.data.dataset import TOKEN_COUNTS_FILE
from fnet_jax.tasks.metrics import HostSums


@dataclasses.dataclass(frozen=True)
class UnigramBaseline:
    """What can be had without context: keep a visible token, answer the most frequent one at [MASK].

    As probabilities, for the loss: at [MASK] the token frequencies of the training split; at a visible
    token, that token with the chance that it was kept, the frequencies otherwise.
    """

    log_frequencies_V: np.ndarray
    most_frequent: int
    kept_share: float

    @classmethod
    def from_dataset(cls, directory: str, data: DataConfig) -> "UnigramBaseline":
        """Reads the token counts of a prepared data set; one is added to each, so none has chance 0."""
        counts_V = np.load(os.path.join(directory, TOKEN_COUNTS_FILE)).astype(np.float64) + 1.0
        log_frequencies_V = np.log(counts_V) - math.log(counts_V.sum())
        kept = 1.0 - data.mask_token_proportion - data.random_token_proportion
        visible = kept + data.random_token_proportion
        return cls(log_frequencies_V, int(counts_V.argmax()), kept / visible if visible > 0 else 0.0)

    def sums(self, batch: Batch) -> HostSums:
        """`masked_lm_accuracy`, `masked_lm_loss` and the same at [MASK] alone, as mergeable sums."""
        weights_BP = np.asarray(batch["masked_lm_weights"], np.float64)
        targets_BP = np.asarray(batch["masked_lm_ids"])
        shown_BP = np.take_along_axis(
            np.asarray(batch["input_ids"]), np.asarray(batch["masked_lm_positions"]), axis=1
        )
        at_mask_BP = shown_BP == MASK_ID
        answers_BP = np.where(at_mask_BP, self.most_frequent, shown_BP)
        right_BP = answers_BP == targets_BP

        frequency_BP = np.exp(self.log_frequencies_V[targets_BP])
        kept_BP = self.kept_share * (shown_BP == targets_BP) + (1.0 - self.kept_share) * frequency_BP
        probability_BP = np.where(at_mask_BP, frequency_BP, kept_BP)
        loss_BP = -np.log(np.where(weights_BP > 0, probability_BP, 1.0))

        def pair(values_BP: np.ndarray, weights_BP: np.ndarray) -> tuple[float, float]:
            return float((values_BP * weights_BP).sum()), float(weights_BP.sum())

        return {
            "masked_lm_accuracy": pair(right_BP, weights_BP),
            "masked_lm_loss": pair(loss_BP, weights_BP),
            "mask_token_accuracy": pair(right_BP, weights_BP * at_mask_BP),
            "mask_token_loss": pair(loss_BP, weights_BP * at_mask_BP),
        }

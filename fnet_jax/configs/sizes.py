"""Sizes of models: Base and Large are the paper's, the smaller ones have the widths of the small BERTs."""

from typing import NamedTuple

import ml_collections


class FineTuning(NamedTuple):
    """How a size is fine-tuned; names as in `configs/base.py`."""

    learning_rate: float
    pooling: str
    learning_rate_rules: str


class Size(NamedTuple):
    """One row of `SIZES`; names as in `configs/base.py`."""

    num_layers: int
    d_model: int
    d_ff: int
    num_heads: int
    max_seq_length: int
    fine_tuning: FineTuning


# Pretraining of minutes or hours leaves [CLS] almost the same for every text, and in a narrow model the two
# small matrices of the head take long to grow: docs/results.md has the figures.
HEAD_FIRST = "encoder/pooler=10,classification=10"
PUBLISHED = FineTuning(5e-5, "first", "")

SIZES = {
    "smoke": Size(
        3, 32, 64, 2, 32, FineTuning(1e-2, "mean", "")
    ),  # a toy: everything works, nothing is learnt
    "tiny": Size(4, 128, 512, 2, 128, FineTuning(1e-3, "mean", HEAD_FIRST)),
    "mini": Size(4, 256, 1024, 4, 256, FineTuning(1e-3, "mean", HEAD_FIRST)),
    "small": Size(4, 512, 2048, 8, 512, FineTuning(3e-4, "mean", HEAD_FIRST)),
    "medium": Size(8, 512, 2048, 8, 512, FineTuning(2e-4, "mean", HEAD_FIRST)),
    "base": Size(12, 768, 3072, 12, 512, PUBLISHED),
    "large": Size(24, 1024, 4096, 16, 512, PUBLISHED),
}


def shape(c: ml_collections.ConfigDict, name: str) -> None:
    """Gives the config's model the shape of one size."""
    size = SIZES[name]
    c.model.num_layers = size.num_layers
    c.model.d_model = c.model.d_emb = size.d_model
    c.model.d_ff = size.d_ff
    c.model.num_heads = size.num_heads
    c.model.max_seq_length = size.max_seq_length

"""Sizes of models: Base and Large are the paper's, the smaller ones have the widths of the small BERTs."""

from typing import NamedTuple

import ml_collections


class Size(NamedTuple):
    """One row of `SIZES`; names as in `configs/base.py`."""

    num_layers: int
    d_model: int
    d_ff: int
    num_heads: int
    max_seq_length: int
    fine_tuning_rate: float  # learning rate; docs/glue.md says where these come from
    fine_tuning_pooling: str  # as `model.pooling`; docs/results.md says why not "first" for all


SIZES = {
    "smoke": Size(3, 32, 64, 2, 32, 1e-2, "mean"),  # a toy: everything works, nothing is learnt
    "tiny": Size(4, 128, 512, 2, 128, 1e-3, "mean"),
    "mini": Size(4, 256, 1024, 4, 256, 1e-3, "mean"),
    "small": Size(4, 512, 2048, 8, 512, 3e-4, "mean"),
    "medium": Size(8, 512, 2048, 8, 512, 2e-4, "mean"),
    "base": Size(12, 768, 3072, 12, 512, 5e-5, "first"),
    "large": Size(24, 1024, 4096, 16, 512, 5e-5, "first"),
}


def shape(c: ml_collections.ConfigDict, name: str) -> None:
    """Gives the config's model the shape of one size."""
    size = SIZES[name]
    c.model.num_layers = size.num_layers
    c.model.d_model = c.model.d_emb = size.d_model
    c.model.d_ff = size.d_ff
    c.model.num_heads = size.num_heads
    c.model.max_seq_length = size.max_seq_length

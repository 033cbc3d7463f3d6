"""Sizes of models: Base and Large are the paper's, the smaller ones have the widths of the small BERTs."""

from typing import NamedTuple

import ml_collections


class Size(NamedTuple):
    """The shape of a model; names as in `core/config.py`."""

    num_layers: int
    d_model: int
    d_ff: int
    num_heads: int
    max_seq_length: int


SIZES = {
    "smoke": Size(3, 32, 64, 2, 32),  # a toy: everything works, nothing is learnt
    "tiny": Size(4, 128, 512, 2, 128),
    "mini": Size(4, 256, 1024, 4, 256),
    "small": Size(4, 512, 2048, 8, 512),
    "medium": Size(8, 512, 2048, 8, 512),
    "base": Size(12, 768, 3072, 12, 512),
    "large": Size(24, 1024, 4096, 16, 512),
}


def shape(c: ml_collections.ConfigDict, size: str) -> None:
    """Gives the config's model the shape of one size."""
    c.model.update(SIZES[size]._asdict())
    c.model.d_emb = c.model.d_model

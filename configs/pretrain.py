"""Pretrain with masked LM and next sentence.

    python train.py --config=configs/pretrain.py:size=tiny --workdir=W       # 2 CPU cores, minutes
    python train.py --config=configs/pretrain.py:size=base --workdir=W       # the paper's Base

Arguments after the colon, separated by commas: `size` (tiny, mini, small, medium, base, large),
`mixer` (as `model.mixer`), `corpus` (as `data.corpus`), `smoke` (a few steps of a toy model, to
see that everything works). Any key of `configs/base.py` follows as `--config.a.b=value`.
"""

import ml_collections

from configs import base
from fnet_jax.core.config import parse_arg

# size: layers, D, F, H, L, pieces of a trained tokenizer, learning rate. Base and Large are the
# paper's; widths of the smaller ones are those of the small BERTs.
SIZES = {
    "tiny": (4, 128, 512, 2, 128, 8_000, 2e-3),
    "mini": (4, 256, 1024, 4, 256, 16_000, 1e-3),
    "small": (4, 512, 2048, 8, 512, 32_000, 5e-4),
    "medium": (8, 512, 2048, 8, 512, 32_000, 5e-4),
    "base": (12, 768, 3072, 12, 512, 32_000, 1e-4),
    "large": (24, 1024, 4096, 16, 512, 32_000, 1e-4),
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The pretraining config for `arg`, for example "size=tiny,mixer=linear"."""
    args = parse_arg(arg, size="base", mixer="fourier", corpus="pydocs", smoke=False, choices={"size": SIZES})
    c = base.get_config()
    layers, d_model, d_ff, heads, length, pieces, learning_rate = SIZES[args.size]
    c.model.mixer = args.mixer
    c.model.num_layers = layers
    c.model.d_model = c.model.d_emb = d_model
    c.model.d_ff = d_ff
    c.model.num_heads = heads
    c.model.max_seq_length = length
    c.data.corpus = args.corpus
    c.data.tokenizer_pieces = pieces
    c.data.max_predictions_per_seq = max(20, length * 80 // 512)
    c.optim.learning_rate = learning_rate
    return c

"""Fine-tune on a label per word: names, parts of speech, any tags of your own.

    python train.py --config=configs/tag.py:data=ner/ --workdir=W --config.init_from=PRETRAINED

Arguments after the colon: `data` (a file in columns as those of the CoNLL shared tasks, or a folder with
train, validation and test files; pydocs: words that docstrings mark as code), `size` (for the learning
rate, and the shape of a model that starts from nothing), `smoke` (a few steps).
"""

import ml_collections

from fnet_jax.configs import fine_tuning, sizes
from fnet_jax.core.config_dict import parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The fine-tuning config for `arg`, for example "data=ner/"."""
    args = parse_arg(arg, data="", size="base", smoke=False, choices={"size": sizes.SIZES})
    return fine_tuning.make_config("tag", args.data, args.size, args.smoke)

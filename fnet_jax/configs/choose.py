"""Fine-tune on multiple choice: which of several texts goes on from a first one?

    python train.py --config=configs/choose.py:data=swag/ --workdir=W --config.init_from=PRETRAINED

Arguments after the colon: `data` (a .csv, .tsv or .jsonl file as SWAG's, with columns sent1, sent2,
ending0 ... ending3 and label, or a folder with train, validation and test files; pydocs: which sentence
follows, in docstrings), `size` (for the learning rate, and the shape of a model that starts from
nothing), `smoke` (a few steps).
"""

import ml_collections

from fnet_jax.configs import fine_tuning, sizes
from fnet_jax.core.config_dict import parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The fine-tuning config for `arg`, for example "data=swag/"."""
    args = parse_arg(arg, data="", size="base", smoke=False, choices={"size": sizes.SIZES})
    c = fine_tuning.make_config("choose", args.data, args.size, args.smoke)
    c.data.text_field = "sent1"  # the context
    c.data.text_b_field = "sent2"  # how every choice begins
    return c

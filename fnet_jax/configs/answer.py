"""Fine-tune on extractive question answering.

    python train.py --config=configs/answer.py:data=squad/ --workdir=W --config.init_from=PRETRAINED

Arguments after the colon: `data` (a .json file as SQuAD's, version 1.1 or 2.0, or a folder with train,
validation and test files; pydocs: types of parameters, in docstrings), `size` (for the learning rate, and
the shape of a model that starts from nothing), `smoke` (a few steps).
"""

import ml_collections

from fnet_jax.configs import fine_tuning, sizes
from fnet_jax.core.config_dict import parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The fine-tuning config for `arg`, for example "data=squad/"."""
    args = parse_arg(arg, data="", size="base", smoke=False, choices={"size": sizes.SIZES})
    return fine_tuning.make_config("answer", args.data, args.size, args.smoke)

"""A config of a labelled task for tests."""

from fnet_jax.configs import classify
from fnet_jax.core.config import Config
from fnet_jax.train.concrete import make_config


def labelled_config(data: str, workdir: str = "", **overrides: object) -> Config:
    """The smoke config of a classification of the file `data`; keys with `__` for the dot."""
    c = classify.get_config(f"smoke,data={data}")
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    c.update_from_flattened_dict({"data.tokenizer_pieces": 150, "train.log_frequency": 1, **keys})
    return make_config(c, keys, workdir or None)

"""The defaults of every config key, which all other configs start from.

`core/config.py` declares them; `docs/config.md` is the table for people.
"""

import dataclasses

import ml_collections

from fnet_jax.core.config import Config


def get_config() -> ml_collections.ConfigDict:
    """FNet-Base as published, on the embedded corpus."""
    return ml_collections.ConfigDict(dataclasses.asdict(Config()))

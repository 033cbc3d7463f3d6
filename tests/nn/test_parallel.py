"""Positions divided over devices: the same values, and no collective but those that are written down."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding

from fnet_jax.core.mesh import spec

MESHES = [{"data": 2, "seq": 4}, {"data": 1, "fsdp": 2, "seq": 2, "tensor": 2}]
each_mesh = pytest.mark.parametrize("sizes", MESHES, ids=str)


def divided(x, mesh):
    return jax.device_put(x, NamedSharding(mesh, spec("batch", "length", None)))


def data(width=24, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(4, 16, width)).astype(dtype)

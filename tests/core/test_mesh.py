import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from fnet_jax.core import mesh as mesh_lib
from fnet_jax.core.errors import UserError


def test_mesh_takes_every_device():
    assert dict(mesh_lib.create_mesh().shape) == {"data": 8}
    with pytest.raises(UserError, match=r"mesh.data=3 does not match the 8 devices"):
        mesh_lib.create_mesh(3)


def test_colliding_axes_are_refused(monkeypatch):
    monkeypatch.setattr(mesh_lib, "AXES", mesh_lib.LogicalAxes(embed="data"))
    with pytest.raises(ValueError, match="collide"):
        mesh_lib.spec("batch", None, "embed")


def test_rules_by_path_and_rank(monkeypatch):
    monkeypatch.setattr(mesh_lib, "AXES", mesh_lib.LogicalAxes(mlp="data"))
    path = "encoder/layers_0/feed_forward/intermediate/kernel"
    assert mesh_lib.param_spec(path, 2) == PartitionSpec(None, "data")
    assert mesh_lib.param_spec(path, 3) == PartitionSpec(None, None, "data")
    with pytest.raises(ValueError, match="rank 4"):
        mesh_lib.param_spec(path, 4)
    with pytest.raises(ValueError, match="matched by no rule"):
        mesh_lib.param_spec("encoder/novelty/kernel", 2)


def test_per_device_keeps_examples_where_they_are():
    mesh = mesh_lib.create_mesh()
    x = jnp.arange(8.0 * 3).reshape(8, 3)
    sizes = []

    def fn(x_BL):
        sizes.append(x_BL.shape[0])
        return x_BL * 2.0

    with jax.set_mesh(mesh):
        y = jax.jit(mesh_lib.per_device(fn))(jax.device_put(x, mesh_lib.batch_sharding(mesh)))
        np.testing.assert_array_equal(y, 2 * x)
        mesh_lib.per_device(fn)(x[:3])  # does not divide over the devices
    mesh_lib.per_device(fn)(x)  # no mesh
    assert sizes == [1, 3, 8]

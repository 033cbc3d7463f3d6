import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from fnet_jax.core import mesh as mesh_lib
from fnet_jax.core.errors import UserError


def test_mesh_takes_every_device():
    assert dict(mesh_lib.create_mesh().shape) == {"data": 8, "fsdp": 1, "seq": 1, "tensor": 1}
    assert dict(mesh_lib.create_mesh(2, -1, tensor=2).shape) == {"data": 2, "fsdp": 2, "seq": 1, "tensor": 2}


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"data": 3}, "mesh.data=3, mesh.fsdp=1, .* do not multiply to the 8 devices present"),
        ({"data": 2, "fsdp": 2}, "do not multiply to the 8 devices"),
        ({"seq": 3}, "do not multiply to the 8 devices"),
        ({"fsdp": -1}, "only one axis can be -1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, says):
    with pytest.raises(UserError, match=says):
        mesh_lib.create_mesh(**sizes)


def test_colliding_axes_are_refused(monkeypatch):
    monkeypatch.setattr(mesh_lib, "AXES", mesh_lib.LogicalAxes(vocab=("fsdp",)))
    with pytest.raises(ValueError, match="collide"):
        mesh_lib.spec("vocab", "embed")


def test_rules_by_path_and_rank():
    path = "encoder/layers_0/feed_forward/intermediate/kernel"
    assert mesh_lib.spec(*mesh_lib.param_logical(path, 2)) == PartitionSpec("fsdp", "tensor")
    assert mesh_lib.spec(*mesh_lib.param_logical(path, 3)) == PartitionSpec(None, "fsdp", "tensor")
    with pytest.raises(ValueError, match="rank 4"):
        mesh_lib.param_logical(path, 4)
    with pytest.raises(ValueError, match="matched by no rule"):
        mesh_lib.param_logical("encoder/novelty/kernel", 2)


def test_a_parameter_that_does_not_divide_is_named():
    mesh = mesh_lib.create_mesh(2, 4)
    with pytest.raises(
        UserError, match=r"mesh.fsdp=4 does not divide 6, the embed dimension of encoder/pooler"
    ):
        mesh_lib.param_sharding(mesh, "encoder/pooler/kernel", (6, 6))


def test_gathered_is_whole_and_its_gradient_lies_with_the_parameter():
    mesh = mesh_lib.create_mesh(2, 4)
    name = "output/kernel"  # (mlp, embed)
    w = jnp.arange(8.0 * 4).reshape(8, 4)
    with jax.set_mesh(mesh):
        w = jax.device_put(w, mesh_lib.param_sharding(mesh, f"x/feed_forward/{name}", w.shape))
        gradient = jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(mesh_lib.gather_param(w, name)))))(w)
        assert jax.jit(lambda w: mesh_lib.gather_param(w, name))(w).sharding.is_fully_replicated
    np.testing.assert_allclose(gradient, jnp.cos(w), rtol=1e-6)
    assert gradient.sharding.is_equivalent_to(w.sharding, 2)

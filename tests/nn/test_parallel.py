"""Positions divided over devices: the same values, and no collective but those that are written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from fnet_jax.core.mesh import create_mesh, spec
from fnet_jax.nn import parallel
from fnet_jax.tools.aot.hlo import HloProgram

MESHES = [{"data": 2, "seq": 4}, {"data": 1, "fsdp": 2, "seq": 2, "tensor": 2}]
each_mesh = pytest.mark.parametrize("sizes", MESHES, ids=str)


def divided(x, mesh):
    return jax.device_put(x, NamedSharding(mesh, spec("batch", "length", *(None,) * (x.ndim - 2))))


def data(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def run(fn, sizes, x, *others):
    """The value of fn(x, *others) with positions of x divided, and its program's collectives."""
    with jax.set_mesh(mesh := create_mesh(**sizes, devices=jax.devices())):
        compiled = jax.jit(fn).lower(divided(x, mesh), *others).compile()
        found = compiled(divided(x, mesh), *others)
    kinds = [c.kind for c in HloProgram(compiled.as_text()).collectives()]
    return np.asarray(found), kinds


@each_mesh
def test_all_positions_come_by_two_exchanges(sizes):
    x_BLD, matrix_LL = data(4, 16, 24), data(16, 16)
    mix = lambda x_BLD, matrix_LL: jnp.einsum("kl,bld->bkd", matrix_LL, x_BLD)  # noqa: E731
    found, kinds = run(lambda x, m: parallel.with_whole_sequences(mix, x, m), sizes, x_BLD, matrix_LL)
    np.testing.assert_allclose(found, np.einsum("kl,bld->bkd", matrix_LL, x_BLD), rtol=1e-5, atol=1e-5)
    assert kinds == ["all-to-all"] * 2


@each_mesh
def test_one_device_alone_has_the_first_column(sizes):
    def mark(x_BLD):
        return x_BLD.at[:, :, 0].add(jnp.where(parallel.has_first_shard(), 1.0, 0.0))

    x_BLD = data(4, 16, 24)
    found, _ = run(lambda x: parallel.with_whole_sequences(mark, x), sizes, x_BLD)
    np.testing.assert_array_equal(found[:, :, 0], x_BLD[:, :, 0] + np.float32(1))
    np.testing.assert_array_equal(found[:, :, 1:], x_BLD[:, :, 1:])


@each_mesh
def test_heads_and_positions_change_places(sizes):
    x_BLHX = data(4, 16, 8, 3)

    def running_sum(x_BLHX):
        """Needs all positions of a head."""
        return parallel.divide_positions(jnp.cumsum(parallel.divide_heads(x_BLHX), axis=1))

    found, kinds = run(running_sum, sizes, x_BLHX)
    np.testing.assert_allclose(found, np.cumsum(x_BLHX, axis=1), rtol=1e-5, atol=1e-5)
    assert "all-gather" not in kinds
    assert kinds.count("all-to-all") >= 2


@each_mesh
def test_positions_are_taken_wherever_they_lie(sizes):
    x_BLD = data(4, 16, 24)
    positions_BP = np.random.default_rng(1).integers(0, 16, (4, 8)).astype(np.int32)
    positions_BP[0, :4] = 0, 15, 0, 15  # both ends, and more than once
    found, kinds = run(parallel.take_positions, sizes, x_BLD, positions_BP)
    np.testing.assert_array_equal(found, np.take_along_axis(x_BLD, positions_BP[:, :, None], axis=1))
    assert not set(kinds) & {"all-gather", "all-to-all"}


@each_mesh
def test_the_first_position_reaches_every_device(sizes):
    x_BLD = data(4, 16, 24)
    found, kinds = run(parallel.first_position, sizes, x_BLD)
    np.testing.assert_array_equal(found, x_BLD[:, 0])
    assert set(kinds) == {"all-reduce"}


@each_mesh
def test_gradients_are_those_of_one_device(sizes):
    x_BLD, positions_BP = data(4, 16, 24), np.full((4, 8), 3, np.int32)

    def loss(x_BLD):
        taken_BPD = parallel.take_positions(x_BLD, positions_BP)
        mixed_BLD = parallel.with_whole_sequences(lambda x: jnp.flip(x, 1) * x, x_BLD)
        first_BD = parallel.first_position(x_BLD)
        return jnp.sum(taken_BPD**3) + jnp.sum(mixed_BLD**2) + jnp.sum(first_BD**2)

    found, _ = run(jax.grad(loss), sizes, x_BLD)
    np.testing.assert_allclose(found, jax.grad(loss)(x_BLD), rtol=1e-5, atol=1e-5)


def test_a_batch_that_does_not_divide_stays_whole():
    x_BLD = data(1, 16, 24)
    with jax.set_mesh(create_mesh(data=4, seq=2, devices=jax.devices())):
        found = jax.jit(parallel.shard_map_batch(lambda x: x * 2))(x_BLD)
        taken = jax.jit(parallel.take_positions)(x_BLD, np.array([[3, 15]], np.int32))
    np.testing.assert_array_equal(found, x_BLD * 2)
    np.testing.assert_array_equal(taken, x_BLD[:, [3, 15]])

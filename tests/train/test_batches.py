"""Which rows of a batch a process makes."""

import types

import jax
import numpy as np
import pytest

from fnet_jax.core.mesh import batch_sharding, create_mesh
from fnet_jax.train.batches import local_rows, put_rows


@pytest.mark.parametrize(
    ("sizes", "hosts"),
    [
        ({"data": 8}, [range(0, 8), range(8, 16)]),  # a half each
        ({"data": 4, "seq": 2}, [range(0, 8), range(8, 16)]),
        ({"data": 1, "seq": 8}, [range(16), range(16)]),  # every device has a part of all rows
        ({"data": 1, "fsdp": 2, "tensor": 4}, [range(0, 8), range(8, 16)]),
    ],
)
def test_rows_follow_from_the_mesh(sizes, hosts):
    """As if the first four devices were one host's and the others another's."""
    sharding = batch_sharding(create_mesh(**sizes))
    where = sharding.devices_indices_map((16,))
    for rows, devices in zip(hosts, (jax.devices()[:4], jax.devices()[4:]), strict=True):
        assert local_rows(on(where, devices), 16) == tuple(rows)
    assert local_rows(sharding, 16) == tuple(range(16))


def test_rows_that_are_no_neighbours():
    """A host whose devices are a block of a grid that the mesh walks line by line."""
    where = batch_sharding(create_mesh()).devices_indices_map((16,))
    devices = [jax.devices()[i] for i in (0, 1, 4, 5)]
    assert local_rows(on(where, devices), 16) == (0, 1, 2, 3, 8, 9, 10, 11)


def on(where, devices):
    """A sharding of which this process has only some devices."""
    return types.SimpleNamespace(
        addressable_devices_indices_map=lambda shape: {device: where[device] for device in devices}
    )


def test_rows_come_back():
    rows = np.arange(32).reshape(16, 2)
    np.testing.assert_array_equal(put_rows(rows, batch_sharding(create_mesh()), 16), rows)

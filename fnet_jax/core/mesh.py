"""Device mesh and sharding rules: which array dimension lies on which mesh axis.

Reading order: mesh axes -> logical axes -> rules from parameter path to logical axes. Another way of
parallelism adds a mesh axis, a field value and table rows here; no code path elsewhere.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fnet_jax.core.errors import UserError

MESH_AXES = ("data",)


@dataclasses.dataclass(frozen=True)
class LogicalAxes:
    """The mesh axis behind each logical axis; None means replicated."""

    batch: str | None = "data"  # B
    length: str | None = None  # L
    embed: str | None = None  # D and E
    mlp: str | None = None  # F
    heads: str | None = None  # H
    vocab: str | None = None  # V
    layers: str | None = None  # leading axis of scanned layers


AXES = LogicalAxes()

# Parameter path (joined by "/", leading layer axis left out) -> logical axes, first match wins.
PARAM_RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r".*/embedder/word/embedding", ("vocab", "embed")),
    (r".*/embedder/position/embedding", ("length", "embed")),
    (r".*/embedder/type/embedding", (None, "embed")),
    (r".*/hidden_mapping_in/kernel", (None, "embed")),
    (r".*/feed_forward/intermediate/kernel", ("embed", "mlp")),
    (r".*/feed_forward/intermediate/bias", ("mlp",)),
    (r".*/feed_forward/output/kernel", ("mlp", "embed")),
    (r".*/attention/(query|key|value)/kernel", ("embed", "heads", None)),
    (r".*/attention/(query|key|value)/bias", ("heads", None)),
    (r".*/attention/out/kernel", ("heads", None, "embed")),
    (r".*/hidden_kernel", (None, "embed")),
    (r".*/seq_kernel", (None, "length")),
    (r".*/pooler/kernel", (None, "embed")),
    (r"predictions_dense/kernel", (None, "embed")),
    (r"predictions_output/output_bias", ("vocab",)),
    (r"classification/output_kernel", (None, "embed")),
    (r"classification/output_bias", (None,)),
    (r"(.*/)?[^/]*layer_norm/(scale|bias)", ("embed",)),
    (r"(.*/)?(output|hidden_mapping_in|pooler|predictions_dense|out)/bias", ("embed",)),
)


def create_mesh(data: int = -1, devices: list[jax.Device] | None = None) -> Mesh:
    """Builds the device mesh.

    Args:
        data: size of the `data` axis; -1 takes every device.
        devices: devices to use, all of them by default.

    Returns:
        A mesh with axes `MESH_AXES`, all of type Auto: the compiler places collectives.

    Raises:
        UserError: if the axis sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    size = len(devices) if data == -1 else data
    if size != len(devices):
        raise UserError(
            f"mesh.data={data} does not match the {len(devices)} devices present; "
            f"use mesh.data={len(devices)} or -1 for all of them"
        )
    return Mesh(np.asarray(devices).reshape(size), MESH_AXES, axis_types=(AxisType.Auto,))


def spec(*logical: str | None) -> PartitionSpec:
    """The PartitionSpec of an array whose dimensions are the named logical axes (None: replicated).

    Raises:
        ValueError: if two dimensions land on the same mesh axis.
    """
    axes = [None if name is None else getattr(AXES, name) for name in logical]
    used = [axis for axis in axes if axis is not None]
    if len(used) != len(set(used)):
        raise ValueError(f"logical axes {logical} collide on mesh axes {axes}")
    return PartitionSpec(*axes)


def param_spec(path: str, ndim: int) -> PartitionSpec:
    """The PartitionSpec of one parameter, by `PARAM_RULES`.

    Args:
        path: parameter path joined by "/", for example "encoder/layers_0/feed_forward/output/kernel".
        ndim: rank; one more than the rule names means a leading axis of scanned layers.

    Raises:
        ValueError: if no rule matches, or the rank fits no rule.
    """
    for pattern, logical in PARAM_RULES:
        if re.fullmatch(pattern, path):
            if ndim == len(logical) + 1:
                logical = ("layers", *logical)
            if ndim != len(logical):
                raise ValueError(f"parameter {path} has rank {ndim}, its rule {pattern!r} names {logical}")
            return spec(*logical)
    raise ValueError(f"parameter {path} is matched by no rule in core/mesh.py PARAM_RULES")


def param_shardings(mesh: Mesh, params: Any) -> Any:
    """NamedShardings for a tree of parameters (arrays or ShapeDtypeStructs), same structure."""

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, param_spec(path_str(path), leaf.ndim))

    return jax.tree_util.tree_map_with_path(one, params)


def path_str(path: tuple[Any, ...]) -> str:
    """A pytree key path as "a/b/c"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every batch field: first dimension B over the batch axis."""
    return NamedSharding(mesh, spec("batch"))


def per_device(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Runs `fn` on each device's own examples, x[B/devices, ...] -> y[B/devices, ...].

    XLA's partitioner replicates an FFT over the whole batch when only the batch is sharded; inside
    `shard_map` it never sees the other examples, so there is nothing to gather. Without a mesh, with
    one device, or with a batch that does not divide (a single example at inference) it is `fn`
    itself. `fn` must treat examples independently.
    """

    def mapped(x: jax.Array) -> jax.Array:
        mesh = jax.sharding.get_abstract_mesh()
        axis = AXES.batch
        if axis is None or axis not in mesh.shape or mesh.size == 1 or axis in mesh.manual_axes:
            return fn(x)
        if x.shape[0] % mesh.shape[axis]:
            return fn(x)
        # check_vma=False: a kernel does not say over which mesh axes its result varies.
        return jax.shard_map(fn, in_specs=spec("batch"), out_specs=spec("batch"), check_vma=False)(x)

    return mapped

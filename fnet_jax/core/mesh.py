"""Device mesh and sharding rules: which array dimension lies on which mesh axis.

Reading order: mesh axes -> logical axes -> rules from the name of a parameter to its logical axes. Layers look
their parameters up in these rules too (`gather_param`), so the axes of a parameter stand here alone. How a
device gets at other devices' shards is in `nn/parallel.py`.

| mesh axis | what lies on it | what it costs a step |
|-----------|-----------------|----------------------|
| `data`    | examples        | gradients are added up over it |
| `fsdp`    | examples, and each matrix with its gradient and optimizer moments | each matrix is gathered before it is used, once forward and once backward; its gradient is scattered |
| `tensor`  | hidden units of the feed-forward layer, attention heads, the vocabulary | one sum of [B, L, D] in each feed-forward and attention layer, forward and backward |
| `seq`     | positions       | two all-to-alls of [B, L, D] in each mixing layer, forward and backward |
"""  # noqa: E501  a table

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fnet_jax.core.config import MeshConfig
from fnet_jax.core.errors import UserError

# Outermost first: neighbouring devices, which have the fastest links, share the later axes.
MESH_AXES = ("data", "fsdp", "seq", "tensor")


@dataclasses.dataclass(frozen=True)
class LogicalAxes:
    """The mesh axes behind each logical axis; () means that every device holds all of it."""

    # Of activations.
    batch: tuple[str, ...] = ("data", "fsdp")  # B
    length: tuple[str, ...] = ("seq",)  # L, and P: positions to predict
    # Of parameters.
    embed: tuple[str, ...] = ("fsdp",)  # D or E of a matrix
    layers: tuple[str, ...] = ()  # leading axis of scanned layers
    # Of both.
    mlp: tuple[str, ...] = ("tensor",)  # F
    heads: tuple[str, ...] = ("tensor",)  # H
    whole_heads: tuple[str, ...] = ("tensor", "seq")  # H, while a device has all positions of its heads
    vocab: tuple[str, ...] = ("tensor",)  # V


AXES = LogicalAxes()
Logical = tuple[str | None, ...]

# The last two names of a parameter's path, joined by "/" -> logical axes, without the leading axis of scanned
# layers; the first match wins. Vectors are small: to gather them would take longer than to hold them.
PARAM_RULES: tuple[tuple[str, Logical], ...] = (
    (r"word/embedding", ("vocab", "embed")),
    (r"(position|type)/embedding", (None, "embed")),
    (r"(hidden_mapping_in|pooler|predictions_dense)/kernel", (None, "embed")),
    (r"intermediate/kernel", ("embed", "mlp")),
    (r"intermediate/bias", ("mlp",)),
    (r"output/kernel", ("mlp", "embed")),
    (r"(query|key|value)/kernel", ("embed", "heads", None)),
    (r"(query|key|value)/bias", ("heads", None)),
    (r"out/kernel", ("heads", None, "embed")),
    (r"(linear|random)/hidden_kernel", (None, "embed")),
    (r"(linear|random)/seq_kernel", (None, None)),
    (r"predictions_output/output_bias", ("vocab",)),
    (r"classification/output_kernel", (None, "embed")),
    (r"classification/output_bias", (None,)),
    (r"[a-z_]*layer_norm/(scale|bias)", (None,)),
    (r"(output|hidden_mapping_in|pooler|predictions_dense|out)/bias", (None,)),
)


def mesh_of(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """`create_mesh` with the sizes of a config."""
    return create_mesh(config.data, config.fsdp, config.seq, config.tensor, devices)


def create_mesh(
    data: int = -1, fsdp: int = 1, seq: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Builds the device mesh.

    Args:
        data, fsdp, seq, tensor: size of each axis; -1, for one of them, takes the devices that are left.
        devices: devices to use, all of them by default. Those of several slices are laid out with the
            slices along `data`, so that only gradients travel between slices.

    Returns:
        A mesh with axes `MESH_AXES`, all of type Auto: the compiler places collectives.

    Raises:
        UserError: if the axis sizes do not multiply to the number of devices, or slices do not divide `data`.
    """
    devices = jax.devices() if devices is None else devices
    sizes = {"data": data, "fsdp": fsdp, "seq": seq, "tensor": tensor}
    shape = _mesh_shape(sizes, len(devices))
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if shape[0] % slices:
        raise UserError(
            f"mesh.data={shape[0]} does not divide over {slices} slices; make it a multiple of {slices}"
        )
    if slices > 1:
        within = (shape[0] // slices, *shape[1:])
        across = (slices, *(1 for _ in shape[1:]))
        grid = mesh_utils.create_hybrid_device_mesh(within, across, devices, allow_split_physical_axes=True)
    elif devices[0].platform == "tpu":
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    else:
        grid = np.asarray(devices).reshape(shape)
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def describe_mesh(shape: Mapping[str, int]) -> str:
    """Such as "data=4, fsdp=2", or "one device"."""
    return ", ".join(f"{axis}={size}" for axis, size in shape.items() if size > 1) or "one device"


def _mesh_shape(sizes: dict[str, int], num_devices: int) -> tuple[int, ...]:
    given = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
    open_axes = [axis for axis, size in sizes.items() if size == -1]
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if len(open_axes) > 1:
        raise UserError(f"{given}: only one axis can be -1, which takes the devices that are left")
    if num_devices % fixed or (not open_axes and fixed != num_devices):
        raise UserError(
            f"{given} do not multiply to the {num_devices} devices present; "
            f"set one axis to -1 and the others to sizes whose product divides {num_devices}"
        )
    filled = {axis: num_devices // fixed if size == -1 else size for axis, size in sizes.items()}
    return tuple(filled[axis] for axis in MESH_AXES)


def spec(*logical: str | None) -> PartitionSpec:
    """The PartitionSpec of an array whose dimensions are the named logical axes (None: replicated).

    Raises:
        ValueError: if two dimensions land on the same mesh axis.
    """
    axes = [() if name is None else getattr(AXES, name) for name in logical]
    used = [axis for group in axes for axis in group]
    if len(used) != len(set(used)):
        raise ValueError(f"logical axes {logical} collide on mesh axes {axes}")
    return PartitionSpec(*(group or None for group in axes))


def param_logical(path: str, ndim: int | None = None) -> Logical:
    """The logical axes of one parameter, by `PARAM_RULES`.

    Args:
        path: parameter path joined by "/", for example "encoder/layers_0/feed_forward/output/kernel", or its
            last two names.
        ndim: rank, where it is to be checked: one more than the rule names means a leading axis of scanned
            layers.

    Raises:
        ValueError: if no rule matches, or the rank fits no rule.
    """
    name = "/".join(path.split("/")[-2:])
    for pattern, logical in PARAM_RULES:
        if re.fullmatch(pattern, name):
            if ndim == len(logical) + 1:
                return ("layers", *logical)
            if ndim not in (None, len(logical)):
                raise ValueError(f"parameter {path} has rank {ndim}, its rule {pattern!r} names {logical}")
            return logical
    raise ValueError(f"parameter {path} is matched by no rule in core/mesh.py PARAM_RULES")


def param_sharding(mesh: Mesh, path: str, shape: Sequence[int]) -> NamedSharding:
    """Where one parameter lies.

    Raises:
        ValueError: as `param_logical`.
        UserError: if a dimension does not divide over its mesh axes.
    """
    logical = param_logical(path, len(shape))
    for size, name in zip(shape, logical, strict=True):
        axes = getattr(AXES, name) if name else ()
        if size % axis_size(mesh.shape, axes):
            sizes = "·".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in axes)
            raise UserError(f"{sizes} does not divide {size}, the {name} dimension of {path}")
    return NamedSharding(mesh, spec(*logical))


def param_shardings(mesh: Mesh, params: Any) -> Any:
    """NamedShardings for a tree of parameters (arrays or ShapeDtypeStructs), same structure."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: param_sharding(mesh, path_str(path), leaf.shape), params
    )


def path_str(path: tuple[Any, ...]) -> str:
    """A pytree key path as "a/b/c"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of every batch field: first dimension B over the batch axes."""
    return NamedSharding(mesh, spec("batch"))


def axis_size(shape: Mapping[str, int], axes: Sequence[str]) -> int:
    """The number of parts that some mesh axes together make; axes that a mesh does not have count 1."""
    return math.prod(shape.get(axis, 1) for axis in axes)


def num_shards(logical: str) -> int:
    """The number of parts of a logical axis under the mesh of the context, as far as the compiler places it.

    1 without a mesh, and inside `shard_map`, where each device sees its own part alone.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = getattr(AXES, logical)
    return 1 if set(axes) & set(mesh.manual_axes) else axis_size(mesh.shape, axes)


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """x, with its dimensions on the named logical axes; x itself where the mesh has only one device.

    A dimension that does not divide, such as a batch of one at inference, stays whole.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.size <= 1 or mesh.manual_axes:
        return x
    fits = [
        None if name is None or size % num_shards(name) else name
        for size, name in zip(x.shape, logical, strict=True)
    ]
    return jax.lax.with_sharding_constraint(x, spec(*fits))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def gather_param(w: jax.Array, name: str, whole: str | None = "embed") -> jax.Array:
    """A parameter as it is used: whole along one logical axis, on its other axes as it lies.

    The gradient goes the other way: it is left where the parameter lies, so that the compiler can scatter it
    while it adds it up.

    Args:
        w: the parameter, of any dtype.
        name: the last two names of its path, such as "pooler/kernel", see `PARAM_RULES`.
        whole: the axis to gather along; None for all of them.
    """
    return constrain(w, *(None if whole in (axis, None) else axis for axis in param_logical(name)))


def _gather_param_forward(w: jax.Array, name: str, whole: str | None) -> tuple[jax.Array, None]:
    return gather_param(w, name, whole), None


def _gather_param_backward(name: str, whole: str | None, _: None, g: jax.Array) -> tuple[jax.Array]:
    return (constrain(g, *param_logical(name)),)


gather_param.defvjp(_gather_param_forward, _gather_param_backward)

"""Where the state lies, and how much of each device it and a compiled step take."""

import contextlib
import dataclasses
import math
import os
from typing import Any

import jax
from jax.sharding import NamedSharding

from fnet_jax.core.batch import BatchSpec
from fnet_jax.core.chips import find_chip
from fnet_jax.core.mesh import path_str
from fnet_jax.train.state import TrainState


def bytes_per_device(tree: Any) -> int:
    """Bytes of the arrays (or ShapeDtypeStructs) of a tree that one device holds, by their shardings."""
    return sum(_local_bytes(leaf) for leaf in jax.tree.leaves(tree))


def describe_layout(state: TrainState) -> list[str]:
    """A headline, then for each parameter: path, shape, mesh axis of each dimension, size on one device.

    The optimizer's moments lie as their parameters do.

    Args:
        state: arrays or ShapeDtypeStructs, with shardings.
    """
    leaves = jax.tree_util.tree_leaves_with_path(dict(state.variables))
    rows = [
        (
            path_str(path).partition("/")[2],
            " x ".join(f"{size:,}" for size in leaf.shape),
            _axes(leaf.sharding, leaf.ndim),
            show_bytes(_local_bytes(leaf)),
        )
        for path, leaf in leaves
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = (
        f"  {path:{widths[0]}}  {shape:>{widths[1]}}  {axes:{widths[2]}}  {size:>{widths[3]}}"
        for path, shape, axes, size in rows
    )
    return ["parameters, and the mesh axis of each dimension", *lines]


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a compiled step takes of each device, in bytes.

    Attributes:
        parameters: and the fixed matrices of the random mixer.
        optimizer: moments and counters; 0 for an evaluation.
        batch: of one step.
        temporaries: the compiler's figure for all that lives only during the step.
        peak: the compiler's figure for all at once, the program included.
        available: of a device, see `available_bytes`.
    """

    parameters: int
    optimizer: int
    batch: int
    temporaries: int
    peak: int
    available: float

    def describe(self) -> str:
        """One line for a person."""
        return (
            f"on each device: parameters {show_bytes(self.parameters)}, "
            f"optimizer {show_bytes(self.optimizer)}, "
            f"with batch and activations {show_bytes(self.peak)} at most"
        )


def memory_of(
    program: jax.stages.Compiled, state: TrainState, batch: BatchSpec, training: bool = True
) -> Memory:
    """The memory of a step.

    Args:
        program: the training or evaluation step, compiled for the devices of the state.
        state: arrays or ShapeDtypeStructs, with shardings.
        batch: that the step takes.
        training: whether it is a training step, which needs the optimizer.
    """
    devices = list(state.step.sharding.mesh.devices.flat)
    device = next((one for one in devices if one.process_index == jax.process_index()), devices[0])
    stats: Any = program.memory_analysis()
    return Memory(
        parameters=bytes_per_device(state.variables),
        optimizer=bytes_per_device(state.opt_state) if training else 0,
        batch=bytes_per_device(batch),
        temporaries=stats.temp_size_in_bytes,
        peak=peak_bytes(program, device.platform),
        available=available_bytes(device),
    )


def peak_bytes(program: jax.stages.Compiled, platform: str) -> int:
    """What one device of a platform holds at most while the program runs, its code included."""
    stats: Any = program.memory_analysis()
    # The CPU's figure leaves out the temporaries.
    peak = getattr(stats, "peak_memory_in_bytes", 0) if platform == "tpu" else 0
    peak = peak or (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.temp_size_in_bytes
    )
    return peak + stats.generated_code_size_in_bytes


def available_bytes(device: jax.Device) -> float:
    """Memory of a device: as it reports, else by the table of chips, else its share of this machine's."""
    with contextlib.suppress(Exception):  # a device of another host, or only described, has no statistics
        if limit := (device.memory_stats() or {}).get("bytes_limit"):
            return limit
    if chip := find_chip(device.device_kind):
        return chip.hbm_bytes
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / jax.local_device_count()


def show_bytes(size: float) -> str:
    """Such as "1.5 GiB", in GiB, MiB, KiB or B."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size:.0f} B"


def _axes(sharding: NamedSharding, ndim: int) -> str:
    """Such as "- fsdp tensor"; axes of one device are left out."""
    names = []
    for i in range(ndim):
        axes = sharding.spec[i] if i < len(sharding.spec) else None
        group = (axes,) if isinstance(axes, str) else axes or ()
        names.append("+".join(axis for axis in group if sharding.mesh.shape[axis] > 1) or "-")
    return " ".join(names) if any(name != "-" for name in names) else "whole"


def _local_bytes(leaf: Any) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize

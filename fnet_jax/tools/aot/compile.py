"""Compiles the step of a config for TPUs that are not there, by libtpu's description of them."""

import dataclasses
import difflib
import importlib.util
import re
import time
from typing import Any, Literal

import jax
from jax.experimental import topologies

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import MESH_AXES
from fnet_jax.train.setup import Setup

Step = Literal["train", "eval"]

# Names to suggest; libtpu knows more. Slices that Google Cloud offers.
_FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
TOPOLOGIES = (
    "v2:2x2",
    "v3:2x2",
    *(f"{chip}:{slice_}" for chip in ("v5e", "v6e") for slice_ in _FLAT),
    *(f"{chip}:{slice_}" for chip in ("v4", "v5p", "tpu7x") for slice_ in _CUBES),
)


class DoesNotFitError(Exception):
    """The compiler found no way to run the program in the device's memory; says both sizes."""


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled step.

    Attributes:
        setup: config, mesh, abstract state.
        step: which of its steps.
        executable: what the compiler made.
        seconds: to trace, lower and compile.
    """

    setup: Setup
    step: Step
    executable: jax.stages.Compiled
    seconds: float


def topology_devices(name: str, slices: int = 1) -> list[jax.Device]:
    """The devices of TPU slices as libtpu describes them; none need exist.

    Args:
        name: of one slice, such as "v5e:4x4".
        slices: how many such slices.

    Raises:
        UserError: if libtpu is missing or does not know the name.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError('compiling for TPUs needs libtpu (Linux, x86-64); pip install "fnet_jax[tpu]"')
    # The two cores of a v4 chip work as one device, as on the machine; libtpu's description splits them.
    options: dict[str, Any] = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    if slices > 1:
        options["num_slices"] = slices
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    except Exception as error:
        close = difflib.get_close_matches(name, TOPOLOGIES, n=3, cutoff=0.3) or ["v5e:4x4", "v4:2x2x2"]
        raise UserError(
            f"--topology={name} is not known to libtpu; did you mean {', '.join(close)}?"
        ) from error


def with_mesh(config: Config, text: str) -> Config:
    """Puts the sizes of `--mesh`, "AXIS=SIZE,…", into the config.

    Raises:
        UserError: for an unknown axis or a size that is no number above 0 (or -1, the rest).
    """
    sizes = {}
    for item in filter(None, text.split(",")):
        axis, _, size = item.partition("=")
        if axis not in MESH_AXES or not re.fullmatch(r"-1|[1-9]\d*", size):
            raise UserError(
                f"--mesh={text}: {item!r} is not AXIS=SIZE with an axis of {', '.join(MESH_AXES)}"
            )
        sizes[axis] = int(size)
    return dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, **sizes))


def compile_step(setup: Setup, step: Step) -> Compiled:
    """Compiles the jitted function that training or evaluation calls.

    Raises:
        DoesNotFitError: if the program needs more memory than a device has.
    """
    start = time.perf_counter()
    try:
        with jax.set_mesh(setup.mesh):
            executable = setup.lower(training=step == "train").compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFitError(_sizes(str(error))) from error
    return Compiled(setup, step, executable, time.perf_counter() - start)


def _sizes(message: str) -> str:
    """The compiler's message, in which the need comes before what there is, as a sentence."""
    sizes = re.findall(r"([\d.]+)([KMGT])\b", message)
    memory = re.search(r"\b(hbm|vmem|smem)\b", message, re.IGNORECASE)
    if len(sizes) < 2 or not memory:
        return f"does not fit: {message.splitlines()[0]}"
    (needed, unit), (limit, limit_unit) = sizes[:2]
    return (
        f"does not fit: the step needs {needed} {unit}iB of {memory[0].upper()} on each device or more, "
        f"and {limit} {limit_unit}iB are available"
    )

"""What a compiled step says about itself: memory, work, communication, and the bound that follows."""

import dataclasses
import math
from collections.abc import Collection
from typing import Any

import jax

from fnet_jax.core.chips import Chip, find_chip
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import axis_size
from fnet_jax.nn.encoder import describe_layers
from fnet_jax.tools.aot import hlo_cost
from fnet_jax.tools.aot.compile import Compiled
from fnet_jax.tools.aot.hlo import Collective, HloProgram
from fnet_jax.train import perf
from fnet_jax.train.memory import Memory, describe_layout, memory_of

_SECONDS_PER_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class TimeBound:
    """A lower bound on the time of a step: each unit at its peak, all at once.

    Attributes:
        compute: seconds for the FLOPs.
        memory: seconds for the bytes.
        links: seconds for the collectives; None if the links' speed is not published.
    """

    compute: float
    memory: float
    links: float | None

    @property
    def seconds(self) -> float:
        """Of a step at least."""
        return max(self.compute, self.memory, self.links or 0.0)

    @property
    def limit(self) -> str:
        """What sets it."""
        parts = {"compute": self.compute, "memory": self.memory, "links": self.links or 0.0}
        return max(parts, key=lambda name: parts[name])


@dataclasses.dataclass(frozen=True)
class StepReport:
    """All figures are per device and step unless said otherwise.

    Attributes:
        topology: as given.
        device_kind: as jax names it.
        mesh: size of each axis.
        step: train or eval.
        layers: what they are, see `nn.encoder.describe_layers`.
        model: what else tells models apart: width, vocabulary, …
        batch_size: B, over all devices.
        length: L.
        layout: where the parameters lie, see `train.memory.describe_layout`.
        memory: see `train.memory.Memory`.
        flops: of matrix products, convolutions, FFTs and custom kernels that report theirs.
        model_flops: that the maths needs, with fast transforms, see `perf.train_flops_per_example`.
        bytes: between main memory and chip.
        silent_kernels: custom kernels that do not report their FLOPs.
        collectives: every communication.
        activation: bytes of one device's part of [B, L, D] in the dtype of the computation.
        gathered: the all-gathers at least as large as that, of anything but what is gathered on purpose.
        bound: see `TimeBound`.
        compile_seconds: to trace, lower and compile here.
    """

    topology: str
    device_kind: str
    mesh: dict[str, int]
    step: str
    layers: str
    model: dict[str, Any]
    batch_size: int
    length: int
    layout: list[str]
    memory: Memory
    flops: float
    model_flops: float
    bytes: float
    silent_kernels: int
    collectives: list[Collective]
    activation: int
    gathered: list[Collective]
    bound: TimeBound
    compile_seconds: float

    @property
    def devices(self) -> int:
        """Their number."""
        return math.prod(self.mesh.values())

    @property
    def fits(self) -> bool:
        """Whether the step can run on the chip."""
        return self.memory.peak <= self.memory.available

    @property
    def tokens_per_second(self) -> float:
        """At most, over all devices."""
        return self.batch_size * self.length / self.bound.seconds

    @property
    def days_per_million_steps(self) -> float:
        """At least."""
        return 1e6 * self.bound.seconds / _SECONDS_PER_DAY

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the derived ones included."""
        collectives = [
            {
                "kind": c.kind,
                "arrays": len(c.shapes),
                "bytes": c.num_bytes,
                "executions": c.executions,
                "in_loop": c.in_loop,
                "group": c.group,
                "origin": c.origin,
                "activation_sized_gather": c in self.gathered,
            }
            for c in self.collectives
        ]
        values = {key: value for key, value in dataclasses.asdict(self).items() if key != "gathered"}
        bound = {**values["bound"], "seconds": self.bound.seconds, "limit": self.bound.limit}
        derived = ("devices", "fits", "tokens_per_second", "days_per_million_steps")
        values |= {"collectives": collectives, "bound": bound}
        return values | {name: getattr(self, name) for name in derived}


def analyse(compiled: Compiled, topology: str) -> StepReport:
    """Reads the figures off a compiled step.

    Raises:
        UserError: if the chip is in no table.
    """
    setup = compiled.setup
    config, devices = setup.config, setup.mesh.size
    kind = setup.mesh.devices.flat[0].device_kind
    chip = chip_of(kind, topology)
    program = HloProgram(compiled.executable.as_text() or "")
    collectives = program.collectives()
    training = compiled.step == "train"
    batch_size = config.train.train_batch_size if training else config.train.eval_batch_size
    model = config.model
    itemsize = 2 if model.dtype == "bfloat16" else 4
    sizes = setup.mesh.shape
    rows = batch_size // (sizes["data"] * sizes["fsdp"])
    activation = rows * (model.max_seq_length // sizes["seq"]) * model.d_model * itemsize
    # What is gathered on purpose: parameters, and with `seq` the masked positions of a device's examples.
    expected = _gathered_shapes(setup.abstract.params) | {
        _squeezed((rows, setup.objective.predictions, model.d_model)),
        _squeezed((model.max_seq_length // sizes["seq"], model.d_emb)),  # of the position table
    }
    needed = perf.train_flops_per_example(model, setup.objective.predictions)
    flops, moved = hlo_cost.flops(program), hlo_cost.moved_bytes(program)
    return StepReport(
        topology=topology,
        device_kind=kind,
        mesh=dict(setup.mesh.shape),
        step=compiled.step,
        layers=describe_layers(model, "tpu"),
        model={key: getattr(model, key) for key in ("d_model", "d_ff", "vocab_size", "dtype", "remat")},
        batch_size=batch_size,
        length=model.max_seq_length,
        layout=describe_layout(setup.abstract),
        memory=memory_of(compiled.executable, setup.abstract, setup.batch_structs(training), training),
        flops=flops,
        model_flops=needed * batch_size / devices / (1 if training else 3),
        bytes=moved,
        silent_kernels=sum(not reported for reported in hlo_cost.kernel_flops(program)),
        collectives=collectives,
        activation=activation,
        gathered=[c for c in collectives if is_activation_gather(c, activation, expected)],
        bound=TimeBound(
            compute=flops / chip.bf16_flops,
            memory=moved / chip.hbm_bandwidth,
            links=sent_bytes(collectives, devices) / chip.link_bandwidth if chip.link_bandwidth else None,
        ),
        compile_seconds=compiled.seconds,
    )


def chip_of(device_kind: str, topology: str) -> Chip:
    """The peaks of the chip.

    Raises:
        UserError: if there is no row for it.
    """
    chip = find_chip(device_kind)
    if chip is None:
        raise UserError(
            f"--topology={topology} is made of {device_kind!r}, which core/chips.py has no row for"
        )
    return chip


def is_activation_gather(
    collective: Collective, activation: int, expected: Collection[tuple[int, ...]]
) -> bool:
    """Whether an all-gather brings an array of the size of a device's activations to every device.

    Args:
        collective: any.
        activation: bytes of one device's part of [B, L, D].
        expected: shapes that may be gathered, in order of size and without dimensions of 1. What the
            compiler gathers unasked, to end a sum over slices, may have another shape of as many numbers.
    """
    sizes = {math.prod(dims) for dims in expected} if not collective.origin else ()
    return collective.kind == "all-gather" and any(
        shape.num_bytes >= activation and _squeezed(shape.dims) not in expected and shape.size not in sizes
        for shape in collective.shapes
    )


def _gathered_shapes(params: Any) -> set[tuple[int, ...]]:
    """Shapes of parameters, and of a layer of them, as they are used: whole, or divided by all but `fsdp`."""
    shapes = set()
    for leaf in jax.tree.leaves(params):
        parts = dict(leaf.sharding.mesh.shape) | {"fsdp": 1}
        used = [
            size // axis_size(parts, (axes,) if isinstance(axes, str) else axes or ())
            for size, axes in zip(leaf.shape, leaf.sharding.spec, strict=True)
        ]
        shapes |= {_squeezed(tuple(dims[drop:])) for dims in (leaf.shape, used) for drop in (0, 1)}
    return shapes


def sent_bytes(collectives: list[Collective], devices: int) -> float:
    """Bytes that each device has to send at least.

    In a group of n devices an all-reduce sends (n−1)/n of its array twice (reduce-scatter, all-gather), which
    is optimal (Patarasuk & Yuan 2009).
    """
    total = 0.0
    for c in collectives:
        group = c.group or devices
        share = (group - 1) / group
        factors = {"all-reduce": 2 * share, "reduce-scatter": group - 1, "collective-permute": 1.0}
        total += c.executions * c.num_bytes * factors.get(c.kind, share)
    return total


def _squeezed(dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(n for n in dims if n != 1))

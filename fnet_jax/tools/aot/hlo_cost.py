"""What a compiled program computes and moves, counted from its text; loops count as often as they run.

Two figures, both lower bounds on what a device has to do:

- FLOPs of matrix products, convolutions and FFTs; elementwise work runs on other units and is left out.
- Bytes between main memory and chip: what each instruction reads and writes there. What the compiler
  keeps on the chip (memory space 1 of a TPU) moves nothing, and neither does what happens inside a
  fusion. Of an array that is sliced, gathered from or updated in place only that part counts.

XLA's cost analysis counts a loop's body once and on-chip arrays as if they were moved.
"""

import json
import math
import re

from fnet_jax.tools.aot.hlo import CALLS, Computation, HloProgram, Instruction, Shape

# These move nothing: they name, group or end what another instruction does, or run computations of their own.
_FREE = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", *CALLS, "conditional",
         "after-all", "opt-barrier", "add-dependency", "partition-id", "replica-id", "domain")  # fmt: skip
# So do these custom calls of a TPU program.
_FREE_CALLS = ("AllocateBuffer", "AssumeGatherIndicesInBound", "ConcatBitcast",
               "GatherScatterIndicesBitpacked", "SliceId")  # fmt: skip
_SLICES = ("dynamic-slice", "slice", "gather")
_STARTS = ("copy-start", "slice-start")


def flops(program: HloProgram) -> float:
    """FLOPs of matrix products, convolutions, FFTs, and custom kernels that report theirs, on one device."""
    total = sum(
        times * _flops(program.computations[name], instruction)
        for name, instruction, times in program.instructions()
    )
    return total + sum(reported or 0.0 for reported in kernel_flops(program))


def kernel_flops(program: HloProgram) -> list[float | None]:
    """What each run of a custom kernel (Pallas) says that it computes; None where it does not say."""
    found: list[float | None] = []
    for _, instruction, times in program.instructions():
        if instruction.opcode == "custom-call" and 'target="tpu_custom_call"' in instruction.attributes:
            estimate = re.search(r'"cost_estimate":(\{[^}]*\})', instruction.attributes)
            found += times * [float(json.loads(estimate[1]).get("flops", 0)) if estimate else None]
    return found


def moved_bytes(program: HloProgram) -> float:
    """Bytes between main memory and chip, on one device."""
    return float(
        sum(
            times * _moved(program, program.computations[name], instruction)
            for name, instruction, times in program.instructions()
            if name not in program.inner
        )
    )


def _flops(computation: Computation, instruction: Instruction) -> float:
    """FLOPs of one instruction by itself."""
    out = instruction.shapes[0].size if instruction.shapes else 0
    if instruction.opcode == "dot":
        left = computation[instruction.operands[0]].shapes[0]
        return 2.0 * out * math.prod(left.dims[i] for i in _numbers("lhs_contracting_dims", instruction))
    if instruction.opcode == "convolution":
        left, right = (computation[name].shapes[0] for name in instruction.operands)
        return _convolution_flops(instruction, left, right)
    if instruction.opcode == "fft":
        # 5 n log2 n for complex input, the usual count; half of it where one side is real.
        half = 1.0 if re.search("fft_type=I?FFT", instruction.attributes) else 0.5
        sizes = _numbers("fft_length", instruction)
        batch = max(out, computation[instruction.operands[0]].shapes[0].size) / math.prod(sizes)
        return half * 5.0 * batch * math.prod(sizes) * math.log2(math.prod(sizes))
    return 0.0


def _convolution_flops(instruction: Instruction, left: Shape, right: Shape) -> float:
    """2 · outputs · input features · kernel positions that do not fall on padding.

    A TPU writes every matrix product as a convolution; batch dimensions become a window whose padding
    leaves one valid position per output.
    """
    inputs, kernels, outputs = re.findall(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)[0]
    out = instruction.shapes[0]
    result = 2.0 * out.dims[outputs.index("b")] * out.dims[outputs.index("f")]
    result *= right.dims[kernels.index("i")]
    described = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    window = dict(re.findall(r"(\w+)=([\dx_-]+)", described[1])) if described else {}
    for axis in (label for label in outputs if label.isdigit()):
        result *= _valid_positions(
            left.dims[inputs.index(axis)],
            right.dims[kernels.index(axis)],
            out.dims[outputs.index(axis)],
            {key: value.split("x")[int(axis)] for key, value in window.items()},
        )
    return result


def _valid_positions(size: int, kernel: int, out: int, window: dict[str, str]) -> int:
    """Pairs (output, kernel position) of one dimension that meet an input."""
    stride, spread = int(window.get("stride", 1)), int(window.get("rhs_dilate", 1))
    gap, before = int(window.get("lhs_dilate", 1)), int(window.get("pad", "0_0").split("_")[0])
    places = (o * stride + k * spread - before for o in range(out) for k in range(kernel))
    return sum(place % gap == 0 and 0 <= place // gap < size for place in places)


def _numbers(key: str, instruction: Instruction) -> list[int]:
    """The list of numbers of an attribute, such as fft_length={8,12}."""
    found = re.search(rf"\b{key}=\{{([\d,]*)\}}", instruction.attributes)
    return [int(n) for n in found[1].split(",") if n] if found else []


def _moved(program: HloProgram, computation: Computation, instruction: Instruction) -> int:
    """Bytes that one instruction, not fused, reads from and writes to main memory."""
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-done") or opcode.endswith("-update"):
        return 0
    if opcode == "custom-call" and any(f'target="{x}"' in instruction.attributes for x in _FREE_CALLS):
        return 0
    sources = [computation[name] for name in instruction.operands]
    if opcode in _STARTS:  # (destination, source, …), or ((source), destination, …)
        target = instruction.shapes[0 if opcode == "copy-start" else 1]
        return target.num_bytes * ((_main(sources[0].shapes[0]) > 0) + (target.space == 0))
    if opcode == "fusion":
        body = instruction.called()["calls"][0]
        reads = [_read(program, body, index) for index in range(len(sources))]
        writes = _written(program, body)
    else:
        reads = [_slice_read(instruction, position) for position in range(len(sources))]
        writes = [_updated(computation, instruction)]
    total = 0
    for source, read in zip(sources, reads, strict=True):
        whole = sum(_main(shape) for shape in source.shapes)
        total += whole if read is None else min(whole, read)
    if len(writes) != len(instruction.shapes):
        writes = [None] * len(instruction.shapes)
    for shape, write in zip(instruction.shapes, writes, strict=True):
        total += _main(shape) if write is None else min(_main(shape), write)
    return total


def _main(shape: Shape) -> int:
    """Bytes of an array that lies in main memory."""
    return shape.num_bytes if shape.space == 0 else 0


def _slice_read(user: Instruction, position: int) -> int | None:
    """Bytes that an instruction reads of its operand; None: all of it."""
    if user.opcode in _SLICES and position == 0:
        return user.shapes[0].num_bytes
    if user.opcode in ("dynamic-update-slice", "scatter") and position == 0:
        return 0  # in place
    return None


def _updated(computation: Computation, instruction: Instruction) -> int | None:
    """Bytes that an instruction writes where it works in place; None: its whole result."""
    operand = {"dynamic-update-slice": 1, "scatter": 2}.get(instruction.opcode)
    return None if operand is None else computation[instruction.operands[operand]].shapes[0].num_bytes


def _read(program: HloProgram, fused: str, index: int) -> int | None:
    """Bytes that a fusion reads of its operand `index`; None: all of it."""
    computation = program.computations[fused]
    (name,) = (x.name for x in computation.values() if x.opcode == "parameter" and x.argument == str(index))
    return _read_by_users(program, computation, name)


def _read_by_users(program: HloProgram, computation: Computation, name: str) -> int | None:
    total = 0
    for user in computation.values():
        for position, operand in enumerate(user.operands):
            if operand != name:
                continue
            if _is_view(user):
                part = _read_by_users(program, computation, user.name)
            elif user.opcode == "fusion":
                part = _read(program, user.called()["calls"][0], position)
            else:
                part = _slice_read(user, position)
            if part is None:
                return None
            total += part
    return total


def _is_view(instruction: Instruction) -> bool:
    """Whether it names its operand anew; a tpu7x does so inside fusions where a tile has another shape."""
    aliased = "output_to_operand_aliasing={{}: (0, {})}" in instruction.attributes
    return instruction.opcode == "bitcast" or (instruction.opcode == "fusion" and aliased)


def _written(program: HloProgram, fused: str) -> list[int | None]:
    """Bytes that a fusion writes of each of its results; None: all of it."""
    computation = program.computations[fused]
    root = program.root(fused)
    results = [computation[name] for name in root.operands] if root.opcode == "tuple" else [root]
    writes: list[int | None] = []
    for result in results:
        while result.opcode == "bitcast":
            result = computation[result.operands[0]]
        if result.opcode == "fusion":
            writes += _written(program, result.called()["calls"][0])
        else:
            writes.append(_updated(computation, result))
    return writes

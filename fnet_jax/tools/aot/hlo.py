"""Reads a compiled program's text (`compiled.as_text()`): its computations, loops and collectives.

XLA's own cost analysis counts the body of a loop once; here every instruction counts as often as its
computation runs. All functions are pure: text in, figures out.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

CALLS = ("call", "call-start")  # the second one, on tpu7x, runs what it calls beside the rest
COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
# Program text such as "bf16[4,256]{1,0:T(8,128)(2,1)S(1)}".
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.*)$")
_CALLED = re.compile(r"\b(calls|to_apply|body|condition|branch_computations)=(\{[^}]*\}|%?[\w.-]+)")


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array in a program.

    Attributes:
        dtype: such as "bf16".
        dims: sizes of its dimensions.
        space: memory space of a TPU; 0 is HBM, 1 is on the chip (VMEM).
    """

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def num_bytes(self) -> int:
        """Size without the padding of its layout."""
        bits = 8 if self.dtype == "pred" else int((re.findall(r"\d+", self.dtype) or ["0"])[0])
        return -(-self.size * bits // 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
        name: of its result.
        opcode: what it does, such as "fusion".
        shapes: of its result; several where that is a tuple, nested ones flattened.
        operands: names of what it reads.
        argument: the text in its parentheses.
        attributes: the text after them.
        is_root: whether its computation returns it.
    """

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    argument: str
    attributes: str
    is_root: bool

    def called(self) -> dict[str, list[str]]:
        """The computations that it runs, by role: calls, to_apply, body, condition, branch_computations."""
        return {role: re.findall(r"[\w.-]+", names) for role, names in _CALLED.findall(self.attributes)}


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Collective:
    """A communication between devices.

    Attributes:
        kind: one of `COLLECTIVES`.
        shapes: of its results on one device.
        executions: per run of the program: times the trip counts of the loops around it.
        in_loop: whether any loop is around it.
        group: devices that take part together; 0 where the program does not say, which means all.
        origin: the operation of the model that it belongs to.
    """

    kind: str
    shapes: tuple[Shape, ...]
    executions: int
    in_loop: bool
    group: int
    origin: str

    @property
    def num_bytes(self) -> int:
        """Of the results of one execution, on one device."""
        return sum(shape.num_bytes for shape in self.shapes)


class HloProgram:
    """A parsed program.

    Attributes:
        computations: by name; each maps names to instructions, in order.
        entry: name of the computation that runs first.
    """

    def __init__(self, text: str):
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current: Computation = {}
        for line in text.splitlines():
            if match := _COMPUTATION.match(line):
                current = self.computations[match[2]] = {}
                self.entry = match[2] if match[1] else self.entry
            elif match := _INSTRUCTION.match(line):
                current[match[2]] = _instruction(match[2], match[3], bool(match[1]))

    @functools.cached_property
    def runs(self) -> dict[str, tuple[int, bool]]:
        """How often each computation runs, and whether in a loop; 0 for what a reduction does to elements.

        Every branch of a conditional counts as taken.

        Raises:
            ValueError: if the trip count of a loop cannot be read.
        """
        found = dict.fromkeys(self.computations, (0, False))

        def visit(name: str, times: int, in_loop: bool) -> None:
            found[name] = (found[name][0] + times, found[name][1] or in_loop)
            for instruction in self.computations[name].values():
                is_loop = instruction.opcode == "while"
                trips = self.trip_count(name, instruction) if is_loop else 1
                for role, called in instruction.called().items():
                    if role != "to_apply" or instruction.opcode in CALLS:
                        for inner in called:
                            visit(inner, times * trips, in_loop or is_loop)

        visit(self.entry, 1, False)
        return found

    def root(self, computation: str) -> Instruction:
        """The instruction that a computation returns."""
        return next(x for x in self.computations[computation].values() if x.is_root)

    def trip_count(self, computation: str, loop: Instruction) -> int:
        """How often a `while` runs: as XLA says, else from `index < constant` with an index from 0 by 1.

        That is the form of every loop of `jax.lax.scan` and `fori_loop`.

        Raises:
            ValueError: if it is not of that form.
        """
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes):
            return int(known[1])
        carry = self.computations[computation][loop.operands[0]]
        test, compared = self._comparison(loop.called()["condition"][0])
        limits = []
        for limit in compared:
            if limit.opcode == "get-tuple-element" and carry.opcode == "tuple":
                (index,) = re.findall(r"index=(\d+)", limit.attributes)
                limit = self.computations[computation][carry.operands[int(index)]]
            if limit.opcode == "constant" and limit.shapes[0].dtype in ("s32", "u32", "s64", "u64"):
                limits.append(int(limit.argument))
        # The index starts at 0, so its start may be among the constants.
        if test.opcode != "compare" or "direction=LT" not in test.attributes or not limits:
            raise ValueError(f"the trip count of loop {loop.name} cannot be read from the program")
        return max(limits)

    def _comparison(self, condition: str) -> tuple[Instruction, list[Instruction]]:
        """The root of a loop's condition and what it compares; XLA may have wrapped it in a fusion."""
        root, outer = self.root(condition), self.computations[condition]
        if root.opcode != "fusion":
            return root, [outer[name] for name in root.operands]
        fused = root.called()["calls"][0]
        test = self.root(fused)
        compared = [self.computations[fused][name] for name in test.operands]
        return test, [
            outer[root.operands[int(x.argument)]] if x.opcode == "parameter" else x for x in compared
        ]

    @functools.cached_property
    def inner(self) -> set[str]:
        """The computations whose instructions are parts of another instruction, such as a fusion's."""
        return {
            name
            for computation in self.computations.values()
            for instruction in computation.values()
            if instruction.opcode not in ("while", "conditional", *CALLS)
            for names in instruction.called().values()
            for name in names
        }

    def instructions(self) -> Iterator[tuple[str, Instruction, int]]:
        """(computation, instruction, executions) of all that runs, fused or not."""
        for name, (times, _) in self.runs.items():
            if times:
                for instruction in self.computations[name].values():
                    yield name, instruction, times

    def collectives(self) -> list[Collective]:
        """Every communication between devices; of an asynchronous pair, the start.

        One that the compiler spreads over several fusions, to compute meanwhile, stands in each of them; it
        counts once. On TPUs a fusion named all-reduce-scatter is a reduce-scatter.
        """
        found, spread = [], set()
        for name, instruction, times in self.instructions():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            shapes = self._results(name, instruction)
            if name.startswith("all-reduce-scatter"):
                kind, shapes = "reduce-scatter", self.root(name).shapes
            channel = re.search(r"channel_id=(\d+)", instruction.attributes)
            origin = re.search(r'op_name="([^"]*)"', instruction.attributes)
            collective = Collective(
                kind=kind,
                shapes=shapes,
                executions=times,
                in_loop=self.runs[name][1],
                group=_group(instruction.attributes),
                origin=origin[1] if origin else "",
            )
            if channel and name in self.inner:
                # Of some copies the origin is lost, and some results lie elsewhere.
                key = (channel[1], kind, tuple((shape.dtype, shape.dims) for shape in shapes))
                if key in spread:
                    continue
                spread.add(key)
            found.append(collective)
        return found

    def _results(self, computation: str, instruction: Instruction) -> tuple[Shape, ...]:
        """Of a collective; a start returns (operands, results, …), an all-reduce's just results."""
        if not instruction.opcode.endswith("-start") or instruction.opcode == "all-reduce-start":
            return instruction.shapes
        count = sum(len(self.computations[computation][name].shapes) for name in instruction.operands)
        return instruction.shapes[count : 2 * count]


def _group(attributes: str) -> int:
    """Size of a group of devices; 0 where it is not said. A permutation has pairs.

    They are written [groups,size]<=[…], {{0,1},{2,3}}, or mesh['a'=2,'b'=4] {'b'}: devices along b. A part
    of an axis is 'b':(1)2, the size standing last.
    """
    if "source_target_pairs" in attributes:
        return 2
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", attributes):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", attributes):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        along = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2])
        return math.prod(int(part or sizes[axis]) for axis, part in along)
    return 0


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    """Reads "TYPE opcode(argument), attributes"."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    rest = text[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    argument = rest[opening + 1 : closing]
    return Instruction(
        name=name,
        opcode=rest[:opening],
        shapes=tuple(_shape(*match) for match in _SHAPE.findall(text[:end])),
        operands=tuple(re.findall(r"%([\w.-]+)", argument)),
        argument=argument,
        attributes=rest[closing + 1 :],
        is_root=is_root,
    )


def _shape(dtype: str, dims: str, layout: str) -> Shape:
    space = re.search(r"S\((\d+)\)", layout)
    return Shape(dtype, tuple(int(n) for n in dims.split(",") if n), int(space[1]) if space else 0)


def _closing(text: str, opening: int) -> int:
    """Where the parenthesis that opens at `opening` closes."""
    depth = 0
    for match in re.finditer(r"[()]", text[opening:]):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return opening + match.start()
    raise ValueError(f"unbalanced parentheses in program text: {text[:80]}")

"""Times cases against each other: warm-up, then rounds in which each case has its turn.

What else a machine does comes and goes. Cases that run one after the other in every round suffer alike, so
the quotient of two times of the same round says more than either time.
"""

import dataclasses
import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from tqdm import tqdm

Setting = Mapping[str, int | str]

MIN_ROUNDS = 3
MAX_CALLS = 1000


@dataclasses.dataclass(frozen=True)
class Program:
    """Something ready to run.

    Attributes:
        run: does the work as many times as it is told, and returns when it is done.
        before: is called before each sample, outside the measured time.
        memory: bytes of the device that it needs, or None.
        compile_seconds: to make it ready, or None.
        note: what a reader should know.
    """

    run: Callable[[int], object]
    before: Callable[[], object] = lambda: None
    memory: int | None = None
    compile_seconds: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Case:
    """What is to be timed. Cases of the same setting are compared with each other.

    Attributes:
        name: of the implementation.
        setting: shape, dtype and the like, by name.
        make: builds it; an exception becomes the row of the case.
        items: tokens or examples of one run, for a throughput.
        flops: of one run as the maths needs them, on each device.
        floor: seconds that one run takes at least on this device, or None where its peaks are not known.
    """

    name: str
    setting: Setting
    make: Callable[[], Program]
    items: int | None = None
    flops: float | None = None
    floor: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a case.

    Attributes:
        case: that was timed.
        samples: seconds of one run, round by round; () if it failed.
        calls: runs in each sample.
        program: that ran, without which there is only an error.
        error: why there are no samples.
    """

    case: Case
    samples: tuple[float, ...] = ()
    calls: int = 0
    program: Program | None = None
    error: str = ""


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile; by linear interpolation between samples."""
    if len(samples) == 1:
        return (samples[0],) * 3
    first, median, third = statistics.quantiles(samples, n=4, method="inclusive")
    return first, median, third


def speedup(baseline: Sequence[float], samples: Sequence[float]) -> float | None:
    """How many times as fast as the baseline: the median over the rounds of the quotient of both times."""
    if not baseline or not samples:
        return None
    return statistics.median(b / s for b, s in zip(baseline, samples, strict=False))


def measure(
    cases: Iterable[Case],
    *,
    rounds: int,
    warmup: int,
    seconds: float,
    min_sample: float,
    timer: Callable[[], float] = time.perf_counter,
) -> list[Row]:
    """Times all cases, those of one setting in turns, the settings one after the other.

    Args:
        cases: in the order of the table.
        rounds: samples of each case.
        warmup: runs of each case before the first sample, one at least.
        seconds: for the rounds of one setting. Each case has an equal share; one that has used it up leaves
            out the later rounds, but takes part in three anyway.
        min_sample: seconds that a sample should last; shorter runs are repeated within it.
        timer: the clock.

    Returns:
        A row per case, same order.
    """
    cases = list(cases)
    rows: dict[int, Row] = {}
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, case in enumerate(cases):
        groups.setdefault(tuple(case.setting.items()), []).append(index)
    with tqdm(total=len(cases) * (1 + rounds), unit="run", disable=None, dynamic_ncols=True) as bar:
        for indices in groups.values():
            bar.set_description(show_setting(cases[indices[0]].setting))
            done = _Group([cases[i] for i in indices], warmup, min_sample, timer, bar)
            done.sample(rounds, seconds)
            rows.update(zip(indices, done.rows(), strict=True))
            del done
            gc.collect()  # the next setting needs the memory
    return [rows[index] for index in range(len(cases))]


def show_setting(setting: Setting) -> str:
    """For a person: "length 512, dtype float32"."""
    return ", ".join(f"{name} {value}" for name, value in setting.items())


class _Group:
    """The cases of one setting while they are timed."""

    def __init__(
        self, cases: list[Case], warmup: int, min_sample: float, timer: Callable[[], float], bar: tqdm
    ):
        self._cases, self._timer, self._bar = cases, timer, bar
        self._samples: list[list[float]] = [[] for _ in cases]
        self._programs: dict[int, Program] = {}
        self._calls: dict[int, int] = {}
        self._errors: dict[int, str] = {}
        for index, case in enumerate(cases):
            with _Failure(self._errors, index):
                program = case.make()
                program.run(1)
                took = min(self._time(program, 1) for _ in range(max(1, warmup)))
                self._programs[index] = program
                self._calls[index] = min(MAX_CALLS, max(1, math.ceil(min_sample / max(took, 1e-9))))
            bar.update()

    def sample(self, rounds: int, seconds: float) -> None:
        """Fills the samples; the order of each round is random, the same in every command."""
        share = seconds / len(self._cases)
        order = random.Random(0)
        for number in range(rounds):
            # Threads of one library spin for a while after its work: nobody should always come after it.
            for index in order.sample(range(len(self._cases)), len(self._cases)):
                used = sum(self._samples[index]) * self._calls.get(index, 0)
                if number < MIN_ROUNDS or used < share:
                    self._one(index)
                self._bar.update()

    def rows(self) -> list[Row]:
        """A row per case."""
        return [
            Row(case, error=self._errors[index])
            if index in self._errors
            else Row(case, tuple(self._samples[index]), self._calls[index], self._programs[index])
            for index, case in enumerate(self._cases)
        ]

    def _one(self, index: int) -> None:
        if index not in self._errors:
            with _Failure(self._errors, index):
                calls = self._calls[index]
                self._samples[index].append(self._time(self._programs[index], calls) / calls)

    def _time(self, program: Program, calls: int) -> float:
        program.before()
        start = self._timer()
        program.run(calls)
        return self._timer() - start


class _Failure:
    """Keeps whatever a case raises as its result: the others go on."""

    def __init__(self, errors: dict[int, str], index: int):
        self._errors, self._index = errors, index

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._errors[self._index] = first_line(error)
        return True


def first_line(error: Exception) -> str:
    """An exception in one line of a table."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text.replace("|", "/")
    short = text if len(text) <= 160 else text[:159] + "…"
    return short if isinstance(error, ValueError) and short else f"{type(error).__name__}: {short}"


def grid(axes: Mapping[str, Sequence[int | str]]) -> list[dict[str, int | str]]:
    """All settings made of one value for each name, the last name changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

"""Times cases against each other: warm-up, then rounds in which each case has its turn.

What else a machine does comes and goes. Cases that run one after the other in every round suffer alike, so
the ratio of two times of the same round says more than either time.
"""

import contextlib
import dataclasses
import gc
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tqdm import tqdm

CaseSetting = Mapping[str, int | str]  # shape, dtype and the like, by name

MIN_ROUNDS = 3
MAX_CALLS = 1000


@dataclasses.dataclass(frozen=True)
class TimedProgram:
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
class BenchCase:
    """What is to be timed. Cases of the same setting are compared with each other.

    Attributes:
        name: of the implementation.
        setting: shape, dtype and the like, by name.
        make: builds it; an exception becomes its result.
        items: tokens or examples of one run, for a throughput.
        flops: of one run as the maths needs them, on each device.
        floor: seconds that one run takes at least on this device, or None where its peaks are not known.
    """

    name: str
    setting: CaseSetting
    make: Callable[[], TimedProgram]
    items: int | None = None
    flops: float | None = None
    floor: float | None = None


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """What came of a case.

    Attributes:
        case: that was timed.
        samples: seconds of one run, round by round; () if it failed.
        calls: runs in each sample.
        program: that ran, without which there is only an error.
        error: why there are no samples.
    """

    case: BenchCase
    samples: tuple[float, ...] = ()
    calls: int = 0
    program: TimedProgram | None = None
    error: str = ""


def quartiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile; by linear interpolation between samples."""
    if len(samples) == 1:
        return (samples[0],) * 3
    first, median, third = statistics.quantiles(samples, n=4, method="inclusive")
    return first, median, third


def speedup(baseline: Sequence[float], samples: Sequence[float]) -> float | None:
    """How many times as fast as the baseline: the median over the rounds of the ratio of both times."""
    if not baseline or not samples:
        return None
    return statistics.median(b / s for b, s in zip(baseline, samples, strict=False))


def measure(
    cases: Iterable[BenchCase],
    *,
    rounds: int,
    warmup: int,
    seconds: float,
    min_sample: float,
    timer: Callable[[], float] = time.perf_counter,
) -> list[CaseResult]:
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
        A result per case, same order.
    """
    cases = list(cases)
    results: dict[int, CaseResult] = {}
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, case in enumerate(cases):
        groups.setdefault(tuple(case.setting.items()), []).append(index)
    with tqdm(total=len(cases) * (1 + rounds), unit="run", disable=None, dynamic_ncols=True) as bar:
        for indices in groups.values():
            group = [cases[i] for i in indices]
            bar.set_description(show_setting(group[0].setting))
            found = _measure_group(group, rounds, warmup, seconds, min_sample, timer, bar)
            results.update(zip(indices, found, strict=True))
            gc.collect()  # the next setting needs the memory
    return [results[index] for index in range(len(cases))]


def show_setting(setting: CaseSetting) -> str:
    """For a person: "length 512, dtype float32"."""
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def _measure_group(
    cases: Sequence[BenchCase],
    rounds: int,
    warmup: int,
    seconds: float,
    min_sample: float,
    timer: Callable[[], float],
    bar: tqdm,
) -> list[CaseResult]:
    """Times the cases of one setting; arguments as of `measure`."""
    samples: list[list[float]] = [[] for _ in cases]
    programs: dict[int, TimedProgram] = {}
    calls: dict[int, int] = {}
    errors: dict[int, str] = {}

    @contextlib.contextmanager
    def failure_of(index: int) -> Iterator[None]:
        """Whatever a case raises is its result: the others go on."""
        try:
            yield
        except Exception as error:
            errors[index] = first_line(error)

    def time_of(program: TimedProgram, count: int) -> float:
        program.before()
        start = timer()
        program.run(count)
        return timer() - start

    for index, case in enumerate(cases):
        with failure_of(index):
            program = case.make()
            program.run(1)
            took = min(time_of(program, 1) for _ in range(max(1, warmup)))
            programs[index] = program
            calls[index] = min(MAX_CALLS, max(1, math.ceil(min_sample / max(took, 1e-9))))
        bar.update()
    share = seconds / len(cases)
    order = random.Random(0)  # the same in every command
    for number in range(rounds):
        # Threads of one library spin for a while after its work: nobody should always come after it.
        for index in order.sample(range(len(cases)), len(cases)):
            used = sum(samples[index]) * calls.get(index, 0)
            if index not in errors and (number < MIN_ROUNDS or used < share):
                with failure_of(index):
                    samples[index].append(time_of(programs[index], calls[index]) / calls[index])
            bar.update()
    return [
        CaseResult(case, error=errors[index])
        if index in errors
        else CaseResult(case, tuple(samples[index]), calls[index], programs[index])
        for index, case in enumerate(cases)
    ]


def first_line(error: Exception) -> str:
    """An exception in one line of a table."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = text.replace("|", "/")
    short = text if len(text) <= 160 else text[:159] + "…"
    return short if isinstance(error, ValueError) and short else f"{type(error).__name__}: {short}"


def grid(axes: Mapping[str, Sequence[int | str]]) -> list[dict[str, int | str]]:
    """All settings made of one value for each name, the last name changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

"""What a benchmark leaves: figures as JSON and as a table, with the machine they come from."""

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
from collections.abc import Sequence
from typing import Any

import jax

from fnet_jax.core.chips import find_chip
from fnet_jax.core.files import write_atomically
from fnet_jax.tools.bench.timing import CaseResult, CaseSetting, quartiles, show_setting, speedup
from fnet_jax.tools.markdown import NONE, markdown

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "transformers", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class BenchReport:
    """The results of one command.

    Attributes:
        title: what was timed.
        rows: of the cases.
        baseline: name of the case that the others are compared with.
        unit: of the items of a run: tokens, examples.
        machine: see `machine`.
        warnings: sentences for the reader.
        utilisation: whether FLOPs against the peak mean something, as for a whole model.
    """

    title: str
    rows: Sequence[CaseResult]
    baseline: str
    unit: str
    machine: dict[str, Any]
    warnings: Sequence[str] = ()
    utilisation: bool = False

    def ratio(self, row: CaseResult) -> float | None:
        """How many times as fast as the baseline in the same setting."""
        same = (other for other in self.rows if other.case.setting == row.case.setting)
        base = next((other for other in same if other.case.name == self.baseline), None)
        return speedup(base.samples, row.samples) if base else None

    def mfu(self, row: CaseResult) -> float | None:
        """Model FLOP/s as a share of the peak, where that is known."""
        if not self.utilisation or not row.samples or not row.case.floor:
            return None
        return row.case.floor / quartiles(row.samples)[1]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON; times in seconds, memory in bytes."""
        return {
            "title": self.title,
            "machine": self.machine,
            "warnings": list(self.warnings),
            "baseline": self.baseline,
            "rows": [self._values(row) for row in self.rows],
        }

    def table(self) -> str:
        """The figures as Markdown; what is the same in all rows stands above."""
        shared, varying = split_settings([row.case.setting for row in self.rows])
        header = [*varying, "case", "median ms", "quartiles ms", f"times {self.baseline}", f"{self.unit}/s"]
        header += ["MFU %", "memory MiB", "compile s", "remark"]
        cells = [self._cells(row, varying) for row in self.rows]
        # A column that says nothing on any row is left out.
        used = [i for i in range(len(header)) if any(row[i] != NONE for row in cells)]
        text = markdown([header[i] for i in used], [[row[i] for i in used] for row in cells])
        return f"{show_setting(shared)}\n\n{text}" if shared else text

    def page(self) -> str:
        """Title, date, machine, table."""
        facts = [f"- {name}: {_show(value)}" for name, value in self.machine.items() if value]
        lines = [f"# {self.title}", "", *facts, *(f"- {text}" for text in self.warnings)]
        return "\n".join([*lines, "", self.table(), ""])

    def save(self, stem: str) -> list[str]:
        """Writes STEM.json and STEM.md; returns the paths."""
        content = {".json": json.dumps(self.to_dict(), indent=1) + "\n", ".md": self.page()}
        for ending, text in content.items():
            write_atomically(stem + ending, text)
        return [stem + ending for ending in content]

    def _values(self, row: CaseResult) -> dict[str, Any]:
        case, program = row.case, row.program
        values: dict[str, Any] = {"case": case.name, "setting": dict(case.setting)}
        if row.error or program is None:
            return values | {"error": row.error}
        first, median, third = quartiles(row.samples)
        return values | {
            "seconds": {"median": median, "first_quartile": first, "third_quartile": third},
            "times_baseline": self.ratio(row),
            f"{self.unit}_per_second": case.items / median if case.items else None,
            "mfu": self.mfu(row),
            "floor_seconds": case.floor,
            "memory_bytes": program.memory,
            "compile_seconds": program.compile_seconds,
            "note": program.note,
            "runs_per_sample": row.calls,
            "samples": list(row.samples),
        }

    def _cells(self, row: CaseResult, varying: Sequence[str]) -> list[str]:
        cells = [str(row.case.setting.get(name, NONE)) for name in varying] + [row.case.name]
        program = row.program
        if row.error or program is None:
            return [*cells, *[NONE] * 7, row.error]
        first, median, third = quartiles(row.samples)
        memory = None if program.memory is None else program.memory / 2**20
        mfu = self.mfu(row)
        return [
            *cells,
            show_ms(median),
            f"{show_ms(first)} to {show_ms(third)}",
            _cell(self.ratio(row), ".2f"),
            _cell(row.case.items and row.case.items / median, ",.0f"),
            _cell(mfu and 100 * mfu, ".1f"),
            _cell(memory, ",.0f"),
            _cell(program.compile_seconds, ".1f"),
            program.note or NONE,
        ]


def _cell(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def split_settings(settings: Sequence[CaseSetting]) -> tuple[dict[str, int | str], list[str]]:
    """What all settings share, and the names of what differs."""
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    differs = [name for name in names if len({setting.get(name) for setting in settings}) > 1]
    return {name: settings[0][name] for name in names if name not in differs}, differs


def show_ms(seconds: float) -> str:
    """Milliseconds with three digits that count."""
    ms = 1000 * seconds
    digits = 2 - math.floor(math.log10(ms)) if ms > 0 else 0
    return f"{ms:,.{min(max(digits, 0), 6)}f}"


def machine(argv: Sequence[str]) -> dict[str, Any]:
    """Where and how it was measured.

    Args:
        argv: of the command, without the program.
    """
    device = jax.devices()[0]
    words = [word for word in argv if not word.startswith("--remark=")]  # stands beside the figures anyway
    chip = find_chip(device.device_kind)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "fnet_jax.tools.bench", *words]),
        "platform": device.platform,
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "known peaks": f"{chip.bf16_flops / 1e12:,.0f} TFLOP/s bfloat16, {chip.hbm_bandwidth / 1e9:,.0f} GB/s"
        if chip
        else "",
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "versions": {"Python": platform.python_version()} | _versions(),
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
    }


def device_peak_memory() -> int | None:
    """Most bytes in use at once on the first device since the program began, where it can tell."""
    stats = jax.devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _show(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)

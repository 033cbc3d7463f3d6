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
from fnet_jax.tools.bench.timing import Row, Setting, quartiles, show_setting, speedup
from fnet_jax.tools.markdown import NONE, markdown

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "transformers", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Report:
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
    rows: Sequence[Row]
    baseline: str
    unit: str
    machine: dict[str, Any]
    warnings: Sequence[str] = ()
    utilisation: bool = False

    def ratio(self, row: Row) -> float | None:
        """How many times as fast as the baseline in the same setting."""
        base = self._baseline_of(row.case.setting)
        return speedup(base.samples, row.samples) if base else None

    def mfu(self, row: Row) -> float | None:
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
        lines = [
            f"# {self.title}",
            "",
            *facts,
            *(f"- {text}" for text in self.warnings),
            "",
            self.table(),
            "",
        ]
        return "\n".join(lines)

    def save(self, stem: str) -> list[str]:
        """Writes STEM.json and STEM.md; returns the paths."""
        content = {".json": json.dumps(self.to_dict(), indent=1) + "\n", ".md": self.page()}
        for ending, text in content.items():
            write_atomically(stem + ending, text.encode())
        return [stem + ending for ending in content]

    def _baseline_of(self, setting: Setting) -> Row | None:
        same = (row for row in self.rows if row.case.setting == setting)
        return next((row for row in same if row.case.name == self.baseline), None)

    def _values(self, row: Row) -> dict[str, Any]:
        values: dict[str, Any] = {"case": row.case.name, "setting": dict(row.case.setting)}
        if row.error or row.program is None:
            return values | {"error": row.error}
        first, median, third = quartiles(row.samples)
        values |= {
            "seconds": {"median": median, "first_quartile": first, "third_quartile": third},
            "times_baseline": self.ratio(row),
            f"{self.unit}_per_second": row.case.items / median if row.case.items else None,
            "mfu": self.mfu(row),
            "floor_seconds": row.case.floor,
            "memory_bytes": row.program.memory,
            "compile_seconds": row.program.compile_seconds,
            "note": row.program.note,
            "runs_per_sample": row.calls,
            "samples": list(row.samples),
        }
        return values

    def _cells(self, row: Row, varying: Sequence[str]) -> list[str]:
        cells = [str(row.case.setting.get(name, NONE)) for name in varying] + [row.case.name]
        if row.error or row.program is None:
            return [*cells, *[NONE] * 7, row.error]
        first, median, third = quartiles(row.samples)
        rate, mfu, ratio = row.case.items, self.mfu(row), self.ratio(row)
        memory, compiling = row.program.memory, row.program.compile_seconds
        return [
            *cells,
            show_ms(median),
            f"{show_ms(first)} to {show_ms(third)}",
            NONE if ratio is None else f"{ratio:.2f}",
            NONE if rate is None else f"{rate / median:,.0f}",
            NONE if mfu is None else f"{100 * mfu:.1f}",
            NONE if memory is None else f"{memory / 2**20:,.0f}",
            NONE if compiling is None else f"{compiling:.1f}",
            row.program.note or NONE,
        ]


def split_settings(settings: Sequence[Setting]) -> tuple[dict[str, int | str], list[str]]:
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

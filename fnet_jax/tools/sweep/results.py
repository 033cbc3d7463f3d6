"""What came out of a sweep: one table over all its points, and where it leads."""

import json
import os
import statistics
from collections.abc import Sequence
from typing import Any

from fnet_jax.core.files import write_atomically
from fnet_jax.core.sweep import Overrides, format_value, varying
from fnet_jax.tools.markdown import NONE, duration, is_loss, main_value, markdown, show_value
from fnet_jax.tools.sweep.point import PointResult, SweepPoint
from fnet_jax.train.logs.results import F1_OF

RESULTS_FILE = "results.json"
TABLE_FILE = "table.md"
PICTURE_FILE = "table.png"

SEED = "seed"


class SweepResults:
    """The points of a sweep with their results.

    Attributes:
        keys: the dotted keys that vary.
        setting_keys: these without the seed.
        pairs: each point's overrides and its result, None where it has not run.
        done: the results of the points that are done.
        main: name of the value that stands for a result; "" while there is none.
    """

    def __init__(self, pairs: Sequence[tuple[Overrides, PointResult | None]]):
        self.pairs = list(pairs)
        self.keys = varying([overrides for overrides, _ in pairs])
        self.setting_keys = [key for key in self.keys if key != SEED]
        self.done = [result for _, result in self.pairs if result and result.is_done]
        self.main = next(filter(None, (main_value(result.values) for result in self.done)), "")

    @classmethod
    def read(cls, points: Sequence[SweepPoint]) -> "SweepResults":
        """Reads what lies in the folders of the points."""
        return cls([(point.overrides, point.result()) for point in points])

    @property
    def missing(self) -> int:
        """How many points have not run."""
        return sum(result is None for _, result in self.pairs)

    @property
    def failed(self) -> int:
        """How many points failed."""
        return len(self.pairs) - self.missing - len(self.done)

    def main_values(self) -> list[tuple[Overrides, float]]:
        """The value that stands for a result, of each point that has one."""
        values = ((result.overrides, result.values.get(self.main)) for result in self.done)
        return [(overrides, value) for overrides, value in values if value is not None]

    def table(self) -> str:
        """Markdown: a row per point."""
        columns = [self.main] if self.main else []
        for result in self.done:
            columns += [name for name in result.values if name not in columns and _is_shown(name, result)]
        header = [*short_names(self.keys), *columns, "state", "time"]
        return markdown(header, [self._cells(overrides, result, columns) for overrides, result in self.pairs])

    def _cells(self, overrides: Overrides, result: PointResult | None, columns: Sequence[str]) -> list[str]:
        settings = [format_value(overrides[key]) if key in overrides else NONE for key in self.keys]
        values = [show_value(name, result.values.get(name)) if result else NONE for name in columns]
        time = duration(result.seconds) if result else NONE
        return [*settings, *values, state(result), time]

    def summary(self) -> str:
        """The setting with the best median over its seeds, and what is not done, in sentences."""
        lines = []
        by_setting: dict[tuple[Any, ...], list[float]] = {}
        for overrides, value in self.main_values():
            by_setting.setdefault(tuple(map(overrides.get, self.setting_keys)), []).append(value)
        if len(by_setting) > 1:
            sign = 1 if is_loss(self.main) else -1
            setting = min(by_setting, key=lambda key: sign * statistics.median(by_setting[key]))
            named = " ".join(
                f"{key}={format_value(value)}"
                for key, value in zip(self.setting_keys, setting, strict=True)
                if value is not None
            )
            seeds = by_setting[setting]
            best = show_value(self.main, statistics.median(seeds))
            of = f", median of {len(seeds)} seeds" if len(seeds) > 1 else ""
            lines.append(f"best: {self.main} {best} at {named or 'the defaults'}{of}")
        if self.failed:
            lines.append(
                f"{self.failed} of {len(self.pairs)} points failed; the same command tries them again"
            )
        if self.missing:
            lines.append(f"{self.missing} of {len(self.pairs)} points have not run yet")
        return "\n".join(lines)

    def save(self, directory: str) -> None:
        """Leaves results.json and table.md."""
        rows = [
            {
                "overrides": overrides,
                "state": state(result),
                "exit_code": result.exit_code if result else None,
                "error": result.error if result else "",
                "seconds": result.seconds if result else None,
                "values": result.values if result else {},
            }
            for overrides, result in self.pairs
        ]
        write_atomically(os.path.join(directory, RESULTS_FILE), json.dumps(rows, indent=2) + "\n")
        text = f"{self.table()}\n\n{self.summary()}".rstrip() + "\n"
        write_atomically(os.path.join(directory, TABLE_FILE), text)


def state(result: PointResult | None) -> str:
    """In one word or two."""
    if result is None:
        return "not run"
    return "done" if result.is_done else f"failed ({result.exit_code})"


def short_names(keys: Sequence[str]) -> list[str]:
    """The last parts of dotted keys, where these tell them apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def _is_shown(name: str, result: PointResult) -> bool:
    """Leaves out what a table of points need not say; results.json says it."""
    if not isinstance(result.values[name], float):
        return False
    return not (is_loss(name) or "baseline_" in name or name.startswith(("mask_token_", F1_OF)))

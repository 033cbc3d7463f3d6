"""What came out of a sweep: one table over all its points, and where it leads."""

import json
import os
import statistics
from collections.abc import Sequence
from typing import Any

from fnet_jax.core.files import write_atomically
from fnet_jax.core.sweep import Overrides, format_value, varying
from fnet_jax.tasks.tag.scores import F1_OF
from fnet_jax.tools.markdown import NONE, duration, is_loss, main_value, markdown, show_value
from fnet_jax.tools.sweep import point as points
from fnet_jax.tools.sweep.point import Point, Result

RESULTS_FILE = "results.json"
TABLE_FILE = "table.md"
PICTURE_FILE = "table.png"

SEED = "seed"


class Results:
    """The points of a sweep with their results.

    Attributes:
        keys: the dotted keys that vary.
        pairs: each point's overrides and its result, None where it has not run.
        main: name of the value that stands for a result; "" while there is none.
    """

    def __init__(self, pairs: Sequence[tuple[Overrides, Result | None]]):
        self.pairs = list(pairs)
        self.keys = varying([overrides for overrides, _ in pairs])
        self.main = next(
            (main_value(result.values) for result in self.done() if main_value(result.values)), ""
        )

    @classmethod
    def read(cls, sweep: Sequence[Point]) -> "Results":
        """Reads what lies in the folders of the points."""
        return cls([(point.overrides, points.result_of(point)) for point in sweep])

    def done(self) -> list[Result]:
        """The results of the points that are done."""
        return [result for _, result in self.pairs if result and result.is_done]

    def unfinished(self) -> tuple[int, int]:
        """How many points failed, and how many have not run."""
        missing = sum(result is None for _, result in self.pairs)
        return len(self.pairs) - missing - len(self.done()), missing

    def main_of(self, result: Result) -> float | None:
        """The value that stands for a result."""
        return result.values.get(self.main)

    def by_setting(self) -> dict[tuple[Any, ...], list[float]]:
        """The main values of the seeds of each setting of the other keys, best median first."""
        keys = self.setting_keys()
        groups: dict[tuple[Any, ...], list[float]] = {}
        for result in self.done():
            value = self.main_of(result)
            if value is not None:
                groups.setdefault(tuple(result.overrides.get(key) for key in keys), []).append(value)
        sign = 1 if is_loss(self.main) else -1
        return dict(sorted(groups.items(), key=lambda item: sign * statistics.median(item[1])))

    def setting_keys(self) -> list[str]:
        """The keys that vary, without the seed."""
        return [key for key in self.keys if key != SEED]

    def table(self) -> str:
        """Markdown: a row per point."""
        columns = [self.main] if self.main else []
        for result in self.done():
            columns += [name for name in result.values if name not in columns and _is_shown(name, result)]
        header = [*short_names(self.keys), *columns, "state", "time"]
        return markdown(header, [self._row(overrides, result, columns) for overrides, result in self.pairs])

    def _row(self, overrides: Overrides, result: Result | None, columns: Sequence[str]) -> list[str]:
        settings = [format_value(overrides[key]) if key in overrides else NONE for key in self.keys]
        values = [show_value(name, result.values.get(name)) if result else NONE for name in columns]
        time = duration(result.seconds) if result else NONE
        return [*settings, *values, state(result), time]

    def summary(self) -> str:
        """The best setting and what is not done, in sentences."""
        lines = []
        settings = self.by_setting()
        if len(settings) > 1:
            setting, found = next(iter(settings.items()))
            named = " ".join(
                f"{key}={format_value(value)}"
                for key, value in zip(self.setting_keys(), setting, strict=True)
                if value is not None
            )
            of = f", median of {len(found)} seeds" if len(found) > 1 else ""
            value = show_value(self.main, statistics.median(found))
            lines.append(f"best: {self.main} {value} at {named or 'the defaults'}{of}")
        failed, missing = self.unfinished()
        if failed:
            lines.append(f"{failed} of {len(self.pairs)} points failed; the same command tries them again")
        if missing:
            lines.append(f"{missing} of {len(self.pairs)} points have not run yet")
        return "\n".join(lines)

    def save(self, directory: str) -> None:
        """Leaves results.json, table.md and, if anything is done, table.png."""
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
        write_atomically(os.path.join(directory, RESULTS_FILE), (json.dumps(rows, indent=2) + "\n").encode())
        text = f"{self.table()}\n\n{self.summary()}".rstrip() + "\n"
        write_atomically(os.path.join(directory, TABLE_FILE), text.encode())
        if self.main:
            from fnet_jax.tools.sweep.plot import draw_sweep

            draw_sweep(self, os.path.join(directory, PICTURE_FILE))


def state(result: Result | None) -> str:
    """In one word or two."""
    if result is None:
        return "not run"
    return "done" if result.is_done else f"failed ({result.exit_code})"


def short_names(keys: Sequence[str]) -> list[str]:
    """The last parts of dotted keys, where these tell them apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def _is_shown(name: str, result: Result) -> bool:
    """Leaves out what a table of points need not say; results.json says it."""
    if not isinstance(result.values[name], float):
        return False
    return not (is_loss(name) or "baseline_" in name or name.startswith(("mask_token_", F1_OF)))

"""Pictures of sweeps."""

import statistics
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from fnet_jax.core.files import atomic_file
from fnet_jax.core.sweep import Overrides, format_value
from fnet_jax.tools.glue.table import Row
from fnet_jax.tools.markdown import is_loss
from fnet_jax.tools.sweep.results import SEED, Results, short_names

MANY_LINES = 10  # more than that get shades of one scale, for no palette tells them apart
LOG_RANGE = 20  # positive values further apart than this factor get a logarithmic axis


def draw_sweep(results: Results, path: str) -> None:
    """Draws the main value against one varied key, a line for each setting of the others.

    Dots are single runs, dashes their median over the seeds; a line joins what lies on a scale of numbers.
    """
    across, others = _axes_of(results)
    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    places = _places(axes, across, [point for point, _ in results.pairs])
    series = _series(results, across, others)
    colours = _colours(len(series))
    for colour, (setting, runs) in zip(colours, series.items(), strict=True):
        label = ", ".join(format_value(value) for value in setting)
        by_place: dict[float, list[float]] = {}
        for value, score in runs:
            by_place.setdefault(places[value], []).append(shown(results.main, score))
        _draw_runs(axes, by_place, colour, label, connect=_is_number(runs[0][0]))
    axes.set_xlabel(across or ("seeds" if SEED in results.keys else ""))
    axes.set_ylabel(results.main if is_loss(results.main) else f"{results.main} (in hundredths)")
    axes.grid(alpha=0.25)
    if len(series) > 1:
        axes.legend(
            title=", ".join(short_names(others)), fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0)
        )
    if SEED in results.keys:
        axes.set_title("dots: runs; dashes: their median over the seeds", fontsize=9)
    save(figure, path)


def _draw_runs(
    axes: Axes, by_place: dict[float, list[float]], colour: Any, label: str, connect: bool
) -> None:
    """One series: its runs by their place on the axis, and the medians."""
    places = sorted(by_place)
    has_seeds = any(len(runs) > 1 for runs in by_place.values())
    for place in places:
        axes.plot(
            [place] * len(by_place[place]),
            by_place[place],
            "o",
            color=colour,
            alpha=0.45 if has_seeds else 1,
            markersize=6,
            markeredgewidth=0,
        )
    axes.plot(
        places,
        [statistics.median(by_place[place]) for place in places],
        linestyle="-" if connect else "",
        marker="_" if has_seeds else "o",
        markersize=16 if has_seeds else 6,
        markeredgewidth=2 if has_seeds else 0,
        color=colour,
        linewidth=1.6,
        label=label,
    )


def save(figure: Figure, path: str) -> None:
    """Writes a PNG whole or not at all, and frees the figure."""
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=130)
    plt.close(figure)


def shown(name: str, value: float) -> float:
    """As in the table: losses as they are, everything else in hundredths."""
    return value if is_loss(name) else 100 * value


def _axes_of(results: Results) -> tuple[str, list[str]]:
    """The key along the axis, and those that make the lines.

    Along the axis goes the key of numbers with the most values, else the key with the most values.
    """
    keys = results.setting_keys()
    if not keys:
        return "", []

    def weight(key: str) -> tuple[bool, int]:
        found = {point.get(key) for point, _ in results.pairs}
        return all(_is_number(value) for value in found), len(found)

    across = max(keys, key=weight)
    return across, [key for key in keys if key != across]


def _places(axes: Axes, key: str, points: Sequence[Overrides]) -> dict[Any, float]:
    """Value of the key -> where it stands on the axis, which gets its ticks."""
    found: list[Any] = list(dict.fromkeys(point.get(key) for point in points))
    if not key or not all(_is_number(value) for value in found):
        axes.set_xticks(range(len(found)), [format_value(value) if key else "" for value in found])
        axes.set_xlim(-0.5, len(found) - 0.5)
        return {value: float(place) for place, value in enumerate(found)}
    if min(found) > 0 and ("rate" in key.rpartition(".")[2] or max(found) > LOG_RANGE * min(found)):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    if len(found) <= 8:
        axes.set_xticks(found, [format_value(value) for value in found])
    return {value: float(value) for value in found}


def _series(
    results: Results, across: str, others: Sequence[str]
) -> dict[tuple[Any, ...], list[tuple[Any, float]]]:
    """Setting of the other keys -> runs as (value along the axis, main value)."""
    series: dict[tuple[Any, ...], list[tuple[Any, float]]] = {}
    for result in results.done():
        value = results.main_of(result)
        if value is not None:
            setting = tuple(result.overrides.get(key) for key in others)
            series.setdefault(setting, []).append((result.overrides.get(across), value))
    return series


def _colours(count: int) -> list[Any]:
    if count > MANY_LINES:
        return list(plt.get_cmap("viridis")(np.linspace(0, 0.92, count)))
    return [f"C{index}" for index in range(count)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def draw_glue(rows: Sequence[Row], path: str) -> None:
    """Draws a bar per task, the median over the runs; the runs as dots and the majority answer as a mark."""
    figure, axes = plt.subplots(figsize=(max(6.5, 1.05 * len(rows) + 1.8), 4.4), layout="constrained")
    bar: dict[str, Any] = {"color": "tab:blue", "alpha": 0.35}
    dot: dict[str, Any] = {"color": "tab:blue", "marker": "o", "linestyle": "", "markersize": 5}
    mark: dict[str, Any] = {"color": "black", "linewidth": 1.6, "linestyle": "--"}
    for place, row in enumerate(rows):
        score = row.score
        axes.bar(place, 100 * (score or 0), 0.66, **bar)
        text = "no result" if score is None else f"{100 * score:.1f}"
        axes.annotate(text, (place, 0), (0, 4), textcoords="offset points", ha="center", fontsize=9)
        spread = np.linspace(-0.16, 0.16, len(row.scores)) if len(row.scores) > 1 else 0.0
        axes.plot(place + spread * np.ones(len(row.scores)), [100 * score for score in row.scores], **dot)
        if row.majority is not None:
            axes.plot([place - 0.4, place + 0.4], [100 * row.majority] * 2, **mark)
    axes.set_xticks(range(len(rows)), [row.title + ("*" if row.not_whole else "") for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(min([0.0, *(100 * score - 3 for row in rows for score in row.scores)]), 103)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("score on validation (in hundredths)")
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    key = [Patch(**bar), Line2D([], [], **dot), Line2D([], [], **mark)]
    texts = ["median over the runs", "runs", "one answer for all (majority)"]
    figure.legend(key, texts, ncols=3, fontsize=8, loc="outside upper center", frameon=False)
    if any(row.not_whole for row in rows):
        figure.supxlabel("* not the whole official split", fontsize=8, x=0.99, ha="right")
    save(figure, path)

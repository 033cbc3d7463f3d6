"""The picture of a sweep."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from fnet_jax.core.sweep import Overrides, format_value
from fnet_jax.tools.figure import plt, save_png
from fnet_jax.tools.markdown import is_loss
from fnet_jax.tools.sweep.results import SEED, SweepResults, short_names

MANY_LINES = 10  # more than that get shades of one scale, for no palette tells them apart
LOG_RANGE = 20  # positive values further apart than this factor get a logarithmic axis


def draw_sweep(results: SweepResults, path: str) -> None:
    """Draws the main value against one varied key, a line for each setting of the others.

    Dots are single runs, dashes their median over the seeds; a line joins what lies on a scale of numbers.
    """
    across, others = _axes_of(results)
    figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    places = _places(axes, across, [overrides for overrides, _ in results.pairs])
    # setting of the other keys -> value along the axis -> what is shown of its runs
    series: dict[tuple[Any, ...], dict[Any, list[float]]] = {}
    for overrides, value in results.main_values():
        shown = value if is_loss(results.main) else 100 * value
        runs = series.setdefault(tuple(map(overrides.get, others)), {})
        runs.setdefault(overrides.get(across), []).append(shown)
    for colour, (setting, runs) in zip(_colours(len(series)), series.items(), strict=True):
        label = ", ".join(format_value(value) for value in setting)
        connect = _is_number(next(iter(runs)))
        _draw_runs(axes, {places[value]: found for value, found in runs.items()}, colour, label, connect)
    axes.set_xlabel(across or ("seeds" if SEED in results.keys else ""))
    axes.set_ylabel(results.main if is_loss(results.main) else f"{results.main} (in hundredths)")
    axes.grid(alpha=0.25)
    if len(series) > 1:
        axes.legend(
            title=", ".join(short_names(others)), fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0)
        )
    if SEED in results.keys:
        axes.set_title("dots: runs; dashes: their median over the seeds", fontsize=9)
    save_png(figure, path)


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


def _axes_of(results: SweepResults) -> tuple[str, list[str]]:
    """The key along the axis, and those that make the lines.

    Along the axis goes the key of numbers with the most values, else the key with the most values.
    """
    keys = results.setting_keys
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


def _colours(count: int) -> list[Any]:
    if count > MANY_LINES:
        return list(plt.get_cmap("viridis")(np.linspace(0, 0.92, count)))
    return [f"C{index}" for index in range(count)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

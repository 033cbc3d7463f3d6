"""The picture of a benchmark: time, and how many times as fast as the baseline, against length or batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from fnet_jax.tools.bench.report import BenchReport, show_ms, split_settings
from fnet_jax.tools.bench.timing import CaseResult, quartiles, show_setting
from fnet_jax.tools.figure import plt, save_png

ACROSS = ("length", "batch", "width")  # the first that differs goes along the axis
MARKS = "osD^vPX*<>"


def draw(report: BenchReport, path: str) -> list[str]:
    """Draws a row of panels for each setting of what does not lie along the axis, and writes a PNG.

    Returns:
        The path, or nothing if no case could run.
    """
    rows = [row for row in report.rows if row.samples]
    if not rows:
        return []
    shared, varying = split_settings([row.case.setting for row in rows])
    across = next((name for name in ACROSS if name in varying), "")
    # Where the tokens are given the batch follows from the length.
    others = [name for name in varying if name != across and not (name == "batch" and "tokens" in shared)]
    facets: dict[tuple[Any, ...], list[CaseResult]] = {}
    for row in rows:
        facets.setdefault(tuple(row.case.setting.get(name) for name in others), []).append(row)
    height = 3.6 if across else 0.8 + 0.32 * len(_names(report))
    figure, panels = plt.subplots(
        len(facets), 2, figsize=(11.5, height * len(facets) + 0.6), layout="constrained", squeeze=False
    )
    for (values, found), (left, right) in zip(facets.items(), panels, strict=True):
        setting = show_setting({**shared, **dict(zip(others, values, strict=True))})
        if across:
            _lines((left, right), report, found, across)
        else:
            _bars((left, right), report, found)
        left.set_title(setting, fontsize=9, loc="left")
    if across:
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, loc="outside right upper", frameon=False)
    figure.suptitle(f"{report.title}, {report.machine.get('devices', '')}", fontsize=11)
    save_png(figure, path)
    return [path]


def _names(report: BenchReport) -> list[str]:
    """Of the cases that could run."""
    return list(dict.fromkeys(row.case.name for row in report.rows if row.samples))


def _lines(panels: tuple[Axes, Axes], report: BenchReport, rows: Sequence[CaseResult], across: str) -> None:
    """Medians with their quartiles as a band; the ratios to the baseline beside them."""
    left, right = panels
    places = sorted({int(row.case.setting[across]) for row in rows})
    for index, name in enumerate(_names(report)):
        mine = sorted(
            (row for row in rows if row.case.name == name), key=lambda row: row.case.setting[across]
        )
        if not mine:
            continue
        x = [int(row.case.setting[across]) for row in mine]
        first, median, third = 1000 * np.array([quartiles(row.samples) for row in mine]).T
        style: dict[str, Any] = {
            "color": f"C{index % 10}",
            "marker": MARKS[index % len(MARKS)],
            "markersize": 4.5,
            "linewidth": 1.4,
        }
        left.plot(x, median, label=name, **style)
        left.fill_between(x, first, third, color=style["color"], alpha=0.15, linewidth=0)
        right.plot(x, [report.ratio(row) or np.nan for row in mine], **style)
    floors = {int(row.case.setting[across]): row.case.floor for row in rows if row.case.floor}
    if floors:
        x = sorted(floors)
        left.plot(
            x, [1000 * floors[n] for n in x], color="black", linestyle=":", label="roofline of the device"
        )
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
        low, high = axes.get_ylim()
        near = high / low < 10  # at least three marks, also on a short axis
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5, 7) if near else (1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(across)
        axes.grid(alpha=0.25)
    left.set_ylabel("ms")
    right.set_ylabel(f"times as fast as {report.baseline}")
    right.axhline(1, color="black", linewidth=0.8)


def _bars(panels: tuple[Axes, Axes], report: BenchReport, rows: Sequence[CaseResult]) -> None:
    """A bar for each case, the first on top."""
    left, right = panels
    y = np.arange(len(rows))
    first, median, third = 1000 * np.array([quartiles(row.samples) for row in rows]).T
    ratios = [report.ratio(row) or np.nan for row in rows]
    left.barh(y, median, xerr=[median - first, third - median], color="tab:blue", alpha=0.5, capsize=2)
    right.barh(y, ratios, color="tab:green", alpha=0.5)
    for axes, values, texts in (
        (left, third, [show_ms(value / 1000) for value in median]),
        (right, ratios, ["" if np.isnan(value) else f"{value:.2f}" for value in ratios]),
    ):
        for place, value, text in zip(y, values, texts, strict=True):
            at = (0 if np.isnan(value) else value, place)
            axes.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(y, [row.case.name for row in rows] if axes is left else [])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.grid(axis="x", alpha=0.25)
    left.set_xlabel("ms")
    right.set_xlabel(f"times as fast as {report.baseline}")
    right.axvline(1, color="black", linewidth=0.8)

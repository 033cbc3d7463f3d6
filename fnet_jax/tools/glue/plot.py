"""The picture of a GLUE job."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fnet_jax.tools.figure import plt, save_png
from fnet_jax.tools.glue.table import GlueRow


def draw_glue(rows: Sequence[GlueRow], path: str) -> None:
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
    save_png(figure, path)

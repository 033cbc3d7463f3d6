"""A picture of where a model errs: its confusion matrix, or labels against predictions."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fnet_jax.core.files import write_atomically

_COUNTED_CLASSES = 20  # more would be too small to read
_NAMED_CLASSES = 50
_NAME_LENGTH = 28


def draw_confusion(
    path: str, names: Sequence[str], labels: np.ndarray, predictions: np.ndarray, title: str
) -> None:
    """Draws a PNG; examples without a label (-1) and numbers that are not finite are left out.

    Args:
        path: of the PNG.
        names: of the C classes in the order of their ids; () for regression.
        labels: [N] class ids or numbers.
        predictions: [N], the same of the model.
        title: above the picture.
    """
    size = _size(len(names))
    figure = Figure(figsize=(size + 1, size), dpi=120, layout="constrained")
    axes = figure.subplots()
    if names:
        _draw_matrix(axes, [_short(name) for name in names], labels, predictions)
    else:
        _draw_scatter(axes, labels, predictions)
    axes.set_title(title, fontsize=11, pad=10, parse_math=False)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box in the picture says so
        figure.savefig(content, format="png", bbox_inches="tight")
    write_atomically(path, content.getvalue())


def _size(num_classes: int) -> float:
    """Inches; cells that hold a count are wider than those that hold a colour alone."""
    if not num_classes:
        return 5.0
    cells = 0.62 * num_classes if num_classes <= _COUNTED_CLASSES else 0.2 * min(num_classes, _NAMED_CLASSES)
    return 2.8 + max(cells, 1.8)


def _draw_matrix(axes: Axes, names: Sequence[str], labels: np.ndarray, predictions: np.ndarray) -> None:
    """Counts; the colour is the share of the label's examples."""
    known = labels >= 0
    cells = labels[known].astype(np.int64) * len(names) + predictions[known]
    counts_CC = np.bincount(cells, minlength=len(names) ** 2).reshape(len(names), -1)
    totals_C1 = counts_CC.sum(1, keepdims=True)
    shares_CC = counts_CC / np.maximum(totals_C1, 1)
    # The root of the share, or a small share of errors would look like none.
    image = axes.imshow(shares_CC, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.ax.tick_params(labelsize=8)
    bar.set_label("share of the label's examples", fontsize=9)
    if len(names) <= _COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts_CC):
            colour = "0.75" if count == 0 else "white" if shares_CC[row, column] > 0.3 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    shown = range(0, len(names), -(-len(names) // _NAMED_CLASSES))
    fontsize = 9 if len(names) <= _COUNTED_CLASSES else 7
    rows = [f"{names[row]}  ({totals_C1[row, 0]:,})" for row in shown]
    axes.set_yticks(shown, rows, fontsize=fontsize, parse_math=False)
    columns = [names[column] for column in shown]
    axes.set_xticks(shown, columns, fontsize=fontsize, parse_math=False)
    axes.tick_params(axis="x", rotation=45)
    for text in axes.get_xticklabels():
        text.set(ha="right", rotation_mode="anchor")
    axes.set_ylabel("label (examples)")
    axes.set_xlabel("prediction")


def _draw_scatter(axes: Axes, labels: np.ndarray, predictions: np.ndarray) -> None:
    """One scale for both sides: predictions that hardly differ look it."""
    finite = np.isfinite(labels) & np.isfinite(predictions)
    labels, predictions = labels[finite].astype(np.float64), predictions[finite].astype(np.float64)
    both = np.concatenate([labels, predictions])
    low, high = (both.min(), both.max()) if len(both) else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.6", linestyle="--", linewidth=1, label="prediction = label")
    axes.scatter(labels, predictions, s=14, alpha=0.35, linewidths=0, label=f"{len(labels):,} examples")
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="label", ylabel="prediction")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"

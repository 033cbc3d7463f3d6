"""How numbers and tables of results are written."""

from collections.abc import Mapping, Sequence
from typing import Any

MAIN_VALUES = ("score", "loss")  # the first that a result has stands for it
LOSSES = ("loss", "cross_entropy", "squared_error")
NONE = "-"


def main_value(names: Mapping[str, Any]) -> str:
    """The name of the value that stands for a result; "" if it has none."""
    return next((name for name in MAIN_VALUES if names.get(name) is not None), "")


def is_loss(name: str) -> bool:
    """Whether less is better."""
    return name.endswith(LOSSES)


def show_value(name: str, value: Any) -> str:
    """Losses as they are, everything else in hundredths."""
    if not isinstance(value, int | float):
        return NONE
    return f"{value:.3f}" if is_loss(name) else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """For a person: "40 s", "4 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads well as it is and as Markdown; columns of numbers are flush right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    lines = []
    for row in (header, *rows):
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append(f"| {' | '.join(cells)} |")
    rule = "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in ("-", "")

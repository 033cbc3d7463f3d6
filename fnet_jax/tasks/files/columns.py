"""Files in columns, as those of the CoNLL shared tasks: a word a line, empty lines between sentences."""

from collections.abc import Iterable, Iterator

_DOCUMENT = "-DOCSTART-"

Row = tuple[int, list[str]]  # number of the line, columns


def sentences(lines: Iterable[tuple[int, str]]) -> Iterator[list[Row]]:
    """The words of each sentence with all their columns.

    Columns are divided by tabs, or by spaces where there is no tab. Lines that begin with -DOCSTART- are
    passed over, and comments ("# ...") with another number of columns than the first line, or than two.

    Args:
        lines: with their numbers.
    """
    rows: list[Row] = []
    width = 0
    for number, line in lines:
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if not columns or columns == [""] or columns[0] == _DOCUMENT:
            if rows:
                yield rows
            rows = []
            continue
        if columns[0].startswith("#") and len(columns) != (width or 2):
            continue
        width = width or len(columns)
        rows.append((number, columns))
    if rows:
        yield rows

"""The zip that GLUE's server takes: eleven files of predictions, written and checked.

Format: Wang et al. 2019 (arXiv 1804.07461) and the benchmark's FAQ; the counts are those of `tasks/table.py`.
"""

import dataclasses
import difflib
import io
import math
import numbers
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.tasks.table import TASKS, Task

HEADER = "index\tprediction"
LOWEST, HIGHEST = 0.0, 5.0  # of STS-B

# The largest file has 3.5 MB. A hostile zip may claim, and hold, any size.
MAX_ZIP_BYTES = 16 * 2**20
MAX_FILE_BYTES = 8 * 2**20
_NAMES_SHOWN = 5
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others, one block can hold gigabytes
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclasses.dataclass(frozen=True)
class SubmissionFile:
    """One file of a submission.

    Attributes:
        task: its row of `tasks.TASKS`.
        split: that is predicted.
        numeric: labels are written as their ids, 0 and 1; otherwise by name.
        fill: the prediction for all examples where there is none: the most frequent label.
    """

    task: Task
    split: str
    numeric: bool
    fill: str | float

    @property
    def rows(self) -> int:
        """Official number of examples."""
        return self.task.rows[self.split]

    @property
    def spellings(self) -> dict[str, str]:
        """How each label is written, by its name; {} for STS-B."""
        return {name: str(k) if self.numeric else name for k, name in enumerate(self.task.labels)}


FILES: dict[str, SubmissionFile] = {
    "CoLA": SubmissionFile(TASKS["cola"], "test", True, "acceptable"),
    "SST-2": SubmissionFile(TASKS["sst2"], "test", True, "positive"),
    "MRPC": SubmissionFile(TASKS["mrpc"], "test", True, "equivalent"),
    "STS-B": SubmissionFile(TASKS["stsb"], "test", False, 2.5),
    "QQP": SubmissionFile(TASKS["qqp"], "test", True, "not_duplicate"),
    "MNLI-m": SubmissionFile(TASKS["mnli"], "test_matched", False, "entailment"),
    "MNLI-mm": SubmissionFile(TASKS["mnli"], "test_mismatched", False, "entailment"),
    "QNLI": SubmissionFile(TASKS["qnli"], "test", False, "entailment"),
    "RTE": SubmissionFile(TASKS["rte"], "test", False, "entailment"),
    "WNLI": SubmissionFile(TASKS["wnli"], "test", True, "not_entailment"),
    "AX": SubmissionFile(TASKS["ax"], "test", False, "entailment"),
}
TITLES = {(file.task.name, file.split): title for title, file in FILES.items()}


def write_submission(path: str, predictions: Mapping[str, Sequence[str | float]]) -> list[str]:
    """Writes the zip. A file without predictions says the same of all examples, as the benchmark allows.

    Args:
        path: of the zip.
        predictions: by title of the file: names of labels, for STS-B numbers, in the order of the examples.
            Numbers are clipped to [0, 5].

    Returns:
        One sentence for each file without predictions.

    Raises:
        UserError: for a key that is no file, a wrong number of predictions, or one that is no label.
    """
    for title in predictions.keys() - FILES.keys():
        raise UserError(f"{title!r} is no file of a submission; valid: {', '.join(FILES)}")
    warnings = []
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for title, file in FILES.items():
            if title not in predictions:
                warnings.append(
                    f"{title}.tsv has no predictions; it says {file.fill} for all {file.rows:,} examples"
                )
            values = predictions.get(title, [file.fill] * file.rows)
            entry = zipfile.ZipInfo(f"{title}.tsv")  # dated 1980: equal predictions give equal bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, _text(title, file, values), zipfile.ZIP_DEFLATED)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    write_atomically(path, content.getvalue())
    return warnings


def _text(title: str, file: SubmissionFile, values: Sequence[str | float]) -> str:
    if len(values) != file.rows:
        raise UserError(
            f"{title} has {len(values):,} predictions, not {file.rows:,}, one for each example of the "
            f"official {file.split} split"
        )
    spellings = file.spellings
    lines = [HEADER]
    for row, value in enumerate(values):
        written = _similarity(value) if file.task.regression else spellings.get(str(value))
        if written is None:
            valid = ", ".join(spellings) or "finite numbers"
            raise UserError(f"{title}, prediction {row}: {value!r} is unknown; valid: {valid}")
        lines.append(f"{row}\t{written}")
    return "\n".join(lines) + "\n"


def _similarity(value: str | float) -> str | None:
    """A similarity as the server takes it; None for what is no finite number."""
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    return f"{min(HIGHEST, max(LOWEST, float(value))):.6f}"


def validate(path: str) -> list[str]:
    """Checks a zip, whoever wrote it. Nothing is extracted, and what is too large is not read.

    Args:
        path: of the zip.

    Returns:
        A sentence for each fault; [] if the server can score it.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_ZIP_BYTES:
            return [f"{path} has {size:,} bytes; a submission has less than {MAX_ZIP_BYTES:,}"]
        with zipfile.ZipFile(path) as archive:
            return list(_faults(archive))
    except OSError as error:
        return [f"{path} cannot be read ({error.strerror or error})"]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        return [f"{path} is no zip that can be read ({error})"]


def _faults(archive: zipfile.ZipFile) -> Iterator[str]:
    names = [entry.filename for entry in archive.infolist()]
    expected = [f"{title}.tsv" for title in FILES]
    yield from _few([_unknown(name, expected) for name in dict.fromkeys(names) if name not in expected])
    for title, file in FILES.items():
        name = f"{title}.tsv"
        if names.count(name) != 1:
            yield f"{name} is there {names.count(name)} times" if name in names else f"{name} is missing"
            continue
        content = _read(archive, archive.getinfo(name))
        if isinstance(content, str):
            yield f"{name} {content}"
        else:
            yield from (f"{name} {fault}" for fault in _file_faults(file, content))


def _unknown(name: str, expected: Sequence[str]) -> str:
    shown = repr(name[:60])
    if "/" in name or "\\" in name:
        return f"{shown} lies in a folder; the zip must be flat (zip -j)"
    by_lower = {name.lower(): name for name in expected}
    close = difflib.get_close_matches(name[:60].lower(), by_lower, n=1)
    return f"{shown} is no file of a submission" + (f"; did you mean {by_lower[close[0]]}?" if close else "")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | str:
    """The content of a file, or what is wrong with it."""
    if entry.file_size > MAX_FILE_BYTES:
        return f"claims {entry.file_size:,} bytes; a file has less than {MAX_FILE_BYTES:,}"
    if entry.compress_type not in _METHODS:
        return f"is compressed by method {entry.compress_type}; use deflate (8) or none (0)"
    if entry.flag_bits & 1:
        return "is encrypted"
    try:
        return archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        return f"is damaged ({error})"


def _file_faults(file: SubmissionFile, content: bytes) -> list[str]:
    """What is wrong with the text of a file, the first line of each kind."""
    if content.startswith(b"\xef\xbb\xbf"):
        return ["begins with a byte order mark; save it as plain UTF-8"]
    if b"\r" in content:
        line = content.count(b"\n", 0, content.index(b"\r")) + 1
        return [f"line {line}: ends with a carriage return; lines end with a line feed alone"]
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [f"line {line}: byte {content[error.start : error.start + 1]!r} is not ASCII"]
    header, *lines = text.removesuffix("\n").split("\n")
    if header != HEADER:
        return [f"line 1: the header is {header[:60]!r}, not {HEADER!r}"]
    faults = []
    if len(lines) != file.rows:
        faults.append(f"has {len(lines):,} predictions, not {file.rows:,}")
    valid = set(file.spellings.values())
    by_line = ((row + 2, _line_fault(line, row, file, valid)) for row, line in enumerate(lines[: file.rows]))
    wrong = [(line, fault) for line, fault in by_line if fault]
    if wrong:
        line, fault = wrong[0]
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        faults.append(f"line {line}: {fault}{more}")
    return faults


def _line_fault(line: str, row: int, file: SubmissionFile, valid: set[str]) -> str:
    """What is wrong with a line, or nothing."""
    index, tab, value = line.partition("\t")
    if not tab or "\t" in value:
        return f"{line[:60]!r} is not an index, a tab and a prediction"
    for text in (index, value):
        if text != text.strip():
            return f"{text[:60]!r} has spaces around it"
    if index != str(row):
        return f"the index is {index[:60]!r}, not {row}"
    if valid:
        return "" if value in valid else f"{value[:60]!r} is no label; valid: {', '.join(sorted(valid))}"
    if not _NUMBER.fullmatch(value):
        return f"{value[:60]!r} is no number"
    in_range = LOWEST <= float(value) <= HIGHEST
    return "" if in_range else f"{value[:60]} is outside {LOWEST:g} to {HIGHEST:g}"


def _few(faults: list[str]) -> list[str]:
    """A hostile zip may have a million names."""
    hidden = len(faults) - _NAMES_SHOWN
    return faults if hidden <= 0 else [*faults[:_NAMES_SHOWN], f"{hidden:,} more such files"]

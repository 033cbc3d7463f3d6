"""Small official splits, and a whole submission for them."""

import csv
import dataclasses
import io
import zipfile

import pytest

from fnet_jax.tools.glue import submission
from fnet_jax.tools.glue.submission import FILES, write_submission

OFFICIAL_ROWS = {
    "AX": 1104, "CoLA": 1063, "MNLI-m": 9796, "MNLI-mm": 9847, "MRPC": 1725, "QNLI": 5463, "QQP": 390965,
    "RTE": 3000, "SST-2": 1821, "STS-B": 1379, "WNLI": 146,
}  # fmt: skip
SPELLINGS = {
    "CoLA": {"unacceptable": "0", "acceptable": "1"},
    "SST-2": {"negative": "0", "positive": "1"},
    "MRPC": {"not_equivalent": "0", "equivalent": "1"},
    "QQP": {"not_duplicate": "0", "duplicate": "1"},
    "WNLI": {"not_entailment": "0", "entailment": "1"},
    **{title: {name: name for name in ("entailment", "neutral", "contradiction")}
       for title in ("MNLI-m", "MNLI-mm", "AX")},
    **{title: {name: name for name in ("entailment", "not_entailment")} for title in ("QNLI", "RTE")},
}  # fmt: skip
SMALL_ROWS = 4


@pytest.fixture
def small(monkeypatch):
    """Every file has four examples."""
    files = {
        title: dataclasses.replace(
            file, task=dataclasses.replace(file.task, rows={**file.task.rows, file.split: SMALL_ROWS})
        )
        for title, file in FILES.items()
    }
    monkeypatch.setattr(submission, "FILES", files)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("submission") / "glue.zip")


def contents(path: str) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), delimiter="\t"))


def pack(path: str, files: dict[str, bytes], **options) -> str:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def files(small, tmp_path) -> dict[str, bytes]:
    """A valid small submission, by name of the file."""
    path = str(tmp_path / "valid.zip")
    write_submission(path, {})
    return contents(path)

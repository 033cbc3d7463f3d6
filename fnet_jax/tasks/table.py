"""The labelled tasks, one row each: labels, metrics, splits. A new task is a new row.

Facts of GLUE: Wang et al. 2019 (arXiv 1804.07461) and the files of the benchmark.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

KindName = Literal["classify", "tag", "choose", "answer"]


@dataclasses.dataclass(frozen=True)
class Task:
    """One row.

    Attributes:
        name: as the config's `task`.
        title: in tables, in the names of GLUE's folders and submission files.
        labels: names in the order of their ids; () for regression, and where the data tell.
        metrics: all that is reported, names of `tasks/scores.py`.
        score: the metrics whose mean chooses checkpoints and stands in tables: the benchmark's own.
        paper_score: the same in the FNet paper.
        rows: official number of examples by split; a split that is not named here has no official size.
        regression: labels are numbers.
        pair: two texts per example.
        kind: what is to be done; its row is in `tasks/kinds.py`.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    score: tuple[str, ...]
    paper_score: tuple[str, ...]
    rows: Mapping[str, int]
    regression: bool = False
    pair: bool = True
    kind: KindName = "classify"

    def num_outputs(self, labels: Sequence[str]) -> int:
        """`model.num_outputs` for these labels; 0 while they are not known."""
        return 1 if self.regression else 2 if self.kind == "answer" else len(labels or self.labels)

    def official_rows(self, split: str, found: int) -> int | None:
        """The official number of examples of a split, of which `found` are at hand; None: nobody says."""
        if (self.name, split, found) == ("qqp", "train", QQP_TRAIN_ROWS_WITHOUT_BROKEN):
            return found
        return self.rows.get(split)

    @property
    def train_split(self) -> str | None:
        """The split to train on; AX has none."""
        return "train" if "train" in self.rows or not self.rows else None

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """The splits with labels that are not trained on; the first one chooses checkpoints."""
        return tuple(name for name in self.rows if name.startswith("validation")) or ("validation",)

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The splits to be predicted, without labels in GLUE."""
        return tuple(name for name in self.rows if name.startswith("test"))


# Some rows of QQP's training file are cut in two by line breaks. Who passes over the pieces (TFDS among
# them) has three more rows than the benchmark's own count; both are the whole split.
QQP_TRAIN_ROWS_WITHOUT_BROKEN = 363_849


def _splits(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


ACCURACY = ("accuracy",)
NLI = ("entailment", "neutral", "contradiction")
TWO_WAY_NLI = ("entailment", "not_entailment")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "cola", "CoLA", ("unacceptable", "acceptable"),
            ("accuracy", "matthews"), ("matthews",), ACCURACY, _splits(8551, 1043, 1063), pair=False,
        ),
        Task(
            "sst2", "SST-2", ("negative", "positive"),
            ACCURACY, ACCURACY, ACCURACY, _splits(67349, 872, 1821), pair=False,
        ),
        Task(
            "mrpc", "MRPC", ("not_equivalent", "equivalent"),
            ("accuracy", "f1"), ("accuracy", "f1"), ("accuracy", "f1"), _splits(3668, 408, 1725),
        ),
        Task(
            "stsb", "STS-B", (),
            ("pearson", "spearman"), ("pearson", "spearman"), ("spearman",),
            _splits(5749, 1500, 1379), regression=True,
        ),
        Task(
            "qqp", "QQP", ("not_duplicate", "duplicate"),
            ("accuracy", "f1"), ("accuracy", "f1"), ("accuracy", "f1"), _splits(363846, 40430, 390965),
        ),
        Task(
            "mnli", "MNLI", NLI, ACCURACY, ACCURACY, ACCURACY,
            {
                "train": 392702, "validation_matched": 9815, "validation_mismatched": 9832,
                "test_matched": 9796, "test_mismatched": 9847,
            },
        ),
        Task("qnli", "QNLI", TWO_WAY_NLI, ACCURACY, ACCURACY, ACCURACY, _splits(104743, 5463, 5463)),
        Task("rte", "RTE", TWO_WAY_NLI, ACCURACY, ACCURACY, ACCURACY, _splits(2490, 277, 3000)),
        Task("wnli", "WNLI", ("not_entailment", "entailment"), ACCURACY, ACCURACY, ACCURACY,
             _splits(635, 71, 146)),
        # The diagnostic set: predicted by a model of MNLI, never trained on.
        Task("ax", "AX", NLI, ("matthews",), ("matthews",), ("matthews",), {"test": 1104}),
        Task(
            "ag_news", "AG News", ("World", "Sports", "Business", "Sci/Tech"),
            ACCURACY, ACCURACY, ACCURACY, {"train": 120_000, "test": 7600}, pair=False,
        ),
        Task("pydocs", "pydocs", (), ACCURACY, ACCURACY, ACCURACY, {}, pair=False),
        Task("classify", "classify", (), ("accuracy", "macro_f1"), ACCURACY, ACCURACY, {}, pair=False),
        Task("regress", "regress", (), ("pearson", "spearman"), ("spearman",), ("spearman",), {},
             regression=True, pair=False),
        Task("tag", "tag", (), ("precision", "recall", "f1", "accuracy"), ("f1",), ("f1",), {},
             pair=False, kind="tag"),
        Task("choose", "choose", (), ACCURACY, ACCURACY, ACCURACY, {}, kind="choose"),
        Task("answer", "answer", (), ("exact_match", "f1"), ("f1",), ("f1",), {}, kind="answer"),
    )
}  # fmt: skip

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax")

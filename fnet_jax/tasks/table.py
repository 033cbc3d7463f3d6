"""The labelled tasks, one row each: labels, metrics, splits, files. A new task is a new row.

Facts of GLUE: Wang et al. 2019 (arXiv 1804.07461) and the files of the benchmark.
"""

import dataclasses
from collections.abc import Mapping, Sequence

# Keys of the config that some labelled tasks read.
TEXTS = ("data.truncation", "data.swap_texts")
FILES = ("data.validation", "data.test")
TABLES = (*FILES, "data.text_field", "data.text_b_field", "data.label_field")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where texts and labels stand in files in the layout of GLUE, by the names of the columns.

    Attributes:
        text: the first or only text.
        text_b: the second text of pairs; "" for single texts.
        label: of train and validation files; those of test files are not read.
        headerless: all columns of train and validation files that do not begin with their names.
        numeric: labels are the numbers of `Task.labels`; otherwise their names, or those of regression.
        has_broken_rows: some rows of the official file are cut by line breaks in a text.
    """

    text: str
    text_b: str = ""
    label: str = "label"
    headerless: tuple[str, ...] | None = None
    numeric: bool = False
    has_broken_rows: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """One row.

    Attributes:
        name: as the config's `task`.
        title: in tables, in the names of GLUE's folders and submission files.
        labels: names in the order of their ids; () for regression, and where the data tell.
        metrics: all that is reported, names of `classify/scores.py`, or of the kind's own scores.
        score: the metrics whose mean chooses checkpoints and stands in tables: the benchmark's own.
        paper_score: the same in the FNet paper.
        rows: official number of examples by split; a split that is not named here has no official size.
        columns: of the files TITLE/train.tsv, dev.tsv and test.tsv in `data.dir`, if it has such.
        tfds_fields: the texts in TFDS, if it is there; the two of a task of single texts are joined.
        regression: labels are numbers.
        kind: what is to be done; see `kinds.KINDS`.
        reads: keys of the config that it reads and other labelled tasks do not.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    score: tuple[str, ...]
    paper_score: tuple[str, ...]
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    columns: Columns | None = None
    tfds_fields: tuple[str, ...] = ()
    regression: bool = False
    kind: str = "classify"
    reads: tuple[str, ...] = TEXTS

    @property
    def has_pairs(self) -> bool:
        """Whether an example of the benchmark is two texts."""
        return self.columns is not None and self.columns.text_b != ""

    def num_outputs(self, labels: Sequence[str]) -> int:
        """`model.num_outputs` for these labels; 0 while they are not known."""
        return 1 if self.regression else 2 if self.kind == "answer" else len(labels or self.labels)

    def official_rows(self, split: str, found: int) -> int | None:
        """The official number of examples of a split, of which `found` are at hand; None: nobody says."""
        if (self.name, split, found) == ("qqp", "train", QQP_TRAIN_ROWS_WITHOUT_BROKEN):
            return found
        return self.rows.get(split)

    @property
    def validation_splits(self) -> tuple[str, ...]:
        """The splits with labels that are not trained on; the first one chooses checkpoints."""
        return tuple(name for name in self.rows if name.startswith("validation")) or ("validation",)

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The splits to be predicted, without labels in GLUE."""
        return tuple(name for name in self.rows if name.startswith("test"))


# Line breaks cut some rows of QQP's training file in two. Readers that leave out the broken rows (TFDS among
# them) have three more rows than the benchmark's own count; both are the whole split.
QQP_TRAIN_ROWS_WITHOUT_BROKEN = 363_849


def _splits(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


ACCURACY = ("accuracy",)
ACCURACY_F1 = ("accuracy", "f1")
CORRELATIONS = ("pearson", "spearman")
NLI = ("entailment", "neutral", "contradiction")
TWO_WAY_NLI = ("entailment", "not_entailment")
PAIR = ("sentence1", "sentence2")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "cola", "CoLA", ("unacceptable", "acceptable"),
            ("accuracy", "matthews"), ("matthews",), ACCURACY, _splits(8551, 1043, 1063),
            Columns("sentence", headerless=("source", "label", "note", "sentence"), numeric=True),
            tfds_fields=("sentence",),
        ),
        Task(
            "sst2", "SST-2", ("negative", "positive"),
            ACCURACY, ACCURACY, ACCURACY, _splits(67349, 872, 1821),
            Columns("sentence", numeric=True), tfds_fields=("sentence",),
        ),
        Task(
            "mrpc", "MRPC", ("not_equivalent", "equivalent"),
            ACCURACY_F1, ACCURACY_F1, ACCURACY_F1, _splits(3668, 408, 1725),
            Columns("#1 String", "#2 String", "Quality", numeric=True), tfds_fields=PAIR,
        ),
        Task(
            "stsb", "STS-B", (),
            CORRELATIONS, CORRELATIONS, ("spearman",), _splits(5749, 1500, 1379),
            Columns(*PAIR, "score"), tfds_fields=PAIR, regression=True,
        ),
        Task(
            "qqp", "QQP", ("not_duplicate", "duplicate"),
            ACCURACY_F1, ACCURACY_F1, ACCURACY_F1, _splits(363846, 40430, 390965),
            Columns("question1", "question2", "is_duplicate", numeric=True, has_broken_rows=True),
            tfds_fields=("question1", "question2"),
        ),
        Task(
            "mnli", "MNLI", NLI, ACCURACY, ACCURACY, ACCURACY,
            {
                "train": 392702, "validation_matched": 9815, "validation_mismatched": 9832,
                "test_matched": 9796, "test_mismatched": 9847,
            },
            Columns(*PAIR, "gold_label"), tfds_fields=("premise", "hypothesis"),
        ),
        Task(
            "qnli", "QNLI", TWO_WAY_NLI, ACCURACY, ACCURACY, ACCURACY, _splits(104743, 5463, 5463),
            Columns("question", "sentence"), tfds_fields=("question", "sentence"),
        ),
        Task(
            "rte", "RTE", TWO_WAY_NLI, ACCURACY, ACCURACY, ACCURACY, _splits(2490, 277, 3000),
            Columns(*PAIR), tfds_fields=PAIR,
        ),
        Task(
            "wnli", "WNLI", ("not_entailment", "entailment"),
            ACCURACY, ACCURACY, ACCURACY, _splits(635, 71, 146),
            Columns(*PAIR, numeric=True), tfds_fields=PAIR,
        ),
        # The diagnostic set: predicted by a model of MNLI, never trained on.
        Task(
            "ax", "AX", NLI, ("matthews",), ("matthews",), ("matthews",), {"test": 1104},
            Columns(*PAIR), tfds_fields=("premise", "hypothesis"),
        ),
        Task(
            "ag_news", "AG News", ("World", "Sports", "Business", "Sci/Tech"),
            ACCURACY, ACCURACY, ACCURACY, {"train": 120_000, "test": 7600},
            tfds_fields=("title", "description"),
        ),
        Task("pydocs", "pydocs", (), ACCURACY, ACCURACY, ACCURACY),
        Task(
            "classify", "classify", (), ("accuracy", "macro_f1"), ACCURACY, ACCURACY,
            reads=(*TABLES, *TEXTS, "data.labels"),
        ),
        Task(
            "regress", "regress", (), CORRELATIONS, ("spearman",), ("spearman",),
            regression=True, reads=(*TABLES, *TEXTS),
        ),
        Task(
            "tag", "tag", (), ("precision", "recall", "f1", "accuracy"), ("f1",), ("f1",), kind="tag",
            reads=(*FILES, "data.word_column", "data.tag_column", "data.labels"),
        ),
        Task(
            "choose", "choose", (), ACCURACY, ACCURACY, ACCURACY, kind="choose",
            reads=(*TABLES, "data.choice_fields", "data.truncation"),
        ),
        Task(
            "answer", "answer", (), ("exact_match", "f1"), ("f1",), ("f1",), kind="answer",
            reads=(
                *FILES, "data.max_query_length", "data.doc_stride", "data.max_answer_length",
                "data.null_score_diff_threshold",
            ),
        ),
    )
}  # fmt: skip

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax")

"""Predictions of every example, in a file and in a picture."""

import math
import os

import matplotlib.image
import numpy as np
import pytest
import sklearn.metrics
from matplotlib.figure import Figure

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.classify import predictions
from fnet_jax.tasks.classify.confusion import draw_confusion
from fnet_jax.tasks.classify.files import ClassifySplit

NAMES = ("no", "yes", "perhaps")
TEXTS = ["one\u2028line", 'a "quote"', "日本語 \t $x$"]


def a_split(labels=None, texts_b=None) -> ClassifySplit:
    return ClassifySplit(
        name="validation", ids=[7, 8, 11], source="made up", texts=TEXTS, texts_b=texts_b, labels=labels
    )


def test_classes(tmp_path):
    path = str(tmp_path / "predictions.jsonl")
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]], np.float32))
    predictions.write(path, a_split(np.array([0, 2, -1])), NAMES, logits)
    with open(path, encoding="utf-8") as file:
        assert TEXTS[2].split()[0] in file.read()  # to be read by people too
    found = predictions.read(path)
    assert [row.pop("scores") for row in found] == [
        pytest.approx(dict(zip(NAMES, values, strict=True)), abs=2e-6)
        for values in ([0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1])
    ]
    assert found == [
        {"index": 7, "text": TEXTS[0], "label": "no", "prediction": "yes"},
        {"index": 8, "text": TEXTS[1], "label": "perhaps", "prediction": "perhaps"},
        {"index": 11, "text": TEXTS[2], "label": None, "prediction": "no"},
    ]


def test_pairs_numbers_and_a_part_of_the_split(tmp_path):
    path = str(tmp_path / "predictions.jsonl")
    split = a_split(np.array([3.8, 0.2, 1], np.float32), ["b", "", "c"])
    predictions.write(path, split, (), np.array([[1.25], [-0.1]], np.float32))
    assert predictions.read(path) == [
        {"index": 7, "text": TEXTS[0], "text_b": "b", "label": 3.8, "prediction": 1.25},
        {"index": 8, "text": TEXTS[1], "text_b": "", "label": 0.2, "prediction": -0.1},
    ]


def test_scores_add_up_and_have_six_digits(tmp_path):
    path = str(tmp_path / "predictions.jsonl")
    logits = np.array([[1000, 0, -1000], [0, 1, 2], [-2e4, -2e4, -2e4]], np.float32)
    predictions.write(path, a_split(), NAMES, logits)
    scores = [list(row["scores"].values()) for row in predictions.read(path)]
    assert scores[0] == [1, 0, 0]
    assert scores[1] == [0.090031, 0.244728, 0.665241]
    assert scores[2] == [0.333333] * 3


def test_what_is_no_number_is_null(tmp_path):
    """JSON knows neither nan nor inf."""
    path = tmp_path / "predictions.jsonl"
    predictions.write(str(path), a_split(), (), np.array([[math.nan], [math.inf], [1]], np.float32))
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert [row["prediction"] for row in predictions.read(str(path))] == [None, None, 1]
    predictions.write(str(path), a_split(), NAMES, np.full((1, 3), math.nan, np.float32))
    assert predictions.read(str(path))[0]["scores"] == dict.fromkeys(NAMES)


@pytest.mark.parametrize(("shape", "names"), [((4, 3), NAMES), ((3, 2), NAMES), ((3, 2), ())])
def test_logits_that_do_not_fit(tmp_path, shape, names):
    with pytest.raises(ValueError, match="do not fit 3 examples"):
        predictions.write(str(tmp_path / "p.jsonl"), a_split(), names, np.zeros(shape, np.float32))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"index": 0, "prediction": "no"}\n{"index": 1, "pre', r"p\.jsonl:2: no JSON"),
        (b'[1]\n', r"p\.jsonl:1: '\[1\]' is no JSON object"),
        (b'{"index": 0}\n', r"p\.jsonl:1: .* is no object with index and prediction"),
        (b"\xff\n", r"p\.jsonl:1: bytes .* are not UTF-8"),
        (None, r"p\.jsonl cannot be read \(No such file"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "p.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        predictions.read(str(path))


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """The figures that were saved."""
    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k)))
    return saved


def counts_shown(figure: Figure, classes: int) -> np.ndarray:
    """The numbers written in the cells, by place."""
    found = np.full((classes, classes), -1)
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        found[row, column] = int(text.get_text().replace(",", ""))
    return found


@pytest.mark.parametrize("classes", [1, 2, 13, 20])
def test_the_picture_counts(tmp_path, figures, classes):
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, classes, (2, 5000))
    path = str(tmp_path / "confusion.png")
    draw_confusion(path, [f"class {k}" for k in range(classes)], labels, answers, "5 $ and % _")
    expected = np.zeros((classes, classes), int)
    for label, answer in zip(labels, answers, strict=True):
        expected[label, answer] += 1
    if classes > 1:
        np.testing.assert_array_equal(expected, sklearn.metrics.confusion_matrix(labels, answers))
    np.testing.assert_array_equal(counts_shown(figures[0], classes), expected)
    axes = figures[0].axes[0]
    shares = expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        f"class {k}  ({count:,})" for k, count in enumerate(expected.sum(1))
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label (examples)")
    assert matplotlib.image.imread(path).std() > 0.05
    assert os.listdir(tmp_path) == ["confusion.png"]


def test_many_classes_are_colours_alone(tmp_path, figures):
    labels = np.arange(300) % 120
    draw_confusion(str(tmp_path / "c.png"), [f"class {k}" for k in range(120)], labels, labels, "")
    axes = figures[0].axes[0]
    assert len(axes.texts) == 0
    assert 30 < len(axes.get_yticks()) <= 50


def test_names_that_are_hard_to_draw(tmp_path, figures):
    """Signs that the font lacks, formulas, line breaks, length: none warns, none fails."""
    names = ["日本語", "$\\frac$", "a\nb", "long " * 20]
    draw_confusion(str(tmp_path / "c.png"), names, np.array([0, 1, -1]), np.array([0, 1, 2]), "$\\frac$")
    shown = [text.get_text() for text in figures[0].axes[0].get_xticklabels()]
    assert shown[:3] == ["日本語", "$\\frac$", "a b"]
    assert len(shown[3]) == 28 and shown[3].endswith("…")
    assert counts_shown(figures[0], 4).sum() == 2  # the third example has no label


@pytest.mark.parametrize("answers", [[1.0, 4, 2], [2.5, 2.5, 2.5], [math.nan, 1, math.inf], [math.nan] * 3])
def test_numbers_are_scattered(tmp_path, figures, answers):
    labels = np.array([1, 5, 2], np.float32)
    draw_confusion(str(tmp_path / "c.png"), (), labels, np.array(answers, np.float32), "regression")
    points = figures[0].axes[0].collections[0].get_offsets()
    expected = [pair for pair in zip(labels, answers, strict=True) if math.isfinite(pair[1])]
    np.testing.assert_array_equal(np.asarray(points), np.array(expected).reshape(-1, 2))


def test_one_number_everywhere_is_drawn(tmp_path, figures):
    same = np.full(3, 2.5, np.float32)
    draw_confusion(str(tmp_path / "c.png"), (), same, same, "")
    assert figures[0].axes[0].get_xlim() == figures[0].axes[0].get_ylim() == (2, 3)

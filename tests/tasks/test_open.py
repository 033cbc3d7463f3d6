"""Tables of one's own, AG News, the embedded task, and how many examples are used."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fnet_jax.core.errors import UserError
from fnet_jax.data import pydocs
from fnet_jax.tasks.classify import pydocs as pydocs_task
from fnet_jax.tasks.classify.ag_news import clean
from fnet_jax.tasks.open import open_labelled

ROWS = [(f"Text number {i} says a thing.", ("yes", "no", "maybe")[i % 3]) for i in range(200)]


def tsv(rows, header=("text", "label")) -> str:
    return "".join("\t".join(row) + "\n" for row in [header, *rows])


@pytest.fixture
def open_own(tmp_path, make_data):
    """A function that opens the folder of the test, or a file in it."""

    def open_own(name="", task="classify", seed=0, **changes):
        changes = {
            key: str(tmp_path / v) if key in ("test", "validation") else v for key, v in changes.items()
        }
        return open_labelled(task, make_data(corpus=str(tmp_path / name), **changes), seed)

    return open_own


def pairs_of(data, name) -> list[tuple[str, str]]:
    """Texts and names of labels of a split."""
    split = data.split(name)
    return [(text, data.labels[label]) for text, label in zip(split.texts, split.labels, strict=True)]


def test_one_file_is_divided_by_the_hash_of_the_text(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv(ROWS))
    data = open_own("x.tsv", holdout_fraction=0.2)
    train, validation = pairs_of(data, "train"), pairs_of(data, "validation")
    assert sorted(train + validation) == sorted(ROWS)
    assert 20 <= len(validation) <= 60
    assert data.labels == ("maybe", "no", "yes")
    assert f"validation: {len(validation)} of the 200 examples of" in data.warnings[0]
    (tmp_path / "y.csv").write_text(
        "\n".join(f"{label},{text}" for text, label in [("text", "label"), *ROWS[::-1]])
    )
    assert sorted(pairs_of(open_own("y.csv", holdout_fraction=0.2), "validation")) == sorted(validation)


def test_equal_texts_are_held_out_together(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv([(text, label) for text, _ in ROWS for label in ("a", "b")]))
    data = open_own("x.tsv", holdout_fraction=0.5)
    assert not set(data.split("train").texts) & set(data.split("validation").texts)
    assert len(data.split("train")) % 2 == 0


def test_one_example_at_least_is_held_out(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv(ROWS[:3]))
    data = open_own("x.tsv", holdout_fraction=1e-9)
    assert len(data.split("train")) == 2 and len(data.split("validation")) == 1
    (tmp_path / "x.tsv").write_text(tsv([("same", "a"), ("same", "b")]))
    with pytest.raises(UserError, match=r"x\.tsv has 2 examples, too few to hold out .*data\.validation"):
        open_own("x.tsv")


@pytest.mark.parametrize("name", ["validation.csv", "valid.csv", "dev.csv"])
def test_a_folder_with_a_file_per_split(tmp_path, open_own, name):
    (tmp_path / "train.tsv").write_text(tsv(ROWS))
    (tmp_path / name).write_text(
        'label,text\nno,"A new text, with a comma."\nyes,Text number 0 says a thing.\n'
    )
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "Unlabelled."}) + "\n")
    (tmp_path / "README.md").write_text("Not a table")
    data = open_own()
    assert pairs_of(data, "validation")[0] == ("A new text, with a comma.", "no")
    assert data.split("test").texts == ["Unlabelled."] and data.split("test").labels is None
    assert data.warnings == (
        "validation: 1 of 2 examples have their text in the training split too, so scores flatter",
    )


def test_files_given_by_hand_come_first(tmp_path, open_own):
    (tmp_path / "train.tsv").write_text(tsv(ROWS))
    (tmp_path / "test.tsv").write_text(tsv([("From the folder.", "yes")]))
    (tmp_path / "mine.tsv").write_text(tsv([("By hand.", "no")]))
    data = open_own(test="mine.tsv", validation="mine.tsv")
    assert pairs_of(data, "test") == pairs_of(data, "validation") == [("By hand.", "no")]
    assert pairs_of(open_own(), "test") == [("From the folder.", "yes")]


def test_pairs_fields_and_labels_by_name(tmp_path, open_own):
    (tmp_path / "x.jsonl").write_text(
        "".join(
            json.dumps({"q": f"Q{i}?", "a": ["", "A."][i % 2], "ok": i % 2 == 1}) + "\n" for i in range(20)
        )
    )
    data = open_own("x.jsonl", text_field="q", text_b_field="a", label_field="ok", labels=("true", "false"))
    split = data.split("train")
    assert data.labels == ("true", "false")
    for text, text_b, label in zip(split.texts, split.texts_b, split.labels, strict=True):
        odd = int(text[1:-1]) % 2 == 1
        assert (text_b, data.labels[label]) == (("A.", "true") if odd else ("", "false"))


def test_whole_numbers_are_ordered_by_size(tmp_path, open_own):
    (tmp_path / "x.tsv").write_text(tsv([(text, str(i % 12)) for i, (text, _) in enumerate(ROWS)]))
    assert open_own("x.tsv").labels == tuple(str(i) for i in range(12))


def test_regression(tmp_path, open_own):
    (tmp_path / "train.tsv").write_text(tsv([(text, f"{i / 8}") for i, (text, _) in enumerate(ROWS)]))
    (tmp_path / "test.tsv").write_text(tsv([("Text.", "-1"), ("Text.", "-1")]))
    data = open_own(task="regress")
    train = data.split("train")
    assert data.labels == () and train.labels.dtype == np.float32
    assert all(
        int(text.split()[2]) / 8 == label for text, label in zip(train.texts, train.labels, strict=True)
    )
    assert data.split("test").labels.tolist() == [-1, -1]  # which are numbers like any other


def test_a_test_split_of_minus_ones_is_unlabelled(tmp_path, open_own):
    (tmp_path / "train.tsv").write_text(tsv(ROWS))
    (tmp_path / "test.tsv").write_text(tsv([("Text.", "-1"), ("Text.", "-1")]))
    assert open_own().split("test").labels is None


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"train.tsv": [*ROWS], "dev.tsv": [ROWS[0], ("New.", "perhaps")]}, {},
         r"dev\.tsv:3: label 'perhaps' is unknown; valid: maybe, no, yes"),
        ({"train.tsv": ROWS}, {"labels": ("no", "yes")},
         r"train\.tsv:4: label 'maybe' is unknown; valid: no, yes"),
        ({"train.tsv": [("Text.", "yes"), (" ", "no")]}, {}, r"train\.tsv:3: empty text \(text\)"),
        ({"train.tsv": [("Text.", "yes"), ("Text.", "")]}, {}, r"train\.tsv:3: empty label \(label\)"),
        ({"train.tsv": ROWS[:1]}, {}, r"train\.tsv: all labels are 'yes'; a classifier needs two"),
        ({"train.tsv": []}, {}, r"train\.tsv has no rows"),
        ({"train.tsv": ROWS}, {"text_field": "body"},
         r"train\.tsv:1: no column 'body'; it has 'text', 'label'"),
        ({"train.tsv": ROWS}, {"task": "regress"}, r"train\.tsv:2: label 'yes' is no finite number"),
        ({"train.tsv": ROWS, "train.csv": ROWS}, {}, r"has train\.csv and train\.tsv for train; keep one"),
        ({"test.tsv": ROWS}, {}, r"has no train file; names: train, validation \(or dev, valid\), test"),
        ({"train.tsv": ROWS}, {"test": "gone.tsv"}, r"data\.test=.*gone\.tsv' is no file"),
        ({"train.tsv": ROWS}, {"name": "gone"},
         r"gone' is no file or folder; task='classify' reads \.tsv, \.txt"),
    ],
)  # fmt: skip
def test_mistakes_are_said(tmp_path, open_own, files, changes, message):
    for name, rows in files.items():
        (tmp_path / name).write_text(tsv(rows))
    with pytest.raises(UserError, match=message):
        open_own(**changes)


def test_fewer_examples_are_chosen_by_seed(tmp_path, open_own):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text(tsv([(f"{name} {text}", label) for text, label in ROWS]))

    def chosen(count, seed=0):
        return open_own(seed=seed, max_train_examples=count, max_eval_examples=7)

    few, more = chosen(10), chosen(50)
    assert len(few.split("train")) == 10 and few.split("train").ids == sorted(few.split("train").ids)
    assert set(pairs_of(few, "train")) < set(pairs_of(more, "train")) < set(pairs_of(open_own(), "train"))
    assert set(few.split("train").ids) != set(chosen(10, seed=1).split("train").ids)
    validation = few.split("validation").ids
    assert len(validation) == 7 and validation == sorted(validation) and max(validation) > 50
    assert validation == chosen(10, seed=1).split("validation").ids
    assert len(few.split("test")) == len(ROWS)  # a file to be handed in has all rows
    assert few.warnings == (
        "classify train: 10 of 200 examples (data.max_train_examples)",
        "classify validation: 7 of 200 examples (data.max_eval_examples)",
    )
    assert open_own(max_train_examples=500, max_eval_examples=500).warnings == ()


# ---- AG News


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a second\team of rocketeers", "a second team of rocketeers"),
        ("the  #36;10 million Ansari X Prize", "the $10 million Ansari X Prize"),
        ("It #39;s over. quot;", "It's over.\""),
        ("says  quot;no quot; to AT amp;T", 'says "no" to AT&T'),
        (r"a record \$55.8bn", "a record $55.8bn"),
        ("&lt;b&gt;Bold&lt;/b&gt; &lt;DELL.O&gt;", "<b>Bold</b> <DELL.O>"),
        ("Profit #151;Up; Oil Rises; AT&T;", "Profit\u2014Up; Oil Rises; AT&T;"),
    ],
)
def test_texts_of_ag_news_are_mended(raw, text):
    assert clean(raw) == text


def write_news(folder, names=("World", "Sports", "Business", "Sci/Tech")):
    (folder / "classes.txt").write_text("\n".join(names) + "\n")
    rows = [f'"{i % 4 + 1}","Title {i}","Said ""it"" and\\moved on."' for i in range(80)]
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (folder / "test.csv").write_text('"3","T","D #39;s"\n')


def test_ag_news(tmp_path, make_data):
    write_news(tmp_path)
    data = open_labelled("ag_news", make_data(corpus="", dir=str(tmp_path), holdout_fraction=0.3), 0)
    train, validation = data.split("train"), data.split("validation")
    assert len(train) + len(validation) == 80 and 10 <= len(validation) <= 40
    assert train.texts[0].endswith('Said "it" and moved on.')
    for split in (train, validation):
        assert all(int(t.split()[1]) % 4 == label for t, label in zip(split.texts, split.labels, strict=True))
    assert data.split("test").texts == ["T D's"] and data.split("test").labels.tolist() == [2]
    assert "AG News validation:" in data.warnings[0] and "held out" in data.warnings[0]
    assert not train.is_whole and "AG News train:" in data.warnings[1]


def test_classes_of_ag_news_go_by_name(tmp_path, make_data):
    write_news(tmp_path, ("Sports", "World", "Business", "Sci/Tech"))
    data = open_labelled("ag_news", make_data(corpus="", dir=str(tmp_path)), 0)
    split = data.split("train")
    assert data.labels[split.labels[split.texts.index('Title 0 Said "it" and moved on.')]] == "Sports"
    write_news(tmp_path, ("Sport", "World", "Business", "Sci/Tech"))
    with pytest.raises(UserError, match=r"classes\.txt names Sport, World, .*; AG News has World, Sports"):
        open_labelled("ag_news", make_data(corpus="", dir=str(tmp_path)), 0)


def test_mistakes_with_ag_news_are_said(tmp_path, make_data):
    with pytest.raises(UserError, match=r"no file train\.csv in .*; no file test\.csv"):
        open_labelled("ag_news", make_data(corpus="", dir=str(tmp_path)), 0)
    with pytest.raises(UserError, match=r"task='ag_news' needs data\.dir"):
        open_labelled("ag_news", make_data(corpus="", dir=""), 0)
    (tmp_path / "test.csv").write_text('"1","a","b"\n"5","a","b"\n')
    with pytest.raises(UserError, match=r"test\.csv:2: label '5' is unknown; valid: 1, 2, 3, 4"):
        open_labelled("ag_news", make_data(corpus="", dir=str(tmp_path)), 0)


class AgNewsSubset(tfds.core.GeneratorBasedBuilder):
    """AG News as TFDS has it."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=["World", "Sports", "Business", "Sci/Tech"])
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"title": text, "description": text, "label": label})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(60), "test": self._generate_examples(3)}

    def _generate_examples(self, count):
        for i in range(count):
            yield (
                i,
                {"title": f"Title {i}", "description": "It #39;s", "label": ("Sports", "Sci/Tech")[i % 2]},
            )


def test_ag_news_from_tfds(tmp_path, make_data):
    builder = AgNewsSubset(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    data = open_labelled("ag_news", make_data(corpus=f"tfds:{builder.data_dir}", holdout_fraction=0.3), 0)
    assert len(data.split("train")) + len(data.split("validation")) == 60
    for text, label in pairs_of(data, "train") + pairs_of(data, "test"):
        assert text.endswith(" It's") and label == ("Sports", "Sci/Tech")[int(text.split()[1]) % 2]


def test_the_real_ag_news(real_data, make_data):
    data = open_labelled(
        "ag_news", make_data(corpus="", dir=str(real_data / "ag_news"), holdout_fraction=0.1), 0
    )
    test, train, validation = (data.split(name) for name in ("test", "train", "validation"))
    assert np.bincount(test.labels).tolist() == [1900] * 4 and test.is_whole
    assert len(train) + len(validation) == 10_429
    assert (np.bincount(train.labels) + np.bincount(validation.labels)).tolist() == [2630, 2452, 2594, 2753]
    assert not set(train.texts) & set(validation.texts)
    assert data.labels[test.labels[0]] == "Business"
    assert test.texts[0] == (
        "Fears for T N pension after talks Unions representing workers at Turner Newall say they are "
        "'disappointed' after talks with stricken parent firm Federal Mogul."
    )
    assert "on a second team" not in test.texts[1] and "-- A second team" in test.texts[1]
    assert "the $10 million Ansari X Prize" in test.texts[1]
    for text in (*train.texts, *validation.texts, *test.texts):
        assert "\\" not in text and " #39;" not in text and "&lt;" not in text
    assert any("10,429 training examples" in warning for warning in data.warnings)
    assert any("of 120,000 official examples" in warning for warning in data.warnings)


# ---- the embedded task


@pytest.fixture(scope="module")
def embedded(make_data):
    return open_labelled("pydocs", make_data(holdout_fraction=0.1), 0)


def test_paragraphs_have_the_library_that_they_document(embedded):
    assert embedded.labels == tuple(pydocs.LIBRARIES)
    assert set(embedded.splits) == {"train", "validation"}
    counts = sum(
        np.bincount(split.labels, minlength=len(embedded.labels)) for split in embedded.splits.values()
    )
    assert np.all(counts > 20)
    assert counts.max() == pydocs_task.MAX_EXAMPLES == counts[embedded.labels.index("scipy")]
    optax = {line for document in pydocs.documents("optax") for line in document.split("\n")}
    examples = pairs_of(embedded, "train") + pairs_of(embedded, "validation")
    mine = [text for text, label in examples if label == "optax"]
    assert len(mine) > 300 and set(mine) <= optax
    assert all(len(text.split()) >= pydocs_task.MIN_WORDS for text in mine)


def test_no_document_and_no_text_is_on_both_sides(embedded):
    sides = [{pydocs_task._likeness(text) for text in split.texts} for split in embedded.splits.values()]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == sum(map(len, embedded.splits.values()))
    train, validation = (set(split.texts) for split in embedded.splits.values())
    for document in pydocs.documents("numpy"):
        lines = set(document.split("\n"))
        assert not (lines & train and lines & validation)
    share = len(validation) / (len(train) + len(validation))
    assert 0.07 < share < 0.13


def test_names_of_libraries_give_little_away(embedded):
    """Guessing the library that is named first, or SciPy, is far from the truth."""
    split = embedded.split("validation")
    fallback = embedded.labels.index("scipy")
    guesses = [
        next((i for i, name in enumerate(embedded.labels) if name in text.lower()), fallback)
        for text in split.texts
    ]
    assert np.mean(np.array(guesses) == split.labels) < 0.3

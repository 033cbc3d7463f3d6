"""AG News, from its files and from TFDS."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.classify.ag_news import clean
from fnet_jax.tasks.open import open_labelled
from tests.tasks.test_open import pairs_of


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

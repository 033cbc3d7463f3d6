"""Task `choose`: tables with choices."""

import json

import numpy as np
import pytest

from fnet_jax.core.batch import choice_spec
from fnet_jax.core.errors import UserError
from fnet_jax.data.tokenizer import load_tokenizer
from fnet_jax.tasks.choose.features import choose_batches
from fnet_jax.tasks.features import features
from fnet_jax.tasks.open import open_labelled

SWAG = "sent1,sent2,ending0,ending1,ending2,label\n"
KEYS = dict(text_field="sent1", text_b_field="sent2", choice_fields=("ending0", "ending1", "ending2"))


@pytest.fixture
def read(tmp_path, make_data):
    """A function that writes a training file and reads it."""

    def read(text, name="train.csv", test=None, **keys):
        (tmp_path / name).write_text(text)
        if test is not None:
            (tmp_path / "test.csv").write_text(test)
            keys["test"] = str(tmp_path / "test.csv")
        data = make_data(corpus=str(tmp_path / name), holdout_fraction=0.4, **{**KEYS, **keys})
        return open_labelled("choose", data, 0)

    return read


def rows(count=6):
    return "".join(f"Context {i}.,He,a{i},b{i},c{i},{i % 3}\n" for i in range(count))


def everything(data):
    """Context -> (choices, label) of all splits."""
    return {
        split.contexts[row]: (split.choices[row], int(split.labels[row]))
        for split in data.splits.values()
        if split.labels is not None
        for row in range(len(split))
    }


def test_reads_the_columns_of_swag(read):
    data = read(SWAG + rows(), test="sent1,sent2,ending0,ending1,ending2\nC,She,x,y,z\n")
    assert data.labels == ("0", "1", "2")
    assert everything(data) == {
        f"Context {i}.": ([f"He a{i}", f"He b{i}", f"He c{i}"], i % 3) for i in range(6)
    }
    assert data.split("test").labels is None
    assert data.split("test").shown(0) == {"text": "C", "choices": ["She x", "She y", "She z"]}


def test_reads_lists_in_jsonl(read):
    lines = [json.dumps({"ctx": f"C{i}", "endings": ["a", f"b{i}"], "label": i % 2}) + "\n" for i in range(4)]
    data = read("".join(lines), "train.jsonl", text_field="ctx", text_b_field="", choice_fields=("endings",))
    assert everything(data) == {f"C{i}": (["a", f"b{i}"], i % 2) for i in range(4)}
    assert data.labels == ("0", "1")


@pytest.mark.parametrize(
    ("text", "name", "keys", "said"),
    [
        (SWAG + rows(2) + "C,He,a,b,c,3\n", "train.csv", {},
         "train.csv:4: label='3' is no number of a choice; valid: 0, 1, 2"),
        (SWAG + "C,He,a,b,c,x\n", "train.csv", {}, "train.csv:2: label='x' is no number of a choice"),
        (SWAG + "C,He,a, ,c,0\n", "train.csv", {}, "train.csv:2: choice 1 (from 0) is empty"),
        (SWAG + "C,He,a,b,0\n", "train.csv", {}, "train.csv:2: 5 columns, not 6"),
        (SWAG, "train.csv", {}, "train.csv has no rows"),
        (SWAG + rows(), "train.csv", {"choice_fields": ("ending0", "other")}, "no column 'other'"),
        (SWAG + rows(), "train.csv", {"choice_fields": ("ending0",)},
         "a list of texts (ending0) stands only in .jsonl"),
        (SWAG + rows(), "train.csv", {"labels": ("yes", "no")}, "has no place in task='choose'"),
        ('{"c": "C", "e": ["a", "b"], "label": 0}\n{"c": "C", "e": ["a"], "label": 0}\n', "train.jsonl",
         {"text_field": "c", "text_b_field": "", "choice_fields": ("e",)},
         "train.jsonl:2: 1 choices; the first row has 2"),
        ('{"c": "C", "e": "a", "label": 0}\n', "train.jsonl",
         {"text_field": "c", "text_b_field": "", "choice_fields": ("e",)},
         'train.jsonl:1: field \'e\' is "a", not a list of texts'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(read, text, name, keys, said):
    with pytest.raises(UserError) as refused:
        read(text, name, **keys)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_splits_need_the_same_number_of_choices(read, tmp_path):
    path = tmp_path / "v.jsonl"
    path.write_text('{"sent1": "C", "sent2": "", "endings": ["a", "b"], "label": 0}\n')
    lines = '{"sent1": "C", "sent2": "", "endings": ["a", "b", "c"], "label": 0}\n'
    with pytest.raises(UserError, match="different numbers of choices"):
        read(lines, "train.jsonl", choice_fields=("endings",), validation=str(path))


def test_each_choice_is_a_pair_of_its_own(read, tokenizer_path, make_data):
    train = read(SWAG + rows(20)).split("train")
    tokenizer = load_tokenizer(tokenizer_path)
    options = dict(max_seq_length=16, batch_size=8, seed=0, train=False)
    batches = choose_batches(train, tokenizer, make_data(), **options)
    spec = choice_spec(8, 3, 16)
    count = 0
    for step in range(len(batches)):
        batch = batches[step]
        assert {name: (field.shape, field.dtype) for name, field in batch.items()} == {
            name: (field.shape, field.dtype) for name, field in spec.items()
        }
        for row in range(int(batch["example_weights"].sum())):
            assert batch["labels"][row] == train.labels[count]
            for k, choice in enumerate(train.choices[count]):
                tokens = tokenizer.encode(train.contexts[count]), tokenizer.encode(choice)
                ids, types = features(*tokens, 16, "longest_first")
                np.testing.assert_array_equal(batch["input_ids"][row, k], ids)
                np.testing.assert_array_equal(batch["type_ids"][row, k], types)
            count += 1
    assert count == len(train)

import dataclasses
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings

from fnet_jax.core.batch import labelled_spec
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, PAD_ID, SEP_ID
from fnet_jax.data.pipeline import iterate
from fnet_jax.data.tokenizer import load_tokenizer
from fnet_jax.tasks.classify.features import classify_batches, encode, spread, truncated_share
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.features import features
from tests.data.conftest import make_documents

FIRST, SECOND = 10, 20  # tokens of the first and of the second text
NUM_EXAMPLES = 37


def tokens(kind: int, count: int | None) -> list[int] | None:
    return None if count is None else [kind] * count


def one_at_a_time(a: list[int], b: list[int] | None, room: int) -> tuple[list[int], list[int] | None]:
    """Longest first as BERT wrote it: take the last piece of the longer text until both fit."""
    a, b = list(a), None if b is None else list(b)
    while len(a) + len(b or []) > room:
        (a if b is None or len(a) > len(b) else b).pop()
    return a, b


@settings(deadline=None)
@given(count_a=st.integers(0, 40), count_b=st.none() | st.integers(0, 40), length=st.integers(5, 40))
def test_longest_first_keeps_every_separator_and_some_of_each_text(count_a, count_b, length):
    ids_a, ids_b = tokens(FIRST, count_a), tokens(SECOND, count_b)
    input_ids, type_ids = features(ids_a, ids_b, length, "longest_first")
    kept_a, kept_b = one_at_a_time(ids_a, ids_b, length - (2 if ids_b is None else 3))
    first = [CLS_ID, *kept_a, SEP_ID]
    second = [] if kept_b is None else [*kept_b, SEP_ID]
    padding = length - len(first) - len(second)
    assert input_ids.tolist() == [*first, *second, *[PAD_ID] * padding]
    assert type_ids.tolist() == [0] * len(first) + [1] * len(second) + [0] * padding
    assert input_ids.dtype == type_ids.dtype == np.int32
    assert FIRST in kept_a or not count_a
    assert kept_b is None or SECOND in kept_b or not count_b


@settings(deadline=None)
@given(count_a=st.integers(0, 40), count_b=st.none() | st.integers(0, 40), length=st.integers(5, 40))
def test_tail_cuts_the_end_off(count_a, count_b, length):
    input_ids, type_ids = features(tokens(FIRST, count_a), tokens(SECOND, count_b), length, "tail")
    first = [CLS_ID, *[FIRST] * count_a, SEP_ID]
    second = [] if count_b is None else [*[SECOND] * count_b, SEP_ID]
    padding = [PAD_ID] * length
    assert input_ids.tolist() == [*first, *second, *padding][:length]
    assert type_ids.tolist() == ([0] * len(first) + [1] * len(second) + [0] * length)[:length]


def test_a_pair_that_the_two_ways_cut_differently():
    ids_a, ids_b = tokens(FIRST, 9), tokens(SECOND, 2)
    assert features(ids_a, ids_b, 8, "tail")[0].tolist() == [CLS_ID] + [FIRST] * 7
    assert features(ids_a, ids_b, 8, "longest_first")[0].tolist() == [
        CLS_ID, FIRST, FIRST, FIRST, SEP_ID, SECOND, SECOND, SEP_ID,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tokenizer_path):
    return load_tokenizer(tokenizer_path)


@pytest.fixture(scope="module")
def split() -> ClassifySplit:
    """Pairs whose label is their number in the split."""
    texts = [text.replace("\n", " ")[:120] for text in make_documents(2 * NUM_EXAMPLES, seed=5)]
    return ClassifySplit(
        name="train",
        texts=texts[:NUM_EXAMPLES],
        texts_b=texts[NUM_EXAMPLES:],
        labels=np.arange(NUM_EXAMPLES, dtype=np.int32),
        ids=list(range(NUM_EXAMPLES)),
        source="made up",
    )


@pytest.fixture
def open_batches(split, tokenizer, make_data):
    """A function that opens the pairs as batches."""

    def open_batches(
        *, split=split, regression=False, length=64, truncation="longest_first", swap=False, **options
    ):
        data = make_data(truncation=truncation, swap_texts=swap)
        options = {"batch_size": 8, "seed": 3, "train": True, **options}
        return classify_batches(
            split, tokenizer, data, regression=regression, max_seq_length=length, **options
        )

    return open_batches


def labels_of(batches: list[dict[str, np.ndarray]]) -> list[int]:
    """The numbers of the real examples, in order."""
    return [int(i) for batch in batches for i in batch["labels"][batch["example_weights"] == 1]]


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("regression", [True, False])
def test_batches_are_as_the_contract_says(open_batches, split, train, regression):
    labels = np.linspace(0, 5, NUM_EXAMPLES, dtype=np.float32) if regression else split.labels
    batches = open_batches(
        split=dataclasses.replace(split, labels=labels), regression=regression, train=train
    )
    batch = batches[len(batches) - 1]
    spec = labelled_spec(8, 64, regression)
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        name: (field.shape, field.dtype) for name, field in spec.items()
    }


def test_rows_are_the_examples_they_say_they_are(open_batches, split, tokenizer):
    batch = open_batches()[2]
    for row, number in enumerate(batch["labels"]):
        texts = split.texts[number], split.texts_b[number]
        expected = features(*map(tokenizer.encode, texts), 64, "longest_first")
        np.testing.assert_array_equal(batch["input_ids"][row], expected[0])
        np.testing.assert_array_equal(batch["type_ids"][row], expected[1])


def test_texts_can_be_swapped(open_batches, split, tokenizer):
    batch = open_batches(swap=True)[0]
    number = batch["labels"][0]
    expected = features(
        tokenizer.encode(split.texts_b[number]), tokenizer.encode(split.texts[number]), 64, "longest_first"
    )
    np.testing.assert_array_equal(batch["input_ids"][0], expected[0])
    assert not np.array_equal(batch["input_ids"], open_batches()[0]["input_ids"])


def shares(batch_size, host_count):
    """The rows of each host, neighbours."""
    return [tuple(rows) for rows in np.array_split(np.arange(batch_size), host_count)]


@pytest.mark.parametrize("host_count", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [4, 8, 36, 64])
def test_every_example_once_per_epoch_on_any_hosts(open_batches, batch_size, host_count):
    hosts = [open_batches(batch_size=batch_size, rows=rows) for rows in shares(batch_size, host_count)]
    num_epochs = 3
    stream = labels_of(
        [host[step] for step in range(-(-num_epochs * NUM_EXAMPLES // batch_size)) for host in hosts]
    )
    epochs = [stream[epoch * NUM_EXAMPLES : (epoch + 1) * NUM_EXAMPLES] for epoch in range(num_epochs)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(NUM_EXAMPLES))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    whole = open_batches(batch_size=batch_size)
    assert_equal(whole[1], {name: np.concatenate([host[1][name] for host in hosts]) for name in whole[1]})


@pytest.mark.parametrize("host_count", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [4, 8, 36, 64])
def test_every_example_once_per_evaluation_on_any_hosts(open_batches, batch_size, host_count):
    hosts = [
        open_batches(batch_size=batch_size, rows=rows, train=False) for rows in shares(batch_size, host_count)
    ]
    stream = [host[step] for step in range(len(hosts[0])) for host in hosts]
    assert labels_of(stream) == list(range(NUM_EXAMPLES))
    filler = np.concatenate([batch["input_ids"][batch["example_weights"] == 0] for batch in stream])
    assert len(filler) == batch_size * len(hosts[0]) - NUM_EXAMPLES
    assert np.all(filler == PAD_ID)
    for host in hosts:
        with pytest.raises(IndexError):
            host[len(host)]
        with pytest.raises(IndexError):
            host[-1]


def test_order_depends_on_the_seed_alone(open_batches):
    assert_equal(open_batches()[11], open_batches()[11])
    assert open_batches(seed=4)[0]["labels"].tolist() != open_batches()[0]["labels"].tolist()


def test_unlabelled_examples_have_label_zero(open_batches, split):
    unlabelled = dataclasses.replace(split, labels=None, name="test")
    assert not open_batches(split=unlabelled, train=False)[1]["labels"].any()
    with pytest.raises(UserError, match="made up has no labels; a model cannot be trained on 'test'"):
        open_batches(split=unlabelled)


def test_mistakes_are_said(open_batches, split):
    with pytest.raises(UserError, match="made up has no examples for 'train'"):
        open_batches(split=split.take([]))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("train", [True, False])
def test_iterating_is_the_same_stream_for_any_number_of_workers(open_batches, train, num_workers):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    batches = open_batches(train=train)
    stream = list(iterate(batches, 1, 5, num_workers))
    assert len(stream) == 4
    for step, batch in enumerate(stream, start=1):
        assert_equal(batch, batches[step])


def test_batches_travel_to_other_processes(open_batches):
    batches = open_batches()
    assert_equal(pickle.loads(pickle.dumps(batches))[5], batches[5])


@pytest.mark.parametrize("length", [8, 30, 45, 200])
def test_the_share_that_is_cut(split, tokenizer, length):
    lengths = [
        len(tokenizer.encode(a)) + len(tokenizer.encode(b)) + 3
        for a, b in zip(split.texts, split.texts_b, strict=True)
    ]
    share = truncated_share(encode(split, np.arange(len(split)), tokenizer, swap_texts=False), length)
    assert share == np.mean(np.array(lengths) > length)
    many = split.take(np.arange(5000) % NUM_EXAMPLES)
    sample = encode(many, spread(len(many)), tokenizer, swap_texts=False)
    assert len(sample) == 1000
    assert truncated_share(sample, length) == pytest.approx(share, abs=0.05)

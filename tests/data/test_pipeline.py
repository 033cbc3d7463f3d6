import dataclasses
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
from absl import flags

from fnet_jax.core.batch import labelled_spec, masked_lm_spec, pretrain_spec
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import NUM_SPECIAL_IDS, SEP_ID
from fnet_jax.data.pipeline import PretrainBatches, iterate
from fnet_jax.data.shuffle import permute
from tests.data.conftest import MAX_SEQ_LENGTH


@pytest.fixture
def open_split(dataset_dir, small_data):
    """A function that opens a split of the small data set."""

    def open_split(split="train", batch_size=8, seed=3, rows=None, task="pretrain", **changes):
        data = dataclasses.replace(small_data, **changes)
        options = {"batch_size": batch_size, "seed": seed, "rows": rows, "task": task}
        return PretrainBatches(dataset_dir, split, data, max_seq_length=MAX_SEQ_LENGTH, **options)

    return open_split


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def halves(batch, row: int) -> list[np.ndarray]:
    """A and B of an example, unmasked."""
    ids = batch["input_ids"][row].copy()
    used = batch["masked_lm_weights"][row] == 1
    ids[batch["masked_lm_positions"][row][used]] = batch["masked_lm_ids"][row][used]
    middle, end = np.flatnonzero(ids == SEP_ID)
    return [ids[1:middle], ids[middle + 1 : end]]


def texts(batch) -> list[tuple[int, ...]]:
    """The text of each real example, unmasked and unswapped: it identifies the segment."""
    found = []
    for row in np.flatnonzero(batch["example_weights"]):
        parts = halves(batch, row)
        if batch["next_sentence_labels"][row]:
            parts.reverse()
        found.append(tuple(np.concatenate(parts).tolist()))
    return found


def segments_of(batches: PretrainBatches) -> list[tuple[int, ...]]:
    return [tuple(batches._segments(np.array([i]))[0].tokens.tolist()) for i in range(batches.num_examples)]


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_batches_are_as_the_contract_says(open_split, split):
    batch = open_split(split)[1]
    spec = pretrain_spec(8, MAX_SEQ_LENGTH, 12)
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        name: (field.shape, field.dtype) for name, field in spec.items()
    }


@pytest.mark.parametrize(
    ("task", "spec"),
    [
        ("masked_lm", masked_lm_spec(8, MAX_SEQ_LENGTH, 12)),
        ("next_sentence", labelled_spec(8, MAX_SEQ_LENGTH, False)),
    ],
)
def test_one_task_alone_has_its_own_fields(open_split, task, spec):
    batches = open_split("heldout", task=task, next_sentence="random")
    for step in (0, len(batches) - 1):  # the last one is filled up
        batch = batches[step]
        assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
            name: (field.shape, field.dtype) for name, field in spec.items()
        }
    assert 0 < batch["example_weights"].sum() < 8


def test_next_sentence_alone_hides_nothing_and_has_both_orders(open_split):
    batches = open_split(task="next_sentence")
    segments, labels = set(segments_of(batches)), []
    for step in range(len(batches) - 1):
        batch = batches[step]
        for ids, label in zip(batch["input_ids"], batch["labels"], strict=True):
            middle, end = np.flatnonzero(ids == SEP_ID)
            parts = [ids[1:middle].tolist(), ids[middle + 1 : end].tolist()]
            assert tuple(parts[1] + parts[0] if label else parts[0] + parts[1]) in segments
            labels.append(int(label))
    assert 0.3 < np.mean(labels) < 0.7


def test_the_same_step_is_the_same_batch_in_any_order(open_split):
    batches = open_split()
    later = batches[17]
    batches[3]
    assert_equal(batches[17], later)
    assert_equal(open_split()[17], later)
    assert not np.array_equal(open_split(seed=4)[17]["input_ids"], later["input_ids"])


@pytest.mark.parametrize("batch_size", [1, 7, 8, 64])
def test_every_epoch_has_every_example_once(open_split, batch_size):
    batches = open_split(batch_size=batch_size)
    count = batches.num_examples
    num_epochs = 3
    stream = [text for step in range(-(-num_epochs * count // batch_size)) for text in texts(batches[step])]
    epochs = [stream[epoch * count : (epoch + 1) * count] for epoch in range(num_epochs)]
    expected = sorted(segments_of(batches))
    for epoch in epochs:
        assert sorted(epoch) == expected
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_new_epoch_has_new_pairs_and_masks(open_split):
    batches = open_split(batch_size=1)
    first = {texts(batches[i])[0]: batches[i]["input_ids"] for i in range(batches.num_examples)}
    again = [batches[i] for i in range(batches.num_examples, 2 * batches.num_examples)]
    same = [np.array_equal(first[texts(batch)[0]], batch["input_ids"]) for batch in again]
    assert np.mean(same) < 0.1


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("shares", [[(0, 1, 2, 3), (4, 5, 6, 7)], [(0, 4), (1, 5), (2, 6), (3, 7)]])
def test_hosts_make_their_rows_of_the_same_batch(open_split, split, shares):
    """Neighbours or not: where a host's devices lie in the mesh is the machine's business."""
    whole = open_split(split)
    hosts = [open_split(split, rows=rows) for rows in shares]
    for step in (0, 2, len(whole) - 1):
        for rows, host in zip(shares, hosts, strict=True):
            assert_equal(host[step], {name: field[list(rows)] for name, field in whole[step].items()})


def test_evaluation_sees_every_example_once_and_fills_up(open_split):
    batches = open_split("heldout", batch_size=7)
    stream = [batches[step] for step in range(len(batches))]
    assert [text for batch in stream for text in texts(batch)] == segments_of(batches)
    weights = np.concatenate([batch["example_weights"] for batch in stream])
    assert len(weights) == 7 * len(batches) > batches.num_examples == weights.sum()
    assert np.all(np.diff(weights) <= 0)
    assert not stream[-1]["masked_lm_weights"][stream[-1]["example_weights"] == 0].any()
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_every_split_seed_epoch_and_example_has_random_numbers_of_its_own(open_split):
    draws = [
        open_split(split, seed=seed)._rng(epoch, index).random()
        for split in ("train", "heldout")
        for seed in (0, 1)
        for epoch in (0, 1, 2)
        for index in (0, 1, 2)
    ]
    assert len(set(draws)) == len(draws)


def test_random_pairs_come_from_two_documents(open_split):
    batches = open_split(next_sentence="random", batch_size=32)
    segments = [batches._segments(np.array([i]))[0] for i in range(batches.num_examples)]

    def homes(tokens: np.ndarray) -> set[int]:
        """The documents that hold these tokens somewhere."""
        part = tokens.astype("<u2").tobytes()
        return {s.document for s in segments if s.tokens.tobytes().find(part) % 2 == 0}

    checked = 0
    for step in range(3):
        batch = batches[step]
        for row in np.flatnonzero(batch["next_sentence_labels"]):
            first, second = halves(batch, row)
            assert homes(second) - homes(first)
            checked += 1
    assert checked > 20


def test_a_segment_of_the_same_document_is_drawn_again(open_split):
    batches = open_split("heldout", next_sentence="random")
    segments = [batches._segments(np.array([i]))[0] for i in range(batches.num_examples)]
    count = batches.num_examples

    def rngs():
        return [np.random.default_rng(i) for i in range(count)]

    draws = [segments[rng.integers(count)].document for rng in rngs()]
    assert any(draw == segment.document for draw, segment in zip(draws, segments, strict=True))
    others = batches._others(segments, rngs())
    assert all(other.document != segment.document for other, segment in zip(others, segments, strict=True))


def test_random_pairs_need_two_documents(dataset_dir, open_split, monkeypatch):
    from fnet_jax.data import dataset, pipeline

    info = dataset.load_info(dataset_dir)
    lonely = dataclasses.replace(info.splits["heldout"], documents=1)
    one = dataclasses.replace(info, splits={**info.splits, "heldout": lonely})
    monkeypatch.setattr(pipeline, "load_info", lambda _: one)
    with pytest.raises(UserError, match=r"data\.next_sentence='random' needs two documents"):
        open_split("heldout", next_sentence="random")
    open_split("heldout")


def test_whole_words_reach_the_batches(open_split, tokenizer_path):
    from fnet_jax.data.tokenizer import load_tokenizer

    is_word_start = load_tokenizer(tokenizer_path).is_word_start
    batch = open_split(whole_word_masking=True)[0]
    for row in range(8):
        ids = batch["input_ids"][row].copy()
        used = batch["masked_lm_weights"][row] == 1
        positions = batch["masked_lm_positions"][row][used]
        ids[positions] = batch["masked_lm_ids"][row][used]
        for position in positions:
            after = position + 1
            goes_on = (
                ids[after] >= NUM_SPECIAL_IDS and not is_word_start[ids[after]] and ids[position] != SEP_ID
            )
            assert not goes_on or after in positions


def test_mistakes_are_said(open_split, dataset_dir, small_data):
    options = {"batch_size": 8, "seed": 0}
    with pytest.raises(UserError, match=r"model\.max_seq_length=64, not 128"):
        PretrainBatches(dataset_dir, "train", small_data, max_seq_length=128, **options)
    with pytest.raises(UserError, match="holds no prepared data set"):
        PretrainBatches("/no/such/place", "train", small_data, max_seq_length=64, **options)


def test_batches_travel_to_other_processes(open_split):
    batches = open_split()
    assert_equal(pickle.loads(pickle.dumps(batches))[5], batches[5])


@pytest.fixture
def parsed_flags():
    """Grain's worker processes are sent the flags, so they must be parsed, as under any entry point."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_iterating_is_the_same_stream_for_any_number_of_workers(open_split, parsed_flags, num_workers):
    batches = open_split()
    stream = list(iterate(batches, 3, 12, num_workers))
    assert len(stream) == 9
    for step, batch in enumerate(stream, start=3):
        assert_equal(batch, batches[step])


def test_a_dead_worker_ends_the_iteration_with_an_error(open_split, parsed_flags):
    before = set(multiprocessing.active_children())
    stream = iterate(open_split(), 0, 100_000, num_workers=1)
    next(stream)
    workers = set(multiprocessing.active_children()) - before
    assert workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(Exception, match=r"(?i)worker|process"):
        for _ in range(1000):
            next(stream)


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 1000, 4097])
def test_permutations_are_permutations_and_differ(size):
    everything = np.arange(size)
    first, second = permute(everything, size, 0, 0), permute(everything, size, 0, 1)
    assert np.array_equal(np.sort(first), everything)
    assert np.array_equal(np.sort(second), everything)
    assert np.array_equal(permute(everything[::-2], size, 0, 0), first[::-2])
    if size > 100:
        for other in (second, permute(everything, size, 1, 0), everything):
            assert (first == other).sum() < 10


def test_permutations_leave_no_trace_of_the_order():
    size, trials = 101, 1000
    places = np.stack([permute(np.arange(size), size, 7, trial) for trial in range(trials)])
    # Each index goes everywhere equally often: 1000 / 101 times, standard deviation 3.1.
    counts = np.stack([np.bincount(places[:, i], minlength=size) for i in range(size)])
    assert np.abs(counts - trials / size).max() < 6 * np.sqrt(trials / size)
    correlation = [np.corrcoef(place[:-1], place[1:])[0, 1] for place in places]
    assert abs(np.mean(correlation)) < 0.02


def test_large_permutations_need_no_memory():
    size = 2**61 + 5
    indices = np.array([0, 1, size - 1])
    sent = permute(indices, size, 3)
    assert len(set(sent.tolist())) == 3 and np.all((sent >= 0) & (sent < size))

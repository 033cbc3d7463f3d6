"""The record of which examples were trained on."""

import numpy as np
import pytest

from fnet_jax.data.pipeline import EXAMPLE_IDS, WithExampleIds, iterate
from fnet_jax.data.sampler import IndexSampler
from fnet_jax.train.logs import example_ids

NUM_EXAMPLES, BATCH_SIZE = 10, 4


class Batches:
    """Batches with nothing in them but their places in the data."""

    def __init__(self):
        self.sampler = IndexSampler(NUM_EXAMPLES, BATCH_SIZE, seed=3, endless=True)

    def __len__(self):
        return len(self.sampler)

    def __getitem__(self, step):
        return {"input_ids": np.full((BATCH_SIZE, 2), step)}


def take(workdir, start, count, stop=100):
    """Trains on `count` batches, so to say; more of them were ready."""
    made = iterate(WithExampleIds(Batches()), start, stop)
    recorded = example_ids.record(made, workdir, start)
    return [next(recorded) for _ in range(count)]


def wanted(step):
    return Batches().sampler.at(step - 1)[2].tolist()


def test_only_what_was_taken_is_written(tmp_path):
    batches = take(str(tmp_path), start=0, count=5)
    assert [batch["input_ids"][0, 0] for batch in batches] == list(range(5))
    assert all(EXAMPLE_IDS not in batch for batch in batches)
    assert example_ids.read(str(tmp_path)) == {step: wanted(step) for step in range(1, 6)}


@pytest.mark.parametrize(
    "other", ['"rows": [0], "ids": [99]', '"rows": [], "ids": []}\n{"step": 1, "rows": [], "ids": []']
)
def test_a_row_that_stands_twice_is_an_error(tmp_path, other):
    take(str(tmp_path), start=0, count=1)
    (tmp_path / "example_ids" / "00001.jsonl").write_text(f'{{"step": 1, {other}}}\n')
    with pytest.raises(ValueError, match="step 1 stands twice"):
        example_ids.read(str(tmp_path))


def test_an_epoch_loses_nothing_and_doubles_nothing(tmp_path):
    take(str(tmp_path), start=0, count=5)
    ids = [number for row in example_ids.read(str(tmp_path)).values() for number in row]
    assert sorted(ids[:NUM_EXAMPLES]) == sorted(ids[NUM_EXAMPLES:]) == list(range(NUM_EXAMPLES))


@pytest.mark.parametrize("others", [0, 3])
def test_going_on_drops_what_came_after_the_checkpoint(tmp_path, others):
    """Also in the files of processes that are not there any more, and a line cut by a kill."""
    take(str(tmp_path), start=0, count=5)
    for process in range(1, 1 + others):
        (tmp_path / "example_ids" / f"{process:05}.jsonl").write_text(
            '{"step": 4, "rows": [9], "ids": [7]}\n{"st'
        )
    take(str(tmp_path), start=3, count=4)
    assert example_ids.read(str(tmp_path)) == {step: wanted(step) for step in range(1, 8)}

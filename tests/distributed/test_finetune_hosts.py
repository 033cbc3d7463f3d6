"""A labelled task on two processes: tokenizer, training, scores of a split that does not divide, files."""

import json

import numpy as np
import pytest

from fnet_jax.train import evaluate
from fnet_jax.train.logs import example_ids
from fnet_jax.train.logs.results import read_results
from fnet_jax.train.logs.writers import read_jsonl
from tests.distributed.processes import train_and_evaluate
from tests.made_up import write_table
from tests.train.labelled import labelled_config

KEYS = {
    "data.tokenizer_pieces": 150, "data.max_eval_examples": 19, "train.eval_batch_size": 16,
    "train.num_train_steps": 4, "train.log_frequency": 1, "log.example_ids": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Trained and evaluated by two processes; 19 examples are a batch of 16 and a tail of 3."""
    folder = tmp_path_factory.mktemp("finetune")
    write_table(folder / "things.csv")
    config = f"configs/classify.py:smoke,data={folder}/things.csv"
    workdir, texts = train_and_evaluate(folder, config, KEYS)
    return folder, workdir, texts


def test_scores_are_those_of_one_process(story):
    folder, workdir, _ = story
    config = labelled_config(
        str(folder / "things.csv"),
        workdir,
        **{key.replace(".", "__"): value for key, value in KEYS.items()},
    )
    alone = evaluate.evaluate_checkpoint(config, workdir)
    (together,) = read_results(workdir)
    assert together["examples"] == alone["examples"] == 19
    assert together["accuracy"] == alone["accuracy"]
    assert together["score"] == alone["score"]
    np.testing.assert_allclose(together["cross_entropy"], alone["cross_entropy"], rtol=1e-5)


def test_files_and_words_come_once(story):
    _, workdir, texts = story
    assert json.loads(texts[0].splitlines()[-1]) == read_results(workdir)[0]
    assert "accuracy" not in texts[1]
    with open(f"{workdir}/predictions-classify-validation.jsonl") as file:
        assert len(file.readlines()) == 19
    rows = [row["step"] for row in read_jsonl(workdir) if row["split"] == "train"]
    assert rows == [1, 2, 3, 4]


def test_each_reads_half_of_the_batches(story):
    _, workdir, _ = story
    ids = example_ids.read(workdir)
    assert sorted(ids) == [1, 2, 3, 4]
    seen = [number for step in ids.values() for number in step]
    assert len(set(seen)) == len(seen)

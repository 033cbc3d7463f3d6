"""Tags, choices and answers on two processes: what is scored and written is what one process finds."""

import pathlib

import pytest

from fnet_jax.core.workdir import saved_config
from fnet_jax.train import evaluate
from fnet_jax.train.logs.results import read_results
from tests.distributed.processes import train_and_evaluate
from tests.made_up import write_choices, write_questions, write_tags

KEYS = {
    "data.tokenizer_pieces": 150, "data.max_eval_examples": 0, "train.eval_batch_size": 16,
    "train.num_train_steps": 4, "optim.learning_rate": 1e-2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name", "write", "scores"),
    [
        ("tag", "things.conll", write_tags, ("f1", "accuracy")),
        ("choose", "things.csv", write_choices, ("accuracy",)),
        ("answer", "things.json", write_questions, ("f1", "exact_match")),
    ],
    ids=["tag", "choose", "answer"],
)
def test_two_find_what_one_finds(task, name, write, scores, tmp_path):
    write(tmp_path / name, 400)
    workdir, _ = train_and_evaluate(tmp_path, f"configs/{task}.py:smoke,data={tmp_path / name}", KEYS)
    (together,), written = read_results(workdir), predictions(workdir)
    saved = saved_config(workdir)
    assert saved is not None
    alone = evaluate.evaluate_checkpoint(saved, workdir, write_predictions=True)
    assert together["examples"] == alone["examples"] > 16
    assert {score: together[score] for score in scores} == {score: alone[score] for score in scores}
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert written == predictions(workdir)


def predictions(workdir: str) -> dict[str, str]:
    """The files of predictions by their names."""
    paths = sorted(pathlib.Path(workdir).glob("predictions-*"))
    assert paths
    return {path.name: path.read_text() for path in paths}

"""Fine-tuning through the same loop: learning, best checkpoint, early stop, evaluation."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fnet_jax.configs import classify
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import saved_config
from fnet_jax.train import evaluate, watch
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.checkpoints.find import find_checkpoint
from fnet_jax.train.concrete import make_config
from fnet_jax.train.logs.results import read_results, record, table
from fnet_jax.train.logs.writers import read_jsonl
from fnet_jax.train.loop import train
from tests import FAST_COMPILE
from tests.conftest import REPOSITORY, run
from tests.train.labelled import labelled_config

HELD_OUT = 41  # of the 400 examples, by the hash of their texts


@pytest.fixture(scope="module")
def finished(table_csv, tmp_path_factory) -> tuple[Config, str]:
    """A classifier trained to the end."""
    workdir = str(tmp_path_factory.mktemp("labelled"))
    config = labelled_config(table_csv, train__num_train_steps=80, train__eval_proportion=0.25)
    assert train(config, workdir) == 0
    return config, workdir


def test_learns_what_can_be_learnt(finished):
    config, workdir = finished
    values = evaluate.evaluate_checkpoint(config, workdir)
    assert values["accuracy"] > 0.95 > values["baseline_accuracy"] + 0.2
    assert values["examples"] == HELD_OUT
    assert values["warnings"] == []
    assert f"validation split, {values['examples']} examples" in table(values)


def test_the_saved_config_names_the_labels_and_needs_no_other_file(finished, table_csv):
    _, workdir = finished
    saved = saved_config(workdir)
    assert saved is not None
    assert saved.data.labels == ("animal", "tool")
    assert (saved.model.num_outputs, saved.train.eval_frequency) == (2, 20)


def test_keeps_the_best_checkpoint_and_the_newest(finished):
    _, workdir = finished
    scores = {row["step"]: row["score"] for row in read_jsonl(workdir) if row["split"] == "eval"}
    best = min(scores, key=lambda step: (-scores[step], step))
    checkpointer = Checkpointer(workdir, read_only=True)
    assert checkpointer.best() == (best, scores[best])
    assert checkpointer.steps() == sorted({best, 80})
    checkpointer.close()
    assert find_checkpoint(workdir) == (workdir, best)
    assert find_checkpoint(workdir, 80) == (workdir, 80)


def test_stops_early_and_a_second_start_knows_it(table_csv, tmp_path, capsys):
    frozen = {"optim__learning_rate_rules": ".*=0", "train__early_stop_evals": 2}
    config = labelled_config(table_csv, train__num_train_steps=40, train__eval_proportion=0.1, **frozen)
    assert train(config, str(tmp_path)) == 0
    assert "done: step 12 of 40, the score has stopped rising; best score" in capsys.readouterr().out
    assert find_checkpoint(str(tmp_path))[1] == 4  # the earliest of equals
    assert train(config, str(tmp_path)) == 0
    assert "complete: " in capsys.readouterr().out


def test_resumes_bit_by_bit(finished, tmp_path):
    """From a middle checkpoint the rest of the run repeats itself, best score and all."""
    config, workdir = finished
    config = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, eval_proportion=0.0, eval_frequency=10),
        optim=dataclasses.replace(
            config.optim, schedule="constant", warmup_proportion=0.0, num_warmup_steps=4
        ),
    )
    whole, half = (
        dataclasses.replace(config, train=dataclasses.replace(config.train, num_train_steps=steps))
        for steps in (40, 20)
    )
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(f"{workdir}/tokenizer.model", tmp_path / name)
    assert train(whole, str(tmp_path / "a")) == 0
    assert train(half, str(tmp_path / "b")) == 0
    assert train(whole, str(tmp_path / "b")) == 0
    a, b = (
        {
            (row["split"], row["step"]): row["loss"]
            for row in read_jsonl(str(tmp_path / name))
            if row["split"] in ("train", "eval")
        }
        for name in ("a", "b")
    )
    assert a == b
    assert find_checkpoint(str(tmp_path / "a"))[1] == find_checkpoint(str(tmp_path / "b"))[1]


def test_regression(table_csv, tmp_path):
    keys = {"data__label_field": "count", "train__num_train_steps": 60, "optim__learning_rate": 3e-3}
    c = classify.get_config(f"smoke,task=regress,data={table_csv}")
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in keys.items()})
    c.data.tokenizer_pieces = 150
    config = make_config(c)
    assert train(config, str(tmp_path)) == 0
    values = evaluate.evaluate_checkpoint(config, str(tmp_path), write_predictions=True)
    assert values["spearman"] > 0.8
    lines = (tmp_path / "predictions-regress-validation.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    error = np.mean([(row["label"] - row["prediction"]) ** 2 for row in rows])
    np.testing.assert_allclose(error, values["squared_error"], rtol=1e-3)


def test_a_classifier_can_start_another(finished, table_csv, tmp_path, capsys):
    """As RTE from MNLI: the encoder of the best checkpoint, another head."""
    _, workdir = finished
    config = labelled_config(
        table_csv, init_from=workdir, data__label_field="count", train__num_train_steps=2
    )
    assert train(config, str(tmp_path)) == 0
    assert f"encoder of step {find_checkpoint(workdir)[1]} of" in capsys.readouterr().out
    assert saved_config(str(tmp_path)).model.num_outputs == 4


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_evaluation_is_the_same_on_any_number_of_devices(finished, tmp_path, devices):
    """41 examples divide neither over the batch of 24 nor over the devices."""
    config, workdir = finished
    shutil.copytree(workdir, tmp_path / "run")
    code = "import sys, runpy; sys.argv[0] = 'eval.py'; runpy.run_path('eval.py', run_name='__main__')"
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {FAST_COMPILE}",
    }
    with open(tmp_path / "run" / "config.json") as file:
        saved = json.load(file)
    saved["train"]["eval_batch_size"] = 24
    with open(tmp_path / "run" / "config.json", "w") as file:
        json.dump(saved, file)
    result = subprocess.run(
        [sys.executable, "-c", code, f"--workdir={tmp_path}/run"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (found,) = read_results(str(tmp_path / "run"))
    expected = evaluate.evaluate_checkpoint(config, workdir)
    assert found["examples"] == expected["examples"] == HELD_OUT
    assert found["score"] == expected["score"]
    np.testing.assert_allclose(found["cross_entropy"], expected["cross_entropy"], rtol=1e-5)


class Waiting:
    """In place of `time.sleep`: does the next thing each time."""

    def __init__(self, *things):
        self.things = list(things)

    def __call__(self, _: float) -> None:
        self.things.pop(0)()


def test_watch_evaluates_each_checkpoint_once(finished, tmp_path):
    config, _ = finished
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, max_to_keep=9))
    workdir = str(tmp_path / "run")
    (tmp_path / "run").mkdir()
    shutil.copy(f"{finished[1]}/tokenizer.model", workdir)

    def all_there() -> None:
        assert train(config, workdir) == 0

    seen = []
    for values in watch.watch(config, workdir, sleep=Waiting(lambda: None, all_there)):
        seen.append(values["step"])
        record(workdir, values)
        if values["step"] == 20:  # the trainer deletes one that is about to be evaluated
            shutil.rmtree(f"{workdir}/checkpoints/40")
    assert seen == [20, 60, 80]
    scores = {row["step"]: row["score"] for row in read_jsonl(workdir) if row["split"] == "eval"}
    for row in read_results(workdir):
        assert row["score"] == scores[row["step"]]
    assert list(watch.watch(config, workdir, sleep=Waiting())) == []  # all done, and known to be


def test_watch_survives_a_checkpoint_deleted_while_it_is_read(finished, tmp_path, monkeypatch, capsys):
    config, workdir = finished
    copied = str(tmp_path / "run")
    shutil.copytree(workdir, copied)
    real = evaluate.CheckpointEvaluator.evaluate

    def deleted_under_it(self, step, *args, **kwargs):
        if step != steps[-1]:
            shutil.rmtree(f"{copied}/checkpoints/{step}")
        return real(self, step, *args, **kwargs)

    monkeypatch.setattr(evaluate.CheckpointEvaluator, "evaluate", deleted_under_it)
    steps = Checkpointer(copied, read_only=True).steps()
    assert len(steps) == 2, "the best one and the last"
    assert [values["step"] for values in watch.watch(config, copied)] == [80]
    assert f"checkpoint {steps[0]} was deleted" in capsys.readouterr().out


def test_from_the_command_line(table_csv, tmp_path):
    data = f"--config=configs/classify.py:smoke,data={table_csv}"
    flags = [f"--workdir={tmp_path}/run", "--config.data.tokenizer_pieces=150"]
    result = run("python", "train.py", data, *flags)
    assert result.returncode == 0, result.stderr
    result = run("python", "eval.py", f"--workdir={tmp_path}/run")
    assert result.returncode == 0, result.stderr
    assert "accuracy" in result.stdout
    for name in ("predictions-classify-validation.jsonl", "confusion-classify-validation.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    result = run("python", "eval.py", f"--workdir={tmp_path}/run", "--splits=valid")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    result = run("python", "eval.py", f"--workdir={tmp_path}/run", "--tasks=regress,classify", "--watch")
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (2, 1)


def test_a_task_with_other_labels_is_refused(finished):
    config, workdir = finished
    with pytest.raises(UserError, match="is no finite number"):
        evaluate.evaluate_checkpoint(evaluate.on_task(config, "regress"), workdir)
    with pytest.raises(UserError, match="valid are cola"):
        evaluate.on_task(config, "colla")
    # A task with the same labels is another name for the same.
    values = evaluate.evaluate_checkpoint(evaluate.on_task(config, "classify"), workdir)
    assert values["task"] == "classify"

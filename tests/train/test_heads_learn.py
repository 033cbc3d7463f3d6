"""Every head through the same loop: it overfits, on any mesh; files in, best checkpoint, files out."""

import json
import shutil

import jax
import numpy as np
import pytest

from fnet_jax.configs import answer, choose, pretrain, tag
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import saved_config
from fnet_jax.tasks.tag.schemes import entities
from fnet_jax.train import evaluate, watch
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.concrete import make_config
from fnet_jax.train.logs.results import table
from fnet_jax.train.logs.writers import read_jsonl
from fnet_jax.train.loop import train
from fnet_jax.train.setup import set_up
from tests.conftest import smoke_config
from tests.made_up import write_choices, write_questions, write_tags
from tests.train.synthetic import Trainer, config, head_batch

OVERFIT = {"optim__learning_rate": 1e-2, "model__dropout_rate": 0.0, "optim__schedule": "constant"}
MESH = dict(data=1, fsdp=2, seq=2, tensor=2)


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("masked_lm", {"data__max_predictions_per_seq": 8}),
        ("next_sentence", {}),
        ("tag", {"model__num_outputs": 5}),
        ("choose", {"model__num_outputs": 4}),
        ("answer", {"model__num_outputs": 2}),
    ],
)
def test_learns_a_batch_by_heart_on_any_mesh(task, overrides):
    cfg = config(task=task, **overrides, **OVERFIT)
    batch = head_batch(cfg, 16)
    alone, meshed = Trainer(cfg), Trainer(cfg, 8, **MESH)
    for _ in range(2):
        one, many = alone.train(batch), meshed.train(batch)
        assert one.keys() == many.keys()
        for name in one:
            np.testing.assert_allclose(many[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert alone.train(batch, 80)["loss"] < 0.15 * one["loss"]


@pytest.fixture(scope="module")
def pretrained(overrides, tmp_path_factory) -> str:
    """A workdir of pretraining, with its tokenizer."""
    workdir = str(tmp_path_factory.mktemp("pretrained"))
    keys = {**overrides, "train.num_train_steps": 2, "optim.num_warmup_steps": 1}
    assert train(smoke_config(keys), workdir) == 0
    return workdir


def head_config(module, data, init_from, workdir=None, **keys):
    """The smoke config of a task, on files and from a pretrained run; keys with `__` for the dot."""
    c = module.get_config(f"smoke,data={data}")
    keys = {"init_from": init_from, **{key.replace("__", "."): value for key, value in keys.items()}}
    c.update_from_flattened_dict({"data.max_train_examples": 0, "train.log_frequency": 20, **keys})
    return make_config(c, keys, workdir)


def trained(module, data, pretrained, workdir, **keys):
    """Trains and evaluates; the evaluation, by the config that the run has left."""
    keys = {
        "train__num_train_steps": 80,
        "train__eval_proportion": 0.25,
        "train__eval_batch_size": 16,
        "train__max_to_keep": 9,
        **keys,
    }
    assert train(head_config(module, data, pretrained, **keys), workdir) == 0
    saved = saved_config(workdir)
    assert saved is not None and saved.model.max_seq_length == 32
    return evaluate.evaluate_checkpoint(saved, workdir, write_predictions=True)


def assert_repeats_itself(workdir, folder):
    """Without its last checkpoint it goes on bit by bit as before; what follows it finds the same scores."""
    copied = str(folder / "copied")
    shutil.copytree(workdir, copied)
    shutil.rmtree(f"{copied}/checkpoints/80")
    config = saved_config(copied)
    assert config is not None and train(config, copied) == 0
    before, again = scored(workdir), scored(copied)
    assert again == before and ("train", 80) in again
    seen = {values["step"]: values["score"] for values in watch.watch(config, copied)}
    scores = {row["step"]: row["score"] for row in read_jsonl(copied) if row["split"] == "eval"}
    assert seen == scores and len(seen) == 4


def scored(workdir):
    """Split and step -> loss."""
    rows = read_jsonl(workdir)
    return {(row["split"], row["step"]): row["loss"] for row in rows if row["split"] in ("train", "eval")}


def test_tags(pretrained, tmp_path, capsys):
    write_tags(tmp_path / "things.conll")
    workdir = str(tmp_path / "w")
    values = trained(tag, tmp_path / "things.conll", pretrained, workdir, data__max_eval_examples=0)
    assert "warm start: encoder of step 2" in capsys.readouterr().out
    assert values["f1"] == values["score"] > 0.95
    assert values["precision"] > 0.95 and values["recall"] > 0.95 and values["warnings"] == []
    assert saved_config(workdir).data.labels == ("O", "B-ANIMAL", "I-ANIMAL", "B-TOOL", "I-TOOL")
    # The file says what the scores say.
    text = (tmp_path / "w" / "predictions-tag-validation.conll").read_text()
    rows = [[line.split("\t") for line in part.split("\n")] for part in text.strip("\n").split("\n\n")]
    gold, guessed = ([entities([row[k] for row in sentence]) for sentence in rows] for k in (1, 2))
    right = sum(len(set(a) & set(b)) for a, b in zip(gold, guessed, strict=True))
    assert values["recall"] == pytest.approx(right / sum(map(len, gold)))
    hits = [row[1] == row[2] for sentence in rows for row in sentence]
    assert values["accuracy"] == pytest.approx(np.mean(hits), abs=1e-6)
    shown = table(values)
    assert "F1 of ANIMAL" in shown and "F1 of TOOL" in shown and "recall" in shown
    assert_repeats_itself(workdir, tmp_path)


def test_choices(pretrained, tmp_path):
    write_choices(tmp_path / "things.csv")
    workdir = str(tmp_path / "w")
    values = trained(choose, tmp_path / "things.csv", pretrained, workdir)
    assert values["accuracy"] > 0.9 > values["baseline_accuracy"] + 0.2
    lines = (tmp_path / "w" / "predictions-choose-validation.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == values["examples"] and rows[0].keys() >= {"text", "choices", "label", "prediction"}
    assert values["accuracy"] == pytest.approx(np.mean([row["label"] == row["prediction"] for row in rows]))
    assert (tmp_path / "w" / "confusion-choose-validation.png").stat().st_size > 1000
    rate = [row for row in read_jsonl(workdir) if row["split"] == "train"][-1]
    assert rate["tokens_per_second"] == pytest.approx(rate["examples_per_second"] * 4 * 32)
    assert_repeats_itself(workdir, tmp_path)


@pytest.fixture(scope="module")
def answered(pretrained, tmp_path_factory):
    """A model of questions, some without an answer: its folder and its evaluation."""
    folder = tmp_path_factory.mktemp("answered")
    write_questions(folder / "things.json")
    keys = {"data__doc_stride": 6, "data__max_query_length": 8, "train__train_batch_size": 32}
    return folder, trained(answer, folder / "things.json", pretrained, str(folder / "w"), **keys)


def test_answers(answered, tmp_path):
    folder, values = answered
    assert values["f1"] == values["score"] > values["baseline_f1"] + 0.3
    gold = {}
    for article in json.loads((folder / "things.json").read_text())["data"]:
        for question in article["paragraphs"][0]["qas"]:
            gold[question["id"]] = "".join(found["text"] for found in question["answers"])
    said = json.loads((folder / "w" / "predictions-answer-validation.json").read_text())
    exact = [said[name] == gold[name] for name in said]
    assert values["exact_match"] == pytest.approx(np.mean(exact))
    without = [said[name] == "" for name in said if not gold[name]]
    assert values["no_answer_accuracy"] == pytest.approx(np.mean(without))
    odds = json.loads((folder / "w" / "null-odds-answer-validation.json").read_text())
    assert odds.keys() == said.keys()
    assert all((odds[name] > 0) == (said[name] == "") for name in said)
    assert_repeats_itself(str(folder / "w"), tmp_path)


def test_the_threshold_decides_what_has_no_answer(answered):
    folder, _ = answered
    workdir = str(folder / "w")
    for threshold, is_empty in ((-1e9, True), (1e9, False)):
        config = head_config(answer, "", "", workdir, data__null_score_diff_threshold=threshold)
        evaluate.evaluate_checkpoint(config, workdir, write_predictions=True)
        said = json.loads((folder / "w" / "predictions-answer-validation.json").read_text())
        assert {text == "" for text in said.values()} == {is_empty}


def test_masked_lm_alone_goes_on_from_pretraining_and_back(pretrained, overrides, tmp_path, capsys):
    """Shape and tokenizer come from the run; heads that both have go along."""

    def go_on(task, source, workdir):
        c = pretrain.get_config(f"smoke,task={task}")
        keys = {"init_from": source, "data.corpus": overrides["data.corpus"], "train.num_train_steps": 1}
        # Nothing is learnt, so that what was taken can be told.
        keys |= {
            "data.holdout_fraction": 0.2,
            "optim.num_warmup_steps": 0,
            "optim.learning_rate_rules": ".*=0",
        }
        c.update_from_flattened_dict(keys)
        config = make_config(c, keys, workdir)
        assert train(config, workdir) == 0
        return config

    config = go_on("masked_lm", pretrained, str(tmp_path / "mlm"))
    assert "fresh" in capsys.readouterr().out
    assert config.data.tokenizer == f"{pretrained}/tokenizer.model"
    source, mlm = arrays(pretrained, 2), arrays(str(tmp_path / "mlm"), 1)
    assert {path.split("/")[0] for path in source.keys() - mlm.keys()} == {"classification"}
    for path, array in mlm.items():
        np.testing.assert_array_equal(array, source[path], err_msg=path)
    values = evaluate.evaluate_checkpoint(config, str(tmp_path / "mlm"))
    assert values["loss"] == values["masked_lm_loss"]
    assert values["baseline_masked_lm_loss"] > 0 and "next_sentence_loss" not in values

    config = go_on("next_sentence", pretrained, str(tmp_path / "nsp"))
    nsp = arrays(str(tmp_path / "nsp"), 1)
    assert {path.split("/")[0] for path in nsp} == {"encoder", "classification"}
    for path, array in nsp.items():
        np.testing.assert_array_equal(array, source[path], err_msg=path)
    values = evaluate.evaluate_checkpoint(config, str(tmp_path / "nsp"))
    assert 0.2 < values["accuracy"] < 0.8 and values["cross_entropy"] == values["loss"]


def arrays(workdir, step):
    """The parameters of a checkpoint by path."""
    abstract = set_up(saved_config(workdir), workdir, training=False).abstract
    checkpointer = Checkpointer(workdir, read_only=True)
    params = checkpointer.restore_variables(step, abstract.variables)["params"]
    checkpointer.close()
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
    return {path_str(path): leaf for path, leaf in leaves}

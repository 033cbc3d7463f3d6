"""`fnet_jax.load` and what a model answers, on small models with random parameters."""

import copy
import dataclasses
import functools
import itertools
import json
import re
from typing import get_args

import jax
import numpy as np
import pytest

import fnet_jax
from fnet_jax.bridge import portable, workdirs
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.loaded import Loaded
from fnet_jax.core.config import Head
from fnet_jax.core.errors import UserError
from fnet_jax.data.tokenizer import train_tokenizer
from fnet_jax.inference.model import PREDICTORS, Model
from fnet_jax.inference.text_predictors import Classify
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.features import features
from fnet_jax.train.evaluate import evaluate_checkpoint
from tests.conftest import REPOSITORY, run
from tests.inference.answering import (
    LONG,
    TEXTS,
    WORDS,
    L,
    applied,
    close,
    loaded,
    model,
    tokenizer,
    tokenizer_path,
)
from tests.made_up import write_table

DOCS = REPOSITORY / "docs" / "predict.md"


def test_logits_do_not_depend_on_the_company():
    one = model("sequence")
    together = one.logits(TEXTS)
    assert together.shape == (len(TEXTS), 5)
    assert len(TEXTS) > 2 * 8 and len(TEXTS) % 8  # several batches, the last one filled up
    close(together, [one.logits(text) for text in TEXTS])
    ids, types = features(tokenizer().encode(TEXTS[3]), None, L, "longest_first")
    close(together[3], applied("sequence", ids, types))
    assert np.ptp(together, axis=0).min() > 1e-3  # texts do differ


def test_pairs_are_read_as_in_training():
    pair = ("I have a dog", "I have a saw and a nail")
    pieces = [tokenizer().encode(text) for text in pair]
    close(model("sequence").logits(pair), applied("sequence", *features(*pieces, L, "longest_first")))
    source = loaded("sequence")
    data = dataclasses.replace(source.config.data, swap_texts=True)
    source = dataclasses.replace(source, config=dataclasses.replace(source.config, data=data))
    swapped = Model(source, tokenizer())
    close(swapped.logits(pair), applied("sequence", *features(*pieces[::-1], L, "longest_first")))


def centered(source: Loaded) -> Loaded:
    """With a bias that makes the mean of some texts' logits 0, so that texts get different classes."""
    variables = copy.deepcopy(source.variables)
    found = Model(source, tokenizer()).logits([f"I have a {word}" for word in WORDS]).mean(axis=0)
    variables["params"]["classification"]["output_bias"] -= found
    return dataclasses.replace(source, variables=variables)


def test_classify_equals_evaluation_to_the_last_digit(tmp_path):
    """The same checkpoint, texts and batch: what `eval.py` leaves in its file."""

    table = str(tmp_path / "things.csv")
    write_table(tmp_path / "things.csv", 150)
    source = centered(loaded("sequence", num_outputs=2))
    config = source.config
    data = dataclasses.replace(config.data, corpus=table, validation=table, labels=("animal", "tool"))
    config = dataclasses.replace(config, data=data)
    workdir = tmp_path / "W"
    workdir.mkdir()
    workdirs.write(dataclasses.replace(source, config=config), str(workdir))
    evaluate_checkpoint(config, str(workdir), write_predictions=True)
    lines = (workdir / "predictions-classify-validation.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({row["prediction"] for row in rows}) == 2
    opened = fnet_jax.load(str(workdir), batch_size=config.train.eval_batch_size)
    found = [prediction.as_json() for prediction in opened.classify([row["text"] for row in rows])]
    assert found == [{name: row[name] for name in ("prediction", "scores")} for row in rows]


def test_encode_is_the_encoder_whatever_the_head():
    ids, types = features(tokenizer().encode(TEXTS[0]), tokenizer().encode("a cow"), L, "longest_first")
    source = loaded("tokens")
    encoder = {"params": {"encoder": source.variables["params"]["encoder"]}}
    with jax.numpy_dtype_promotion("standard"):
        sequence_BLD, pooled_BD = jax.jit(
            functools.partial(make_model("encoder", source.config.model).apply, deterministic=True)
        )(encoder, ids[None], types[None])
    found_ND = model("tokens").encode([(TEXTS[0], "a cow"), TEXTS[1]])
    close(found_ND[0], pooled_BD[0])
    assert not np.allclose(found_ND[1], found_ND[0], atol=1e-3)
    close(model("tokens").encode((TEXTS[0], "a cow"), per_position=True), sequence_BLD[0])
    assert model("tokens").encode([]).shape == (0,)


@pytest.mark.parametrize("head", ["pretrain", "next_sentence"])
def test_next_sentence(head):
    pairs = [("a dog", "a cat and a saw"), ("a saw", "a cow")]
    found = model(head).next_sentence(pairs)
    for (a, b), probability in zip(pairs, found, strict=True):
        more = [np.zeros(1)] if head == "pretrain" else []
        fields = features(tokenizer().encode(a), tokenizer().encode(b), L, "longest_first")
        out = applied(head, *fields, *more)
        logits_C = out.next_sentence_BC if head == "pretrain" else out
        close(probability, np.exp(logits_C[0]) / np.exp(logits_C).sum())


def test_devices_share_a_batch():
    one = model("sequence").logits(TEXTS)
    for count in (1, 2):
        other = Model(loaded("sequence"), tokenizer(), batch_size=8, devices=jax.devices()[:count])
        close(other.logits(TEXTS), one)


def test_bfloat16_is_near_and_says_so():
    rough = Model(loaded("sequence"), tokenizer(), "bfloat16", batch_size=8)
    assert rough.config.model.dtype == "bfloat16"
    found, exact = rough.logits(TEXTS), model("sequence").logits(TEXTS)
    assert found.dtype == np.float32
    error = np.abs(found - exact).max()
    assert 1e-6 < error < 0.1 * np.abs(exact).max()


def test_one_program_per_shape(capfd):
    asked = Model(loaded("sequence"), tokenizer(), batch_size=8, devices=jax.devices()[:1])
    asked.logits(TEXTS[:3])
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"compiled logits for batches of 4 x {L} pieces on 1 cpu device in ")
    asked.logits(TEXTS)
    assert "batches of 8 x" in capfd.readouterr().err
    asked.logits(TEXTS[:4])
    asked.classify(TEXTS[:8])
    asked.logits(TEXTS[:17])
    assert capfd.readouterr().err == ""
    assert asked.seconds_compiling > 0


def test_a_stream_is_lazy_keeps_its_order_and_goes_on_after_bad_items():
    asked = model("sequence")
    taken = 0

    def endless():
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield LONG if number % 5 == 3 else TEXTS[number % len(TEXTS)]

    predictor = Classify(asked.info, "refuse")
    found = list(itertools.islice(asked.stream(predictor, endless()), 40))
    assert taken <= 40 + 8 * 8
    for number, (text, answer) in enumerate(found):
        if number % 5 == 3:
            assert text == LONG and isinstance(answer, UserError)
        else:
            wanted = asked.classify(text)
            assert text == TEXTS[number % len(TEXTS)] and answer.prediction == wanted.prediction
            close(list(answer.scores.values()), list(wanted.scores.values()), 1e-5)
    only_bad = itertools.islice(
        asked.stream(predictor, itertools.repeat(LONG)), 20
    )  # does not wait for a good one
    assert all(isinstance(answer, UserError) for _, answer in only_bad)
    assert len(list(asked.stream(predictor, [LONG] * 3))) == 3


def test_long_texts_are_cut_read_in_windows_or_refused_and_counted():
    asked = Model(loaded("sequence"), tokenizer(), batch_size=8)
    pieces = tokenizer().encode(LONG)
    assert len(pieces) > 3 * L
    ids, types = features(pieces, None, L, "longest_first")
    close(asked.logits(LONG), applied("sequence", ids, types))
    assert (asked.counts.texts, asked.counts.long, asked.counts.tokens) == (1, 1, L)

    size = L - 2
    starts = [*range(0, len(pieces) - size, size // 2), len(pieces) - size]
    windows = [features(pieces[start : start + size], None, L, "longest_first") for start in starts]
    mean = np.mean([applied("sequence", *window) for window in windows], axis=0)
    close(asked.logits(LONG, long="stride"), mean)
    assert (asked.counts.texts, asked.counts.long, asked.counts.tokens) == (2, 2, L + L * len(windows))
    close(asked.logits(TEXTS[:1], long="stride"), asked.logits(TEXTS[:1]))

    with pytest.raises(UserError, match=f"text has {len(pieces) + 2} pieces, the model takes {L}"):
        asked.logits([TEXTS[0], LONG], long="refuse")
    with pytest.raises(UserError, match="positions do not share"):
        asked.encode(LONG, per_position=True, long="stride")


@pytest.mark.parametrize("write", [workdirs.write, portable.write, huggingface.write])
def test_a_model_is_the_same_in_any_folder(write, tmp_path):
    write(loaded("sequence"), str(tmp_path))
    opened = fnet_jax.load(str(tmp_path), batch_size=8)
    assert (opened.head, opened.labels) == ("sequence", model("sequence").labels)
    close(opened.logits(TEXTS[:8]), model("sequence").logits(TEXTS[:8]), 1e-5)


def test_what_cannot_be_asked_is_said():
    for ask, what in (
        (
            lambda: model("sequence").fill_mask("a [MASK]"),
            "fill_mask needs a model with the head pre",
        ),
        (
            lambda: model("pretrain").classify("a dog"),
            "classify needs a model with the head seq",
        ),
        (
            lambda: model("sequence").tag(["a"]),
            "the head tokens; this one has sequence",
        ),
        (lambda: model("tokens").choose("a", ["b", "c"]), "choose needs"),
        (lambda: model("choice").answer("a", "b"), "answer needs"),
        (lambda: model("span").next_sentence(("a", "b")), "next_sentence needs"),
        (lambda: model("choice").logits("a"), "logits needs"),
        (lambda: model("pretrain").next_sentence("a"), "takes pairs"),
        (lambda: model("pretrain").fill_mask("a dog"), "has no .MASK."),
        (lambda: model("pretrain").fill_mask("a [MASK]", top_k=81), "top_k=81 must be within 1 … 80"),
        (lambda: model("span").answer("a", " "), "empty context"),
        (lambda: model("tokens").tag([[]]), "without words"),
    ):
        with pytest.raises(UserError, match=what):
            ask()


def test_a_model_needs_its_own_tokenizer_for_texts_and_none_for_ids(tmp_path):
    huggingface.write(dataclasses.replace(loaded("sequence"), tokenizer_path=None), str(tmp_path))
    bare = fnet_jax.load(str(tmp_path))
    with pytest.raises(UserError, match="classify takes texts, and the model has no tokenizer; give its"):
        bare.classify("a dog")
    example = features(tokenizer().encode(TEXTS[3]), None, L, "longest_first")
    found_BC = bare.apply(bare.params, *(field[None] for field in example))
    close(found_BC[0], model("sequence").logits(TEXTS[3]))
    other = tmp_path / "other.model"
    train_tokenizer([*TEXTS, *WORDS] * 3, str(other), 70)
    with pytest.raises(UserError, match="the tokenizer has 70 pieces, the model 80"):
        fnet_jax.load(str(tmp_path), tokenizer=str(other))
    assert fnet_jax.load(str(tmp_path), tokenizer=str(tokenizer_path())).head == "sequence"


def test_documented_questions_of_each_head():
    """The table of docs/predict.md."""
    rows = re.findall(r"^\| ([\w, ]+) \| [^|]+ \| ([\w, ;]+) \|$", DOCS.read_text(), re.MULTILINE)[1:]
    found = {
        head: set(names.split(", "))
        for heads, questions in rows
        for head, names in zip(heads.split(", "), questions.split("; "), strict=True)
    }
    wanted = {
        head: {name for name, predictor in PREDICTORS.items() if head in predictor.heads} - {"encode"}
        for head in get_args(Head)
    }
    assert found == {head: names for head, names in wanted.items() if names}


def test_importing_the_package_imports_no_jax():
    code = "import sys, fnet_jax; print('jax' in sys.modules, fnet_jax.load.__module__, 'jax' in sys.modules)"
    result = run("python", "-c", code)
    assert result.stdout.split() == ["False", "fnet_jax.inference.model", "True"], result.stderr
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        fnet_jax.unknown  # noqa: B018

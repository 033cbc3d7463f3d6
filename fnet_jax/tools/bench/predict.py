"""Classification from text to probabilities: in batches of several sizes, and one text at a time."""

import dataclasses
import functools
import os
import tempfile
from pydoc_data.topics import topics
from typing import Any, cast

import jax
import numpy as np
from absl import flags

from fnet_jax.bridge.loaded import Loaded, run_config
from fnet_jax.core.config import Config
from fnet_jax.data.text import paragraphs
from fnet_jax.data.tokenizer import Tokenizer, train_tokenizer
from fnet_jax.inference.model import Model
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.features import features
from fnet_jax.tools.bench import plan as plans
from fnet_jax.tools.bench.plan import BenchPlan
from fnet_jax.tools.bench.timing import BenchCase, CaseSetting, TimedProgram

LOOP = "one by one"
CLASSES = 2
_TEXTS = 64  # of one run
_VOCAB_SIZE = 2000


def plan() -> BenchPlan:
    """Paragraphs of Python's manual to probabilities, on one device, with random parameters.

    The cases: a loop that calls the jitted model for each text and waits for it; batches of several sizes.
    """
    config = plans.config()
    settings = plans.model_settings(config)
    batches = plans.numbers("batches", flags.FLAGS.batches or [1, 8, 32])
    tokenizer = functools.cache(_tokenizer)

    def case(setting: CaseSetting, name: str) -> BenchCase:
        return BenchCase(name, setting, lambda: _make(tokenizer(), config, setting, name), _TEXTS)

    names = [LOOP, *(f"batches of {batch}" for batch in batches)]
    return BenchPlan("Classes of texts, from text to probabilities", settings, names, case, LOOP, "texts")


def _texts() -> list[str]:
    return [text for topic in sorted(topics) for text in paragraphs(topics[topic])]


def _tokenizer() -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        return train_tokenizer(_texts(), os.path.join(folder, "tokenizer.model"), _VOCAB_SIZE)


def _make(tokenizer: Tokenizer, config: Config, setting: CaseSetting, name: str) -> TimedProgram:
    shape = dataclasses.replace(
        config.model,
        max_seq_length=int(setting["length"]),
        dtype=cast(Any, setting["dtype"]),
        vocab_size=tokenizer.vocab_size,
        num_outputs=CLASSES,
    )
    run = run_config("sequence", shape, ("no", "yes"))
    model = make_model("sequence", shape)
    zeros_BL = np.zeros((1, shape.max_seq_length), np.int32)
    init = jax.jit(functools.partial(model.init, deterministic=True))
    variables = jax.device_get(init(jax.random.key(0), zeros_BL, zeros_BL))
    texts = _texts()[:_TEXTS]
    if name == LOOP:
        on_device = jax.device_put(variables)
        step = jax.jit(functools.partial(model.apply, deterministic=True))

        def classify_one_by_one(calls: int) -> None:
            for text in texts * calls:
                tokens = tokenizer.encode(text)
                ids_L, types_L = features(tokens, None, shape.max_seq_length, run.data.truncation)
                logits_BC = step(on_device, ids_L[None], types_L[None])
                np.asarray(jax.nn.softmax(logits_BC))

        return TimedProgram(classify_one_by_one)
    loaded = Loaded(run, "sequence", variables, None)
    classifier = Model(loaded, tokenizer, batch_size=int(name.rpartition(" ")[2]), devices=jax.devices()[:1])

    def classify(calls: int) -> None:
        for _ in range(calls):
            classifier.classify(texts)

    classify(1)
    return TimedProgram(classify, compile_seconds=classifier.seconds_compiling)

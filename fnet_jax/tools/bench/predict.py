"""A model that is asked for the classes of texts: in batches of several sizes, and one by one."""

import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from pydoc_data.topics import topics
from typing import Any, cast

import jax
import numpy as np

from fnet_jax.bridge.loaded import Loaded, run_config
from fnet_jax.core.config import Config
from fnet_jax.data.text import paragraphs
from fnet_jax.data.tokenizer import Tokenizer, train_tokenizer
from fnet_jax.inference.batching import Variables
from fnet_jax.inference.model import Model
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.features import features
from fnet_jax.tools.bench.timing import Case, Program, Setting

LOOP = "one by one"
CLASSES = 2
_TEXTS = 64  # of one run
_PIECES = 2000


def names(batches: Sequence[int]) -> list[str]:
    """LOOP, which calls the jitted model for each text and waits for it; and "batches of B"."""
    return [LOOP, *(f"batches of {batch}" for batch in batches)]


def cases(config: Config, settings: Sequence[Setting], named: Sequence[str]) -> list[Case]:
    """Paragraphs of Python's manual to probabilities, on one device, with random parameters.

    Args:
        config: gives the model.
        settings: with length L and dtype.
        named: see `names`.
    """
    tokenizer = functools.cache(_tokenizer)
    return [
        Case(name, setting, functools.partial(_make, name, config, setting, tokenizer), _TEXTS)
        for setting in settings
        for name in named
    ]


def _texts() -> list[str]:
    return [text for topic in sorted(topics) for text in paragraphs(topics[topic])]


def _tokenizer() -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        return train_tokenizer(_texts(), os.path.join(folder, "tokenizer.model"), _PIECES)


def _make(name: str, config: Config, setting: Setting, tokenizer: Callable[[], Tokenizer]) -> Program:
    shape = dataclasses.replace(
        config.model,
        max_seq_length=int(setting["length"]),
        dtype=cast(Any, setting["dtype"]),
        vocab_size=tokenizer().vocab_size,
        num_outputs=CLASSES,
    )
    run = run_config("sequence", shape, ("no", "yes"))
    model = make_model("sequence", shape)

    zeros_BL = np.zeros((1, shape.max_seq_length), np.int32)
    init = jax.jit(functools.partial(model.init, deterministic=True))
    variables = jax.device_get(init(jax.random.key(0), zeros_BL, zeros_BL))
    texts = _texts()[:_TEXTS]
    if name == LOOP:
        return _loop(model.apply, variables, texts, tokenizer(), run)
    batch = int(name.rpartition(" ")[2])
    asked = Model(
        Loaded(run, "sequence", variables, None), tokenizer(), batch_size=batch, devices=jax.devices()[:1]
    )

    def ask(calls: int) -> None:
        for _ in range(calls):
            asked.classify(texts)

    ask(1)
    return Program(ask, compile_seconds=asked.seconds_compiling)


def _loop(
    apply: Callable[..., Any],
    variables: Variables,
    texts: list[str],
    tokenizer: Tokenizer,
    config: Config,
) -> Program:
    on_device = jax.device_put(variables)
    step = jax.jit(functools.partial(apply, deterministic=True))

    def ask(calls: int) -> None:
        for text in texts * calls:
            ids_L, types_L = features(
                tokenizer.encode(text), None, config.model.max_seq_length, config.data.truncation
            )
            logits_BC = step(on_device, ids_L[None], types_L[None])
            np.asarray(jax.nn.softmax(logits_BC))

    return Program(ask)

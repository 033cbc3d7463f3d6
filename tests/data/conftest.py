"""A small made-up corpus, its tokenizer and its data set."""

import dataclasses
import json

import numpy as np
import pytest

from fnet_jax.configs import base
from fnet_jax.core.config import DataConfig
from fnet_jax.core.config_dict import parse
from fnet_jax.data import tokenizer
from fnet_jax.data.corpus import prepare

MAX_SEQ_LENGTH = 64
NUM_DOCUMENTS = 120


def make_documents(count: int, seed: int = 0) -> list[str]:
    """Documents of one to thirty sentences of made-up words, several sentences in a line."""
    rng = np.random.default_rng(seed)
    syllables = [a + b for a in "bcdfgklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(400)]
    documents = []
    for _ in range(count):
        sentences = [
            " ".join(rng.choice(words, rng.integers(3, 15))).capitalize() + "."
            for _ in range(rng.integers(1, 30))
        ]
        lines = np.array_split(np.array(sentences), rng.integers(1, len(sentences) + 1))
        documents.append("\n".join(" ".join(line) for line in lines))
    return documents


@pytest.fixture(scope="session")
def make_data():
    """A function that gives a DataConfig with some values changed."""
    default = parse(base.get_config()).data

    def make(**changes) -> DataConfig:
        return dataclasses.replace(default, **changes)

    return make


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> str:
    """A JSONL file."""
    path = tmp_path_factory.mktemp("corpus") / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in make_documents(NUM_DOCUMENTS)))
    return str(path)


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory) -> str:
    """A tokenizer of 500 tokens."""
    path = str(tmp_path_factory.mktemp("tokenizer") / "small.model")
    tokenizer.train_tokenizer([line for text in make_documents(60) for line in text.splitlines()], path, 500)
    return path


@pytest.fixture(scope="session")
def small_data(make_data, corpus, tokenizer_path) -> DataConfig:
    """The config of the small data set."""
    return make_data(
        corpus=corpus,
        tokenizer=tokenizer_path,
        holdout_fraction=0.2,
        max_predictions_per_seq=12,
        masking_rate=0.15,
    )


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory, small_data) -> str:
    """The small corpus, prepared."""
    directory = str(tmp_path_factory.mktemp("prepared") / "data")
    prepare.prepare(small_data, MAX_SEQ_LENGTH, directory, num_processes=1, progress=False)
    return directory

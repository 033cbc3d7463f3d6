"""Models with random parameters that can be asked, one for each head, and texts to ask about."""

import functools
import itertools
import pathlib
import tempfile

import jax
import numpy as np

from fnet_jax.bridge.loaded import Loaded
from fnet_jax.core.config import Head
from fnet_jax.core.special_tokens import PAD_ID
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from fnet_jax.inference.model import Model
from fnet_jax.nn.heads import make_model
from tests.bridge.made import made
from tests.made_up import ANIMALS, TOOLS

L = 24
WORDS = [*ANIMALS, *TOOLS]
TEXTS = [" and a ".join(["I have a", *words]) for words in itertools.combinations(WORDS[::3], 2)]
LONG = " ".join(WORDS * 3)


@functools.cache
def tokenizer_path() -> pathlib.Path:
    path = pathlib.Path(tempfile.mkdtemp()) / "tokenizer.model"
    train_tokenizer([*TEXTS, *WORDS] * 3, str(path), 80)
    return path


def tokenizer() -> Tokenizer:
    return load_tokenizer(str(tokenizer_path()))


@functools.cache
def loaded(head: Head, **changes: object) -> Loaded:
    return made(head, tokenizer=tokenizer_path(), vocab_size=80, max_seq_length=L, **changes)


@functools.cache
def model(head: Head) -> Model:
    """On all devices, so that there is one size of batch, and one program to compile."""
    return Model(loaded(head), tokenizer(), batch_size=8)


@functools.cache
def program(head: Head):
    """The model of `loaded(head)` as Flax has it."""
    source = loaded(head)
    apply = functools.partial(make_model(head, source.config.model).apply, source.variables)
    return jax.jit(functools.partial(apply, deterministic=True))


def applied(head: Head, *fields):
    """What the head says of one example: a batch of one that is not filled up."""
    out = program(head)(*(np.asarray(field, np.int32)[None] for field in fields))
    return jax.tree.map(lambda array: np.asarray(array[0]), out)


def padded(pieces: list[int]) -> list[int]:
    return [*pieces, *[PAD_ID] * (L - len(pieces))]


def close(found, wanted, tolerance=2e-6):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)

"""`Model.apply` and `Model.params`: a model as a part of other JAX code."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fnet_jax.core.config import Head
from fnet_jax.inference.model import Model
from fnet_jax.tasks.features import features
from tests.inference.answering import TEXTS, L, applied, close, loaded, tokenizer


def model(head: Head, **changes: object) -> Model:
    """On one device."""
    return Model(loaded(head, **changes), tokenizer(), batch_size=8, devices=jax.devices()[:1])


@pytest.mark.parametrize("head", get_args(Head))
def test_apply_is_the_head_as_a_pure_function(head):
    """Jitted, without type ids, of every head; its shapes are those of the docstring."""
    ids_L, _ = features(tokenizer().encode(TEXTS[0]), None, L, "longest_first")
    ids = np.stack([ids_L] * 3)[None] if head == "choice" else ids_L[None]
    asked = model(head)
    found = jax.jit(asked.apply)(asked.params, ids)
    more = [np.arange(L)] if head in ("pretrain", "masked_lm") else []
    jax.tree.map(close, jax.tree.map(lambda array: array[0], found), applied(head, ids[0], 0 * ids[0], *more))
    shapes = {
        "encoder": ((1, L, 16), (1, 16)), "pretrain": ((1, L, 80), (1, 2)), "masked_lm": (1, L, 80),
        "next_sentence": (1, 2), "sequence": (1, 5), "tokens": (1, L, 5), "choice": (1, 3),
        "span": ((1, L), (1, L)),
    }  # fmt: skip
    assert jax.tree.map(np.shape, tuple(found) if isinstance(found, tuple) else found) == shapes[head]


def test_apply_has_gradients_and_dropout_and_works_under_vmap():
    asked = model("sequence")
    batch = asked.tokenize([*TEXTS[:2], ("a dog", "a cat")])

    def loss(params, key):
        return jnp.sum(asked.apply(params, **batch, dropout_rng=key) ** 2)

    losses_and_grads = jax.jit(jax.value_and_grad(loss))
    (first, grads), (second, _) = (losses_and_grads(asked.params, jax.random.key(i)) for i in range(2))
    assert first != second
    assert jax.tree.map(np.shape, grads) == jax.tree.map(np.shape, asked.params)
    assert float(optax.tree.norm(grads["encoder"])) > 0

    @jax.jit
    @jax.vmap
    def one_by_one(input_ids_L, type_ids_L):
        return asked.apply(asked.params, input_ids_L[None], type_ids_L[None])[0]

    close(one_by_one(*batch.values()), asked.logits([*TEXTS[:2], ("a dog", "a cat")]), 1e-5)


def test_apply_encoder_gives_the_vectors_of_encode():
    asked = model("tokens")
    encoder = {"encoder": asked.params["encoder"]}
    sequence_BLD, pooled_BD = jax.jit(asked.apply_encoder)(encoder, **asked.tokenize(TEXTS[:8]))
    close(pooled_BD, asked.encode(TEXTS[:8]))
    close(sequence_BLD, asked.encode(TEXTS[:8], per_position=True))


def test_apply_takes_fixed_matrices_from_the_model():
    asked = model("sequence", mixer="random")
    close(jax.jit(asked.apply)(asked.params, **asked.tokenize(TEXTS[:8])), asked.logits(TEXTS[:8]))

"""FNet in float64 NumPy, written from the paper and independent of `fnet_jax.nn`; and a tiny config."""

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.special

from fnet_jax.core.config import ModelConfig


def tiny_config(**overrides) -> ModelConfig:
    """A model small enough to compile in a second; no two of its dimensions are equal."""
    values = dict(
        num_layers=2,
        d_model=8,
        d_emb=6,
        d_ff=20,
        num_heads=2,
        max_seq_length=12,
        vocab_size=30,
        dropout_rate=0.0,
        mixing_dropout_rate=0.0,
    )
    return ModelConfig(**(values | overrides))


def tiny_batch(config: ModelConfig, batch_size: int, predictions: int = 5, seed: int = 0) -> dict:
    """A random pretraining batch: some padding, some [MASK], unused slots, one filler example at the end."""
    rng = np.random.default_rng(seed)
    b, length, p = batch_size, config.max_seq_length, predictions
    input_ids = rng.integers(4, config.vocab_size, (b, length))
    lengths = rng.integers(length // 2, length + 1, (b, 1))
    input_ids = np.where(np.arange(length) < lengths, input_ids, 3)
    positions = np.sort(rng.permuted(np.tile(np.arange(length // 2), (b, 1)), axis=1)[:, :p], axis=1)
    weights = (np.arange(p) < rng.integers(1, p + 1, (b, 1))).astype(np.float32)
    input_ids[np.arange(b)[:, None], positions[:, ::2]] = 6
    example_weights = np.ones(b, np.float32)
    example_weights[-1], weights[-1] = 0, 0
    return {
        "input_ids": input_ids.astype(np.int32),
        "type_ids": rng.integers(0, 2, (b, length)).astype(np.int32),
        "masked_lm_positions": positions.astype(np.int32),
        "masked_lm_ids": rng.integers(7, config.vocab_size, (b, p)).astype(np.int32),
        "masked_lm_weights": weights,
        "next_sentence_labels": rng.integers(0, 2, b).astype(np.int32),
        "example_weights": example_weights,
    }


# Mixers: x[B, L, D] -> y[B, L, D].


def fourier(x):
    return np.fft.fft2(x).real


def hartley(x):
    _, length, width = x.shape
    angle_l = 2 * np.pi * np.outer(np.arange(length), np.arange(length)) / length
    angle_d = 2 * np.pi * np.outer(np.arange(width), np.arange(width)) / width
    angle = angle_l[:, None, :, None] + angle_d[None, :, None, :]
    return np.einsum("ndle,ble->bnd", np.cos(angle) + np.sin(angle), x)


def dct(x):
    return scipy.fft.dctn(x, type=2, axes=(1, 2), norm="ortho")


def hadamard(x):
    return np.einsum("nl,bld,ed->bne", hadamard_matrix(x.shape[1]), x, hadamard_matrix(x.shape[2]))


def hadamard_matrix(n):
    """Paley's matrix where the table has its prime, else Hartley's, times Sylvester's."""
    base = n // (n & -n)
    primes = {3: 11, 5: 19, 9: 71}
    if base in primes and n % (primes[base] + 1) == 0:
        prime = primes[base]

        def chi(a):
            a %= prime
            return 0 if a == 0 else 1 if pow(a, (prime - 1) // 2, prime) == 1 else -1

        q = np.array([[chi(i - j) for j in range(prime)] for i in range(prime)])
        matrix = np.block([[np.ones((1, 1)), np.ones((1, prime))], [-np.ones((prime, 1)), q + np.eye(prime)]])
        # Same matrix up to the order and sign of rows, made symmetric.
        matrix[1:] = -matrix[1:][-np.arange(prime) % prime]
    else:
        angle = 2 * np.pi * np.outer(np.arange(base), np.arange(base)) / base
        matrix = np.cos(angle) + np.sin(angle)
    return np.kron(matrix, scipy.linalg.hadamard(n // len(matrix)))


def matrices(x, params):
    return np.einsum("bij,jk,ni->bnk", x, params["hidden_kernel"], params["seq_kernel"])


def attention(x, params, padding_mask):
    q, k, v = (
        np.einsum("bld,dhx->bhlx", x, params[name]["kernel"]) + params[name]["bias"][None, :, None, :]
        for name in ("query", "key", "value")
    )
    scores = np.einsum("bhlx,bhmx->bhlm", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(padding_mask[:, None, None, :], scores, -np.inf)
    y = np.einsum("bhlm,bhmx->blhx", scipy.special.softmax(scores, axis=-1), v)
    return np.einsum("blhx,hxd->bld", y, params["out"]["kernel"]) + params["out"]["bias"]


def mix(name, x, variables, padding_mask):
    """Any mixer by name; `variables` are its own params or constants."""
    return {
        "fourier": lambda: fourier(x),
        "hartley": lambda: hartley(x),
        "dct": lambda: dct(x),
        "hadamard": lambda: hadamard(x),
        "linear": lambda: matrices(x, variables),
        "random": lambda: matrices(x, variables),
        "attention": lambda: attention(x, variables, padding_mask),
        "ff_only": lambda: x,
    }[name]()


def adjoint(fn, g):
    """The adjoint of the linear map `fn` applied to g[B, L, D], by definition: <fn(e_i), g> for all i."""
    basis = np.eye(g[0].size).reshape(-1, *g.shape[1:])
    return np.einsum("ild,bld->bi", fn(basis), g).reshape(g.shape)


# The model.


def layer_norm(x, params):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * params["scale"] + params["bias"]


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def pretrain_logits(layers, params, batch):
    """(masked LM logits, next-sentence logits).

    Args:
        layers: for each layer (mixer name, variables of the mixer, params of the block).
        params: all parameters; those of the blocks are taken from `layers`.
        batch: a pretraining batch.
    """
    encoder = params["encoder"]
    embedder = encoder["embedder"]
    ids = batch["input_ids"]
    x = embedder["word"]["embedding"][ids] + embedder["type"]["embedding"][batch["type_ids"]]
    x = layer_norm(x + embedder["position"]["embedding"][: ids.shape[1]], embedder["layer_norm"])
    x = dense(x, embedder["hidden_mapping_in"])
    for name, variables, block in layers:
        x = layer_norm(x + mix(name, x, variables, ids != 3), block["mixing_layer_norm"])
        feed_forward = block["feed_forward"]
        y = dense(gelu(dense(x, feed_forward["intermediate"])), feed_forward["output"])
        x = layer_norm(x + y, block["output_layer_norm"])
    pooled = np.tanh(dense(x[:, 0], encoder["pooler"]))

    masked = np.stack(
        [example[places] for example, places in zip(x, batch["masked_lm_positions"], strict=True)]
    )
    hidden = layer_norm(gelu(dense(masked, params["predictions_dense"])), params["predictions_layer_norm"])
    masked_lm = hidden @ embedder["word"]["embedding"].T + params["predictions_output"]["output_bias"]
    head = params["classification"]
    return masked_lm, pooled @ head["output_kernel"].T + head["output_bias"]


def cross_entropy(logits, labels):
    return -np.take_along_axis(scipy.special.log_softmax(logits, axis=-1), labels[..., None], -1)[..., 0]


def relative_errors(actual, expected):
    """(root mean square, maximum) of the error, in units of the RMS of `expected`."""
    error = np.asarray(actual, np.float64) - expected
    scale = np.sqrt(np.mean(np.square(expected)))
    return np.sqrt(np.mean(np.square(error))) / scale, np.abs(error).max() / scale

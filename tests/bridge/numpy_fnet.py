"""The original FNet in float64 NumPy: all five architectures, in the original's names and layout.

Written from the paper (arXiv 2105.03824) and the names of the published checkpoints, independent of
`fnet_jax`. Parameters are nested dicts, `params["encoder"]["feed_forward_0"]["output"]["kernel"]`; sublayers
stand beside the block that they belong to. How many layers, heads and so on there are, their shapes say.
"""

import numpy as np

from tests.nn.reference import dense, fourier, gelu, layer_norm, matrices

ARCHITECTURES = ("f_net", "bert", "linear", "ff_only", "random")
PAD = 3


def make_params(
    arch, *, layers=2, d_emb=6, d_model=8, d_ff=20, heads=2, length=12, vocab=30, outputs=2, types=4, seed=0
):
    """Random float32 parameters of the pretraining model; without `predictions_*` they are a classifier's.

    Biases and scales are random too, so that no tensor can be lost or exchanged unseen.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape, around=0.0, scale=0.3):
        return (around + scale * rng.standard_normal(shape, np.float32)).astype(np.float32)

    def layer(*shape, inputs=1):
        outputs = shape[inputs:]
        return {"kernel": normal(*shape, scale=np.prod(shape[:inputs]) ** -0.5), "bias": normal(*outputs)}

    def norm(size):
        return {"scale": normal(size, around=1.0), "bias": normal(size)}

    encoder = {
        "embedder": {
            "word": {"embedding": normal(vocab, d_emb)},
            "position": {"embedding": normal(1, length, d_emb)},
            "type": {"embedding": normal(types, d_emb)},
            "layer_norm": norm(d_emb),
            "hidden_mapping_in": layer(d_emb, d_model),
        },
        "pooler": layer(d_model, d_model),
    }
    for i in range(layers):
        encoder[f"encoder_{i}"] = {"mixing_layer_norm": norm(d_model), "output_layer_norm": norm(d_model)}
        encoder[f"feed_forward_{i}"] = {"intermediate": layer(d_model, d_ff), "output": layer(d_ff, d_model)}
        if arch == "bert":
            head = (d_model, heads, d_model // heads)
            encoder[f"self_attention_{i}"] = {
                **{name: layer(*head) for name in ("query", "key", "value")},
                "out": layer(*head[1:], d_model, inputs=2),
            }
        if arch == "linear":
            encoder[f"linear_transform_{i}"] = {
                "hidden_kernel": normal(d_model, d_model),
                "seq_kernel": normal(length, length),
            }
    return {
        "encoder": encoder,
        "predictions_dense": layer(d_model, d_emb),
        "predictions_layer_norm": norm(d_emb),
        "predictions_output": {"output_bias": normal(vocab)},
        "classification": {"output_kernel": normal(outputs, d_model), "output_bias": normal(outputs)},
    }


def encode(params, arch, input_ids, type_ids, random_matrices=()):
    """(sequence [B, L, D], pooled [B, D]).

    Args:
        params: of any head.
        arch: one of `ARCHITECTURES`.
        input_ids: int[B, L]; those that are `PAD` are padding.
        type_ids: int[B, L].
        random_matrices: of architecture "random", for each layer {"hidden_kernel", "seq_kernel"}.
    """
    encoder = _float64(params["encoder"])
    embedder = encoder["embedder"]
    x = embedder["word"]["embedding"][input_ids] + embedder["type"]["embedding"][type_ids]
    x = layer_norm(x + embedder["position"]["embedding"][:, : input_ids.shape[1]], embedder["layer_norm"])
    x = dense(x, embedder["hidden_mapping_in"])
    for i in range(sum(name.startswith("encoder_") for name in encoder)):
        mixed = {
            "f_net": lambda x: fourier(x),
            "bert": lambda x, i=i: attention(x, encoder[f"self_attention_{i}"], input_ids != PAD),
            "linear": lambda x, i=i: matrices(x, encoder[f"linear_transform_{i}"]),
            "ff_only": lambda x: x,
            "random": lambda x, i=i: matrices(x, random_matrices[i]),
        }[arch](x)
        block, feed_forward = encoder[f"encoder_{i}"], encoder[f"feed_forward_{i}"]
        x = layer_norm(x + mixed, block["mixing_layer_norm"])
        y = dense(gelu(dense(x, feed_forward["intermediate"])), feed_forward["output"])
        x = layer_norm(x + y, block["output_layer_norm"])
    return x, np.tanh(dense(x[:, 0], encoder["pooler"]))


def pretrain_logits(params, arch, input_ids, type_ids, positions, random_matrices=()):
    """(masked LM [B, P, V] at `positions` int[B, P], next sentence [B, 2]); see `encode`."""
    sequence, pooled = encode(params, arch, input_ids, type_ids, random_matrices)
    params = _float64(params)
    hidden = dense(np.take_along_axis(sequence, positions[..., None], axis=1), params["predictions_dense"])
    hidden = layer_norm(gelu(hidden), params["predictions_layer_norm"])
    table = params["encoder"]["embedder"]["word"]["embedding"]
    return hidden @ table.T + params["predictions_output"]["output_bias"], _project(params, pooled)


def class_logits(params, arch, input_ids, type_ids, random_matrices=()):
    """[B, C]; see `encode`."""
    _, pooled = encode(params, arch, input_ids, type_ids, random_matrices)
    return _project(_float64(params), pooled)


def attention(x, params, token):
    """Self-attention; padding is not attended to, and itself averages all values: every score is masked."""
    q, k, v = (
        np.einsum("bld,dhx->bhlx", x, params[name]["kernel"]) + params[name]["bias"][None, :, None, :]
        for name in ("query", "key", "value")
    )
    scores = np.einsum("bhlx,bhmx->bhlm", q, k) / np.sqrt(q.shape[-1])
    weights = np.where(token[:, None, None, :], np.exp(scores - scores.max(-1, keepdims=True)), 0.0)
    weights = np.where(token[:, None, :, None], weights, 1.0)
    y = np.einsum("bhlm,bhmx->blhx", weights / weights.sum(-1, keepdims=True), v)
    return np.einsum("blhx,hxd->bld", y, params["out"]["kernel"]) + params["out"]["bias"]


def _project(params, pooled):
    head = params["classification"]
    return pooled @ head["output_kernel"].T + head["output_bias"]


def _float64(tree):
    return {k: _float64(v) for k, v in tree.items()} if isinstance(tree, dict) else tree.astype(np.float64)

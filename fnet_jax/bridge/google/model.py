"""The models of the original FNet and of Sparse Mixers (google-research): names, sizes, random matrices."""

import dataclasses
import os
import re
from collections.abc import Collection, Mapping
from typing import Any, get_args

import flax.linen as nn
import jax
import numpy as np

from fnet_jax.bridge.inputs import abstract_variables
from fnet_jax.bridge.loaded import flat
from fnet_jax.bridge.name_tables import FileTensor, TensorMapping
from fnet_jax.core.config import Head, Layout, Mixer, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.nn.encoder import layer_mixers, layer_runs

# Architecture of the original -> mixer. The published files are called f_net_checkpoint, bert_checkpoint, ...
ARCHITECTURES: dict[str, Mixer] = {
    "f_net": "fourier",
    "bert": "attention",
    "linear": "linear",
    "ff_only": "ff_only",
    "random": "random",
}
# Ours, inside a layer -> theirs, inside the encoder: of f_net; of Sparse Mixers, where that differs. What
# stands outside the layers has the same name.
_LAYER_ROWS = {
    "mixing_layer_norm/": ("encoder_{i}/mixing_layer_norm/",),
    "output_layer_norm/": ("encoder_{i}/output_layer_norm/",),
    "feed_forward/": ("feed_forward_{i}/",),
    "attention/": ("self_attention_{i}/", "attention_{i}/self/"),
    "linear/hidden_kernel": ("linear_transform_{i}/hidden_kernel",),
    "linear/seq_kernel": ("linear_transform_{i}/seq_kernel", "linear_transform_{i}/input_kernel"),
}
_WORD, _TYPE = "encoder/embedder/word/embedding", "encoder/embedder/type/embedding"
_POSITION = "encoder/embedder/position/embedding"  # theirs is [1, L, E]
# Key of the config -> the tensor that tells it: its name, number of dimensions, and which one it is.
_SIZES = {
    "vocab_size": (_WORD, 2, 0),
    "d_emb": (_WORD, 2, 1),
    "max_seq_length": (_POSITION, 3, 1),
    "type_vocab_size": (_TYPE, 2, 0),
    "d_model": ("encoder/embedder/hidden_mapping_in/kernel", 2, 1),
    "d_ff": ("encoder/feed_forward_0/intermediate/kernel", 2, 1),
}

Tensors = Mapping[str, FileTensor]  # by their name


def name_table(head: Head, model: ModelConfig, names: Collection[str]) -> list[TensorMapping]:
    """The table of names of one model: a row for each of its parameters.

    Args:
        head: of the model.
        model: its sizes.
        names: of the tensors in the file, for choosing between the names of f_net and of Sparse Mixers.
    """
    table = []
    for path, leaf in flat(abstract_variables(head, model)["params"]).items():
        run = re.fullmatch(r"encoder/layers_(\d+)/(.*)", path)
        if run:
            layers = range(int(run[1]), int(run[1]) + leaf.shape[0])
            theirs = tuple(_layer_name(run[2], layer, names) for layer in layers)
            table.append(TensorMapping(path, leaf.shape, theirs, leaf.shape[1:]))
        else:
            their_shape = (1, *leaf.shape) if path == _POSITION else leaf.shape
            table.append(TensorMapping(path, leaf.shape, (path,), their_shape))
    return table


def describe(path: str, tensors: Tensors, mixer: Mixer | None) -> tuple[Head, ModelConfig]:
    """Which model the tensors of a file are.

    Args:
        path: of the file; a published name tells a mixer without parameters.
        tensors: all parameters.
        mixer: tells it too.

    Raises:
        UserError: if the tensors do not tell it.
    """
    values: dict[str, Any] = dict(_sizes(path, tensors))
    attention = _layers(tensors, "self_attention") | _layers(tensors, "attention")
    heads = {t.shape[1] for name, t in tensors.items() if re.search("/query/kernel$", name) and t.shape[1:]}
    values["num_heads"] = min(heads, default=ModelConfig().num_heads)
    if len(attention) == values["num_layers"]:
        values["mixer"] = "attention"
    else:
        values["mixer"] = _mixer(path, tensors, mixer)
        values |= _layout(path, ModelConfig(**values), attention)
    head: Head = "encoder"
    if any(name.startswith("predictions_") for name in tensors):
        head = "pretrain"
    elif "classification/output_bias" in tensors:
        head = "sequence"
        values["num_outputs"] = tensors["classification/output_bias"].shape[0]
    return head, ModelConfig(**values)


def random_constants(model: ModelConfig, seed: int) -> dict[str, Any]:
    """The matrices of mixer "random", as the original drew them from its seed; no file has them.

    It split its key once for each layer, and that once for the two matrices, with the random numbers that
    were JAX's default before `jax_threefry_partitionable`.
    """
    runs: dict[str, Any] = {}
    init = nn.initializers.lecun_normal()
    with jax.threefry_partitionable(False):
        key = jax.random.key(seed, impl="threefry2x32")
        for first, count, mixer in layer_runs(model):
            layers = []
            for _ in range(count):
                key, own_key = jax.random.split(key)
                layers.append(jax.random.split(own_key))
            if mixer == "random":
                sizes = {"hidden_kernel": model.d_model, "seq_kernel": model.max_seq_length}
                matrices = {
                    name: np.stack([np.asarray(init(keys[i], (n, n))) for keys in layers])
                    for i, (name, n) in enumerate(sizes.items())
                }
                runs[f"layers_{first}"] = {"random": matrices}
    return {"encoder": runs}


def _layer_name(ours: str, layer: int, names: Collection[str]) -> str:
    """Theirs of a parameter inside a layer; of Sparse Mixers if the file has that one."""
    start = next(start for start in _LAYER_ROWS if ours.startswith(start))
    variants = [f"encoder/{row.format(i=layer)}{ours[len(start) :]}" for row in _LAYER_ROWS[start]]
    return next((name for name in variants if name in names), variants[0])


def _layers(tensors: Tensors, kind: str) -> set[int]:
    """The layers that have a sublayer of a kind, such as "self_attention"."""
    found = (re.match(rf"encoder/{kind}_(\d+)/", name) for name in tensors)
    return {int(match[1]) for match in found if match}


def _sizes(path: str, tensors: Tensors) -> dict[str, int]:
    shapes = {name: tensors[name].shape if name in tensors else () for name, _, _ in _SIZES.values()}
    faults = [
        f"{name} has shape {list(shapes[name])}" if name in tensors else f"{name} is missing"
        for name, ndim, _ in dict.fromkeys(_SIZES.values())
        if len(shapes[name]) != ndim or 0 in shapes[name]
    ]
    if faults:
        raise UserError(f"{path} does not tell the sizes of its model: {'; '.join(dict.fromkeys(faults))}")
    sizes = {key: shapes[name][axis] for key, (name, _, axis) in _SIZES.items()}
    return sizes | {"num_layers": len(_layers(tensors, "encoder"))}


def _mixer(path: str, tensors: Tensors, mixer: Mixer | None) -> Mixer:
    """The mixer of the layers that have no attention."""
    if mixer is None and _layers(tensors, "linear_transform"):
        return "linear"
    found = mixer or ARCHITECTURES.get(os.path.basename(path).removesuffix("_checkpoint"))
    if found is None:
        raise UserError(
            f"{path} does not tell how its layers mix, for fourier, ff_only and random have no parameters; "
            "give one of them as --mixer"
        )
    return found


def _layout(path: str, model: ModelConfig, attention: Collection[int]) -> dict[str, Any]:
    """The keys of the config that put attention where the file has it."""
    for layout in get_args(Layout):
        values = {"num_attention_layers": len(attention), "attention_layout": layout}
        mixers = layer_mixers(dataclasses.replace(model, **values))
        if {i for i, name in enumerate(mixers) if name == "attention"} == set(attention):
            return values if attention else {}
    raise UserError(
        f"{path} has attention in the layers {sorted(attention)} of {model.num_layers}, "
        f"which is none of the layouts {', '.join(get_args(Layout))}"
    )

"""Models of Hugging Face's transformers, class FNet, both ways: config.json, model.safetensors, tokenizer."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnet_jax.bridge.huggingface import tokenizer as huggingface_tokenizer
from fnet_jax.bridge.huggingface.names import (
    ARCHITECTURES,
    BUFFERS,
    PREFIX,
    TWINS,
    head_modules,
    name_table,
)  # fmt: skip
from fnet_jax.bridge.loaded import Loaded, find_tokenizer, flat, nested, run_config
from fnet_jax.bridge.name_tables import FileTensor, gather, scatter
from fnet_jax.bridge.tensor_files import SAFETENSORS, open_tensors, require_floats, save_tensors
from fnet_jax.core.config import Config, Head, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import BOS_ID, EOS_ID, PAD_ID
from fnet_jax.core.workdir import CONFIG_FILE, TOKENIZER_FILE, read_json
from fnet_jax.nn.encoder import layer_mixers
from fnet_jax.nn.layers import INIT_STDDEV

MODEL_TYPE = "fnet"

# Key of theirs -> ours, and their default.
_SIZES = {
    "vocab_size": ("vocab_size", 32_000),
    "hidden_size": ("d_model", 768),
    "num_hidden_layers": ("num_layers", 12),
    "intermediate_size": ("d_ff", 3072),
    "max_position_embeddings": ("max_seq_length", 512),
    "type_vocab_size": ("type_vocab_size", 4),
}
_MAX_SIZE = 1 << 24  # of any dimension; more is no model but an attack
# Keys of theirs that we have no counterpart for -> the values that mean what we compute.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_eps": (1e-12,),
    "pad_token_id": (PAD_ID,),
    "tie_word_embeddings": (True,),
}
# Heads that read the pooled first token.
_POOLED = ("encoder", "pretrain", "next_sentence", "sequence", "choice")
# Heads whose classifier has as many outputs as there are labels.
_LABELLED = ("sequence", "tokens")
# Heads with dropout before the classifier, by the rate of the encoder.
_WITH_DROPOUT = ("sequence", "tokens", "choice")


def read(path: str, head: Head | None = None) -> Loaded:
    """Reads a model of transformers.

    Besides the result, at most one tensor is in memory.

    Args:
        path: the folder, or the file of tensors in it.
        head: of the model, if its config does not name its class.

    Raises:
        UserError: if it is no FNet, computes what ours does not, or its tensors do not fit its config,
            naming all of them.
    """
    path = os.path.abspath(os.path.expanduser(path))
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    config_path = os.path.join(folder, CONFIG_FILE)
    values = read_json(config_path)
    if values.get("model_type") != MODEL_TYPE:
        raise UserError(f"{config_path}: model_type={values.get('model_type')!r} is not {MODEL_TYPE!r}")
    source, tensors = open_tensors(path)
    tensors = _plain(source, tensors)
    head = head or _head(config_path, values, tensors)
    config = _config(config_path, values, head, len(tensors))
    params = gather(source, name_table(head, config.model), _without_twins(source, tensors))
    tokenizer = find_tokenizer(folder, huggingface_tokenizer.SENTENCEPIECE, TOKENIZER_FILE)
    return Loaded(config, head, {"params": nested(params)}, tokenizer)


def write(loaded: Loaded, folder: str, hf_mask_spacing: bool = False) -> None:
    """Fills an empty folder that `from_pretrained` opens; for the spacing see `huggingface_tokenizer.write`.

    Raises:
        UserError: if transformers has no such model, naming all that it lacks.
    """
    _check(loaded)
    table = name_table(loaded.head, loaded.config.model)
    tensors = dict(scatter(table, flat(loaded.variables["params"])))
    if loaded.head == "encoder":
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    save_tensors(tensors, os.path.join(folder, SAFETENSORS), {"format": "pt"})
    with open(os.path.join(folder, CONFIG_FILE), "w", encoding="utf-8") as file:
        json.dump(_their_config(loaded), file, indent=2)
        file.write("\n")
    if loaded.tokenizer_path:
        length = loaded.config.model.max_seq_length
        huggingface_tokenizer.write(loaded.tokenizer_path, folder, length, hf_mask_spacing)


def _check(loaded: Loaded) -> None:
    """Refuses, naming all of it, what transformers cannot compute."""
    m = loaded.config.model
    others = sorted(set(layer_mixers(m)) - {"fourier"})
    faults = [
        *(f"model.mixer={mixer!r}" for mixer in others),
        *([f"model.d_emb={m.d_emb} other than model.d_model={m.d_model}"] if m.d_emb != m.d_model else []),
        *([f"model.pooling={m.pooling!r}"] if m.pooling != "first" and loaded.head in _POOLED else []),
    ]
    if faults:
        raise UserError(
            f"the FNet of transformers has no {', no '.join(faults)}; "
            "convert --to=fnet_jax, safetensors in our own names, which takes any model"
        )


def _their_config(loaded: Loaded) -> dict[str, Any]:
    """The config.json of transformers."""
    m, labels = loaded.config.model, loaded.config.data.labels
    values: dict[str, Any] = {
        "architectures": [ARCHITECTURES[loaded.head]],
        "model_type": MODEL_TYPE,
        **{theirs: getattr(m, ours) for theirs, (ours, _) in _SIZES.items()},
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": m.dropout_rate,
        "layer_norm_eps": 1e-12,
        "initializer_range": INIT_STDDEV,
        "tie_word_embeddings": True,
        "use_tpu_fourier_optimizations": False,
        "tpu_short_seq_length": m.max_seq_length,
        "pad_token_id": PAD_ID,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "dtype": "float32",
    }
    if loaded.head in _LABELLED:
        named = labels or [f"LABEL_{i}" for i in range(m.num_outputs)]
        values["id2label"] = {str(i): name for i, name in enumerate(named)}
        values["label2id"] = {name: i for i, name in enumerate(named)}
    if loaded.head == "sequence":
        values["problem_type"] = "single_label_classification" if labels else "regression"
    return values


def _config(path: str, values: Mapping[str, Any], head: Head, num_tensors: int) -> Config:
    """Our config of a model of theirs; every value that we cannot compute with is named in one error."""
    sizes = {ours: values.get(theirs, default) for theirs, (ours, default) in _SIZES.items()}
    limits = dict.fromkeys(sizes, _MAX_SIZE) | {"num_layers": num_tensors}
    labels, regression, faults = _labels(values) if head in _LABELLED else ((), False, [])
    faults += [
        f"{theirs}={sizes[ours]!r} is no size between 1 and {limits[ours]}"
        for theirs, (ours, _) in _SIZES.items()
        if type(sizes[ours]) is not int or not 1 <= sizes[ours] <= limits[ours]
    ]
    faults += [
        f"{key}={values[key]!r} is not {' or '.join(map(repr, valid))}, which our model computes"
        for key, valid in _FIXED.items()
        if key in values and values[key] not in valid
    ]
    dropout = values.get("hidden_dropout_prob", 0.1)
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        faults.append(f"hidden_dropout_prob={dropout!r} is not at least 0 and below 1")
    if faults:
        raise UserError(f"{path}: {'; '.join(faults)}")
    model: dict[str, Any] = dict(sizes)
    model |= {"d_emb": sizes["d_model"], "dropout_rate": float(dropout)}
    if head in _LABELLED:
        model["num_outputs"] = len(labels) or 1
    if head in _WITH_DROPOUT:
        model["classifier_dropout_rate"] = float(dropout)
    return run_config(head, ModelConfig(**model), labels, regression)


def _labels(values: Mapping[str, Any]) -> tuple[tuple[str, ...], bool, list[str]]:
    """Names of the classes, whether they are one number, and what is wrong with them."""
    named = values.get("id2label")
    if named is None:
        count = values.get("num_labels", 2)
        if type(count) is not int or not 1 <= count <= _MAX_SIZE:
            return (), False, [f"num_labels={count!r} is no size between 1 and {_MAX_SIZE}"]
        named = {str(i): f"LABEL_{i}" for i in range(count)}
    if (
        not isinstance(named, dict)
        or sorted(named) != sorted(str(i) for i in range(len(named)))
        or not all(isinstance(name, str) for name in named.values())
        or len(set(named.values())) != len(named)
    ):
        return (), False, ["id2label does not name each class, from 0 on, once"]
    problem = values.get("problem_type")
    if problem is None:
        problem = "regression" if len(named) == 1 else "single_label_classification"
    if problem == "single_label_classification":
        return tuple(named[str(i)] for i in range(len(named))), False, []
    if problem == "regression" and len(named) == 1:
        return (), True, []
    return (), False, [f"problem_type={problem!r} with {len(named)} outputs is no task of ours"]


def _head(path: str, values: Mapping[str, Any], tensors: Mapping[str, FileTensor]) -> Head:
    """The head that the config names, or else the tensors."""
    heads: dict[Any, Head] = {name: head for head, name in ARCHITECTURES.items()}
    named = values.get("architectures")
    if named:
        if isinstance(named, list) and len(named) == 1 and named[0] in heads:
            return heads[named[0]]
        raise UserError(f"{path}: architectures={named!r} is none of {', '.join(map(str, heads))}")
    parts = {name.rpartition(".")[0] for name in tensors}
    for head in ("pretrain", "masked_lm", "next_sentence", "span"):
        if parts >= head_modules(head):
            return head
    if "classifier" in parts:
        raise UserError(
            f"{path} names no class in architectures, and the tensors are the same for several; "
            "give --head=sequence, tokens or choice"
        )
    return "encoder"


def _plain(source: str, tensors: Mapping[str, FileTensor]) -> dict[str, FileTensor]:
    """Parameters alone; the encoder's names get the prefix that FNetModel leaves out."""
    plain: dict[str, FileTensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = PREFIX + name
        if name in plain:
            raise UserError(f"{source} has {name} twice, with the prefix {PREFIX} and without")
        if not BUFFERS.fullmatch(name):
            plain[name] = tensor
    require_floats(source, plain)
    return plain


def _without_twins(source: str, tensors: Mapping[str, FileTensor]) -> dict[str, FileTensor]:
    """Each tensor by one name; refused if the output layer is not the embedding table."""
    kept = dict(tensors)
    for twin, name in TWINS.items():
        if twin not in kept:
            continue
        other = kept.pop(twin)
        if not np.array_equal(kept.setdefault(name, other).read(), other.read()):
            raise UserError(f"{source} has another {twin} than {name}; our model has one for both")
    return kept

"""The names of Hugging Face's FNet, a row for each of our parameters."""

import re

from fnet_jax.bridge.inputs import abstract_variables
from fnet_jax.bridge.loaded import flat
from fnet_jax.bridge.name_tables import TensorMapping
from fnet_jax.core.config import Head, ModelConfig

ARCHITECTURES: dict[Head, str] = {
    "encoder": "FNetModel",
    "pretrain": "FNetForPreTraining",
    "masked_lm": "FNetForMaskedLM",
    "next_sentence": "FNetForNextSentencePrediction",
    "sequence": "FNetForSequenceClassification",
    "tokens": "FNetForTokenClassification",
    "choice": "FNetForMultipleChoice",
    "span": "FNetForQuestionAnswering",
}
PREFIX = "fnet."  # of the encoder's tensors, in all classes but FNetModel

# Our module -> theirs, of the encoder. All layers are fourier layers, so there is one run of them.
_ENCODER = {
    "encoder/embedder/word": "embeddings.word_embeddings",
    "encoder/embedder/position": "embeddings.position_embeddings",
    "encoder/embedder/type": "embeddings.token_type_embeddings",
    "encoder/embedder/layer_norm": "embeddings.LayerNorm",
    "encoder/embedder/hidden_mapping_in": "embeddings.projection",
    "encoder/layers_0/mixing_layer_norm": "encoder.layer.{i}.fourier.output.LayerNorm",
    "encoder/layers_0/feed_forward/intermediate": "encoder.layer.{i}.intermediate.dense",
    "encoder/layers_0/feed_forward/output": "encoder.layer.{i}.output.dense",
    "encoder/layers_0/output_layer_norm": "encoder.layer.{i}.output.LayerNorm",
    "encoder/pooler": "pooler.dense",
}
# Of the heads.
_PREDICTIONS = {
    "predictions_dense": "cls.predictions.transform.dense",
    "predictions_layer_norm": "cls.predictions.transform.LayerNorm",
    "predictions_output": "cls.predictions",
}
_CLASSIFICATION: dict[Head, str] = {
    "pretrain": "cls.seq_relationship",
    "next_sentence": "cls.seq_relationship",
    "sequence": "classifier",
    "tokens": "classifier",
    "choice": "classifier",
    "span": "qa_outputs",
}
# Our name of a tensor in a module -> theirs, and whether it is transposed.
_TENSORS = {
    "embedding": ("weight", False),
    "kernel": ("weight", True),
    "scale": ("weight", False),
    "bias": ("bias", False),
    "output_kernel": ("weight", False),
    "output_bias": ("bias", False),
}
# Names for a tensor that has another name too.
TWINS = {
    "cls.predictions.decoder.weight": "fnet.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
# Tensors that old versions saved and that are no parameters: counts from 0, zeros, Fourier matrices.
BUFFERS = re.compile(
    r"fnet\.(embeddings\.(position_ids|token_type_ids)|encoder\.layer\.\d+\.fourier\.self\.dft_mat_(hidden|seq))"
)


def name_table(head: Head, model: ModelConfig) -> list[TensorMapping]:
    """The table of one model; the encoder's names have `PREFIX` whatever the class.

    Args:
        head: of the model.
        model: its sizes; `fourier` in all layers, E = D.
    """
    table = []
    for path, leaf in flat(abstract_variables(head, model)["params"]).items():
        module, _, tensor = path.rpartition("/")
        name, transposed = _TENSORS[tensor]
        if module in _ENCODER:
            theirs = f"{PREFIX}{_ENCODER[module]}.{name}"
        else:
            theirs = f"{_PREDICTIONS.get(module) or _CLASSIFICATION[head]}.{name}"
        is_stacked = "{i}" in theirs
        names = tuple(theirs.format(i=i) for i in range(model.num_layers if is_stacked else 1))
        their_shape = leaf.shape[1:] if is_stacked else leaf.shape
        their_shape = their_shape[::-1] if transposed else their_shape
        table.append(TensorMapping(path, leaf.shape, names, their_shape, transposed))
    return table


def head_modules(head: Head) -> set[str]:
    """Their modules of a head."""
    modules = set(_PREDICTIONS.values()) if head in ("pretrain", "masked_lm") else set()
    return modules | ({_CLASSIFICATION[head]} if head in _CLASSIFICATION else set())

"""Compares the logits of two models, here or in transformers, and those that were published."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from fnet_jax.bridge.huggingface import names as huggingface_names
from fnet_jax.bridge.inputs import input_spec
from fnet_jax.bridge.loaded import Loaded
from fnet_jax.core.config import Head
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, NUM_SPECIAL_IDS, PAD_ID, SEP_ID
from fnet_jax.data.tokenizer import load_tokenizer
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.features import features

TOLERANCE = 1e-4
PUBLISHED_MODEL = "google/fnet-base"
# What PUBLISHED_MODEL gives for the tokens 0 … 5: [0, :3, :3] of the masked-LM logits, the next-sentence
# logits, [0, :3, :3] of the sequence. Source: transformers, tests/models/fnet/test_modeling_fnet.py.
_PUBLISHED_IDS = range(6)
_PUBLISHED: dict[str, list[list[float]]] = {
    "masked_lm": [[-1.7819, -7.7384, -7.5002], [-3.4746, -8.5943, -7.7762], [-3.2052, -9.0771, -8.3468]],
    "next_sentence": [[-0.2234, -0.0226]],
    "sequence": [[4.1541, -0.1051, -0.1667], [-0.9144, 0.2939, -0.0086], [-0.8472, -0.7281, 0.0256]],
}
_PUBLISHED_SHAPE = {"vocab_size": 32_000, "d_model": 768, "num_layers": 12, "mixer": "fourier"}

_TEXTS = (
    ("The capital of France is Paris.", None),
    ("The man worked as a carpenter.", "He built houses all his life."),
)
_CHOICES = 2
# Head -> the outputs of transformers' class, in the order of ours.
_THEIR_OUTPUTS: dict[Head, tuple[str, ...]] = {
    "encoder": ("last_hidden_state", "pooler_output"),
    "pretrain": ("prediction_logits", "seq_relationship_logits"),
    "span": ("start_logits", "end_logits"),
}

Inputs = Mapping[str, np.ndarray]


def probes(loaded: Loaded) -> list[Inputs]:
    """Inputs to compare on: two texts at the model's own length, and, where it takes any, two of length 6.

    Without a tokenizer the texts are made-up tokens.
    """
    model = loaded.config.model
    lengths = [model.max_seq_length] + ([6] if model.mixer == "fourier" and not model.has_attention else [])
    return [probe(loaded, length) for length in lengths]


def ours(loaded: Loaded, inputs: Inputs) -> list[np.ndarray]:
    """The outputs of our model in float32, on the default device."""
    model = make_model(loaded.head, dataclasses.replace(loaded.config.model, dtype="float32"))
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(lambda variables, *args: model.apply(variables, *args, deterministic=True))
        outputs = apply(loaded.variables, *inputs.values())
    return [np.asarray(output) for output in jax.tree.leaves(outputs)]


def can_run_theirs() -> bool:
    """Whether transformers and PyTorch are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def theirs(folder: str, head: Head, inputs: Inputs) -> list[np.ndarray]:
    """The outputs of transformers' model in float32, on the CPU."""
    torch, transformers = (importlib.import_module(name) for name in ("torch", "transformers"))
    model_class = getattr(transformers, huggingface_names.ARCHITECTURES[head])
    model = model_class.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    ids, types = (torch.from_numpy(inputs[name]).long() for name in ("input_ids", "type_ids"))
    with torch.no_grad():
        outputs = model(input_ids=ids, token_type_ids=types)
    found = [getattr(outputs, name).numpy() for name in _THEIR_OUTPUTS.get(head, ("logits",))]
    if "masked_lm_positions" in inputs:  # theirs predicts at all positions
        positions_BP1 = inputs["masked_lm_positions"][..., None]
        found[0] = np.take_along_axis(found[0], positions_BP1, axis=1)
    return found


def largest_difference(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> float:
    """The largest absolute difference; nan if there is one, infinite if the shapes differ."""
    if [part.shape for part in left] != [part.shape for part in right]:
        return float("inf")
    return float(np.max([np.abs(a - b).max() for a, b in zip(left, right, strict=True)]))


def has_published_shape(loaded: Loaded) -> bool:
    """Whether the model could be `PUBLISHED_MODEL`."""
    is_base = all(getattr(loaded.config.model, key) == value for key, value in _PUBLISHED_SHAPE.items())
    return is_base and loaded.head in ("encoder", "pretrain", "masked_lm", "next_sentence")


def published_difference(loaded: Loaded) -> float:
    """The largest difference from the published outputs, among those that the head gives."""
    ids_BL = np.array([_PUBLISHED_IDS], np.int32)
    inputs = {"input_ids": ids_BL, "type_ids": np.zeros_like(ids_BL)}
    if loaded.head in ("pretrain", "masked_lm"):
        inputs["masked_lm_positions"] = ids_BL
    found = ours(loaded, inputs)
    parts = {"pretrain": ("masked_lm", "next_sentence"), "encoder": ("sequence",)}.get(
        loaded.head, (loaded.head,)
    )
    pairs = zip(parts, found, strict=False)
    cut = [(name, output[0, :3, :3] if output.ndim == 3 else output) for name, output in pairs]
    return largest_difference([output for _, output in cut], [np.array(_PUBLISHED[name]) for name, _ in cut])


def probe(loaded: Loaded, length: int) -> Inputs:
    """Inputs of one length, two examples; see `input_spec` for their names."""
    rows = [_row(loaded, number, length) for number in range(len(_TEXTS))]
    spec = input_spec(loaded.head, length, len(rows), min(length, 8), _CHOICES)
    inputs = {}
    for name, leaf in spec.items():
        if name == "masked_lm_positions":
            inputs[name] = np.broadcast_to(np.arange(leaf.shape[1], dtype=np.int32), leaf.shape).copy()
        else:
            filled = np.stack([row[name] for row in rows])
            inputs[name] = np.resize(filled, leaf.shape)
    return inputs


def _row(loaded: Loaded, number: int, length: int) -> dict[str, np.ndarray]:
    text, text_b = _TEXTS[number]
    if loaded.tokenizer_path and length == loaded.config.model.max_seq_length:
        tokenizer = load_tokenizer(loaded.tokenizer_path)
        ids_b = None if text_b is None else tokenizer.encode(text_b)
        input_ids_L, type_ids_L = features(tokenizer.encode(text), ids_b, length, "longest_first")
        return {"input_ids": input_ids_L, "type_ids": type_ids_L}
    rng = np.random.default_rng(number)
    vocab_size = loaded.config.model.vocab_size
    ids_L = rng.integers(min(NUM_SPECIAL_IDS, vocab_size - 1), vocab_size, length, np.int32)
    ids_L[[0, 2, 3, -2, -1]] = CLS_ID, MASK_ID, SEP_ID, SEP_ID, PAD_ID
    type_ids_L = np.zeros_like(ids_L)
    type_ids_L[4:-1] = 1
    return {"input_ids": ids_L, "type_ids": type_ids_L}

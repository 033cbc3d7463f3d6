"""Where `data` and `nn` meet: the dimension letters and the fields of every batch.

Dimension letters, used as suffixes of tensor names everywhere (`x_BLD`, `logits_BPV`):

| letter | dimension |
|---|---|
| B | examples in a batch (global unless said otherwise) |
| C | classes |
| D | model width, `d_model` |
| E | embedding width, `d_emb` |
| F | feed-forward width, `d_ff` |
| H | attention heads, `num_heads` |
| K | choices |
| L | sequence length, `max_seq_length` |
| M | positions that are attended to, as many as L |
| N | examples of a whole split, or all that were asked about |
| P | masked predictions per sequence, `max_predictions_per_seq` |
| R | rows of a batch that one process reads |
| T | the likeliest tokens, as many as were asked for |
| V | vocabulary, `vocab_size` |
| X | width of an attention head, D/H |

In the transforms (`nn/dft.py`, `nn/kernels/`) also:

| letter | dimension |
|---|---|
| G | rows that a kernel works on at once |
| I, J | rows 0 … L/2, and 0 … L/2 − 1 |
| W | half of the columns, D/2, or the part of them that a device has |
| Y | columns 0 … D/2 |
| Z | 2: real and imaginary part, or the two columns of a pair |
"""

from collections.abc import Mapping

import jax
import numpy as np

# A batch is a flat mapping from field name to array: NumPy on the host, jax.Array on the devices.
Batch = Mapping[str, np.ndarray | jax.Array]
BatchSpec = Mapping[str, jax.ShapeDtypeStruct]


def pretrain_spec(batch_size: int, max_seq_length: int, max_predictions_per_seq: int) -> BatchSpec:
    """Shapes and dtypes of a pretraining batch (masked LM and next sentence).

    Args:
        batch_size: B.
        max_seq_length: L.
        max_predictions_per_seq: P.

    Returns:
        One `jax.ShapeDtypeStruct` per field:

        - `input_ids` i32[B, L]: tokens after masking; `PAD_ID` fills the end.
        - `type_ids` i32[B, L]: 0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding.
        - `masked_lm_positions` i32[B, P]: positions to predict, ascending; unused slots are 0.
        - `masked_lm_ids` i32[B, P]: the tokens that stood there; unused slots are 0.
        - `masked_lm_weights` f32[B, P]: 1 for used slots, 0 for unused ones.
        - `next_sentence_labels` i32[B]: 0 when B follows A, 1 otherwise.
        - `example_weights` f32[B]: 1 for real examples, 0 for those that only fill the last batch
          of a split. The latter also have no masked LM weight.
    """
    ints, floats = np.dtype(np.int32), np.dtype(np.float32)
    return {
        "input_ids": jax.ShapeDtypeStruct((batch_size, max_seq_length), ints),
        "type_ids": jax.ShapeDtypeStruct((batch_size, max_seq_length), ints),
        "masked_lm_positions": jax.ShapeDtypeStruct((batch_size, max_predictions_per_seq), ints),
        "masked_lm_ids": jax.ShapeDtypeStruct((batch_size, max_predictions_per_seq), ints),
        "masked_lm_weights": jax.ShapeDtypeStruct((batch_size, max_predictions_per_seq), floats),
        "next_sentence_labels": jax.ShapeDtypeStruct((batch_size,), ints),
        "example_weights": jax.ShapeDtypeStruct((batch_size,), floats),
    }


def masked_lm_spec(batch_size: int, max_seq_length: int, max_predictions_per_seq: int) -> BatchSpec:
    """`pretrain_spec` without next sentence: `input_ids` are [CLS] A [SEP], `type_ids` all 0."""
    spec = dict(pretrain_spec(batch_size, max_seq_length, max_predictions_per_seq))
    del spec["next_sentence_labels"]
    return spec


def labelled_spec(batch_size: int, max_seq_length: int, regression: bool) -> BatchSpec:
    """Shapes and dtypes of a batch of a labelled task (classification or regression).

    Args:
        batch_size: B.
        max_seq_length: L.
        regression: labels are numbers and no class ids.

    Returns:
        One `jax.ShapeDtypeStruct` per field:

        - `input_ids` i32[B, L]: [CLS] A [SEP], or [CLS] A [SEP] B [SEP]; `PAD_ID` fills the end.
        - `type_ids` i32[B, L]: 0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding.
        - `labels` i32[B] or f32[B]: class id or number; 0 where the split has no labels.
        - `example_weights` f32[B]: 1 for real examples, 0 for those that only fill the last batch
          of a split.
    """
    ints, floats = np.dtype(np.int32), np.dtype(np.float32)
    return {
        "input_ids": jax.ShapeDtypeStruct((batch_size, max_seq_length), ints),
        "type_ids": jax.ShapeDtypeStruct((batch_size, max_seq_length), ints),
        "labels": jax.ShapeDtypeStruct((batch_size,), floats if regression else ints),
        "example_weights": jax.ShapeDtypeStruct((batch_size,), floats),
    }


def tokens_spec(batch_size: int, max_seq_length: int) -> BatchSpec:
    """Shapes and dtypes of a batch of token classification.

    Args:
        batch_size: B.
        max_seq_length: L.

    Returns:
        One `jax.ShapeDtypeStruct` per field: `input_ids`, `type_ids` and `example_weights` as in
        `labelled_spec`, and

        - `labels` i32[B, L]: class id at the first token of each word, elsewhere 0.
        - `label_weights` f32[B, L]: 1 at the first token of each word, elsewhere 0.
    """
    spec = dict(labelled_spec(batch_size, max_seq_length, regression=False))
    shape = (batch_size, max_seq_length)
    spec["labels"] = jax.ShapeDtypeStruct(shape, np.dtype(np.int32))
    spec["label_weights"] = jax.ShapeDtypeStruct(shape, np.dtype(np.float32))
    return spec


def choice_spec(batch_size: int, num_choices: int, max_seq_length: int) -> BatchSpec:
    """Shapes and dtypes of a batch of multiple choice.

    Args:
        batch_size: B.
        num_choices: K.
        max_seq_length: L.

    Returns:
        The fields of `labelled_spec`, but `input_ids` and `type_ids` are i32[B, K, L], one row for each
        choice, and `labels` i32[B] are numbers of choices.
    """
    spec = dict(labelled_spec(batch_size, max_seq_length, regression=False))
    for name in ("input_ids", "type_ids"):
        spec[name] = jax.ShapeDtypeStruct((batch_size, num_choices, max_seq_length), np.dtype(np.int32))
    return spec


def span_spec(batch_size: int, max_seq_length: int) -> BatchSpec:
    """Shapes and dtypes of a batch of extractive question answering.

    Args:
        batch_size: B.
        max_seq_length: L.

    Returns:
        One `jax.ShapeDtypeStruct` per field: `input_ids`, `type_ids` and `example_weights` as in
        `labelled_spec`, A being the question and B a window of the context, and

        - `start_positions`, `end_positions` i32[B]: of the first and the last token of the answer; 0,
          which is [CLS], where the window does not hold it.
    """
    spec = dict(labelled_spec(batch_size, max_seq_length, regression=False))
    labels = spec.pop("labels")
    return {**spec, "start_positions": labels, "end_positions": labels}

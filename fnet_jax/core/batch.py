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

Fields of a batch; A and B in the text are its first and second segment:

| field | dtype and shape | content |
|---|---|---|
| `input_ids` | i32[B, L] | [CLS] A [SEP] or [CLS] A [SEP] B [SEP], masked for masked LM; then `PAD_ID` |
| `type_ids` | i32[B, L] | 0 for [CLS] A [SEP], 1 for B [SEP], 0 for padding |
| `masked_lm_positions` | i32[B, P] | positions to predict, ascending; unused slots are 0 |
| `masked_lm_ids` | i32[B, P] | the tokens that stood there; unused slots are 0 |
| `masked_lm_weights` | f32[B, P] | 1 for used slots, 0 for unused ones |
| `next_sentence_labels` | i32[B] | 0 when B follows A, 1 otherwise |
| `labels` | i32[B] or f32[B] | class, choice or number; 0 where the split has no labels |
| | or i32[B, L] | class at the first token of each word, elsewhere 0 |
| `label_weights` | f32[B, L] | 1 at the first token of each word, elsewhere 0 |
| `start_positions` | i32[B] | first token of the answer; 0, which is [CLS], where the text does not hold it |
| `end_positions` | i32[B] | last token of the answer; 0 likewise |
| `example_weights` | f32[B] | 1 for real examples, 0 for those that only fill the last batch of a split |
"""

from collections.abc import Mapping

import jax
import numpy as np

# A batch is a flat mapping from field name to array: NumPy on the host, jax.Array on the devices.
Batch = Mapping[str, np.ndarray | jax.Array]
BatchSpec = Mapping[str, jax.ShapeDtypeStruct]


def pretrain_spec(batch_size: int, max_seq_length: int, max_predictions_per_seq: int) -> BatchSpec:
    """The fields of masked LM and next sentence, for B, L and P."""
    spec = dict(masked_lm_spec(batch_size, max_seq_length, max_predictions_per_seq))
    example_weights = spec.pop("example_weights")
    return {**spec, "next_sentence_labels": _ints(batch_size), "example_weights": example_weights}


def masked_lm_spec(batch_size: int, max_seq_length: int, max_predictions_per_seq: int) -> BatchSpec:
    """The fields of masked LM alone, for B, L and P: one segment, `type_ids` all 0."""
    return {
        "input_ids": _ints(batch_size, max_seq_length),
        "type_ids": _ints(batch_size, max_seq_length),
        "masked_lm_positions": _ints(batch_size, max_predictions_per_seq),
        "masked_lm_ids": _ints(batch_size, max_predictions_per_seq),
        "masked_lm_weights": _floats(batch_size, max_predictions_per_seq),
        "example_weights": _floats(batch_size),
    }


def labelled_spec(batch_size: int, max_seq_length: int, regression: bool) -> BatchSpec:
    """The fields of sequence classification or regression, for B and L."""
    return {
        "input_ids": _ints(batch_size, max_seq_length),
        "type_ids": _ints(batch_size, max_seq_length),
        "labels": (_floats if regression else _ints)(batch_size),
        "example_weights": _floats(batch_size),
    }


def tokens_spec(batch_size: int, max_seq_length: int) -> BatchSpec:
    """The fields of token classification, for B and L: a label and its weight at each position."""
    spec = labelled_spec(batch_size, max_seq_length, regression=False)
    shape = (batch_size, max_seq_length)
    return {**spec, "labels": _ints(*shape), "label_weights": _floats(*shape)}


def choice_spec(batch_size: int, num_choices: int, max_seq_length: int) -> BatchSpec:
    """The fields of multiple choice, for B, K and L: `input_ids` and `type_ids` are i32[B, K, L]."""
    spec = labelled_spec(batch_size, max_seq_length, regression=False)
    texts = _ints(batch_size, num_choices, max_seq_length)
    return {**spec, "input_ids": texts, "type_ids": texts}


def span_spec(batch_size: int, max_seq_length: int) -> BatchSpec:
    """The fields of question answering, for B and L: A is the question, B a window of the context."""
    spec = dict(labelled_spec(batch_size, max_seq_length, regression=False))
    labels = spec.pop("labels")
    return {**spec, "start_positions": labels, "end_positions": labels}


def _ints(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.dtype(np.int32))


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.dtype(np.float32))

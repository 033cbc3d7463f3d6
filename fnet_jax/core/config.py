"""Every key of the config, declared once: type, default, meaning, and what its values must be.

`docs/config.md` is this file as a table. Names follow the original f_net where it has the key. What values
can work together is in `core/checks.py`; `core/config_dict.py` makes a `Config` of a config file.
"""

import dataclasses
from typing import Literal

from fnet_jax.core.keys import BELOW_ONE, NOT_NEGATIVE, POSITIVE, SIZE, Rule, key

Task = Literal[
    "pretrain", "masked_lm", "next_sentence",
    "cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax",
    "ag_news", "pydocs",
    "classify", "regress", "tag", "choose", "answer",
]  # fmt: skip
# The tasks that learn from text alone; all others have labels.
PRETRAINING = ("pretrain", "masked_lm", "next_sentence")
Head = Literal[
    "encoder", "pretrain", "masked_lm", "next_sentence", "sequence", "tokens", "choice", "span"
]  # fmt: skip
Mixer = Literal["fourier", "hartley", "dct", "hadamard", "linear", "random", "attention", "ff_only"]
AttentionImpl = Literal["xla", "cudnn"]
FourierImpl = Literal["auto", "fft", "dft", "folded", "split", "pallas"]
Layout = Literal["bottom", "middle", "mixed", "top"]
Schedule = Literal["linear", "cosine", "rsqrt", "constant"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The encoder and its heads; all that `nn` needs to know."""

    mixer: Mixer = key("fourier", "what mixes the tokens of a layer; see docs/mixing.md")
    fourier_impl: FourierImpl = key("auto", "how fourier and hartley are computed; see docs/mixing.md")
    num_attention_layers: int = key(0, "layers whose mixer is replaced by attention (hybrid)", NOT_NEGATIVE)
    attention_layout: Layout = key("top", "where these layers lie")
    num_layers: int = key(12, "encoder layers: a mixer and a feed-forward each", POSITIVE, SIZE)
    d_model: int = key(768, "D: width of the layers", POSITIVE, SIZE)
    d_emb: int = key(768, "E: width of the embeddings, mapped to D by hidden_mapping_in", POSITIVE, SIZE)
    d_ff: int = key(3072, "F: hidden width of the feed-forward", POSITIVE, SIZE)
    num_heads: int = key(12, "H: heads of the attention layers", POSITIVE, SIZE)
    attention_impl: AttentionImpl = key("xla", "cudnn: its fused kernel on NVIDIA GPUs, elsewhere as xla")
    max_seq_length: int = key(
        512,
        "L: positions, and the length of every training and evaluation example",
        Rule("at least 8", lambda value: value >= 8),
        SIZE,
    )
    type_vocab_size: int = key(
        4, "segment types", Rule("at least 2 (segments A and B)", lambda value: value >= 2), SIZE
    )
    vocab_size: int = key(0, "V: tokens; 0: as many as the tokenizer has", NOT_NEGATIVE, SIZE)
    dropout_rate: float = key(0.1, "after embeddings and feed-forward", BELOW_ONE)
    mixing_dropout_rate: float = key(0.1, "of attention probabilities", BELOW_ONE)
    pooling: Literal["first", "mean"] = key(
        "first", "first: the [CLS] position, as the original; mean: of all but the padding"
    )
    classifier_dropout_rate: float = key(
        0.0, "on the input of the classifier; the original has none", BELOW_ONE
    )
    num_outputs: int = key(
        0,
        "C: outputs of the classifier; 0: the number of labels, 1 for regression, 2 for spans",
        NOT_NEGATIVE,
        SIZE,
    )
    dtype: Literal["float32", "bfloat16"] = key("float32", "of the computation; parameters stay float32")
    remat: bool = key(False, "recompute each layer in the backward pass: less memory, more time")

    @property
    def has_attention(self) -> bool:
        """Whether any layer is an attention layer."""
        return self.mixer == "attention" or self.num_attention_layers > 0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Corpus, tokenizer, prepared data set and what is made of it."""

    corpus: str = key("pydocs", "pydocs, a file, folder or glob, tfds:NAME; see docs/data.md")
    text_field: str = key("text", "field of JSONL, Parquet and TFDS records that holds the document")
    tokenizer: str = key("", 'SentencePiece .model file; "": train one on the corpus')
    tokenizer_pieces: int = key(32_000, "size of the vocabulary when one is trained", POSITIVE)
    tokenizer_algorithm: Literal["bpe", "unigram"] = key("bpe", "when one is trained")
    dir: str = key("", 'prepared data set, prepared there if absent; "": WORKDIR/data')
    holdout_fraction: float = key(
        0.02,
        "share of documents kept for evaluation, by document hash",
        POSITIVE,
        BELOW_ONE,
    )
    next_sentence: Literal["swap", "random"] = key(
        "swap", "swap: two halves of one document, swapped half the time; random: as BERT"
    )
    max_predictions_per_seq: int = key(80, "P: masked tokens of an example, at most", POSITIVE)
    masking_rate: float = key(0.15, "share of tokens to predict", POSITIVE, BELOW_ONE)
    mask_token_proportion: float = key(0.8, "share of these that become [MASK]", NOT_NEGATIVE)
    random_token_proportion: float = key(
        0.1, "share of these that become a random token; the rest is kept", NOT_NEGATIVE
    )
    whole_word_masking: bool = key(False, "choose words, not tokens")
    num_workers: int = key(0, "input processes per host; 0: threads of this one", NOT_NEGATIVE)
    prefetch: int = key(2, "batches ready on the devices ahead of the step", POSITIVE)
    # Labelled tasks. GLUE and AG News are read from the files in data.dir, or from TFDS (data.corpus).
    validation: str = key("", 'file with the validation split, for tasks on own files; "": held out')
    test: str = key("", 'file with the test split, labelled or not; "": none')
    text_b_field: str = key("", 'field of the second text of a pair; "": single texts')
    label_field: str = key("label", "field of the label")
    labels: tuple[str, ...] = key(
        (), "names of the labels, in the order of their ids; (): those of the training split"
    )
    truncation: Literal["longest_first", "tail"] = key(
        "longest_first", "of texts too long; tail: cut the end off, as the original"
    )
    swap_texts: bool = key(False, "second text of a pair first; the original does so for MNLI")
    word_column: int = key(0, "of the lines of task tag, from 0")
    tag_column: int = key(-1, "of the lines of task tag; -1: the last one")
    choice_fields: tuple[str, ...] = key(
        ("ending0", "ending1", "ending2", "ending3"),
        "fields of the choices of task choose; one: a list in JSONL",
        Rule("one name or more", lambda names: len(names) > 0),
    )
    # Task answer.
    max_query_length: int = key(64, "tokens of the question that are read", POSITIVE)
    doc_stride: int = key(
        128, "tokens between the starts of neighbouring windows of a context too long for one", POSITIVE
    )
    max_answer_length: int = key(30, "tokens of an answer, at most", POSITIVE)
    null_score_diff_threshold: float = key(0.0, 'how far "no answer" must outscore the best span; SQuAD 2')
    max_train_examples: int = key(0, "use only so many, chosen by seed; 0: all", NOT_NEGATIVE)
    max_eval_examples: int = key(
        0, "use only so many of each validation split, always the same; 0: all", NOT_NEGATIVE
    )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    learning_rate: float = key(1e-4, "at the end of the warm-up", POSITIVE)
    schedule: Schedule = key("linear", "what follows the warm-up")
    num_warmup_steps: int = key(10_000, "steps of rising learning rate", NOT_NEGATIVE)
    warmup_proportion: float = key(0.0, "of all steps, in place of num_warmup_steps; 0: off", BELOW_ONE)
    adam_b1: float = key(0.9, "decay of the first moment", BELOW_ONE)
    adam_b2: float = key(0.999, "decay of the second moment", BELOW_ONE)
    adam_eps: float = key(1e-6, "added to the root of the second moment", POSITIVE)
    weight_decay: float = key(0.01, "decoupled, times the learning rate", NOT_NEGATIVE)
    decay_mask: Literal["all", "matrices"] = key(
        "all", "all: every parameter, as the original; matrices: no bias, no LayerNorm"
    )
    clipped_grad_norm: float = key(0.0, "clip gradients to this global norm; 0: off", NOT_NEGATIVE)
    learning_rate_rules: str = key("", 'factors by parameter path, "REGEX=FACTOR,..."; see train/optim.py')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Steps, batches, evaluations and checkpoints."""

    num_train_steps: int = key(1_000_000, "optimizer steps of the run", POSITIVE)
    num_train_epochs: float = key(0.0, "in place of num_train_steps; 0: off", NOT_NEGATIVE)
    train_batch_size: int = key(256, "B: examples of a step, over all devices", POSITIVE)
    gradient_accum_steps: int = key(1, "the batch is worked off in this many parts", POSITIVE)
    eval_batch_size: int = key(256, "examples of an evaluation step, over all devices", POSITIVE)
    eval_frequency: int = key(2_000, "steps between evaluations; 0: only at the end", NOT_NEGATIVE)
    eval_proportion: float = key(0.0, "of all steps, in place of eval_frequency; 0: off", BELOW_ONE)
    max_num_eval_steps: int = key(100, "batches per evaluation; 0: the whole held-out split", NOT_NEGATIVE)
    save_checkpoints_steps: int = key(2_000, "steps between checkpoints", POSITIVE)
    max_to_keep: int = key(3, "newest checkpoints that are kept", POSITIVE)
    keep_best: bool = key(False, "save at every evaluation, and keep the checkpoint with the best score")
    early_stop_evals: int = key(
        0, "stop after so many evaluations without a better score; 0: never", NOT_NEGATIVE
    )
    log_frequency: int = key(100, "steps between lines of metrics", POSITIVE)
    on_nan: Literal["stop", "skip"] = key(
        "stop", "a loss or gradient that is no finite number: stop; skip: leave that update out"
    )
    max_skipped_steps: int = key(10, "so many in a row stop the run all the same", POSITIVE)


_AXIS = Rule("-1 (all devices that are left) or greater than 0", lambda size: size == -1 or size > 0)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh; -1, for one axis: all that are left. See docs/pods.md."""

    data: int = key(-1, "devices that share the batch", _AXIS)
    fsdp: int = key(
        1, "devices that share the batch, and the parameters with their gradients and moments", _AXIS
    )
    seq: int = key(1, "devices that share the positions", _AXIS)
    tensor: int = key(1, "devices that share hidden units, attention heads and the vocabulary", _AXIS)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where metrics go beside the console, JSONL and TensorBoard."""

    wandb_project: str = key("", 'Weights & Biases project; "": off (needs `pip install wandb`)')
    profile_start: int = key(0, "first step of a profiler window; 0: off", NOT_NEGATIVE)
    profile_steps: int = key(5, "its length; the trace goes to WORKDIR/profile", POSITIVE)
    example_ids: bool = key(
        False, "write down which examples each step was trained on, in WORKDIR/example_ids"
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole run; the defaults are FNet-Base as published, on the embedded corpus."""

    # Own files: classify, regress, tag (words), choose (one of several texts), answer (questions).
    task: Task = key(
        "pretrain",
        "pretrain: masked LM and next sentence; masked_lm, next_sentence: one of them; others: labelled",
    )
    seed: int = key(
        0,
        "of parameters, dropout, and the whole sequence of examples",
        Rule("at least 0 and below 2**32", lambda value: 0 <= value < 2**32),
    )
    # Tasks other than pretrain take the encoder, the tokenizer and the shape of the model from there.
    init_from: str = key("", 'workdir or checkpoint folder whose params start a new run; "": random')
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    log: LogConfig = LogConfig()

    @property
    def is_pretraining(self) -> bool:
        """Whether the task learns from text alone."""
        return self.task in PRETRAINING

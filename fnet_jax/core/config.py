"""Every key of the config, declared once: type, default, meaning, and what its values must be.

`docs/config.md` is this file as a table. Names follow the original f_net where it has the key. Which values
work together is in `core/checks.py`; `core/config_dict.py` makes a `Config` of a config file.
"""

import dataclasses
from typing import Literal

from fnet_jax.core.keys import BELOW_ONE, NOT_NEGATIVE, POSITIVE, SHARE, SIZE, Rule, key

# The tasks that learn from text alone; all others have labels and a row in `tasks/table.py`.
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

    mixer: Mixer = key("fourier", "what mixes the tokens in every layer; see docs/mixing.md")
    fourier_impl: FourierImpl = key("auto", "how fourier and hartley are computed; see docs/mixing.md")
    num_attention_layers: int = key(0, "layers whose mixer is replaced by attention (hybrid)", NOT_NEGATIVE)
    attention_layout: Layout = key("top", "where in the stack these layers are")
    num_layers: int = key(12, "layers of the encoder", POSITIVE, SIZE)
    d_model: int = key(768, "D: width of every layer's output", POSITIVE, SIZE)
    d_emb: int = key(768, "E: width of the embeddings; mapped to D by hidden_mapping_in", POSITIVE, SIZE)
    d_ff: int = key(3072, "F: inner width of the feed-forward layers", POSITIVE, SIZE)
    num_heads: int = key(12, "H: heads of the attention layers", POSITIVE, SIZE)
    attention_impl: AttentionImpl = key("xla", "cudnn: its fused kernel on NVIDIA GPUs, elsewhere as xla")
    max_seq_length: int = key(
        512, "L: tokens of an example; every one is padded to it", Rule("at least 8", lambda n: n >= 8), SIZE
    )
    type_vocab_size: int = key(
        4, "number of segment types", Rule("at least 2 (segments A and B)", lambda n: n >= 2), SIZE
    )
    vocab_size: int = key(0, "V: tokens of the vocabulary; 0: those of the tokenizer", NOT_NEGATIVE, SIZE)
    dropout_rate: float = key(0.1, "after the embeddings and the feed-forward layers", BELOW_ONE)
    mixing_dropout_rate: float = key(0.1, "of attention probabilities", BELOW_ONE)
    pooling: Literal["first", "mean"] = key(
        "first", "first: the [CLS] position, as the original; mean: of all positions but the padding"
    )
    classifier_dropout_rate: float = key(0.0, "of the classifier's input; the original has none", BELOW_ONE)
    num_outputs: int = key(
        0,
        "C: outputs of the classifier; 0: the number of labels, 1 for regression, 2 for spans",
        NOT_NEGATIVE,
        SIZE,
    )
    dtype: Literal["float32", "bfloat16"] = key("float32", "type of the computation; parameters stay float32")
    remat: bool = key(False, "recompute each layer in the backward pass: less memory, more time")

    @property
    def has_attention(self) -> bool:
        """Whether any layer is an attention layer."""
        return self.mixer == "attention" or self.num_attention_layers > 0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Corpus, tokenizer, prepared data set and what is made of it."""

    corpus: str = key("pydocs", "pydocs, a file, folder or glob, tfds:NAME; see docs/data.md")
    text_field: str = key("text", "field of JSONL, Parquet and TFDS records that holds the text")
    tokenizer: str = key("", 'SentencePiece .model file; "": train one on the corpus')
    tokenizer_pieces: int = key(32_000, "vocabulary size of a tokenizer trained here", POSITIVE)
    tokenizer_algorithm: Literal["bpe", "unigram"] = key("bpe", "how a tokenizer is trained here")
    dir: str = key("", 'prepared data set, prepared there if absent; "": WORKDIR/data')
    holdout_fraction: float = key(0.02, "share of documents kept for evaluation, by document hash", SHARE)
    next_sentence: Literal["swap", "random"] = key(
        "swap", "swap: two halves of one document, swapped half the time; random: as BERT"
    )
    max_predictions_per_seq: int = key(80, "P: predicted tokens of an example, at most", POSITIVE)
    masking_rate: float = key(0.15, "share of tokens to predict", SHARE)
    mask_token_proportion: float = key(0.8, "share of these that become [MASK]", NOT_NEGATIVE)
    random_token_proportion: float = key(0.1, "share of these that become a random token", NOT_NEGATIVE)
    whole_word_masking: bool = key(False, "choose words to predict, not tokens")
    num_workers: int = key(0, "input processes per host; 0: threads of the trainer", NOT_NEGATIVE)
    prefetch: int = key(2, "batches ready on the devices ahead of the step", POSITIVE)
    # Labelled tasks. GLUE and AG News are read from the files in data.dir, or from TFDS (data.corpus).
    validation: str = key("", 'file with the validation split of your own task; "": held out of data.corpus')
    test: str = key("", 'file with the test split, labelled or not; "": none')
    text_b_field: str = key("", 'field of the second text of a pair; "": single texts')
    label_field: str = key("label", "field of the label")
    labels: tuple[str, ...] = key((), "label names in order of their ids; (): those of the training split")
    truncation: Literal["longest_first", "tail"] = key(
        "longest_first",
        "longest_first: cut the end of the longer text; tail: the end of the pair, as the original",
    )
    swap_texts: bool = key(False, "second text of a pair first; the original does so for MNLI")
    word_column: int = key(0, "column of the word in files of task tag, from 0")
    tag_column: int = key(-1, "column of the tag in files of task tag; -1: the last one")
    choice_fields: tuple[str, ...] = key(
        ("ending0", "ending1", "ending2", "ending3"),
        "fields of the choices of task choose; only one: a list in JSONL",
        Rule("one name or more", lambda names: len(names) > 0),
    )
    max_query_length: int = key(64, "task answer: tokens of the question that are read", POSITIVE)
    doc_stride: int = key(128, "task answer: tokens between the starts of neighbouring windows", POSITIVE)
    max_answer_length: int = key(30, "task answer: tokens of an answer, at most", POSITIVE)
    null_score_diff_threshold: float = key(0.0, 'how far "no answer" must outscore the best span; SQuAD 2')
    max_train_examples: int = key(0, "use only so many, chosen by seed; 0: all", NOT_NEGATIVE)
    max_eval_examples: int = key(
        0, "use only so many of each validation split, always the same; 0: all", NOT_NEGATIVE
    )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    learning_rate: float = key(1e-4, "learning rate at the end of the warm-up", POSITIVE)
    schedule: Schedule = key("linear", "of the learning rate after the warm-up")
    num_warmup_steps: int = key(10_000, "steps in which the learning rate rises from 0", NOT_NEGATIVE)
    warmup_proportion: float = key(0.0, "of all steps, in place of num_warmup_steps; 0: off", BELOW_ONE)
    adam_b1: float = key(0.9, "decay of the mean of gradients", BELOW_ONE)
    adam_b2: float = key(0.999, "decay of the mean of squared gradients", BELOW_ONE)
    adam_eps: float = key(1e-6, "added to the root of the mean of squares", POSITIVE)
    weight_decay: float = key(0.01, "decoupled from the gradient; times the learning rate", NOT_NEGATIVE)
    decay_mask: Literal["all", "matrices"] = key(
        "all", "all: every parameter, as the original; matrices: no bias, no LayerNorm"
    )
    clipped_grad_norm: float = key(0.0, "clip gradients to this global norm; 0: off", NOT_NEGATIVE)
    learning_rate_rules: str = key("", 'factors by parameter path, "REGEX=FACTOR,..."; see train/optim.py')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Steps, batches, evaluations and checkpoints."""

    num_train_steps: int = key(1_000_000, "steps of the run", POSITIVE)
    num_train_epochs: float = key(0.0, "epochs of the run, in place of num_train_steps; 0: off", NOT_NEGATIVE)
    train_batch_size: int = key(256, "B: examples of a step, over all devices", POSITIVE)
    gradient_accum_steps: int = key(1, "parts of a batch that are computed one after the other", POSITIVE)
    eval_batch_size: int = key(256, "examples of an evaluation batch, over all devices", POSITIVE)
    eval_frequency: int = key(2_000, "steps between evaluations; 0: only at the end", NOT_NEGATIVE)
    eval_proportion: float = key(0.0, "of all steps, in place of eval_frequency; 0: off", BELOW_ONE)
    max_num_eval_steps: int = key(100, "batches per evaluation; 0: the whole held-out split", NOT_NEGATIVE)
    save_checkpoints_steps: int = key(2_000, "steps between checkpoints", POSITIVE)
    max_to_keep: int = key(3, "checkpoints that are kept, the newest", POSITIVE)
    keep_best: bool = key(False, "save at every evaluation, and keep the checkpoint with the best score")
    early_stop_evals: int = key(
        0, "evaluations without a better score that stop the run; 0: off", NOT_NEGATIVE
    )
    log_frequency: int = key(100, "steps between lines of metrics", POSITIVE)
    on_nan: Literal["stop", "skip"] = key(
        "stop", "where loss or gradient is not finite: stop the run; skip: leave that update out"
    )
    max_skipped_steps: int = key(10, "so many updates left out in a row stop the run", POSITIVE)


DEVICES = Rule("-1 (all devices that are left) or greater than 0", lambda n: n == -1 or n > 0)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh; -1, for one of them: all that are left. See docs/pods.md."""

    data: int = key(-1, "divides the batch", DEVICES)
    fsdp: int = key(1, "divides the batch and the parameters with their gradients and moments", DEVICES)
    seq: int = key(1, "divides the positions", DEVICES)
    tensor: int = key(1, "divides hidden units, attention heads and the vocabulary", DEVICES)


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where metrics go beside the console, JSONL and TensorBoard."""

    wandb_project: str = key("", 'Weights & Biases project; "": off (needs `pip install wandb`)')
    profile_start: int = key(0, "first step of a profiler window; 0: off", NOT_NEGATIVE)
    profile_steps: int = key(5, "length of that window; the trace goes to WORKDIR/profile", POSITIVE)
    example_ids: bool = key(False, "write the example ids of each step to WORKDIR/example_ids")


@dataclasses.dataclass(frozen=True)
class Config:
    """A run; by default the pretraining of FNet-Base as published, on the embedded corpus."""

    task: str = key(
        "pretrain",
        "pretrain: masked LM and next sentence, or one of them; on files of your own: classify, regress, "
        "tag (words), choose (one of several texts), answer (questions)",
    )
    seed: int = key(
        0,
        "random seed of parameters, dropout, and the whole sequence of examples",
        Rule("at least 0 and below 2**32", lambda n: 0 <= n < 2**32),
    )
    init_from: str = key(
        "",
        'workdir or checkpoint folder whose params start a new run; "": random. Tasks other than pretrain '
        "take the encoder, the tokenizer and the shape of the model from there",
    )
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

"""The config's keys and their types, as frozen dataclasses; `configs/base.py` says what each means."""

import dataclasses
from typing import Literal

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

    mixer: Mixer
    fourier_impl: FourierImpl
    num_attention_layers: int
    attention_layout: Layout
    num_layers: int
    d_model: int
    d_emb: int
    d_ff: int
    num_heads: int
    attention_impl: AttentionImpl
    max_seq_length: int
    type_vocab_size: int
    vocab_size: int
    dropout_rate: float
    mixing_dropout_rate: float
    pooling: Literal["first", "mean"]
    classifier_dropout_rate: float
    num_outputs: int
    dtype: Literal["float32", "bfloat16"]
    remat: bool

    @property
    def has_attention(self) -> bool:
        """Whether any layer is an attention layer."""
        return self.mixer == "attention" or self.num_attention_layers > 0


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Corpus, tokenizer, prepared data set and what is made of it."""

    corpus: str
    text_field: str
    tokenizer: str
    tokenizer_pieces: int
    tokenizer_algorithm: Literal["bpe", "unigram"]
    dir: str
    holdout_fraction: float
    next_sentence: Literal["swap", "random"]
    max_predictions_per_seq: int
    masking_rate: float
    mask_token_proportion: float
    random_token_proportion: float
    whole_word_masking: bool
    num_workers: int
    prefetch: int
    validation: str
    test: str
    text_b_field: str
    label_field: str
    labels: tuple[str, ...]
    truncation: Literal["longest_first", "tail"]
    swap_texts: bool
    word_column: int
    tag_column: int
    choice_fields: tuple[str, ...]
    max_query_length: int
    doc_stride: int
    max_answer_length: int
    null_score_diff_threshold: float
    max_train_examples: int
    max_eval_examples: int


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW and its schedule."""

    learning_rate: float
    schedule: Schedule
    num_warmup_steps: int
    warmup_proportion: float
    adam_b1: float
    adam_b2: float
    adam_eps: float
    weight_decay: float
    decay_mask: Literal["all", "matrices"]
    clipped_grad_norm: float
    learning_rate_rules: str


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Steps, batches, evaluations and checkpoints."""

    num_train_steps: int
    num_train_epochs: float
    train_batch_size: int
    gradient_accum_steps: int
    eval_batch_size: int
    eval_frequency: int
    eval_proportion: float
    max_num_eval_steps: int
    save_checkpoints_steps: int
    max_to_keep: int
    keep_best: bool
    early_stop_evals: int
    log_frequency: int
    on_nan: Literal["stop", "skip"]
    max_skipped_steps: int


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes; see `core/mesh.py`."""

    data: int
    fsdp: int
    seq: int
    tensor: int


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where metrics go beside the console, JSONL and TensorBoard."""

    wandb_project: str
    profile_start: int
    profile_steps: int
    example_ids: bool


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole run."""

    task: Task
    seed: int
    init_from: str
    model: ModelConfig
    data: DataConfig
    optim: OptimConfig
    train: TrainConfig
    mesh: MeshConfig
    log: LogConfig

    @property
    def is_pretraining(self) -> bool:
        """Whether the task learns from text alone."""
        return self.task in PRETRAINING
